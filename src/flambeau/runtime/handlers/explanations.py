"""Captum, which explanations are made with: imported when the first one is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flambeau.runtime.failures import PredictionException
from flambeau.runtime.handlers.inputs import BAD_REQUEST

NOT_IMPLEMENTED = 501


def attribution_methods() -> Any:
    """The module ``captum.attr``.

    Raises:
        PredictionException: captum is not installed; the client gets 501.
    """
    try:
        import captum.attr
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] != "captum":
            raise
        raise PredictionException(
            "Explanations need the Python package captum, which is not installed on the server", NOT_IMPLEMENTED
        ) from error
    return captum.attr


def attribute(method: Callable[..., Any], *inputs: Any, target: int, **arguments: Any) -> Any:
    """Call an attribution method for one class.

    Raises:
        PredictionException: the model has no such class; the client gets 400.
    """
    try:
        return method(*inputs, target=target, **arguments)
    except IndexError as error:
        raise PredictionException(f"target {target} is not a class of the model: {error}", BAD_REQUEST) from error


def not_explainable(handler: str) -> PredictionException:
    """What a handler raises that has no explanations: there is no one number per picture to explain."""
    message = f"{handler} gives no explanations; a subclass may, with a get_insights of its own"
    return PredictionException(message, NOT_IMPLEMENTED)
