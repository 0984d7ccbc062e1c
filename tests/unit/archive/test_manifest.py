import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flambeau.archive.manifest import Manifest, absent_manifest, default_model_name, parse_manifest
from flambeau.errors import InvalidModel

TORCHSERVE = b"""{
  "createdOn": "28/07/2020 06:32:08",
  "runtime": "python",
  "model": {
    "modelName": "densenet161",
    "serializedFile": "densenet161-8d451a50.pth",
    "handler": "image_classifier",
    "modelFile": "model.py",
    "modelVersion": "1.0",
    "requirementsFile": "requirements.txt",
    "configFile": "model-config.yaml"
  },
  "archiverVersion": "0.2.0"
}"""


def manifest_of(**model: object) -> bytes:
    return json.dumps({"runtime": "python", "model": {"modelName": "m", **model}}).encode()


def test_a_manifest_of_torchserves_archiver_is_read_whole():
    assert parse_manifest(TORCHSERVE) == Manifest(
        model_name="densenet161",
        model_version="1.0",
        runtime="python",
        handler="image_classifier",
        serialized_file="densenet161-8d451a50.pth",
        model_file="model.py",
        requirements_file="requirements.txt",
        config_file="model-config.yaml",
        created_on="28/07/2020 06:32:08",
        archiver_version="0.2.0",
    )


def test_what_is_written_is_what_torchserves_archiver_writes():
    assert parse_manifest(TORCHSERVE).to_json() == TORCHSERVE.decode()


def test_keys_that_are_not_used_are_accepted():
    manifest = parse_manifest(manifest_of(extensions={"a": [1]}, description="x", sourceVocab="v", version="1.0"))
    assert manifest.model_name == "m"


@pytest.mark.parametrize("entry", [{}, {"modelVersion": None}, {"modelVersion": ""}])
def test_a_missing_version_is_1_0(entry):
    assert parse_manifest(manifest_of(**entry)).model_version == "1.0"


def test_a_version_written_as_a_number_keeps_its_spelling():
    data = b'{"runtime": "python", "model": {"modelName": "m", "modelVersion": 1.10}}'
    assert parse_manifest(data).model_version == "1.10"


def test_a_byte_order_mark_is_skipped():
    assert parse_manifest(b"\xef\xbb\xbf" + TORCHSERVE).model_name == "densenet161"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "Manifest is not valid JSON"),
        (b"\xff\xfe", "Manifest is not valid JSON"),
        (b"{", "Manifest is not valid JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[]", "the manifest must be a JSON object"),
        (b"{}", "Missing Model entry in manifest file."),
        (b'{"model": 1}', "model must be a JSON object"),
        (b'{"model": {}}', "Model name is not defined."),
        (b'{"model": {"modelName": ["m"]}}', "modelName must be a string"),
        (b'{"model": {"modelName": "a/b"}}', "Model name 'a/b' cannot stand in a URL"),
        (b'{"model": {"modelName": ".."}}', "Model name '..' cannot stand in a URL"),
        (b'{"model": {"modelName": "a\\n"}}', "cannot stand in a URL"),
        (b'{"model": {"modelName": "m", "modelVersion": "1/2"}}', "Model version '1/2' cannot stand in a URL"),
        (b'{"model": {"modelName": "m"}}', "Runtime is not defined or invalid."),
        (b'{"model": {"modelName": "m"}, "runtime": "perl"}', "Runtime is not defined or invalid."),
        (b'{"model": {"modelName": "m"}, "runtime": {}}', "Runtime is not defined or invalid."),
        (manifest_of(handler=True), "handler must be a string"),
        (manifest_of(configFile="../x.yaml"), "configFile must name a file of the archive"),
        (manifest_of(requirementsFile="/etc/passwd"), "requirementsFile must name a file of the archive"),
        (b" " * (1 << 20) + TORCHSERVE, "larger than"),
    ],
)
def test_what_is_not_a_manifest_is_refused_and_the_message_says_why(data, message):
    with pytest.raises(InvalidModel, match=message):
        parse_manifest(data)


def test_what_a_registration_gives_stands_in_for_what_the_manifest_lacks():
    manifest = parse_manifest(b'{"model": {}, "runtime": "perl"}', model_name="mine", runtime="python3")
    assert (manifest.model_name, manifest.runtime) == ("mine", "python3")


@pytest.mark.parametrize(
    ("file_name", "name"),
    [
        ("resnet-18.mar", "resnet_18"),
        ("my.model.v2.mar", "my_model_v2"),
        ("bert.tar.gz", "bert"),
        ("naïve.mar", "na_ve"),
    ],
)
def test_without_a_manifest_the_file_names_the_model(file_name, name):
    assert default_model_name(file_name) == name


def test_a_directory_has_no_suffix_to_take_off():
    assert default_model_name("v1.5", is_directory=True) == "v1_5"


def test_without_a_manifest_everything_else_is_torchserves_default():
    assert absent_manifest("m") == Manifest(model_name="m", model_version="1.0", runtime="python", handler=None)


def test_an_archive_without_manifest_and_name_is_refused():
    with pytest.raises(InvalidModel, match="Model name is not defined"):
        absent_manifest("")


@given(
    st.binary()
    | st.recursive(
        st.none() | st.text() | st.integers(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(["model", "runtime", "modelName", "handler", "modelVersion", "configFile"]), inner
            )
        ),
    ).map(lambda value: json.dumps(value).encode())
)
def test_any_input_is_a_manifest_or_an_invalid_model(data):
    try:
        assert parse_manifest(data).model_name
    except InvalidModel:
        pass
