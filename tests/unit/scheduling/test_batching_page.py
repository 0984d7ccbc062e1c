"""The figures of ``docs/batching.md`` are those of the rules as they are."""

from __future__ import annotations

from pathlib import Path

import pytest
from batching_simulator import AtOnceRule, Client, simulate

from flambeau.config.model import BatchingConfig
from flambeau.scheduling.batching import AdaptiveRule, FixedRule

PAGE = (Path(__file__).parents[3] / "docs" / "batching.md").read_text(encoding="utf-8")
CONFIG = BatchingConfig(batch_size=8, max_batch_delay_s=0.1)


def throughput(rule, clients):
    outcome = simulate(
        rule,
        CONFIG.batch_size,
        lambda rows: 0.010 + 0.001 * rows,
        clients=[Client(lambda: 0.001, first_at=number * 1e-4) for number in range(clients)],
        batches=1000,
    )
    return outcome.throughput()


@pytest.mark.parametrize("clients", [1, 2, 4, 7, 8, 16])
def test_the_table_of_throughputs_is_what_the_rules_give(clients):
    found = (throughput(rule, clients) for rule in (FixedRule(CONFIG), AtOnceRule(), AdaptiveRule(CONFIG)))
    assert f"| {clients} | {' | '.join(f'{value:.0f}' for value in found)} |" in PAGE
