from flambeau.runtime.handlers.dali import DALIHandler

__all__ = ["DALIHandler"]
