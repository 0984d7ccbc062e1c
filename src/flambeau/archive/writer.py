"""Write model archives. An archive appears under its name whole, or not at all."""

from __future__ import annotations

import gzip
import io
import logging
import os
import shutil
import stat
import tarfile
import time
import uuid
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol

from flambeau.archive.plan import ArchivePlan, ArchiveSpec, plan_archive
from flambeau.errors import PackagingError

logger = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]
"""Called with the member being written, bytes done and bytes in all."""

_CHUNK_BYTES = 1 << 20
_STORE_FROM_BYTES = 1 << 20
"""Files above this are nearly always weights: deflating them takes minutes and saves a few per cent."""
_STORED_SUFFIXES = frozenset({".pt", ".pth", ".bin", ".safetensors", ".onnx", ".so", ".gz", ".zip", ".jpg", ".png"})
_GZIP_LEVEL = 1
"""Weights shrink by the same few per cent at any level, and this one is several times faster than the default."""
_ZIP_EPOCH_S = 315_532_800
"""1980-01-01, before which a zip file has no dates."""
_ZIP_END_S = 4_354_819_198
"""2107-12-31 23:59:58, the last."""


def write_archive(spec: ArchiveSpec, progress: Progress | None = None) -> Path:
    """Build an archive; what is doubtful about it goes to the log.

    Returns:
        The archive's path.

    Raises:
        PackagingError: it cannot be built; what was under its name before is still there.
    """
    plan = plan_archive(spec)
    for warning in plan.warnings:
        logger.warning("%s", warning)
    return write_plan(plan, progress)


def write_plan(plan: ArchivePlan, progress: Progress | None = None) -> Path:
    """Write a planned archive, beside its place under a hidden name and then renamed, and give its path.

    Raises:
        PackagingError: a file cannot be read or written.
    """
    try:
        plan.target.parent.mkdir(parents=True, exist_ok=True)
        with _replacing(plan.target) as temporary, _open_sink(plan, temporary) as sink:
            manifest = plan.manifest.to_json().encode()
            made_at = int(time.time()) if plan.timestamp is None else plan.timestamp
            sink.add(plan.manifest_path, io.BytesIO(manifest), len(manifest), 0o644, made_at)
            total = sum(entry.size for entry in plan.entries)
            done = 0
            for entry in plan.entries:
                with entry.source.open("rb") as file:
                    status = os.fstat(file.fileno())
                    mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
                    modified_at = int(status.st_mtime) if plan.timestamp is None else plan.timestamp
                    reader = _CountingReader(file, entry.name, done, total, progress)
                    sink.add(entry.name, reader, status.st_size, mode, modified_at)
                done += entry.size
    except OSError as error:
        raise PackagingError(
            f"Failed to save the model archive: {error}", "Check the file permissions and the free space."
        ) from error
    return plan.target


class _Sink(Protocol):
    """An archive that is being written."""

    def add(self, name: str, content: _Readable, size: int, mode: int, modified_at: int) -> None:
        """Write one member of ``size`` bytes; ``modified_at`` in seconds since 1970."""
        ...


class _Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class _CountingReader:
    """A file that reports how far it has been read."""

    def __init__(self, file: IO[bytes], name: str, done: int, total: int, progress: Progress | None) -> None:
        self._file = file
        self._name = name
        self._done = done
        self._total = total
        self._progress = progress

    def read(self, size: int = -1, /) -> bytes:
        data = self._file.read(size)
        self._done += len(data)
        if self._progress is not None:
            self._progress(self._name, self._done, self._total)
        return data


class _ZipSink:
    def __init__(self, archive: zipfile.ZipFile, *, deflates: bool) -> None:
        self._archive = archive
        self._deflates = deflates

    def add(self, name: str, content: _Readable, size: int, mode: int, modified_at: int) -> None:
        date = time.gmtime(min(max(modified_at, _ZIP_EPOCH_S), _ZIP_END_S))
        info = zipfile.ZipInfo(name, date[:6])
        info.external_attr = (stat.S_IFREG | mode) << 16
        info.create_system = 3  # Unix, so that the mode above is heeded
        info.file_size = size  # tells zipfile whether the entry needs 64-bit sizes
        if self._deflates and size <= _STORE_FROM_BYTES and Path(name).suffix not in _STORED_SUFFIXES:
            info.compress_type = zipfile.ZIP_DEFLATED
        with self._archive.open(info, "w") as member:
            shutil.copyfileobj(content, member, _CHUNK_BYTES)


class _TarSink:
    def __init__(self, archive: tarfile.TarFile, root: str) -> None:
        self._archive = archive
        self._root = root

    def add(self, name: str, content: _Readable, size: int, mode: int, modified_at: int) -> None:
        info = tarfile.TarInfo(f"{self._root}/{name}")
        info.size, info.mode, info.mtime = size, mode, modified_at
        self._archive.addfile(info, content)  # it calls nothing but read


class _DirectorySink:
    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def add(self, name: str, content: _Readable, size: int, mode: int, modified_at: int) -> None:
        place = self._directory / name
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("wb") as file:
            shutil.copyfileobj(content, file, _CHUNK_BYTES)
        place.chmod(mode)
        os.utime(place, (modified_at, modified_at))


@contextmanager
def _open_sink(plan: ArchivePlan, place: Path) -> Iterator[_Sink]:
    if plan.archive_format == "no-archive":
        place.mkdir()
        yield _DirectorySink(place)
    elif plan.archive_format == "tgz":
        with (
            place.open("wb") as file,
            gzip.GzipFile("", "wb", _GZIP_LEVEL, file, mtime=plan.timestamp) as zipped,
            tarfile.TarFile(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as archive,
        ):
            yield _TarSink(archive, plan.target.name.removesuffix(".tar.gz"))
    else:
        with zipfile.ZipFile(place, "x") as archive:
            yield _ZipSink(archive, deflates=plan.archive_format == "default")


@contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    """A hidden path beside ``target``; what the block writes there takes the target's place if it does not raise."""
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.part")
    try:
        yield temporary
        if target.is_dir():
            retired = target.with_name(f".{target.name}.{uuid.uuid4().hex}.old")
            target.rename(retired)
            try:
                temporary.rename(target)
            except BaseException:
                retired.rename(target)
                raise
            shutil.rmtree(retired)
        else:
            temporary.replace(target)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        else:
            temporary.unlink(missing_ok=True)
