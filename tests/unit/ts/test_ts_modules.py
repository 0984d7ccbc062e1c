"""TorchServe's module paths, as archives import them."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

LIGHT = {
    "ts.context": ["Context", "RequestProcessor"],
    "ts.launcher": ["register_model", "register_model_with_params", "start", "stop"],
    "ts.model_loader": ["ModelLoader", "ModelLoaderFactory", "TsModelLoader"],
    "ts.model_service.model_service": ["ModelService", "SingleNodeService"],
    "ts.service": ["PREDICTION_METRIC", "Service", "emit_metrics"],
    "ts.handler_utils.text_utils": ["get_tokenizer", "ngrams_iterator"],
    "ts.handler_utils.timer": ["timed"],
    "ts.handler_utils.utils": ["import_class"],
    "ts.metrics.caching_metric": ["CachingMetric"],
    "ts.metrics.dimension": ["Dimension"],
    "ts.metrics.metric": ["Metric"],
    "ts.metrics.metric_abstract": ["MetricAbstract"],
    "ts.metrics.metric_cache_abstract": ["MetricCacheAbstract"],
    "ts.metrics.metric_cache_errors": [
        "GeneralMetricsCacheError",
        "MetricsCacheIOError",
        "MetricsCacheKeyError",
        "MetricsCachePyYamlError",
        "MetricsCacheTypeError",
        "MetricsCacheValueError",
    ],
    "ts.metrics.metric_cache_yaml_impl": ["MetricsCacheYamlImpl"],
    "ts.metrics.metric_encoder": ["MetricEncoder"],
    "ts.metrics.metric_type_enum": ["MetricTypes"],
    "ts.metrics.metrics_store": ["MetricsStore"],
    "ts.metrics.unit": ["Units"],
    "ts.protocol.otf_message_handler": [
        "create_load_model_response",
        "create_predict_response",
        "encode_response_headers",
        "retrieve_msg",
    ],
    "ts.torch_handler.contractions": ["CONTRACTION_MAP"],
    "ts.torch_handler.request_envelope.base": ["BaseEnvelope"],
    "ts.torch_handler.request_envelope.body": ["BodyEnvelope"],
    "ts.torch_handler.request_envelope.json": ["JSONEnvelope"],
    "ts.torch_handler.request_envelope.kserve": ["KServeEnvelope"],
    "ts.utils.hf_utils": ["download_model"],
    "ts.utils.timeit_decorator": ["timeit"],
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
    "model_archiver": ["ModelArchiver", "ModelArchiverConfig"],
    "model_archiver.model_archiver_error": ["ModelArchiverError"],
    "model_archiver.model_packaging": ["generate_model_archive"],
    "workflow_archiver.workflow_archiver_error": ["WorkflowArchiverError"],
    "workflow_archiver.workflow_packaging": ["generate_workflow_archive", "package_workflow"],
}
"""What can be imported where torch is not installed."""

WITH_TORCH = {
    "ts.handler_utils.distributed.deepspeed": ["create_checkpoints_json", "get_ds_engine"],
    "ts.handler_utils.distributed.pt_pippy": ["get_pipeline_driver", "initialize_rpc_workers"],
    "ts.handler_utils.hf_batch_streamer": ["TextIteratorStreamerBatch"],
    "ts.handler_utils.micro_batching": ["HANDLER_METHODS", "MicroBatching"],
    "ts.torch_handler.base_handler": ["BaseHandler"],
    "ts.torch_handler.densenet_handler": ["DenseNetHandler"],
    "ts.torch_handler.distributed.base_deepspeed_handler": ["BaseDeepSpeedHandler"],
    "ts.torch_handler.distributed.base_pippy_handler": ["BasePippyHandler"],
    "ts.torch_handler.image_classifier": ["ImageClassifier"],
    "ts.torch_handler.image_segmenter": ["ImageSegmenter"],
    "ts.torch_handler.object_detector": ["ObjectDetector"],
    "ts.torch_handler.request_envelope.kservev2": ["KServev2Envelope"],
    "ts.torch_handler.text_classifier": ["TextClassifier"],
    "ts.torch_handler.text_handler": ["TextHandler"],
    "ts.torch_handler.vision_handler": ["VisionHandler"],
}

SURFACE = LIGHT | WITH_TORCH


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in SURFACE.items() for name in names])
def test_a_name_is_where_torchserve_has_it(module, name):
    assert hasattr(importlib.import_module(module), name)


def test_the_version_is_the_release_that_handlers_may_count_on():
    import ts

    assert ts.__version__ == "0.12.0"


def test_only_the_torch_handlers_need_torch():
    modules = ", ".join(LIGHT)
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

    with pytest.warns(PendingDeprecationWarning, match=r"old is deprecated since 0\.5\. Use new instead\."):
        assert old() == 3


def test_classes_of_a_module_are_its_own_by_name_and_below_a_parent():
    from ts.utils.util import list_classes_from_module

    module = type(sys)("m")
    exec("from collections import OrderedDict\nclass B: pass\nclass A(B): pass", module.__dict__)
    assert [cls.__name__ for cls in list_classes_from_module(module)] == ["A", "B"]
    assert [cls.__name__ for cls in list_classes_from_module(module, module.B)] == ["A", "B"]
    assert [cls.__name__ for cls in list_classes_from_module(module, module.A)] == ["A"]
