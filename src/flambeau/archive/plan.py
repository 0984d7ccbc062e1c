"""Decide what goes into an archive, under which names, before a byte of it is written."""

from __future__ import annotations

import filecmp
import glob
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from flambeau.archive.entry_point import check_entry_point, compile_source
from flambeau.archive.manifest import (
    ARCHIVER_VERSION,
    DEFAULT_VERSION,
    MANIFEST_PATH,
    RUNTIMES,
    Manifest,
    can_stand_in_url,
)
from flambeau.errors import PackagingError

FORMAT_SUFFIXES = {"default": ".mar", "zip-store": ".mar", "tgz": ".tar.gz", "no-archive": ""}
"""What each archive format adds to the model's name."""
BUILT_IN_HANDLERS = frozenset(
    {
        "base_handler",
        "text_classifier",
        "image_classifier",
        "object_detector",
        "image_segmenter",
        "dali_image_classifier",
        "vllm_handler",
        "trt_llm_handler",
    }
)
BUILT_IN_LSP_HANDLERS = frozenset({"BaseHandler", "TorchScriptHandler"})

_NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_\-.]*$"
_SKIPPED_DIRECTORIES = frozenset({"__pycache__", "__MACOSX"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveSpec:
    """What to package: the options of ``torch-model-archiver``, under their names."""

    model_name: str
    handler: str
    """A built-in handler's name, or ``file.py``, ``file``, ``file.py:function``, ``file:function``."""
    version: str = DEFAULT_VERSION
    serialized_file: Path | None = None
    model_file: Path | None = None
    extra_files: tuple[str, ...] = ()
    """Files, directories (what is in them goes to the archive's root) and glob patterns."""
    runtime: str = "python"
    export_path: Path = field(default_factory=Path.cwd)
    """Directory to write to; it is made if need be."""
    archive_format: str = "default"
    """A key of :data:`FORMAT_SUFFIXES`."""
    force: bool = False
    """Whether to replace an archive that exists."""
    requirements_file: Path | None = None
    config_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of the archive."""

    name: str
    """Relative to the root, with forward slashes."""
    source: Path
    size: int
    """Bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivePlan:
    """Everything that ``write_plan`` needs."""

    target: Path
    archive_format: str
    manifest: Manifest
    entries: tuple[Entry, ...]
    """By name; the manifest is not among them."""
    timestamp: int | None
    """Seconds since 1970 that every file gets, so that equal input makes equal bytes; None: each keeps its own."""
    warnings: tuple[str, ...]
    """What is allowed but probably not meant: one sentence each."""

    @property
    def member_names(self) -> list[str]:
        return [MANIFEST_PATH, *(entry.name for entry in self.entries)]


def plan_archive(spec: ArchiveSpec) -> ArchivePlan:
    """Find and check all files of an archive.

    The environment variable ``SOURCE_DATE_EPOCH`` makes the archive reproducible.

    Raises:
        PackagingError: it cannot be built: a bad name, a missing file, code or YAML that does not parse, two files for
            one name, or a target that exists.
    """
    _check_options(spec)
    target = spec.export_path / f"{spec.model_name}{FORMAT_SUFFIXES[spec.archive_format]}"
    _check_target(target, spec)
    warnings: list[str] = []
    handler_file = _handler_file(spec)
    if handler_file is not None and spec.runtime != "LSP":
        warnings += check_entry_point(handler_file, spec.handler.partition(":")[2] or None)
    if spec.model_file is not None and spec.model_file.suffix == ".py":
        compile_source(_existing(spec.model_file))
    if spec.config_file is not None:
        _check_config(_existing(spec.config_file))
    files = _Files(target)
    for path in (handler_file, spec.serialized_file, spec.model_file, spec.requirements_file, spec.config_file):
        if path is not None:
            files.add(path.name, _existing(path))
    for pattern in spec.extra_files:
        files.add_extra(pattern.strip())
    timestamp = _source_date_epoch()
    return ArchivePlan(
        target=target,
        archive_format=spec.archive_format,
        manifest=_manifest(spec, timestamp),
        entries=files.entries(),
        timestamp=timestamp,
        warnings=(*warnings, *files.warnings),
    )


def _check_options(spec: ArchiveSpec) -> None:
    if not re.fullmatch(_NAME_PATTERN, spec.model_name):
        raise PackagingError(
            "Model name contains special characters.",
            f"The allowed regular expression filter for model name is: {_NAME_PATTERN}",
        )
    if not can_stand_in_url(spec.version):
        raise PackagingError(
            f"Version {spec.version!r} cannot stand in a URL.", "Use digits, letters, dots and dashes, such as 1.0."
        )
    for option, value, choices in (
        ("runtime", spec.runtime, RUNTIMES),
        ("archive-format", spec.archive_format, tuple(FORMAT_SUFFIXES)),
    ):
        if value not in choices:
            raise PackagingError(f"Unknown {option}: {value}", f"Choose from {', '.join(choices)}.")


def _check_target(target: Path, spec: ArchiveSpec) -> None:
    if spec.export_path.exists() and not spec.export_path.is_dir():
        raise PackagingError(
            f"Given export-path {spec.export_path} is not a directory.", "Point to a valid export-path directory."
        )
    if not os.path.lexists(target):
        return
    if not spec.force:
        raise PackagingError(
            f"{target} already exists.",
            "Please specify --force/-f option to overwrite the model archive output file.\n"
            "See -h/--help for more details.",
        )
    is_replaceable = (target / MANIFEST_PATH).is_file() if spec.archive_format == "no-archive" else target.is_file()
    if not is_replaceable:
        raise PackagingError(
            f"{target} is not a model archive, so it is not replaced.", "Remove it, or choose another name."
        )


def _handler_file(spec: ArchiveSpec) -> Path | None:
    """The file to package as handler; None: it comes with the server."""
    if spec.handler in (BUILT_IN_LSP_HANDLERS if spec.runtime == "LSP" else BUILT_IN_HANDLERS):
        return None
    suffix = ".so" if spec.runtime == "LSP" else ".py"
    module = spec.handler.partition(":")[0]
    path = Path(module if module.endswith(suffix) else module + suffix)
    if not path.is_file():
        raise PackagingError(
            f"File does not exist: {path}", f"--handler takes a file, or one of {', '.join(sorted(BUILT_IN_HANDLERS))}."
        )
    return path


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise PackagingError(f"File does not exist: {path}")
    return path


def _check_config(path: Path) -> None:
    try:
        content = yaml.safe_load(path.read_bytes())
    except (yaml.YAMLError, UnicodeError) as error:
        place = getattr(error, "problem_mark", None)
        line = f", line {place.line + 1}" if place is not None else ""
        raise PackagingError(f"{path}{line}: not valid YAML.", str(getattr(error, "problem", "") or "")) from error
    if not isinstance(content, dict):
        raise PackagingError(
            f"{path}: the model configuration must be a mapping.", "Write lines such as `batchSize: 4`."
        )


def _manifest(spec: ArchiveSpec, timestamp: int | None) -> Manifest:
    made_at = time.localtime() if timestamp is None else time.gmtime(timestamp)
    return Manifest(
        model_name=spec.model_name,
        model_version=spec.version,
        runtime=spec.runtime,
        handler=os.path.basename(spec.handler),
        serialized_file=_name(spec.serialized_file),
        model_file=_name(spec.model_file),
        requirements_file=_name(spec.requirements_file),
        config_file=_name(spec.config_file),
        created_on=time.strftime("%d/%m/%Y %H:%M:%S", made_at),
        archiver_version=ARCHIVER_VERSION,
    )


def _name(path: Path | None) -> str | None:
    return None if path is None else path.name


def _source_date_epoch() -> int | None:
    """https://reproducible-builds.org/specs/source-date-epoch"""
    text = os.environ.get("SOURCE_DATE_EPOCH")
    if not text:
        return None
    if not text.isdecimal() or len(text) > 11:
        raise PackagingError(f"SOURCE_DATE_EPOCH={text}: must be a number of seconds since 1970.")
    return int(text)


class _Files:
    """Files gathered for an archive, no two of them under one name."""

    def __init__(self, target: Path) -> None:
        self.warnings: list[str] = []
        self._sources: dict[str, Path] = {}
        self._target = target.resolve()

    def add(self, name: str, source: Path) -> None:
        """Take one file.

        Raises:
            PackagingError: another file has this name, or the file would be lost when the target is replaced.
        """
        if name == MANIFEST_PATH:
            self.warnings.append(f"{source} is left out: the archive gets a manifest of its own.")
            return
        resolved = source.resolve()
        if resolved == self._target:
            return
        if resolved.is_relative_to(self._target):
            raise PackagingError(f"{source} lies in {self._target}, which would be replaced.", "Move it elsewhere.")
        other = self._sources.setdefault(name, source)
        if other is not source and not filecmp.cmp(other, source, shallow=False):
            raise PackagingError(f"Two files would both become {name} in the archive: {other} and {source}")

    def add_extra(self, pattern: str) -> None:
        """Take what one item of ``--extra-files`` stands for: a file, a directory's content, or a pattern's matches."""
        if not pattern:
            return
        if os.path.exists(pattern):
            matches = [pattern]
        elif glob.has_magic(pattern):
            matches = sorted(glob.glob(pattern))
            if not matches:
                self.warnings.append(f"Given wildcard pattern did not match any file: {pattern}")
        else:
            raise PackagingError(f"File does not exist: {pattern}")
        for match in map(Path, matches):
            if match.is_dir():
                for path, source in _walk(match, ()):
                    self.add(path.as_posix(), source)
            else:
                self.add(match.name, _regular(match))

    def entries(self) -> tuple[Entry, ...]:
        """All files, by name.

        Raises:
            PackagingError: a file has the name of another's directory.
        """
        directories = {parent.as_posix() for name in self._sources for parent in Path(name).parents}
        for name, source in self._sources.items():
            if name in directories:
                raise PackagingError(f"A file and a directory would both become {name} in the archive: {source}")
        return tuple(Entry(name, source, source.stat().st_size) for name, source in sorted(self._sources.items()))


def _walk(directory: Path, above: tuple[Path, ...]) -> Iterator[tuple[Path, Path]]:
    """Files below a directory as (path relative to it, place); links are followed, hidden directories are not."""
    resolved = directory.resolve()
    if resolved in above:
        raise PackagingError(f"{directory} is a link to a directory that it lies in.")
    for child in sorted(directory.iterdir()):
        if not child.is_dir():
            yield Path(child.name), _regular(child)
        elif not child.name.startswith(".") and child.name not in _SKIPPED_DIRECTORIES:
            for path, source in _walk(child, (*above, resolved)):
                yield child.name / path, source


def _regular(path: Path) -> Path:
    if not path.is_file():
        raise PackagingError(f"Invalid extra file given {path}", "Only regular files and directories can be packaged.")
    return path
