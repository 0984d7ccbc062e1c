"""``source_vocab.pt``: the numbers that a text model knows words by."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from flambeau.errors import InvalidModel
from flambeau.runtime.failures import PredictionException
from flambeau.runtime.handlers.inputs import BAD_REQUEST

_HARMLESS = {
    ("builtins", "set"),
    ("__builtin__", "set"),
    ("collections", "Counter"),
    ("collections", "OrderedDict"),
    ("collections", "defaultdict"),
    ("torch._utils", "_rebuild_tensor_v2"),
}
"""What a pickled vocabulary may name besides torchtext. Everything else could run code."""


class Vocabulary:
    """Token to number."""

    def __init__(self, numbers: Mapping[str, int], default: int | None = None) -> None:
        """
        Args:
            default: number of every token that is not in the vocabulary; None for that of ``<unk>``, if there is one.
        """
        self._numbers = dict(numbers)
        self._default = self._numbers.get("<unk>") if default is None else default

    def __getitem__(self, token: str) -> int:
        """
        Raises:
            PredictionException: no such token, and no number for those; the client gets 400.
        """
        number = self._numbers.get(token, self._default)
        if number is None:
            raise PredictionException(f"The model does not know the word {token!r}", BAD_REQUEST)
        return number

    def __call__(self, tokens: Iterable[str]) -> list[int]:
        return [self[token] for token in tokens]

    def __contains__(self, token: object) -> bool:
        return token in self._numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def get_stoi(self) -> dict[str, int]:
        """All tokens with their numbers."""
        return dict(self._numbers)


def load_vocabulary(path: str | Path) -> Vocabulary:
    """Read a vocabulary that ``torch.save`` wrote: a dict from token to number, a list of tokens, or a ``Vocab`` of
    torchtext, which need not be installed.

    No code in the file is run.

    Raises:
        InvalidModel: it is something else; says what to do.
        OSError: the file cannot be read.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=False, pickle_module=_TorchtextPickle)
    except (pickle.UnpicklingError, RuntimeError, EOFError, AttributeError, TypeError) as error:
        raise _unreadable(path, str(error)) from error
    vocabulary = _of_content(content)
    if vocabulary is None:
        raise _unreadable(path, f"it holds {_name_of(content)}")
    return vocabulary


class _TorchtextObject:
    """Stands in for any class of torchtext: keeps what was pickled of an object."""

    def __init__(self, *_: Any) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module.partition(".")[0] == "torchtext":
            return type(name, (_TorchtextObject,), {})
        if (module, name) not in _HARMLESS:
            raise pickle.UnpicklingError(f"it needs {module}.{name}")
        return super().find_class(module, name)


_TorchtextPickle = SimpleNamespace(
    __name__="pickle", Unpickler=_Unpickler, load=lambda file, **arguments: _Unpickler(file, **arguments).load()
)


def _of_content(content: Any) -> Vocabulary | None:
    state = content.state if isinstance(content, _TorchtextObject) else content
    if isinstance(content, _TorchtextObject) and isinstance(state, dict):
        if isinstance(state.get("stoi"), dict):  # torchtext up to 0.8
            return _of_numbers(state["stoi"])
        return _of_content(state.get("vocab"))  # since 0.9, around one in C++
    if isinstance(content, _TorchtextObject) and isinstance(state, tuple) and len(state) == 4:
        _, integers, tokens, _ = state
        return Vocabulary({token: number for number, token in enumerate(tokens)}, *integers[:1])
    if isinstance(state, dict):
        return _of_numbers(state)
    if isinstance(state, (list, tuple)) and all(isinstance(token, str) for token in state):
        return Vocabulary({token: number for number, token in enumerate(state)})
    return None


def _of_numbers(numbers: dict[Any, Any]) -> Vocabulary | None:
    if all(isinstance(token, str) and isinstance(number, int) for token, number in numbers.items()):
        return Vocabulary(numbers)
    return None


def _name_of(content: Any) -> str:
    kind = type(content)
    return f"torchtext's {kind.__name__}" if isinstance(content, _TorchtextObject) else f"a {kind.__name__}"


def _unreadable(path: str | Path, why: str) -> InvalidModel:
    return InvalidModel(
        f"{Path(path).name} is not a vocabulary that can be read without the library that wrote it ({why}); write it "
        "anew where that library is installed, as a dict: torch.save(vocab.get_stoi(), 'source_vocab.pt')"
    )
