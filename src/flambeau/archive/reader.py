"""Open a model archive, whatever its form, as a directory that a worker can run in."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

from flambeau.archive.described import described_manifest
from flambeau.archive.manifest import (
    MANIFEST_PATH,
    MAX_MANIFEST_BYTES,
    Manifest,
    absent_manifest,
    default_model_name,
    parse_manifest,
)
from flambeau.archive.members import UnpackLimits, sole_directory
from flambeau.archive.unpack import find_file, unpack
from flambeau.errors import InternalError, InvalidModel, ModelNotFound

logger = logging.getLogger(__name__)

DEFAULT_LIMITS = UnpackLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class UnpackedModel:
    """A model's files, ready for a worker. Whoever opened it calls ``remove`` when no worker uses it any more."""

    manifest: Manifest
    directory: Path
    """Absolute, links resolved: what a worker gets as its working directory."""
    source: Path
    """The archive or directory that it was opened from."""
    unpacked_to: Path | None
    """The directory made for it, which is ``directory`` or its parent; None: served in place."""

    @property
    def is_temporary(self) -> bool:
        """Whether ``remove`` deletes anything."""
        return self.unpacked_to is not None

    def config_text(self) -> str | None:
        """The text of the model's configuration file; None if its manifest names none.

        Raises:
            InvalidModel: it is not there, or not UTF-8.
        """
        name = self.manifest.config_file
        if name is None:
            return None
        try:
            return (self.directory / name).read_text(encoding="utf-8")
        except OSError as error:
            raise InvalidModel(f"The manifest names the config file {name}: {error.strerror}.") from None
        except UnicodeDecodeError:
            raise InvalidModel(f"{name} is not UTF-8 text.") from None

    def read_input(self, name: str) -> bytes:
        """A file that the model's settings name as an input.

        Raises:
            InvalidModel: it is not in the model's directory.
        """
        path = (self.directory / name).resolve()
        if not path.is_relative_to(self.directory) or not path.is_file():
            raise InvalidModel(f"warmUp names {name}, which is not a file of the archive")
        return path.read_bytes()

    def remove(self) -> None:
        """Delete what was unpacked. Does nothing for a directory that is served in place, nor the second time."""
        if self.unpacked_to is not None:
            remove_tree(self.unpacked_to)


def open_archive(
    source: Path,
    unpack_root: Path,
    *,
    model_name: str | None = None,
    runtime: str | None = None,
    limits: UnpackLimits = DEFAULT_LIMITS,
) -> UnpackedModel:
    """Unpack an archive below ``unpack_root``, or use a directory where it is; so too the directory of a pipeline's
    description or of ``file.py:name``.

    An archive is a zip (``.mar``) or a gzip-compressed tar file; its content decides, not its name. Where it holds one
    directory and nothing else, that directory is the model.

    Args:
        unpack_root: is made if it does not exist.
        model_name, runtime: given by whoever registers the model; they win over the manifest's.

    Raises:
        ModelNotFound: there is nothing at ``source``.
        InvalidModel: it is not an archive, is damaged, has a member that may not be unpacked, or an invalid manifest.
        InternalError: there is no room to unpack it, or no leave to write.

    Nothing is left below ``unpack_root`` when an error is raised.
    """
    if source.is_dir():
        directory = _model_directory(source.resolve())
        manifest = _manifest_of(directory, source, model_name, runtime)
        return UnpackedModel(manifest=manifest, directory=directory, source=source, unpacked_to=None)
    described = described_manifest(source, model_name, runtime)
    if described is not None:
        return UnpackedModel(manifest=described, directory=source.parent.resolve(), source=source, unpacked_to=None)
    if not source.is_file():
        raise ModelNotFound(f"Model not found at: {source.name}")
    unpacked_to = unpack_below(unpack_root, source, limits)
    try:
        directory = _model_directory(unpacked_to)
        manifest = _manifest_of(directory, source, model_name, runtime)
    except BaseException:
        remove_tree(unpacked_to)
        raise
    return UnpackedModel(manifest=manifest, directory=directory, source=source, unpacked_to=unpacked_to)


def unpack_below(unpack_root: Path, source: Path, limits: UnpackLimits = DEFAULT_LIMITS) -> Path:
    """Unpack an archive into a new, private directory below ``unpack_root``; absolute, links resolved.

    Raises:
        InvalidModel: it is not an archive, is damaged, or has a member that may not be unpacked.
        InternalError: there is no room to unpack it, or no leave to write.

    Nothing is left below ``unpack_root`` when an error is raised.
    """
    unpacked_to = _make_directory(unpack_root)
    try:
        unpack(source, unpacked_to, limits)
    except OSError as error:
        remove_tree(unpacked_to)
        raise _unpack_error(error) from error
    except BaseException:
        remove_tree(unpacked_to)
        raise
    return unpacked_to


def read_manifest(source: Path, *, limits: UnpackLimits = DEFAULT_LIMITS) -> Manifest:
    """The manifest of an archive or model directory, without unpacking it; TorchServe's defaults where it has none.

    Raises:
        ModelNotFound: there is nothing at ``source``.
        InvalidModel: it is not an archive, is damaged, or its manifest is invalid.
    """
    if source.is_dir():
        return _manifest_of(_model_directory(source.resolve()), source, None, None)
    described = described_manifest(source, None, None)
    if described is not None:
        return described
    if not source.is_file():
        raise ModelNotFound(f"Model not found at: {source.name}")
    try:
        data = find_file(source, MANIFEST_PATH, limits)
    except OSError as error:
        raise _unpack_error(error) from error
    return absent_manifest(default_model_name(source.name)) if data is None else parse_manifest(data)


def _make_directory(unpack_root: Path) -> Path:
    """A new, private directory below the root, which is made if need be."""
    try:
        unpack_root.mkdir(parents=True, exist_ok=True)
        directory = unpack_root.resolve() / uuid.uuid4().hex
        directory.mkdir(mode=0o700)
    except OSError as error:
        logger.error("cannot unpack archives below %s: %s", unpack_root, error)
        raise InternalError("The directory for unpacked archives cannot be written.") from error
    return directory


def _model_directory(directory: Path) -> Path:
    """The directory itself, or the only one in it where there is nothing else, as in a tar file made of a directory."""
    child = sole_directory(os.listdir(directory))
    return (directory / child).resolve() if child is not None and (directory / child).is_dir() else directory


def _manifest_of(directory: Path, source: Path, model_name: str | None, runtime: str | None) -> Manifest:
    path = directory / MANIFEST_PATH
    if not os.path.lexists(path):
        default_name = default_model_name(source.resolve().name, is_directory=source.is_dir())
        return absent_manifest(default_name, model_name=model_name, runtime=runtime)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        raise InvalidModel(f"Manifest cannot be read: {error.strerror}") from error
    return parse_manifest(data, model_name=model_name, runtime=runtime)


def _unpack_error(error: OSError) -> InvalidModel | InternalError:
    """Whose fault it is that a file could not be read or written: the machine's, or the archive's odd names."""
    logger.error("archive cannot be unpacked: %s", error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.EIO):
        return InternalError(f"Archive cannot be unpacked: {error.strerror}")
    return InvalidModel(f"Archive cannot be unpacked: {error.strerror or 'it is damaged'}")


def remove_tree(directory: Path) -> None:
    """Delete what was unpacked; what cannot be deleted is logged."""
    try:
        shutil.rmtree(directory)
    except FileNotFoundError:
        pass
    except OSError as error:
        logger.warning("cannot remove %s: %s", directory, error)
