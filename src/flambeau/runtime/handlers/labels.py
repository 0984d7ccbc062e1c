"""Class numbers to names: ``index_to_name.json``."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

logger = logging.getLogger(__name__)

Labels = dict[str, str]


def load_label_mapping(mapping_file_path: str | Path) -> Labels | None:
    """Read a mapping from class number to name.

    A list value counts as its last element; ``{"object_type_names": [...]}`` numbers its names from 0.

    Returns:
        None if there is no such file, which is logged as a warning.

    Raises:
        ValueError: the file is not a JSON object, or a name is not a text.
    """
    try:
        mapping = json.loads(Path(mapping_file_path).read_bytes())
    except FileNotFoundError:
        logger.warning("%s is missing: classes have no names, only numbers", Path(mapping_file_path).name)
        return None
    if not isinstance(mapping, dict):
        raise ValueError("index_to_name mapping should be in JSON object format")
    names = mapping.get("object_type_names")
    if isinstance(names, list):
        mapping = {str(number): name for number, name in enumerate(names)}
    labels = {key: value[-1] if isinstance(value, list) and value else value for key, value in mapping.items()}
    for key, name in labels.items():
        if not isinstance(name, str):
            raise ValueError(f"index_to_name: class {key} maps to {name!r}, which is not a text")
    return labels


def map_class_to_label(
    probs: Sequence[Sequence[float]],
    mapping: Mapping[str, str] | None = None,
    lbl_classes: Sequence[Sequence[int]] | None = None,
) -> list[dict[str, float]]:
    """Name the columns of each row.

    Args:
        probs: one row per request.
        mapping: class number, as text, to name; None for the numbers themselves.
        lbl_classes: the class number of each value, in the shape of ``probs``; None for 0, 1, 2, … in each row.
    """
    classes = lbl_classes if lbl_classes is not None else [range(len(row)) for row in probs]
    return [
        {_label(mapping, number): value for number, value in zip(numbers, row, strict=False)}
        for numbers, row in zip(classes, probs, strict=False)
    ]


def _label(mapping: Mapping[str, str] | None, number: int) -> str:
    return str(number) if mapping is None else mapping[str(number)]
