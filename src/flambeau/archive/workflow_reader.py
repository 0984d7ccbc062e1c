"""Open the archive of a workflow as a directory that the functions in it can run in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from flambeau.archive.manifest import MAX_MANIFEST_BYTES
from flambeau.archive.reader import remove_tree, unpack_below
from flambeau.archive.workflow_manifest import WORKFLOW_MANIFEST_PATH, WorkflowManifest, parse_workflow_manifest
from flambeau.errors import InvalidModel, InvalidWorkflow


@dataclass(frozen=True, slots=True, kw_only=True)
class UnpackedWorkflow:
    """A workflow's files. Whoever opened it calls ``remove`` when no worker uses it any more."""

    manifest: WorkflowManifest
    directory: Path
    """Absolute, links resolved."""
    source: Path
    """The archive or directory that it was opened from."""

    def spec_text(self, max_bytes: int) -> str:
        """The specification.

        Raises:
            InvalidWorkflow: it is not there, not UTF-8, or longer than ``max_bytes``.
        """
        name = self.manifest.spec_file
        path = self._inside(name)
        if path is None:
            raise InvalidWorkflow(f"The manifest names the specFile {name}, which is not in the archive.")
        if path.stat().st_size > max_bytes:
            raise InvalidWorkflow(f"{name} is larger than {max_bytes} bytes.")
        try:
            return path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise InvalidWorkflow(f"{name} is not UTF-8 text.") from None

    def has_handler(self) -> bool:
        """Whether the file of the functions is there, with or without ``.py`` in the manifest."""
        name = self.manifest.handler
        return name is not None and any(self._inside(file) for file in (name, f"{name}.py"))

    def remove(self) -> None:
        """Delete what was unpacked. Does nothing for a directory that is served in place, nor the second time."""
        if self.source.resolve() != self.directory:
            remove_tree(self.directory)

    def _inside(self, name: str) -> Path | None:
        path = (self.directory / name).resolve()
        return path if path.is_relative_to(self.directory) and path.is_file() else None


def open_workflow_archive(source: Path, unpack_root: Path, *, workflow_name: str | None = None) -> UnpackedWorkflow:
    """Unpack a workflow's archive below ``unpack_root``, by the rules for archives of models, or use a directory.

    Args:
        unpack_root: is made if it does not exist.
        workflow_name: given by whoever registers the workflow; it wins over the manifest's.

    Raises:
        InvalidWorkflow: it is not an archive, is damaged, has a member that may not be unpacked, or an invalid
            manifest.
        InternalError: there is no room to unpack it, or no leave to write.

    Nothing is left below ``unpack_root`` when an error is raised.
    """
    if source.is_dir():
        return _opened(source.resolve(), source, workflow_name)
    try:
        directory = unpack_below(unpack_root, source)
    except InvalidModel as error:
        raise InvalidWorkflow(error.message) from error
    try:
        return _opened(directory, source, workflow_name)
    except BaseException:
        remove_tree(directory)
        raise


def _opened(directory: Path, source: Path, workflow_name: str | None) -> UnpackedWorkflow:
    try:
        with (directory / WORKFLOW_MANIFEST_PATH).open("rb") as file:
            data = file.read(MAX_MANIFEST_BYTES + 1)
    except FileNotFoundError:
        raise InvalidWorkflow(f"Workflow name is not defined. (no {WORKFLOW_MANIFEST_PATH} in the archive)") from None
    except OSError as error:
        raise InvalidWorkflow(f"Manifest cannot be read: {error.strerror}") from error
    manifest = parse_workflow_manifest(data, workflow_name=workflow_name)
    return UnpackedWorkflow(manifest=manifest, directory=directory, source=source)
