"""A service envelope: takes a protocol's wrapping off the rows for a handler, and puts it round the answers.

One envelope lives as long as its handler, which answers one batch at a time.
"""

from __future__ import annotations

from typing import Any

from flambeau.runtime.entry_point import EntryPoint


class BaseEnvelope:
    """What envelopes are made from: override :meth:`parse_input` and :meth:`format_output`."""

    def __init__(self, handle_fn: EntryPoint) -> None:
        """
        Args:
            handle_fn: the handler's entry point, called with what :meth:`parse_input` returns, and the context.
        """
        self._entry_point = handle_fn
        self.context: Any = None

    def handle(self, data: Any, context: Any) -> Any:
        """Answer a batch: the entry point that goes in place of the handler's own."""
        self.context = context
        if data:
            data = self.parse_input(data)
        results = self._entry_point(data, context)
        if results:
            results = self.format_output(results)
        return results

    def parse_input(self, data: Any) -> Any:
        """Rows to what the handler takes."""
        raise NotImplementedError

    def format_output(self, data: Any) -> Any:
        """The handler's results to one answer per row."""
        raise NotImplementedError
