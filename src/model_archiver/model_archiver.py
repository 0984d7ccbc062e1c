from model_archiver.model_archiver_config import ModelArchiverConfig
from model_archiver.model_packaging import generate_model_archive


class ModelArchiver:
    """Writes archives."""

    @staticmethod
    def generate_model_archive(config: ModelArchiverConfig) -> None:
        """See :func:`model_archiver.model_packaging.generate_model_archive`."""
        generate_model_archive(config)


__all__ = ["ModelArchiver"]
