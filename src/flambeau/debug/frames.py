"""Tracebacks that begin where the model's own code does."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import flambeau
from flambeau.debug import trace

_PACKAGE = Path(flambeau.__file__).parent
_HANDLERS = _PACKAGE / "runtime" / "handlers"
_WATCHER = trace.__file__


def own_traceback(error: BaseException, folder: Path) -> str:
    """An exception's traceback in full, its causes included, without the frames that lead to the model's code and those
    of the tool that watches it.

    Args:
        folder: the model's.
    """
    whole = traceback.TracebackException(type(error), error, own_frames(error, folder))
    part: traceback.TracebackException | None = whole
    while part is not None:
        part.stack[:] = [frame for frame in part.stack if frame.filename != _WATCHER]
        part = part.__cause__ or part.__context__
    return "".join(whole.format())


def own_frames(error: BaseException, folder: Path) -> TracebackType | None:
    """The frames from the model's first one on; where it has none, from the first of the handler or library that it
    uses; None: there are none of these either, as in a file that is not Python."""
    return _first(error, lambda path: path.is_relative_to(folder)) or _first(error, _is_of_a_handler)


def _first(error: BaseException, wanted: Callable[[Path], bool]) -> TracebackType | None:
    frame = error.__traceback__
    while frame is not None and not wanted(Path(frame.tb_frame.f_code.co_filename)):
        frame = frame.tb_next
    return frame


def _is_of_a_handler(path: Path) -> bool:
    is_ours = path.is_relative_to(_PACKAGE) and not path.is_relative_to(_HANDLERS)
    return not is_ours and path.is_absolute()
