"""The files that go into an archive: gathered, no two of them under one name, and where the archive itself may go."""

from __future__ import annotations

import filecmp
import glob
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from flambeau.errors import PackagingError

_NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_\-.]*$"
_SKIPPED_DIRECTORIES = frozenset({"__pycache__", "__MACOSX"})


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of the archive."""

    name: str
    """Relative to the root, with forward slashes."""
    source: Path
    size: int
    """Bytes."""


def check_name(name: str, what: str) -> None:
    """Refuse a name that no archive may have.

    Args:
        what: it is the name of: ``model`` or ``workflow``.

    Raises:
        PackagingError: it has characters that TorchServe does not allow in it.
    """
    if not re.fullmatch(_NAME_PATTERN, name):
        raise PackagingError(
            f"{what.capitalize()} name contains special characters.",
            f"The allowed regular expression filter for {what} name is: {_NAME_PATTERN}",
        )


def check_export_path(path: Path) -> None:
    """Raises PackagingError if there is something at this path that is no directory."""
    if path.exists() and not path.is_dir():
        raise PackagingError(f"Given export-path {path} is not a directory.", "Point to a valid export-path directory.")


def check_not_there(target: Path, what: str) -> None:
    """Raises PackagingError if there is something at ``target``, the ``what`` archive that is to be made."""
    if os.path.lexists(target):
        raise PackagingError(
            f"{target} already exists.",
            f"Please specify --force/-f option to overwrite the {what} archive output file.\n"
            "See -h/--help for more details.",
        )


def existing_file(path: Path) -> Path:
    """The path itself. Raises PackagingError if no file is there."""
    if not path.is_file():
        raise PackagingError(f"File does not exist: {path}")
    return path


def source_date_epoch() -> int | None:
    """Seconds since 1970 that every file of a reproducible archive gets; None: each keeps its own.

    Source: https://reproducible-builds.org/specs/source-date-epoch

    Raises:
        PackagingError: the variable is no such number.
    """
    text = os.environ.get("SOURCE_DATE_EPOCH")
    if not text:
        return None
    if not text.isdecimal() or len(text) > 11:
        raise PackagingError(f"SOURCE_DATE_EPOCH={text}: must be a number of seconds since 1970.")
    return int(text)


class GatheredFiles:
    """Files gathered for an archive, no two of them under one name."""

    def __init__(self, target: Path, manifest_path: str) -> None:
        """
        Args:
            target: the archive, which does not go into itself.
            manifest_path: where the archive's own manifest will be.
        """
        self.warnings: list[str] = []
        self._sources: dict[str, Path] = {}
        self._target = target.resolve()
        self._manifest_path = manifest_path

    def add(self, name: str, source: Path) -> None:
        """Take one file.

        Raises:
            PackagingError: another file has this name, or the file would be lost when the target is replaced.
        """
        if name == self._manifest_path:
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
