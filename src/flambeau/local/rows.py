"""Rows that are more than one value."""

from __future__ import annotations

from typing import Any


class Fields(dict[str, Any]):
    """Several named values that make one row of a handler, as the fields of a form would.

    A handler written for TorchServe is given a dict per row. Any other value ``x`` becomes ``{"body": x}``, as if it
    had been posted; a plain dict too, as if it had been posted as JSON.
    """


def handler_row(row: Any) -> dict[str, Any]:
    """The dict that a TorchServe handler is given for a row."""
    return row if isinstance(row, Fields) else {"body": row}
