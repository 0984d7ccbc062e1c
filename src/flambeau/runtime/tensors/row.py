"""What a handler that speaks tensors gets for one request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class TensorRow(dict[str, Any]):
    """The request's tensors by name: numpy arrays that look at the bytes that came, and may be written to.

    ``BYTES`` tensors are arrays of ``bytes`` objects, ``BF16`` tensors are ``float32``.
    """

    def __init__(
        self,
        tensors: Mapping[str, Any],
        *,
        id: str = "",
        parameters: Mapping[str, Any] | None = None,
        outputs: Mapping[str, bool] | None = None,
        is_binary: bool = False,
    ) -> None:
        """
        Args:
            outputs: those that the client wants, each with whether in binary form; None: all that there are.
            is_binary: the form where ``outputs`` does not say it.
        """
        super().__init__(tensors)
        self.id = id
        """The client's; empty where it gave none."""
        self.parameters: Mapping[str, Any] = parameters or {}
        """Those of the request as a whole."""
        self.outputs = outputs
        self.is_binary = is_binary
