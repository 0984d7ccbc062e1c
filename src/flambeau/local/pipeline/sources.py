"""What the names in a file stand for: functions, classes, archives, folders, other pipelines."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from flambeau import stages
from flambeau.archive.described import DESCRIPTION_SUFFIXES
from flambeau.errors import ConfigError, ModelNotFound
from flambeau.local.calls import LocalCallable
from flambeau.local.pipeline.conditions import has_items
from flambeau.local.pipeline.description import StageDescription
from flambeau.local.pipeline.stage import Stage
from flambeau.local.sources import find_source


class SourceFinder:
    """Makes stages of what a file says."""

    def __init__(self, folder: Path, open_pipeline: Callable[[Path], LocalCallable]) -> None:
        """
        Args:
            folder: where relative paths start.
        """
        self._folder = folder
        self._open_pipeline = open_pipeline

    def stage(self, description: StageDescription) -> Stage:
        """
        Raises:
            ConfigError: a name stands for nothing, or options are given to what takes none.
            Exception: what importing or making it raised.
        """
        name = description.name
        source = None if description.run is None else self._source(name, description.run, description.options)
        takes_settings = source is not None and not isinstance(source, LocalCallable)
        settings = {**(description.defaults if takes_settings else {}), **description.settings}
        if "size_of" in settings:
            settings["size_of"] = self._function(f"{name}.sizeOf", settings["size_of"])
        return Stage(
            name,
            source,
            after=description.after,
            map=description.map,
            when=self._condition(f"{name}.when", description.when),
            **settings,
        )

    def _condition(self, key: str, said: Mapping[str, Any] | str | None) -> Callable[[Any], Any] | None:
        if isinstance(said, str):
            return self._function(key, said)
        return None if said is None else has_items(said)

    def _source(self, stage: str, run: str, options: Mapping[str, Any]) -> Any:
        try:
            found = find_source(self._placed(run))
        except ModelNotFound as error:
            if ":" in run or "/" in run or Path(run).suffix:
                raise ConfigError(f"{stage}.run", run, error.message) from error
            return self._ready_made(stage, run, options)
        if options:
            if not inspect.isclass(found):
                raise ConfigError(
                    f"{stage}.options", dict(options), f"{run} is no class, which could be made with them"
                )
            return _made(found, stage, run, options)
        if isinstance(found, Path) and found.suffix in DESCRIPTION_SUFFIXES:
            return self._open_pipeline(found)
        return found

    def _ready_made(self, stage: str, run: str, options: Mapping[str, Any]) -> Any:
        try:
            make = stages.find(run)
        except KeyError as error:
            raise ConfigError(f"{stage}.run", run, error.args[0]) from None
        return _made(make, stage, run, options)

    def _function(self, key: str, text: str) -> Callable[[Any], Any]:
        try:
            found = find_source(self._placed(text))
        except ModelNotFound as error:
            raise ConfigError(key, text, error.message) from error
        if not callable(found):
            raise ConfigError(key, text, "must name a function: module:function or file.py:function")
        return found  # type: ignore[no-any-return]

    def _placed(self, text: str) -> str:
        """The name, with the path in it starting at the folder. Modules stay what they are."""
        place, colon, name = text.rpartition(":")
        if colon and not place.endswith(".py"):
            return text
        return f"{self._folder / place}:{name}" if colon else str(self._folder / text)


def _made(make: Callable[..., Any], stage: str, run: str, options: Mapping[str, Any]) -> Any:
    try:
        inspect.signature(make).bind(**options)
    except TypeError as error:
        raise ConfigError(f"{stage}.options", dict(options), f"{run}: {error}") from error
    return make(**options)
