"""Which calls of TorchServe's work: the list in ``torchserve.yaml`` beside the cases that send them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import unquote

from tests.compat import prediction_scenarios, scenarios
from tests.compat.cases import load_cases
from tests.compat.sources import names_in
from tests.compat.statuses import FOLDER, Row, Stale, Status

_PARAMETER = re.compile(r"\{\w+\}")


class Call(NamedTuple):
    """The request of a case, or of a step of a scenario."""

    port: str
    method: str
    path: str
    """Percent-decoded."""
    differs: str | None


def endpoint_rows(
    endpoints: Mapping[str, Sequence[str | Mapping[str, Sequence[str]]]], differences: Mapping[str, Mapping[str, str]]
) -> dict[str, list[Row]]:
    """The rows of each port. ``details``: how many cases there are.

    Args:
        endpoints: calls by port; one with differences that no case shows is a mapping to their names.

    Raises:
        Stale: a request is no endpoint's, an endpoint has no case, a difference is named that there is not, or one has
            come to an end.
    """
    rows = {port: [_Endpoint.read(entry) for entry in entries] for port, entries in endpoints.items()}
    for call in _calls():
        endpoint = next((row for row in rows[call.port] if row.pattern.fullmatch(_line(call))), None)
        if endpoint is None:
            raise Stale(f"{call.method} {call.path}", f"no endpoint of the {call.port} port")
        endpoint.case_count += 1
        if call.differs is not None:
            endpoint.differences.add(call.differs)
    named = {name for endpoints_of_one in rows.values() for row in endpoints_of_one for name in row.differences}
    for name in sorted(named - set(differences)):
        raise Stale(name, "this difference is not described")
    for name, difference in differences.items():
        module, _, end = difference.get("until", "").rpartition(".")
        if module and end in names_in(module):
            raise Stale(name, f"{module}.{end} is there now")
    return {port: [row.row() for row in endpoints_of_one] for port, endpoints_of_one in rows.items()}


@dataclass
class _Endpoint:
    name: str
    differences: set[str]
    pattern: re.Pattern[str]
    case_count: int = 0

    @classmethod
    def read(cls, entry: str | Mapping[str, Sequence[str]]) -> _Endpoint:
        """An entry of the list of calls."""
        if isinstance(entry, str):
            return cls(entry, set(), _endpoint_pattern(entry))
        ((name, differences),) = entry.items()
        return cls(name, set(differences), _endpoint_pattern(name))

    def row(self) -> Row:
        if not self.case_count:
            raise Stale(self.name, "no case sends it")
        status = Status.DIFFERS if self.differences else Status.WORKS
        return Row(self.name, status, ", ".join(sorted(self.differences)), (str(self.case_count),))


def _calls() -> Iterator[Call]:
    for file in load_cases():
        for case in file.cases:
            yield _call(case.port, case.step.method, case.step.target, case.differs)
    for scenario in scenarios.load(FOLDER / "management"):
        for managed in scenario.steps:
            yield _call("management", managed.method, managed.target)
    for predicting in prediction_scenarios.load(FOLDER / "predictions"):
        for step in predicting.steps:
            yield _call("inference", step.method, step.target)


def _call(port: str, method: str, target: str, differs: str | None = None) -> Call:
    return Call(port, method, unquote(target.partition("?")[0]), differs)


def _line(call: Call) -> str:
    path = call.path.rstrip("/") or "/"
    return f"{call.method} {path if path.startswith('/') else f'/{path}'}"


def _endpoint_pattern(endpoint: str) -> re.Pattern[str]:
    """What fits ``GET /models/{model}``; ``ANY`` is any method, ``{rest...}`` any number of segments, or none."""
    method, _, path = endpoint.partition(" ")
    fixed, rest, _ = path.partition("/{rest...}")
    segments = "[^/]*".join(map(re.escape, _PARAMETER.split(fixed)))
    further = "(/.*)?" if rest else ""
    return re.compile(f"{'[A-Z]+' if method == 'ANY' else method} {segments}{further}", re.DOTALL)
