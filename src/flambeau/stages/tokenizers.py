"""The many forms in which a tokenizer comes, to the one that encodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flambeau.errors import InvalidModel
from flambeau.stages.requirements import require

PAD_TOKENS = ("[PAD]", "<pad>")
"""What the padding token is called where a file does not say: BERT's name, and that of nearly all others."""
UNKNOWN, CLASSIFY, SEPARATE = "[UNK]", "[CLS]", "[SEP]"


@dataclass(frozen=True)
class LoadedTokenizer:
    """A tokenizer that nobody else holds, and what its source says of its use."""

    tokenizer: Any
    """A ``tokenizers.Tokenizer``."""
    pad_token: str | None = None
    padding_side: str | None = None
    truncation_side: str | None = None
    outputs: tuple[str, ...] | None = None

    def prepared(self, max_length: int | None, pad_to: int | None, pad_token: str | None) -> Any:
        """The tokenizer, set once and for all: encoding changes nothing in it, so threads may share it.

        Args:
            max_length: tokens at most; None: no limit.
            pad_to: tokens at least; None: as many as the longest row has.

        Raises:
            ValueError: there is no padding token.
        """
        tokenizer = self.tokenizer
        given = tokenizer.padding or {}
        tokens = [pad_token] if pad_token else [self.pad_token, given.get("pad_token"), *PAD_TOKENS]
        token = next((token for token in tokens if token and tokenizer.token_to_id(token) is not None), None)
        if token is None:
            raise ValueError(
                f"the tokenizer has no padding token {pad_token or ''}: name one of its own with pad_token"
            )
        tokenizer.enable_padding(
            direction=self.padding_side or given.get("direction", "right"),
            pad_id=tokenizer.token_to_id(token),
            pad_token=token,
            pad_type_id=given.get("pad_type_id", 0),
            length=pad_to,
        )
        direction = self.truncation_side or (tokenizer.truncation or {}).get("direction", "right")
        if max_length is None:
            tokenizer.no_truncation()
        else:
            tokenizer.enable_truncation(max_length, direction=direction)
        return tokenizer


def load_tokenizer(source: Any, lowercase: bool) -> LoadedTokenizer:
    """
    Args:
        source: as :class:`~flambeau.stages.tokenize.Tokenize` takes it.
        lowercase: whether a vocabulary is one of lower-case words without accents.

    Raises:
        InvalidModel: the file is no tokenizer, or transformers has only a slow one.
        ModuleNotFoundError: tokenizers, or transformers for a name, is not installed.
    """
    tokenizers = require("tokenizers")
    if isinstance(source, tokenizers.Tokenizer):
        return LoadedTokenizer(tokenizers.Tokenizer.from_str(source.to_str()))
    if isinstance(source, Mapping):
        return LoadedTokenizer(_wordpiece(dict(source), lowercase))
    if isinstance(source, (str, Path)):
        path = Path(source)
        if path.is_file():
            return LoadedTokenizer(_from_json(path) if path.suffix == ".json" else _from_vocabulary(path, lowercase))
        if path.suffix in (".json", ".txt"):
            raise InvalidModel(f"there is no tokenizer file {path.name}")
        source = require("transformers").AutoTokenizer.from_pretrained(str(source))
    return _from_transformers(source)


def _from_json(path: Path) -> Any:
    try:
        return require("tokenizers").Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing more exact
        raise InvalidModel(f"{path.name} is not the JSON of a tokenizer: {error}") from error


def _from_vocabulary(path: Path, lowercase: bool) -> Any:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise InvalidModel(f"{path.name} is not a vocabulary: it is not UTF-8") from None
    return _wordpiece({token: number for number, token in enumerate(lines)}, lowercase)


def _wordpiece(vocabulary: dict[str, int], lowercase: bool) -> Any:
    """BERT's way to split a text, over a vocabulary of its kind."""
    missing = [token for token in (UNKNOWN, CLASSIFY, SEPARATE) if token not in vocabulary]
    if missing:
        raise InvalidModel(f"a WordPiece vocabulary has {', '.join(missing)} in it; this one has not")
    tokenizers = require("tokenizers")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece(vocabulary, unk_token=UNKNOWN))
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = tokenizers.processors.BertProcessing(
        (SEPARATE, vocabulary[SEPARATE]), (CLASSIFY, vocabulary[CLASSIFY])
    )
    return tokenizer


def _from_transformers(source: Any) -> LoadedTokenizer:
    backend = getattr(source, "backend_tokenizer", None)
    if backend is None:
        raise InvalidModel(f"{type(source).__name__} is not a fast tokenizer: only those can be shared by threads")
    return LoadedTokenizer(
        require("tokenizers").Tokenizer.from_str(backend.to_str()),
        pad_token=source.pad_token,
        padding_side=source.padding_side,
        truncation_side=source.truncation_side,
        outputs=tuple(source.model_input_names),
    )
