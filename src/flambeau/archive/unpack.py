"""Unpack a zip or a gzip-compressed tar archive that nobody vouches for.

Invariant: nothing is ever written through a link. Files and directories are written first; links are made when no file
is left to write, and each must then lead to somewhere within the directory. Whoever calls removes the directory when an
error is raised.
"""

from __future__ import annotations

import gzip
import lzma
import os
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, cast

from flambeau.archive.members import Admission, Member, MemberKind, UnpackLimits, printable, safe_path, sole_directory
from flambeau.errors import InvalidModel

_CHUNK_BYTES = 1 << 20
_MAX_TAR_HEADER_BYTES = 1 << 20
"""Longest extended header (a path, an owner) that is read into memory at once."""
_MAX_TAR_PADDING_BYTES = 64 << 20
"""Longest padding after a tar archive's end. ``tar`` pads to a multiple of 10 KiB, tape drives to a few MiB."""
_MAX_LINK_BYTES = 4096
"""Linux's ``PATH_MAX``."""
_DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    RuntimeError,
    ValueError,
    struct.error,
)
"""All that ``zipfile``, ``tarfile`` and the decompressors raise when their input is not what they expect."""


def unpack(source: Path, directory: Path, limits: UnpackLimits) -> None:
    """Unpack an archive into an existing, empty directory.

    Args:
        directory: absolute, with no link in it.

    Raises:
        InvalidModel: it is no archive, is damaged, is over a limit, or a member may not be unpacked. What was unpacked
            until then is still there.
        OSError: the file system refused.
    """
    admission = Admission(limits, source.stat().st_size)
    links: list[tuple[Path, Member]] = []
    with open_members(source) as members:
        for member in members:
            path = admission.admit(member)
            if path is None:
                continue
            target = directory / path
            if member.kind is MemberKind.DIRECTORY:
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            if member.kind is MemberKind.FILE:
                _write_file(member, target)
            else:
                links.append((target, member))
        _make_links(directory, links)


def find_file(source: Path, name: str, limits: UnpackLimits) -> bytes | None:
    """The content of a member at ``name`` in the archive's root or in its only top directory; None if there is none.

    Raises:
        InvalidModel: as ``unpack``, as far as the archive had to be read.
    """
    admission = Admission(limits, source.stat().st_size)
    wanted = PurePosixPath(name)
    found: dict[PurePosixPath, bytes] = {}
    top_names: set[str] = set()
    with open_members(source) as members:
        for member in members:
            path = admission.admit(member)
            if path is None:
                continue
            top_names.add(path.parts[0])
            if member.kind is MemberKind.FILE and wanted in (path, PurePosixPath(*path.parts[1:])):
                found[path] = _read_file(member)
    root = sole_directory(top_names)
    return found.get(wanted if root is None else root / wanted)


@contextmanager
def open_members(source: Path) -> Iterator[Iterator[Member]]:
    """The members of an archive; which kind it is, its first bytes tell.

    Raises:
        InvalidModel: on entry, while iterating and while a member is read: it is no archive or is damaged.
    """
    try:
        with source.open("rb") as file:
            start = file.read(4)
            file.seek(0)
            if start.startswith(b"PK"):
                with zipfile.ZipFile(file) as archive:
                    yield _zip_members(archive)
            elif start.startswith(b"\x1f\x8b"):
                with gzip.GzipFile(fileobj=file) as unzipped:
                    yield _tar_members(_TarInput(unzipped))
            elif not start:
                raise InvalidModel("Archive is empty.")
            else:
                raise InvalidModel("Archive is neither a zip file nor a gzip-compressed tar file.")
    except _DAMAGED as error:
        raise InvalidModel(f"Archive is damaged: {printable(str(error))}") from error


def _zip_members(archive: zipfile.ZipFile) -> Iterator[Member]:
    for info in archive.infolist():
        mode = info.external_attr >> 16
        if info.flag_bits & 1:
            raise InvalidModel(f"Archive has an encrypted member: {printable(info.filename)}")
        if not info.filename:
            raise InvalidModel("Archive is damaged: it has a member without a name")
        if info.is_dir():
            kind = MemberKind.DIRECTORY
        elif stat.S_ISLNK(mode):
            kind = MemberKind.SYMBOLIC_LINK
        elif stat.S_IFMT(mode) in (0, stat.S_IFREG):
            kind = MemberKind.FILE
        else:
            kind = MemberKind.OTHER
        member = Member(
            name=info.filename,
            kind=kind,
            size=info.file_size,
            is_executable=bool(mode & stat.S_IXUSR),
            open=partial(archive.open, info),
        )
        yield _with_link_target(member) if kind is MemberKind.SYMBOLIC_LINK else member


def _with_link_target(member: Member) -> Member:
    """A zip file keeps a symbolic link's target as the member's content."""
    if member.size > _MAX_LINK_BYTES:
        raise InvalidModel(f"Archive has an invalid link: {printable(member.name)}")
    with member.open() as content:
        target = os.fsdecode(content.read())
    return Member(
        name=member.name,
        kind=member.kind,
        size=member.size,
        is_executable=False,
        open=member.open,
        link_target=target,
    )


def _tar_members(source: _TarInput) -> Iterator[Member]:
    with tarfile.TarFile(fileobj=cast(IO[bytes], source), mode="r") as archive:
        for info in archive:
            yield Member(
                name=info.name,
                kind=_tar_kind(info),
                size=info.size,
                is_executable=bool(info.mode & stat.S_IXUSR),
                open=partial(_tar_content, archive, info),
                link_target=info.linkname,
            )
    source.finish()


def _tar_content(archive: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    return cast(IO[bytes], archive.extractfile(info))  # None only for what is not a file


def _tar_kind(info: tarfile.TarInfo) -> MemberKind:
    if info.isreg():
        return MemberKind.FILE
    if info.isdir():
        return MemberKind.DIRECTORY
    if info.issym():
        return MemberKind.SYMBOLIC_LINK
    if info.islnk():
        return MemberKind.HARD_LINK
    return MemberKind.OTHER


class _TarInput:
    """What ``tarfile`` reads from: refuses headers of any size, and notices an end that is not one.

    ``tarfile`` takes a damaged header for the end of the archive, and stops before the checksum that follows it.
    """

    def __init__(self, file: gzip.GzipFile) -> None:
        self._file = file
        self._last_block = b""

    def read(self, size: int) -> bytes:
        if size > _MAX_TAR_HEADER_BYTES:
            raise InvalidModel("Archive is damaged: it has a header that is too long.")
        self._last_block = self._file.read(size)
        return self._last_block

    def seek(self, position: int) -> int:
        return self._file.seek(position)

    def tell(self) -> int:
        return self._file.tell()

    def finish(self) -> None:
        """Check that the archive ended where it said so, and its checksum.

        Raises:
            InvalidModel, OSError, EOFError: it is damaged.
        """
        if any(self._last_block):
            raise InvalidModel("Archive is damaged: it has an invalid header.")
        padding_bytes = 0
        while chunk := self._file.read(_CHUNK_BYTES):
            padding_bytes += len(chunk)
            if padding_bytes > _MAX_TAR_PADDING_BYTES:
                raise InvalidModel("Archive is too large when unpacked.")


def _write_file(member: Member, target: Path) -> None:
    with member.open() as content, target.open("wb") as file:
        shutil.copyfileobj(content, file, _CHUNK_BYTES)
    target.chmod(0o755 if member.is_executable else 0o644)


def _read_file(member: Member) -> bytes:
    if member.size > _CHUNK_BYTES:
        raise InvalidModel(f"Archive has a member that is too large: {printable(member.name)}")
    with member.open() as content:
        return content.read()


def _make_links(directory: Path, links: list[tuple[Path, Member]]) -> None:
    """Make hard links, then symbolic ones, and check where each leads to.

    Raises:
        InvalidModel: a link leads out of the directory, or a hard one to nothing.
    """
    for place, member in links:
        if member.kind is MemberKind.HARD_LINK:
            origin = directory / safe_path(member.link_target)
            if not origin.is_file():
                raise InvalidModel(f"Archive has a link to a file that it does not have: {printable(member.name)}")
            os.link(origin, place)
    symbolic = [(place, member) for place, member in links if member.kind is MemberKind.SYMBOLIC_LINK]
    for place, member in symbolic:
        place.symlink_to(member.link_target)
    for place, member in symbolic:
        if not Path(os.path.realpath(place)).is_relative_to(directory):
            raise InvalidModel(f"Archive has a link that leads out of it: {printable(member.name)}")
