import sys
from pathlib import Path

import pytest

from flambeau.errors import ConfigError, ModelNotFound
from flambeau.local.sources import find_source


@pytest.fixture(autouse=True)
def _imports_are_undone(monkeypatch):
    before = dict(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in set(sys.modules) - set(before):
        del sys.modules[name]


def module_file(folder: Path, name: str = "sourcefile.py", text: str = "def double(rows): return rows\n") -> Path:
    file = folder / name
    file.write_text(text)
    return file


@pytest.mark.parametrize("thing", [len, int, 5, None, [1], object()])
def test_an_object_is_found_as_it_is(thing):
    assert find_source(thing) is thing


def test_paths_that_exist_are_found(tmp_path):
    assert find_source(tmp_path) == tmp_path
    assert find_source(str(tmp_path)) == tmp_path
    odd = tmp_path / "a:b"
    odd.mkdir()
    assert find_source(str(odd)) == odd


def test_an_object_of_a_file_is_found_by_name_and_each_time_the_same(tmp_path):
    file = module_file(tmp_path)
    found = find_source(f"{file}:double")
    assert found([1]) == [1]
    assert find_source(f"{file}:double") is found
    assert found.__module__ == "sourcefile"


def test_a_file_is_imported_with_its_folder_on_the_path_as_a_script_is(tmp_path):
    module_file(tmp_path, "neighbour_of_source.py", "value = 7\n")
    text = "import neighbour_of_source\nclass Outer:\n    value = neighbour_of_source.value\n"
    file = module_file(tmp_path, text=text)
    assert find_source(f"{file}:Outer.value") == 7


def test_files_of_one_name_in_two_folders_are_two_modules(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        module_file(tmp_path / name, text=f"value = {name!r}\n")
    assert [find_source(f"{tmp_path / name / 'sourcefile.py'}:value") for name in ("one", "two", "one")] == [
        "one",
        "two",
        "one",
    ]


def test_an_object_of_a_module_is_found_by_name():
    assert find_source("os.path:join") is __import__("os").path.join
    assert find_source("collections:OrderedDict.fromkeys")(["a"]) == {"a": None}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("no/such/model.mar", "Model not found at: no/such/model.mar"),
        (Path("no/such/folder"), "Model not found at: no/such/folder"),
        ("model", "Model not found at: model"),
        ("", "Model not found at: "),
        ("nul\0", "Model not found at: nul\0"),
        ("long" * 5000, "Model not found at: " + "long" * 5000),
        ("model:", "Model not found at: model:"),
        ("no/such.py:name", "Model not found at: no/such.py"),
        ("no_such_module:name", "Model not found: there is no module no_such_module"),
        ("os.no_such_module:name", "Model not found: there is no module os.no_such_module"),
        ("os:no_such_name", "Model not found: os has no no_such_name"),
        ("os:path.no_such_name", "Model not found: os has no path.no_such_name"),
    ],
)
def test_what_is_not_there_is_said(source, message):
    with pytest.raises(ModelNotFound) as raised:
        find_source(source)
    assert str(raised.value) == message


def test_a_python_file_without_a_name_is_asked_for_one(tmp_path):
    file = module_file(tmp_path)
    with pytest.raises(ConfigError, match=f"name what to load from the file: {file}:NAME"):
        find_source(file)


def test_what_a_file_raises_is_raised_and_it_is_not_half_imported(tmp_path):
    file = module_file(tmp_path, text="raise OSError('disk')\n")
    for _ in range(2):
        with pytest.raises(OSError, match="disk"):
            find_source(f"{file}:double")
    assert "sourcefile" not in sys.modules


def test_a_module_that_lacks_an_import_of_its_own_says_which(tmp_path):
    file = module_file(tmp_path, text="import no_such_dependency\n")
    with pytest.raises(ModuleNotFoundError, match="no_such_dependency"):
        find_source(f"{file}:double")
    sys.path.insert(0, str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="no_such_dependency"):
        find_source("sourcefile:double")
