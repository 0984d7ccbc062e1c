from __future__ import annotations

import json

import pytest

from flambeau.runtime.handlers.labels import load_label_mapping, map_class_to_label


def written(tmp_path, content):
    path = tmp_path / "index_to_name.json"
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("content", "labels"),
    [
        ({"0": "cat", "1": "dog"}, {"0": "cat", "1": "dog"}),
        ({"0": ["n0123", "cat"]}, {"0": "cat"}),
        ({"object_type_names": ["cat", "dog"]}, {"0": "cat", "1": "dog"}),
    ],
)
def test_each_form_of_the_file_is_read(tmp_path, content, labels):
    assert load_label_mapping(written(tmp_path, content)) == labels


@pytest.mark.parametrize("content", [["cat"], {"0": 1}, {"0": []}, {"0": {"name": "cat"}}])
def test_a_name_that_is_no_text_is_an_error(tmp_path, content):
    with pytest.raises(ValueError):
        load_label_mapping(written(tmp_path, content))


def test_a_missing_file_is_no_mapping_and_is_logged(tmp_path, caplog):
    assert load_label_mapping(tmp_path / "index_to_name.json") is None
    assert "index_to_name.json is missing" in caplog.text


def test_columns_are_named_by_their_number_without_a_mapping():
    assert map_class_to_label([[0.9, 0.1]]) == [{"0": 0.9, "1": 0.1}]


def test_classes_are_named_by_the_mapping():
    named = map_class_to_label([[0.9, 0.1], [0.7, 0.3]], {"3": "cat", "5": "dog"}, [[5, 3], [3, 5]])
    assert named == [{"dog": 0.9, "cat": 0.1}, {"cat": 0.7, "dog": 0.3}]
