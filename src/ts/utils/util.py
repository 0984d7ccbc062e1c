import functools
import re
import warnings

from flambeau.runtime.entry_point import list_classes_from_module
from flambeau.runtime.failures import PredictionException
from flambeau.runtime.handlers.compilation import PT2Backend, check_valid_pt2_backend
from flambeau.runtime.handlers.labels import load_label_mapping, map_class_to_label
from flambeau.runtime.loader import get_yaml_config

CLEANUP_REGEX = re.compile("<.*?>")
"""An HTML tag."""


def deprecated(version, replacement="", message=None):
    """Decorate a function that callers should leave: each call warns, and names what to use instead.

    Args:
        version: the release that deprecated it.
        replacement: what to call instead.
        message: the whole warning, in place of the usual sentence.
    """

    def decorate(function):
        instead = f" Use {replacement} instead." if replacement else ""
        text = message or f"{function.__name__} is deprecated since {version}.{instead}"

        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            warnings.warn(text, DeprecationWarning, stacklevel=2)
            return function(*args, **kwargs)

        return wrapper

    return decorate


__all__ = [
    "CLEANUP_REGEX",
    "PT2Backend",
    "PredictionException",
    "check_valid_pt2_backend",
    "deprecated",
    "get_yaml_config",
    "list_classes_from_module",
    "load_label_mapping",
    "map_class_to_label",
]
