"""What ``load`` is given, found out: an object of this program, or files."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from flambeau.errors import ConfigError, ModelNotFound


def find_source(source: Any) -> Any:
    """An object as it is, the object that ``file.py:name`` or ``package.module:name`` names, or a path that exists.

    Raises:
        ModelNotFound: there is no such file or object.
        ConfigError: it is a Python file, and no object in it is named.
        Exception: whatever importing the module raised.
    """
    if not isinstance(source, (str, Path)):
        return source
    path = Path(source)
    if os.path.exists(source):  # unlike Path's, says no to what cannot be a path
        if path.suffix == ".py" and path.is_file():
            raise ConfigError("source", source, f"name what to load from the file: {path}:NAME")
        return path
    place, colon, name = str(source).rpartition(":")
    if colon and name:
        return _find_object(place, name)
    raise ModelNotFound(f"Model not found at: {source}")


def _find_object(place: str, name: str) -> Any:
    module = _import_file(Path(place)) if place.endswith(".py") else _import_module(place)
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is None:
        raise ModelNotFound(f"Model not found: {place} has no {name}")
    return found


def _import_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise ModelNotFound(f"Model not found: there is no module {name}") from None


def _import_file(path: Path) -> ModuleType:
    """Import a file under its own name, with its folder on ``sys.path``, as Python does with a script."""
    if not path.is_file():
        raise ModelNotFound(f"Model not found at: {path}")
    path = path.resolve()
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if file is not None and module.__name__ != "__main__" and Path(file) == path:
            return module
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ConfigError("source", path, "cannot be imported")
    module = importlib.util.module_from_spec(spec)
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    is_new = path.stem not in sys.modules
    if is_new:  # else another module has the name: this one can do without being known under it
        sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        if is_new:
            del sys.modules[path.stem]
        raise
    return module
