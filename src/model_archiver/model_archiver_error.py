from flambeau.errors import PackagingError as ModelArchiverError

__all__ = ["ModelArchiverError"]
