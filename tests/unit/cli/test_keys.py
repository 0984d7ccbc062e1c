"""Which token is sent."""

import json

import pytest

from flambeau.cli.failures import UsageProblem
from flambeau.cli.keys import find_token

LOCAL = "http://127.0.0.1:8080"
KEYS = {"inference": {"key": "i-key"}, "management": {"key": "m-key"}, "API": {"key": "a-key"}}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def find(kind="inference", token=None, key_file=None, url=LOCAL):
    return find_token(kind, token=token, key_file=key_file, url=url)


def test_without_any_key_none_is_sent():
    assert find() is None


def test_the_key_file_of_the_folder_is_used(folder):
    (folder / "key_file.json").write_text(json.dumps(KEYS))
    assert find() == "i-key"
    assert find("management") == "m-key"


def test_the_key_file_of_the_folder_is_for_this_machine_only(folder):
    (folder / "key_file.json").write_text(json.dumps(KEYS))
    assert find(url="https://example.com") is None
    assert find(url="https://example.com", key_file=folder / "key_file.json") == "i-key"


def test_a_token_goes_before_a_file(folder):
    (folder / "key_file.json").write_text(json.dumps(KEYS))
    assert find(token="given", key_file=folder / "key_file.json") == "given"


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"inference": "x"}', '{"inference": {"key": 1}}'])
def test_a_file_without_the_key_is_an_error_only_if_it_was_named(folder, content):
    path = folder / "key_file.json"
    path.write_text(content)
    assert find() is None
    with pytest.raises(UsageProblem, match="holds no inference key"):
        find(key_file=path)


def test_a_key_that_would_end_the_header_is_refused(folder):
    path = folder / "k.json"
    path.write_text(json.dumps({"inference": {"key": "a\r\nX: y"}}))
    with pytest.raises(UsageProblem, match="holds no inference key"):
        find(key_file=path)


def test_a_file_that_is_named_and_not_there_is_an_error(folder):
    with pytest.raises(UsageProblem, match="No such file"):
        find(key_file=folder / "none.json")
