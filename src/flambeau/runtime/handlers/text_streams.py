"""What a model generates for several sequences, as text while it does."""

from __future__ import annotations

from typing import Any

from transformers import TextIteratorStreamer
from transformers.generation.streamers import BaseStreamer


class TextIteratorStreamerBatch(BaseStreamer):  # type: ignore[misc]
    """Give it to ``model.generate(…, streamer=…)`` in another thread; iterate over it in this one.

    Each step is a list with one ``{"text": piece}`` per sequence. It ends with the first sequence that does.
    """

    def __init__(
        self,
        tokenizer: Any,
        batch_size: int,
        skip_prompt: bool = False,
        timeout: float | None = None,
        **decode_kwargs: Any,
    ) -> None:
        """
        Args:
            batch_size: sequences that are generated.
            skip_prompt: whether the prompt's own tokens are left out.
            timeout: seconds to wait for a token, then ``queue.Empty`` is raised; None: without limit.
            decode_kwargs: for the tokenizer's ``decode``.
        """
        self.batch_size = batch_size
        self.streamers = [
            TextIteratorStreamer(tokenizer, skip_prompt, timeout, **decode_kwargs) for _ in range(batch_size)
        ]

    def put(self, value: Any) -> None:
        """Take the next token of each sequence, ``[batch_size]`` or ``[batch_size, N]``.

        Raises:
            ValueError: there are more or fewer sequences.
        """
        if value.shape[0] != self.batch_size:
            raise ValueError(f"{value.shape[0]} sequences were generated, not {self.batch_size}")
        for number, streamer in enumerate(self.streamers):
            streamer.put(value[number : number + 1])

    def end(self) -> None:
        for streamer in self.streamers:
            streamer.end()

    def __iter__(self) -> TextIteratorStreamerBatch:
        return self

    def __next__(self) -> list[dict[str, str]]:
        pieces = [next(streamer, None) for streamer in self.streamers]
        texts = [{"text": piece} for piece in pieces if piece is not None]
        if len(texts) < len(pieces):
            raise StopIteration
        return texts
