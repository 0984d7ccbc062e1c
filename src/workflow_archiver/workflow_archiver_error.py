from flambeau.errors import PackagingError as WorkflowArchiverError

__all__ = ["WorkflowArchiverError"]
