from dataclasses import dataclass, field, fields
from pathlib import Path

from flambeau.archive.plan import ArchiveSpec


@dataclass
class ModelArchiverConfig:
    """The options of ``torch-model-archiver``."""

    model_name: str
    handler: str
    version: str
    serialized_file: str | None = None
    model_file: str | None = None
    extra_files: str | None = None
    """Joined by commas."""
    runtime: str = "python"
    export_path: str = field(default_factory=lambda: str(Path.cwd()))
    archive_format: str = "default"
    force: bool = False
    requirements_file: str | None = None
    config_file: str | None = None

    def to_spec(self) -> ArchiveSpec:
        """The same for Flambeau's own writer."""
        given = {item.name: getattr(self, item.name) for item in fields(self)}
        given["version"] = str(self.version)
        given["extra_files"] = tuple((self.extra_files or "").split(","))
        for name in ("serialized_file", "model_file", "export_path", "requirements_file", "config_file"):
            given[name] = Path(given[name]) if given[name] else None
        return ArchiveSpec(**{**given, "export_path": given["export_path"] or Path.cwd()})
