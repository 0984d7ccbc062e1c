"""TorchServe's module paths, as archives import them."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

SURFACE = {
    "ts.context": ["Context", "RequestProcessor"],
    "ts.service": ["emit_metrics"],
    "ts.handler_utils.timer": ["timed"],
    "ts.metrics.dimension": ["Dimension"],
    "ts.metrics.metric": ["Metric"],
    "ts.metrics.metric_type_enum": ["MetricTypes"],
    "ts.metrics.metrics_store": ["MetricsStore"],
    "ts.metrics.unit": ["Units"],
    "ts.utils.util": [
        "CLEANUP_REGEX",
        "PT2Backend",
        "PredictionException",
        "check_valid_pt2_backend",
        "deprecated",
        "get_yaml_config",
        "list_classes_from_module",
        "load_label_mapping",
        "map_class_to_label",
    ],
}


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in SURFACE.items() for name in names])
def test_a_name_is_where_torchserve_has_it(module, name):
    assert hasattr(importlib.import_module(module), name)


def test_the_version_is_the_release_that_handlers_may_count_on():
    import ts

    assert ts.__version__ == "0.12.0"


def test_only_the_torch_handlers_need_torch():
    modules = ", ".join(SURFACE)
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_prediction_exception_prints_message_and_code():
    from ts.utils.util import PredictionException

    error = PredictionException("no face in the image", 422)
    assert (str(error), error.message, error.error_code) == ("no face in the image : 422", "no face in the image", 422)


def test_units_have_long_names():
    from ts.metrics.unit import Units

    assert (Units().units["ms"], Units().units[None]) == ("Milliseconds", "unit")


def test_a_deprecated_function_warns_and_names_its_replacement():
    from ts.utils.util import deprecated

    @deprecated("0.5", replacement="new")
    def old():
        return 3

    with pytest.warns(DeprecationWarning, match=r"old is deprecated since 0\.5\. Use new instead\."):
        assert old() == 3


def test_classes_of_a_module_are_its_own_by_name_and_below_a_parent():
    from ts.utils.util import list_classes_from_module

    module = type(sys)("m")
    exec("from collections import OrderedDict\nclass B: pass\nclass A(B): pass", module.__dict__)
    assert [cls.__name__ for cls in list_classes_from_module(module)] == ["A", "B"]
    assert [cls.__name__ for cls in list_classes_from_module(module, module.B)] == ["A", "B"]
    assert [cls.__name__ for cls in list_classes_from_module(module, module.A)] == ["A"]
