"""A handler's name to the callable that answers batches: TorchServe's rules for what a handler file may hold."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from types import CodeType, ModuleType, TracebackType
from typing import Any, NamedTuple

from flambeau.archive.described import DESCRIPTION_SUFFIXES
from flambeau.errors import InvalidModel

BUILT_IN_PACKAGE = "ts.torch_handler"
"""Where names such as ``image_classifier`` are looked up; Flambeau's own handlers answer there too."""

ENVELOPE_PACKAGE = f"{BUILT_IN_PACKAGE}.request_envelope"
"""Where service envelopes are looked up; an installation may have put files of its own there."""

OBJECTS_MODULE = "flambeau.local.serving"
"""Makes handlers of what is none: a pipeline's description, and objects that are called with one row or with a list of
them. It stands on this package, and is looked up by name as every handler is."""

EntryPoint = Callable[[Any, Any], Any]


class HandlerName(NamedTuple):
    """The parts of ``some/path/handler.py:function``."""

    module: str
    function: str | None
    folder: str
    """``some/path``; empty where none is named."""

    @classmethod
    def parse(cls, handler: str) -> HandlerName:
        """
        Raises:
            InvalidModel: no module is named.
        """
        place, _, function = handler.partition(":")
        path = PurePosixPath(place.strip())
        module = path.name.removesuffix(".py")
        if not module:
            raise InvalidModel(f"handler {handler!r} names no module")
        return cls(module, function.strip() or None, "" if path.parent == PurePosixPath(".") else str(path.parent))


class FoundHandler(NamedTuple):
    """An entry point that has not been initialised."""

    entry: EntryPoint
    initialize: Callable[[Any], None]


def import_handler(name: HandlerName, search: list[Path]) -> ModuleType:
    """Import a handler's module: the model's own first, then a built-in one of that name.

    A module of the model's own that fails to import is never taken for a missing one: its error is raised as it is.

    Args:
        search: the model's own folders, which are on ``sys.path`` already; named in the error.

    Raises:
        InvalidModel: there is no such module.
    """
    try:
        return importlib.import_module(name.module)
    except ModuleNotFoundError as error:
        if not f"{name.module}.".startswith(f"{error.name}."):
            raise
    built_in = f"{BUILT_IN_PACKAGE}.{name.module}"
    try:
        return importlib.import_module(built_in)
    except ModuleNotFoundError as error:
        if error.name != built_in:
            raise
    files = sorted(path.name for folder in search for path in folder.glob("*.py"))
    raise InvalidModel(
        f"no handler {name.module!r}: it is neither a built-in one nor a file of the model, which holds "
        f"{', '.join(files) or 'no Python files'}"
    )


def find_entry_point(module: ModuleType, function: str | None) -> FoundHandler:
    """What to call in a handler's module: the function named (by default ``handle``), else the one class that it has.

    Raises:
        InvalidModel: there is no entry point, or it is asynchronous.
        ValueError: neither the function nor exactly one class is there (TorchServe's error, first words included).
    """
    wanted = function or "handle"
    entry = getattr(module, wanted, None)
    if function and callable(entry) and not _takes_a_context(entry):
        found: FoundHandler = importlib.import_module(OBJECTS_MODULE).entry_of_object(entry)
    elif callable(entry):
        found = FoundHandler(entry, lambda context: _initialize_function(entry, context))
    else:
        classes = handler_classes(module)
        if len(classes) != 1:
            names = ", ".join(cls.__name__ for cls in classes) or "no class"
            raise ValueError(
                "Expected only one class in custom service code or a function entry point "
                f"{wanted!r}: {module.__name__} has {names}"
            )
        found = _from_class(classes[0])
    if inspect.iscoroutinefunction(found.entry):
        raise InvalidModel(f"handler {module.__name__} is asynchronous: 'handle' must be a plain function")
    return found


def in_envelope(found: FoundHandler, envelope: str) -> FoundHandler:
    """A handler whose batches pass through a service envelope; its load does not.

    Args:
        envelope: a module of :data:`ENVELOPE_PACKAGE`, with one class.

    Raises:
        InvalidModel: there is no such module, or it has not one class.
    """
    module_name = f"{ENVELOPE_PACKAGE}.{envelope}"
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if not f"{module_name}.".startswith(f"{error.name}."):
            raise
        package = importlib.import_module(ENVELOPE_PACKAGE)
        known = ", ".join(sorted(item.name for item in pkgutil.iter_modules(package.__path__) if item.name != "base"))
        raise InvalidModel(f"no service envelope {envelope!r} (service_envelope); there are {known}") from None
    classes = handler_classes(module)
    if len(classes) != 1:
        raise InvalidModel(f"service envelope {envelope!r} has {len(classes)} classes, not one")
    wrapped: Any = classes[0](found.entry)
    return FoundHandler(wrapped.handle, found.initialize)


def describes_pipeline(handler: str) -> bool:
    """Whether a handler's name is that of a pipeline's description."""
    return PurePosixPath(handler).suffix in DESCRIPTION_SUFFIXES


def entry_of_description(path: Path) -> FoundHandler:
    """A pipeline's description as a handler that has not been initialised.

    Raises:
        InvalidModel: there is no such file.
    """
    if not path.is_file():
        raise InvalidModel(f"the pipeline's description {path.name} is not in the model's folder")
    found: FoundHandler = importlib.import_module(OBJECTS_MODULE).entry_of_description(path)
    return found


def _takes_a_context(entry: Any) -> bool:
    """Whether it is called as TorchServe calls handlers, with data and context; what cannot be told is taken to be."""
    if inspect.isclass(entry):
        return False
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(entry, torch.nn.Module):
        return False
    try:
        parameters = inspect.signature(entry).parameters.values()
    except (TypeError, ValueError):
        return True
    places = [item for item in parameters if item.kind in (item.POSITIONAL_ONLY, item.POSITIONAL_OR_KEYWORD)]
    takes_any = any(item.kind is item.VAR_POSITIONAL for item in parameters)
    return takes_any or len(places) >= 2


def list_classes_from_module(module: ModuleType, parent_class: type | None = None) -> list[type]:
    """The classes that a module defines, by name; only those below ``parent_class`` where it is given."""
    return [
        cls
        for _, cls in inspect.getmembers(module, inspect.isclass)
        if cls.__module__ == module.__name__ and (parent_class is None or issubclass(cls, parent_class))
    ]


def handler_classes(module: ModuleType) -> list[type]:
    """The classes that a module defines; if there are none, those that it names in ``__all__``."""
    defined = list_classes_from_module(module)
    if defined:
        return defined
    exported = (getattr(module, name, None) for name in getattr(module, "__all__", ()))
    return [item for item in exported if inspect.isclass(item)]


def _from_class(cls: type) -> FoundHandler:
    handler: Any = cls()
    for method in ("initialize", "handle"):
        if not callable(getattr(handler, method, None)):
            raise InvalidModel(f"handler class {cls.__name__} has no method {method!r}")
    return FoundHandler(handler.handle, handler.initialize)


def _initialize_function(entry: EntryPoint, context: Any) -> None:
    """Call a function with no data, as TorchServe does at load; one that only expects rows trips over None itself."""
    try:
        entry(None, context)
    except (TypeError, AttributeError) as error:
        if not ("NoneType" in str(error) and _raised_in(entry, error.__traceback__)):
            raise


def _raised_in(entry: EntryPoint, traceback: TracebackType | None) -> bool:
    """Whether an exception comes from a function's own lines (comprehensions included), not from one that it called."""
    code = getattr(entry, "__code__", None)
    if traceback is None or code is None:
        return False
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    return traceback.tb_frame.f_code in (code, *(item for item in code.co_consts if isinstance(item, CodeType)))


PIP_NAMES = {"PIL": "pillow", "numpy": "numpy", "torch": "torch", "torchvision": "torchvision"}
"""What ready-made handlers import, and what ``pip install`` calls it."""


def package_is_missing(package: str) -> str:
    """The sentence for a handler that imports one of :data:`PIP_NAMES` where it is not."""
    return f"{package} is not installed in {sys.executable}; install it with pip install {PIP_NAMES[package]}"
