"""``torch-model-archiver`` as a library, under its own name; everything behind it is Flambeau."""

from model_archiver.model_archiver import ModelArchiver
from model_archiver.model_archiver_config import ModelArchiverConfig

__all__ = ["ModelArchiver", "ModelArchiverConfig"]
