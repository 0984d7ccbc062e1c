"""A decorator for functions that callers should leave."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import TypeVar, cast

Function = TypeVar("Function", bound=Callable[..., object])


def deprecated(
    version: str | float, replacement: str = "", klass: type[Warning] = PendingDeprecationWarning
) -> Callable[[Function], Function]:
    """Have each call of a function warn, and name what to use instead.

    Args:
        version: the release that deprecated it.
        replacement: what to call instead.
        klass: category of the warning.
    """

    def decorate(function: Function) -> Function:
        instead = f" Use {replacement} instead." if replacement else ""

        @functools.wraps(function)
        def wrapper(*args: object, **kwargs: object) -> object:
            warnings.warn(f"{function.__name__} is deprecated since {version}.{instead}", klass, stacklevel=2)
            return function(*args, **kwargs)

        return cast(Function, wrapper)

    return decorate
