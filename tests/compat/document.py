"""Writes ``docs/compatibility.md``: ``python -m tests.compat.document``.

What the page says comes from the cases, the code and ``torchserve.yaml``.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tests.compat import statuses
from tests.compat.endpoint_statuses import endpoint_rows
from tests.compat.statuses import Row, Status

PAGE = Path("docs/compatibility.md")

_INTRODUCTION = """\
# Compatibility with TorchServe

What TorchServe 0.12 has, row by row, and what becomes of it here. This page is generated: the tables of calls from the
requests that the tests send and the answers that they must get, those of settings, modules and metrics from the code.

- **works**: as in TorchServe.
- **differs**: there, but not the same in every case; the row says how, and which setting brings the old behaviour back
  if there is one.
- **not there yet**: the row says what happens instead.
- **not applicable**: the row says why there is nothing to do.

What to do about the differences is in [Migrating from TorchServe](migrating-from-torchserve.md).
"""

_PORTS = {"inference": "The inference port", "management": "The management port", "metrics": "The metrics port"}


def page() -> str:
    """The whole page.

    Raises:
        Stale: what ``torchserve.yaml`` says is not so.
    """
    remarks = statuses.load_remarks()
    endpoints = endpoint_rows(remarks["endpoints"], remarks["differences"])
    grpc = statuses.grpc_rows(remarks["grpc"])
    settings = statuses.server_setting_rows(remarks["server_settings"])
    model = statuses.model_setting_rows(remarks["model_settings"])
    handler = statuses.handler_setting_rows(remarks["handler_settings"])
    modules = statuses.module_rows(remarks["modules"])
    metrics = statuses.metric_rows(remarks["metrics"])
    calls = [row for rows in endpoints.values() for row in rows]
    summary = {
        "[calls of HTTP](#http)": calls,
        "[methods of gRPC](#grpc)": grpc,
        "[keys of `config.properties`](#keys-of-configproperties)": settings,
        "[keys of a model's YAML](#keys-of-a-models-yaml)": model,
        "[keys that handlers read](#keys-that-handlers-read)": handler,
        "[modules](#modules)": modules,
        "[metrics](#metrics)": metrics,
    }
    return "\n".join(
        [
            _INTRODUCTION,
            _summary(summary),
            _http(endpoints, remarks["differences"]),
            _section("gRPC", ("method", "status", "how"), map(_plain, grpc)),
            _section("Keys of `config.properties`", ("key", "status", "how or why"), map(_plain, settings)),
            _section("Keys of a model's YAML", ("key", "status", "how or why"), map(_plain, model)),
            _section("Keys that handlers read", ("key", "status", "how or why"), map(_plain, handler)),
            _section("Modules", ("module", "names", "status", "how or why"), map(_detailed, modules)),
            _section("Metrics", ("metric", "kind", "unit", "dimensions", "status", "how"), map(_detailed, metrics)),
        ]
    )


def _summary(tables: Mapping[str, Sequence[Row]]) -> str:
    head = ("", *(status.value for status in Status))
    counts = [(name, Counter(row.status for row in rows)) for name, rows in tables.items()]
    return _table(head, ((name, *(str(count[status]) for status in Status)) for name, count in counts))


def _http(endpoints: Mapping[str, Sequence[Row]], differences: Mapping[str, Mapping[str, str]]) -> str:
    cases = sum(int(row.details[0]) for rows in endpoints.values() for row in rows)
    parts = [
        f"## HTTP\n\n{cases} requests are sent, with parameters that are right, missing, empty, of a wrong type,"
        "\nnegative, huge, repeated and in a wrong encoding. `ANY`: any method that no row before it has; `{rest...}`:"
        "\nany further segments, or none. The last row of a port is all that it does not know. What is said of failures"
        "\nand waits at `/predictions/{model}` holds for all routes that predict. The [last table](#differences) says"
        "\nwhat each difference is.\n"
    ]
    for port, rows in endpoints.items():
        head = ("call", "cases", "status", "differences")
        parts.append(f"### {_PORTS[port]}\n\n{_table(head, map(_detailed, rows))}")
    named = ((name, *(row.get(key, "none") for key in _DIFFERENCE)) for name, row in differences.items())
    parts.append(f"### Differences\n\n{_table(('difference', 'TorchServe', 'Flambeau', 'why', 'setting'), named)}")
    return "\n".join(parts)


_DIFFERENCE = ("torchserve", "flambeau", "why", "setting")


def _section(title: str, head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    return f"## {title}\n\n{_table(head, rows)}"


def _plain(row: Row) -> tuple[str, ...]:
    return f"`{row.name}`", row.status.value, row.remark


def _detailed(row: Row) -> tuple[str, ...]:
    return f"`{row.name}`", *row.details, row.status.value, row.remark


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def main() -> None:
    """Bring the page up to date; it is looked for under the working directory."""
    if not PAGE.parent.is_dir():
        sys.exit(f"{PAGE.parent} not found: run this at the root of the repository")
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
