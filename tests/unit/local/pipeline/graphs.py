"""Random graphs of stages."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from flambeau.local.pipeline.graph import ROW, Link

any_graph = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""A machine with other things to do is no reason to fail."""


@st.composite
def acyclic_links(draw: st.DrawFn) -> list[Link]:
    """Up to ten stages, listed in any order, each after some that come earlier in a hidden one."""
    count = draw(st.integers(1, 10))
    hidden = [f"s{number}" for number in range(count)]
    links = []
    for at, name in enumerate(hidden):
        earlier = [ROW, *hidden[:at]]
        after = draw(st.none() | st.lists(st.sampled_from(earlier), min_size=1, max_size=4, unique=True))
        sources = st.sampled_from(earlier)
        rule = draw(st.none() | sources | st.dictionaries(st.sampled_from("xyz"), sources, min_size=1))
        if after is None and rule is None:
            after = [ROW]
        links.append(Link(name, None if after is None else tuple(after), rule))
    return draw(st.permutations(links))
