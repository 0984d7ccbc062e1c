from flambeau.runtime.entry_point import list_classes_from_module
from flambeau.runtime.failures import PredictionException
from flambeau.runtime.handlers.cleaning import CLEANUP_REGEX
from flambeau.runtime.handlers.compilation import PT2Backend, check_valid_pt2_backend
from flambeau.runtime.handlers.deprecation import deprecated
from flambeau.runtime.handlers.labels import load_label_mapping, map_class_to_label
from flambeau.runtime.loader import get_yaml_config

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
