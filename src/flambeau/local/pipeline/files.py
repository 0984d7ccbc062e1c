"""YAML and TOML files to what they say. Nothing is said twice: a second value for a key is an error, not the last."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import yaml

from flambeau.archive.described import DESCRIPTION_SUFFIXES
from flambeau.errors import ConfigError

tomllib = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")


class _Loader(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for at, (key, _) in enumerate(node.value):
            if isinstance(key, yaml.ScalarNode) and key.value in keys[:at]:
                raise yaml.MarkedYAMLError(problem=f"{key.value!r} is there twice", problem_mark=key.start_mark)
        return super().construct_mapping(node, deep)


def read_document(path: Path) -> dict[str, Any]:
    """What a file says; by its suffix it is YAML or TOML.

    Raises:
        ConfigError: there is no such file, it is of another kind, or not well formed.
    """
    if path.suffix not in DESCRIPTION_SUFFIXES:
        raise ConfigError("file", path, f"must end in one of {', '.join(DESCRIPTION_SUFFIXES)}")
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError("file", path, (error.strerror or str(error)).lower()) from error
    except UnicodeDecodeError as error:
        raise ConfigError("file", path, f"is not UTF-8 text: {error}") from error
    try:
        document = tomllib.loads(text) if path.suffix == ".toml" else _parse_yaml(text)
    except (ValueError, RecursionError) as error:  # tomllib's errors are ValueErrors, with line and column
        raise ConfigError("file", path, str(error)) from error
    if not isinstance(document, dict):
        raise ConfigError("file", path, f"must be a mapping of stages, not {type(document).__name__}")
    return document


def _parse_yaml(text: str) -> Any:
    """
    Raises:
        ValueError: it is not YAML.
    """
    try:
        document = yaml.load(text, _Loader)  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ValueError(f"line {mark.line + 1}: {error.problem or error.context}" if mark else str(error)) from error
    except yaml.YAMLError as error:
        raise ValueError(str(error).splitlines()[0]) from error
    return {} if document is None else document
