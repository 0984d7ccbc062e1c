"""Texts to token numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flambeau.errors import BadRequest
from flambeau.stages.requirements import require
from flambeau.stages.stage import BatchStage
from flambeau.stages.tokenizers import load_tokenizer

FIELDS = {"input_ids": "ids", "token_type_ids": "type_ids", "attention_mask": "attention_mask"}
"""By transformers' name: what an encoding calls it."""


class Tokenize(BatchStage):
    """Texts to ``{"input_ids", "token_type_ids", "attention_mask"}``, each ``int64 [tokens]``; a batch in one call.

    A row is a text, a pair of texts, or a text as UTF-8 bytes. Rows of one batch are padded alike, so that they can be
    stacked; how far may depend on which rows came together, what is not padding does not.
    """

    def __init__(
        self,
        tokenizer: Any,
        max_length: int | None = None,
        *,
        padding: str = "longest",
        pad_token: str | None = None,
        lowercase: bool = True,
        outputs: Sequence[str] | None = None,
    ) -> None:
        """
        Args:
            tokenizer: path of a tokenizer's JSON file; path of a WordPiece vocabulary, one token a line, or a mapping
                from token to number; a ``tokenizers.Tokenizer``; a fast tokenizer of transformers, or its name or
                folder.
            max_length: tokens at most, special ones included; longer rows are cut. None: as long as they are.
            padding: ``"longest"`` to the longest row of the batch, ``"max_length"`` to ``max_length``.
            pad_token: what to fill up with; None: what the tokenizer says, or else ``[PAD]`` or ``<pad>``.
            lowercase: whether a vocabulary is one of lower-case words without accents. JSON files and transformers say
                so themselves.
            outputs: names of the arrays wanted; None: what the model takes according to transformers, otherwise all.

        Raises:
            ValueError: an option has no such value, or the tokenizer has no padding token.
            InvalidModel: the file is no tokenizer.
            ModuleNotFoundError: tokenizers or numpy, or transformers for a name, is not installed.
        """
        if padding not in ("longest", "max_length"):
            raise ValueError(f"padding is 'longest' or 'max_length', not {padding!r}")
        if padding == "max_length" and max_length is None:
            raise ValueError("padding='max_length' needs a max_length")
        self._np = require("numpy")
        loaded = load_tokenizer(tokenizer, lowercase)
        self.outputs = tuple(loaded.outputs or FIELDS if outputs is None else outputs)
        unknown = set(self.outputs) - set(FIELDS)
        if unknown:
            raise ValueError(f"outputs are among {', '.join(FIELDS)}, not {', '.join(sorted(unknown))}")
        self._tokenizer = loaded.prepared(max_length, max_length if padding == "max_length" else None, pad_token)

    def prepare(self, row: Any) -> tuple[None, str | tuple[str, str]]:
        """
        Raises:
            BadRequest: the row is neither a text nor two.
        """
        if isinstance(row, (tuple, list)) and len(row) == 2:
            first, second = map(_text_of, row)
            return None, (first, second)
        return None, _text_of(row)

    def many(self, kind: None, values: list[Any]) -> list[dict[str, Any]]:
        encodings = self._tokenizer.encode_batch_fast(values)
        columns: Mapping[str, Any] = {
            name: self._np.array([getattr(encoding, FIELDS[name]) for encoding in encodings], dtype=self._np.int64)
            for name in self.outputs
        }
        return [{name: column[place] for name, column in columns.items()} for place in range(len(values))]


def _text_of(row: Any) -> str:
    if isinstance(row, str):
        return row
    if isinstance(row, (bytes, bytearray)):
        try:
            return row.decode("utf-8")
        except UnicodeDecodeError:
            raise BadRequest("the text is not UTF-8") from None
    raise BadRequest(f"a text or a pair of texts is expected, not {type(row).__name__}")
