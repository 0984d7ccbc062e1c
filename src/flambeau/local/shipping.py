"""What a worker is to run, written into a folder for it; and the state of this program that it needs to read it.

A function or a class is pickled by reference: the worker imports the module that it is in. If that is the program's
main module, the worker runs its file first, under the name ``__mp_main__``, as those of ``multiprocessing`` do.
"""

from __future__ import annotations

import pickle
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import spawn
from pathlib import Path
from typing import Any

from flambeau.errors import ConfigError

FILE_NAME = "shipment.pickle"

_STATE = ("sys_path", "sys_argv", "dir", "orig_dir", "init_main_from_name", "init_main_from_path")
_MAIN = ("init_main_from_name", "init_main_from_path")

_is_unpacking = False


@dataclass(frozen=True)
class Shipment:
    """What one worker gets."""

    name: str
    """For errors."""
    model: str
    batch_size: int
    device: str | None
    isolate_failures: bool
    state: dict[str, Any]
    """Of the program, for ``multiprocessing.spawn.prepare``."""
    pickled: bytes | None = None
    """What is to be run; None: the folder."""
    folder: Path | None = None
    handler: str | None = None
    warm_up: Sequence[Any] = ()
    """Rows to be answered before it counts as loaded."""


def program_state(pickled: bytes | None) -> dict[str, Any]:
    """What a worker must know of this program to read a pickle that was made here.

    Raises:
        RuntimeError: this is a worker that imports what it is to run, and would start workers without end.
    """
    if _is_unpacking:
        raise RuntimeError(
            "a worker that imports what it is to run came to a line that loads a model with worker processes; "
            'in the main module such lines belong below  if __name__ == "__main__":'
        )
    known = spawn.get_preparation_data("")
    needs_main = pickled is not None and b"__main__" in pickled
    return {key: known[key] for key in _STATE if key in known and (needs_main or key not in _MAIN)}


def pickle_source(source: Any) -> bytes:
    """A function, class, object or module as a worker can read it.

    Raises:
        ConfigError: it cannot be sent to another process; says what to do.
    """
    try:
        pickled = pickle.dumps(source)
    except Exception as error:  # the border to user code, and pickle has no one class for what it refuses
        return _by_value(source, str(error))
    if b"__main__" in pickled and not any(key in spawn.get_preparation_data("") for key in _MAIN):
        return _by_value(source, "it is defined in a program that is not a file")
    return pickled


def _by_value(source: Any, problem: str) -> bytes:
    try:
        cloudpickle = import_module("cloudpickle")
    except ImportError:
        raise ConfigError(
            "source",
            getattr(source, "__qualname__", None) or type(source).__qualname__,
            f"cannot be sent to a worker process ({problem}); "
            "define it at the top level of a module, or install cloudpickle",
        ) from None
    pickled: bytes = cloudpickle.dumps(source)
    return pickled


def ship(shipment: Shipment) -> Path:
    """Write it into a temporary folder, which is the caller's to remove."""
    folder = Path(tempfile.mkdtemp(prefix="flambeau-")).resolve()
    try:
        (folder / FILE_NAME).write_bytes(pickle.dumps(shipment))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder


def unpack(folder: Path) -> tuple[Shipment, Any]:
    """In the worker: what is in the folder, and the source if it is not a folder. Takes over the program's state."""
    shipment: Shipment = pickle.loads((folder / FILE_NAME).read_bytes())
    global _is_unpacking
    _is_unpacking = True
    try:
        spawn.prepare(shipment.state)
        return shipment, None if shipment.pickled is None else pickle.loads(shipment.pickled)
    finally:
        _is_unpacking = False
