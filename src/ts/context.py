from flambeau.runtime.context import Context, RequestProcessor

__all__ = ["Context", "RequestProcessor"]
