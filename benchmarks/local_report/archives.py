"""The archives that sections need."""

from __future__ import annotations

import tempfile
from pathlib import Path

from flambeau.archive.plan import ArchiveSpec
from flambeau.archive.writer import write_archive

HANDLER = Path(__file__).parent / "resnet" / "handler.py"


def pack_resnet(network: str, folder: Path, *, batch_size: int) -> Path:
    """A ``.mar`` of one of torchvision's ResNets with one worker; the model has the network's name."""
    settings = f"minWorkers: 1\nmaxWorkers: 1\nbatchSize: {batch_size}\nmaxBatchDelay: 0\n"
    with tempfile.TemporaryDirectory() as scratch:
        config = Path(scratch, "model-config.yaml")
        config.write_text(f"{settings}handler:\n  network: {network}\n")
        return write_archive(
            ArchiveSpec(model_name=network, handler=str(HANDLER), config_file=config, export_path=folder, force=True)
        )
