"""Decide what goes into an archive, under which names, before a byte of it is written."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import yaml

from flambeau.archive.entry_point import check_entry_point, compile_source
from flambeau.archive.gathering import (
    Entry,
    GatheredFiles,
    check_export_path,
    check_name,
    check_not_there,
    existing_file,
    source_date_epoch,
)
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


class WrittenManifest(Protocol):
    """What an archive will say of itself."""

    def to_json(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivePlan:
    """Everything that ``write_plan`` needs."""

    target: Path
    archive_format: str
    manifest: WrittenManifest
    entries: tuple[Entry, ...]
    """By name; the manifest is not among them."""
    timestamp: int | None
    """Seconds since 1970 that every file gets, so that equal input makes equal bytes; None: each keeps its own."""
    warnings: tuple[str, ...]
    """What is allowed but probably not meant: one sentence each."""
    manifest_path: str = MANIFEST_PATH

    @property
    def member_names(self) -> list[str]:
        return [self.manifest_path, *(entry.name for entry in self.entries)]


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
        compile_source(existing_file(spec.model_file))
    if spec.config_file is not None:
        _check_config(existing_file(spec.config_file))
    files = GatheredFiles(target, MANIFEST_PATH)
    for path in (handler_file, spec.serialized_file, spec.model_file, spec.requirements_file, spec.config_file):
        if path is not None:
            files.add(path.name, existing_file(path))
    for pattern in spec.extra_files:
        files.add_extra(pattern.strip())
    timestamp = source_date_epoch()
    return ArchivePlan(
        target=target,
        archive_format=spec.archive_format,
        manifest=_manifest(spec, timestamp),
        entries=files.entries(),
        timestamp=timestamp,
        warnings=(*warnings, *files.warnings),
    )


def _check_options(spec: ArchiveSpec) -> None:
    check_name(spec.model_name, "model")
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
    check_export_path(spec.export_path)
    if not spec.force:
        check_not_there(target, "model")
    if not os.path.lexists(target):
        return
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
