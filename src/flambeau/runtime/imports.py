"""``sys.path`` and ``sys.modules`` while a model's own code is imported.

In a worker process one model is all there is. In a program that loads several, each has its ``handler`` and its
``model``: one must not be handed the other's.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

_lock = threading.RLock()
_model_prefixes: set[str] = set()
"""What the paths of the modules begin with that belong to models loaded so far."""


@contextmanager
def own_imports(folders: Sequence[Path], names: Collection[str]) -> Iterator[None]:
    """Import from a model's folders first, and none of its modules from another model.

    Afterwards the modules that were set aside are back in ``sys.modules``; the folders stay on ``sys.path``, for what
    the handler imports later. One model at a time.

    Args:
        folders: in the order of search.
        names: top-level modules that the model may bring: its handler and its model file.
    """
    with _lock:
        resolved = [folder.resolve() for folder in folders]
        own = tuple(f"{folder}{os.sep}" for folder in resolved)
        others = tuple(_model_prefixes.difference(own))
        brought = {name for name in names if any(_holds(folder, name) for folder in resolved)}
        aside = {
            name: module
            for name, module in list(sys.modules.items())
            if (name.partition(".")[0] in brought and not _file(module).startswith(own))
            or _file(module).startswith(others)
        }
        for name in aside:
            del sys.modules[name]
        _model_prefixes.update(own)
        for folder in reversed(resolved):
            text = str(folder)
            if text in sys.path:
                sys.path.remove(text)
            sys.path.insert(0, text)
        try:
            yield
        finally:
            sys.modules.update(aside)


def _holds(folder: Path, module: str) -> bool:
    return (folder / f"{module}.py").is_file() or (folder / module / "__init__.py").is_file()


def _file(module: ModuleType | None) -> str:
    return getattr(module, "__file__", None) or ""


def import_class(class_name: str, module_prefix: str | None = None) -> Any:
    """The class of a dotted name such as ``pkg.mod.Class``.

    Args:
        module_prefix: a package that the name's module is looked for in.

    Raises:
        ImportError: the name is empty or names no module, or there is no such module or class.
    """
    if not class_name:
        raise ImportError("class name is not defined")
    module_name, _, name = class_name.rpartition(".")
    full_name = ".".join(filter(None, (module_prefix, module_name)))
    if not full_name:
        raise ImportError(f"{class_name} names no module")
    found = getattr(importlib.import_module(full_name), name, None)
    if found is None:
        raise ImportError(f"{full_name} has no {name}")
    return found
