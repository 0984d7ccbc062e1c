from flambeau.runtime.metrics import UNITS


class Units:
    """Short units to the words that are emitted."""

    def __init__(self) -> None:
        self.units = dict(UNITS)


__all__ = ["Units"]
