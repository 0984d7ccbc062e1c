from __future__ import annotations

import sys
import textwrap

import pytest

from flambeau.errors import InvalidModel
from flambeau.runtime import load_handler
from flambeau.runtime.entry_point import HandlerName

CLASS = """
    class Handler:
        def initialize(self, context):
            self.loaded = True
        def handle(self, data, context):
            return [self.loaded for row in data]
"""


def answer(handler, request_of):
    (reply,) = handler.run([request_of(b"x")])
    assert reply.error == 0
    return bytes(reply.body)


@pytest.mark.parametrize(
    ("handler", "expected"),
    [
        ("handler", HandlerName("handler", None, "")),
        ("handler.py", HandlerName("handler", None, "")),
        ("handler:fn", HandlerName("handler", "fn", "")),
        ("a/b/handler.py:fn", HandlerName("handler", "fn", "a/b")),
        ("/a/handler.py", HandlerName("handler", None, "/a")),
        ("package.module:fn", HandlerName("package.module", "fn", "")),
    ],
)
def test_a_handler_is_named_by_file_and_function(handler, expected):
    assert HandlerName.parse(handler) == expected


@pytest.mark.parametrize("handler", [":fn", "", ".py"])
def test_a_handler_without_a_module_is_an_error(handler):
    with pytest.raises(InvalidModel):
        HandlerName.parse(handler)


@pytest.mark.parametrize("name", ["handler", "handler.py", "./handler.py"])
def test_the_only_class_is_the_handler(model_dir, request_of, name):
    assert answer(load_handler(model_dir({"handler.py": CLASS}), handler=name), request_of) == b"true"


def test_a_function_named_handle_goes_before_a_class(model_dir, request_of):
    folder = model_dir({"handler.py": "def handle(data, context): return ['function']\nclass A: pass\nclass B: pass"})
    assert answer(load_handler(folder, handler="handler"), request_of) == b"function"


def test_a_named_function_is_the_entry_point_and_is_called_with_no_data_at_load(model_dir, request_of):
    folder = model_dir({"h.py": "seen = []\ndef run(data, context):\n  seen.append(data)\n  return [len(seen)]\n"})
    assert answer(load_handler(folder, handler="h.py:run"), request_of) == b"2"


def test_a_function_that_only_expects_rows_loads(model_dir, request_of):
    folder = model_dir({"h.py": "def handle(data, context): return [row['body'] for row in data]"})
    assert answer(load_handler(folder, handler="h"), request_of) == b"x"


def test_what_a_function_calls_may_not_fail_at_load(model_dir):
    folder = model_dir({"h.py": "def load(): None.x\ndef handle(data, context):\n  load()"})
    with pytest.raises(AttributeError):
        load_handler(folder, handler="h")


@pytest.mark.parametrize("source", ["", "class A: pass\nclass B: pass", "from collections import OrderedDict"])
def test_without_function_or_exactly_one_class_the_load_fails(model_dir, source):
    with pytest.raises(ValueError, match="Expected only one class in custom service code or a function entry point"):
        load_handler(model_dir({"h.py": source}), handler="h")


def test_imported_classes_do_not_count(model_dir, request_of):
    folder = model_dir({"other.py": "class Base: pass", "h.py": "from other import Base\n" + textwrap.dedent(CLASS)})
    assert answer(load_handler(folder, handler="h"), request_of) == b"true"


@pytest.mark.parametrize("method", ["initialize", "handle"])
def test_a_class_without_a_needed_method_is_named(model_dir, method):
    source = textwrap.dedent(CLASS).replace(f"def {method}", "def other")
    with pytest.raises(InvalidModel, match=f"class Handler has no method '{method}'"):
        load_handler(model_dir({"h.py": source}), handler="h")


def test_an_asynchronous_handler_is_refused_by_name(model_dir):
    with pytest.raises(InvalidModel, match="h is asynchronous"):
        load_handler(model_dir({"h.py": "async def handle(data, context): return []"}), handler="h")


def test_an_import_error_in_the_users_own_file_is_shown(model_dir):
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        load_handler(model_dir({"base_handler.py": "import no_such_module"}), handler="base_handler")


def test_a_missing_handler_is_named_with_the_files_that_there_are(model_dir):
    folder = model_dir({"a.py": "", "b.py": ""})
    with pytest.raises(InvalidModel, match=r"no handler 'h'.*a\.py, b\.py"):
        load_handler(folder, handler="h")


def test_a_missing_torch_is_named_with_what_to_do(model_dir, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    source = "import importlib\ndef handle(data, context): raise ModuleNotFoundError('x', name='torch')"
    with pytest.raises(InvalidModel, match=f"torch is not installed in {sys.executable}; install it with pip install"):
        load_handler(model_dir({"h.py": source}), handler="h")


def test_a_classes_module_may_be_one_that_only_exports_it(model_dir, request_of):
    folder = model_dir({"real.py": CLASS, "h.py": "from real import Handler\n__all__ = ['Handler']"})
    assert answer(load_handler(folder, handler="h"), request_of) == b"true"


def test_handler_name_and_settings_come_from_the_manifest(model_dir):
    folder = model_dir(
        {"h.py": CLASS, "config.yaml": "handler: {profile: true}\n"},
        {"handler": "h.py", "modelName": "named", "configFile": "config.yaml"},
    )
    context = load_handler(folder, batch_size=4, gpu_id=2).context
    assert context.model_name == "named"
    assert context.manifest["model"]["handler"] == "h.py"
    assert context.model_yaml_config == {"handler": {"profile": True}}
    assert context.system_properties["model_dir"] == str(folder)
    assert (context.system_properties["batch_size"], context.system_properties["gpu_id"]) == (4, 2)
    assert context.system_properties["server_version"] == "0.12.0"


def test_without_a_manifest_it_is_none_and_settings_are_empty(load):
    context = load(CLASS).context
    assert context.manifest is None
    assert context.model_yaml_config == {}


@pytest.mark.parametrize(
    ("config", "problem"), [("- a", "not a mapping"), ("a: [", "not YAML"), (None, "not in the archive")]
)
def test_settings_that_cannot_be_used_are_named(model_dir, config, problem):
    files = {"h.py": CLASS} if config is None else {"h.py": CLASS, "config.yaml": config}
    with pytest.raises(InvalidModel, match=rf"config\.yaml.*{problem}"):
        load_handler(model_dir(files, {"handler": "h", "configFile": "config.yaml"}))


def test_a_manifest_that_is_not_json_is_named(model_dir):
    with pytest.raises(InvalidModel, match="is not JSON"):
        load_handler(model_dir({"h.py": CLASS, "MAR-INF/MANIFEST.json": "{"}), handler="h")


def test_an_unknown_envelope_is_refused_with_those_that_there_are(model_dir):
    with pytest.raises(InvalidModel, match=r"no service envelope 'xml'.*body, json, kserve, kservev2"):
        load_handler(model_dir({"h.py": CLASS}), handler="h", envelope="xml")


def test_a_handler_beside_the_archive_is_found_in_its_folder(model_dir, tmp_path, request_of):
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "outer.py").write_text("def handle(data, context): return ['outer']")
    handler = load_handler(model_dir({"other.py": ""}), handler=f"{tmp_path}/beside/outer.py")
    assert answer(handler, request_of) == b"outer"


def test_models_in_one_process_do_not_share_modules_of_the_same_name(model_dir, request_of):
    handlers = [
        load_handler(
            model_dir({"handler.py": "import helper\ndef handle(d, c): return [helper.x]", "helper.py": f"x = {x}"}),
            handler="handler",
        )
        for x in (1, 2)
    ]
    assert [answer(handler, request_of) for handler in handlers] == [b"1", b"2"]


def test_modules_of_the_host_program_are_not_taken_for_the_models(model_dir, request_of, monkeypatch):
    own = type(sys)("handler")
    monkeypatch.setitem(sys.modules, "handler", own)
    handler = load_handler(model_dir({"handler.py": "def handle(d, c): return [1]"}), handler="handler")
    assert answer(handler, request_of) == b"1"
    assert sys.modules["handler"] is own
