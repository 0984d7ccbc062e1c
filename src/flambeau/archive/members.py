"""The members of an archive as values, and the rules that decide which of them may be unpacked.

No member is written anywhere before :class:`Admission` has let it in. Rules on links need the finished tree and live in
``unpack``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import PurePosixPath
from typing import IO

from flambeau.errors import InvalidModel


class MemberKind(Enum):
    FILE = auto()
    DIRECTORY = auto()
    SYMBOLIC_LINK = auto()
    HARD_LINK = auto()
    OTHER = auto()
    """A device, a pipe, or a type that nobody knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One entry of an archive, as the archive describes it: not to be trusted."""

    name: str
    kind: MemberKind
    size: int
    """Bytes when unpacked."""
    is_executable: bool
    open: Callable[[], IO[bytes]]
    """Its content; only for files, and only until the next member is asked for."""
    link_target: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnpackLimits:
    """How much one archive may unpack to."""

    max_bytes: int = 256 << 30
    """More than the weights of the largest model that one machine's accelerators hold at two bytes a parameter and that
    anyone has put into an archive; models beyond this are served from a directory, which is not unpacked."""
    max_ratio: int = 100
    """Unpacked bytes for each byte of the archive. Weights come nowhere near; a zip bomb has a thousand and more."""
    ratio_free_bytes: int = 1 << 30
    """Up to here the ratio does not matter: weights of zeros, as tests use, compress as well as bombs do."""
    max_members: int = 100_000
    """Above any Python environment that is packed with a model, below what exhausts the inodes of a small disk."""

    def budget_bytes(self, archive_bytes: int) -> int:
        """Bytes that an archive of this size may unpack to."""
        return min(self.max_bytes, max(self.ratio_free_bytes, self.max_ratio * archive_bytes))


class Admission:
    """Lets the members of one archive in, one by one, until a limit is reached."""

    def __init__(self, limits: UnpackLimits, archive_bytes: int) -> None:
        self._members_left = limits.max_members
        self._bytes_left = limits.budget_bytes(archive_bytes)

    def admit(self, member: Member) -> PurePosixPath | None:
        """Count a member and give its path within the model directory; None for the root itself.

        Raises:
            InvalidModel: it would land outside, is a device, or there are too many members or bytes.
        """
        path = safe_path(member.name)
        if member.kind is MemberKind.OTHER:
            raise InvalidModel(f"Archive has a member that is not a file, directory or link: {printable(member.name)}")
        self._members_left -= 1
        self._bytes_left -= member.size
        if self._members_left < 0:
            raise InvalidModel("Archive has too many members.")
        if self._bytes_left < 0:
            raise InvalidModel("Archive is too large when unpacked.")
        return path if path.parts else None


def safe_path(name: str) -> PurePosixPath:
    """The path of a member, ``.`` parts removed.

    Raises:
        InvalidModel: the name is absolute or has a ``..`` part, with either kind of slash, or a null character.
    """
    path = PurePosixPath(name)
    if name.startswith(("/", "\\")) or ".." in PurePosixPath(name.replace("\\", "/")).parts:
        raise InvalidModel(f"Detected Zip Slip vulnerability: {printable(name)}")
    if "\0" in name:
        raise InvalidModel(f"Archive has a member with an invalid name: {printable(name)}")
    return path


def printable(name: str) -> str:
    """A member's name as it may stand in a message: valid Unicode of limited length."""
    return name[:200].encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")


def sole_directory(names: Iterable[str]) -> PurePosixPath | None:
    """The directory that holds the model, where an archive's root holds nothing else; None: the root itself does.

    Args:
        names: what the root holds. Hidden names and what macOS adds do not count.
    """
    visible = {name for name in names if not name.startswith(".") and name != "__MACOSX"}
    return PurePosixPath(visible.pop()) if len(visible) == 1 and "MAR-INF" not in visible else None
