from pathlib import Path

import pytest

from flambeau.archive.plan import ArchivePlan, ArchiveSpec, plan_archive
from flambeau.errors import PackagingError

HANDLER = "def handle(data, context): ...\n"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    (tmp_path / "handler.py").write_text(HANDLER)
    return tmp_path


def plan(**options: object) -> ArchivePlan:
    return plan_archive(
        ArchiveSpec(**{"model_name": "m", "handler": "handler.py", "export_path": Path("out"), **options})
    )


def names(**options: object) -> list[str]:
    return [entry.name for entry in plan(**options).entries]


def write(path: str, content: str = "") -> Path:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(content)
    return Path(path)


def test_all_files_land_in_the_root_and_the_manifest_names_them(here):
    made = plan(
        serialized_file=write("w/model.pt"),
        model_file=write("src/model.py"),
        requirements_file=write("conf/requirements.txt"),
        config_file=write("conf/model.yaml", "batchSize: 4"),
        version="2.0",
    )
    files = ["handler.py", "model.pt", "model.py", "model.yaml", "requirements.txt"]
    assert [entry.name for entry in made.entries] == files
    manifest = made.manifest
    assert (manifest.serialized_file, manifest.model_file) == ("model.pt", "model.py")
    assert (manifest.requirements_file, manifest.config_file) == ("requirements.txt", "model.yaml")
    assert (manifest.model_name, manifest.model_version, manifest.runtime) == ("m", "2.0", "python")
    assert made.target == Path("out/m.mar")
    assert not Path("out").exists()


@pytest.mark.parametrize("handler", ["sub/mine.py", "sub/mine", "sub/mine.py:run", "sub/mine:run"])
def test_a_handler_is_found_with_or_without_suffix_and_function(handler):
    write("sub/mine.py", "def run(data, context): ...\ndef handle(data, context): ...\n")
    made = plan(handler=handler)
    assert [entry.name for entry in made.entries] == ["mine.py"]
    assert made.manifest.handler == handler.removeprefix("sub/")
    assert made.warnings == ()


@pytest.mark.parametrize("handler", ["image_classifier", "base_handler", "vllm_handler"])
def test_built_in_handlers_are_not_copied(handler):
    write(f"{handler}.py", HANDLER)
    made = plan(handler=handler)
    assert made.entries == ()
    assert made.manifest.handler == handler


def test_handlers_of_the_lsp_runtime_are_libraries():
    assert names(handler="BaseHandler", runtime="LSP") == []
    write("mine.so")
    assert names(handler="mine", runtime="LSP") == ["mine.so"]


def test_extra_files_are_files_contents_of_directories_and_patterns():
    for path in ("a.txt", "data/b.txt", "data/sub/c.txt", "more/d.json", "more/e.json", "more/f.txt"):
        write(path)
    assert names(extra_files=("a.txt", " data", "more/*.json", "")) == [
        "a.txt",
        "b.txt",
        "d.json",
        "e.json",
        "handler.py",
        "sub/c.txt",
    ]


def test_hidden_directories_and_caches_are_left_out():
    for path in ("data/.git/x", "data/__pycache__/x", "data/__MACOSX/x", "data/.hidden", "data/y"):
        write(path)
    assert names(extra_files=("data",)) == [".hidden", "handler.py", "y"]


def test_links_are_followed_and_those_that_go_round_are_refused(here):
    write("data/blob")
    Path("data/link").symlink_to(here / "data/blob")
    assert names(extra_files=("data",)) == ["blob", "handler.py", "link"]
    Path("data/round").symlink_to(here / "data")
    with pytest.raises(PackagingError, match="link to a directory that it lies in"):
        plan(extra_files=("data",))


def test_a_pattern_without_a_match_is_a_warning():
    assert plan(extra_files=("*.none",)).warnings == ("Given wildcard pattern did not match any file: *.none",)


def test_a_manifest_among_extra_files_is_left_out_with_a_warning():
    write("data/MAR-INF/MANIFEST.json", "{}")
    made = plan(extra_files=("data",))
    assert [entry.name for entry in made.entries] == ["handler.py"]
    assert "gets a manifest of its own" in made.warnings[0]


def test_two_different_files_for_one_name_are_reported():
    write("a/x.txt", "a")
    write("b/x.txt", "b")
    with pytest.raises(
        PackagingError, match=r"Two files would both become x\.txt in the archive: a/x\.txt and b/x\.txt"
    ):
        plan(extra_files=("a", "b"))


def test_the_same_file_given_twice_is_taken_once():
    write("a/x.txt", "same")
    write("b/x.txt", "same")
    assert names(extra_files=("a/x.txt", "a", "b", "handler.py")) == ["handler.py", "x.txt"]


def test_a_file_in_the_place_of_a_directory_is_reported():
    write("a/x", "")
    write("b/x/y", "")
    with pytest.raises(PackagingError, match="A file and a directory would both become x"):
        plan(extra_files=("a", "b"))


@pytest.mark.parametrize("name", ["", "-m", "a b", "a/b", "..", "m\n"])
def test_a_name_that_is_no_model_name_is_refused(name):
    with pytest.raises(PackagingError, match="Model name contains special characters"):
        plan(model_name=name)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"serialized_file": Path("none.pt")}, r"File does not exist: none\.pt"),
        ({"model_file": Path("none.py")}, r"File does not exist: none\.py"),
        ({"config_file": Path("none.yaml")}, r"File does not exist: none\.yaml"),
        ({"handler": "none"}, r"File does not exist: none\.py"),
        ({"extra_files": ("none.txt",)}, r"File does not exist: none\.txt"),
        ({"runtime": "perl"}, "Unknown runtime: perl"),
        ({"archive_format": "rar"}, "Unknown archive-format: rar"),
        ({"export_path": Path("handler.py")}, r"Given export-path handler\.py is not a directory"),
    ],
)
def test_what_cannot_be_packaged_is_refused(options, message):
    with pytest.raises(PackagingError, match=message):
        plan(**options)


@pytest.mark.parametrize(
    ("content", "message"),
    [("a: [", "line 1: not valid YAML"), ("- a", "must be a mapping"), ("", "must be a mapping")],
)
def test_a_model_configuration_that_is_no_mapping_is_refused(content, message):
    with pytest.raises(PackagingError, match=message):
        plan(config_file=write("c.yaml", content))


def test_code_that_does_not_compile_is_refused():
    write("handler.py", "def f(:")
    with pytest.raises(PackagingError, match=r"handler\.py, line 1"):
        plan()
    with pytest.raises(PackagingError, match=r"model\.py, line 1"):
        plan(handler="base_handler", model_file=write("model.py", "def f(:"))


def test_a_handler_without_entry_point_is_a_warning():
    write("handler.py", "x = 1")
    assert "no function named handle" in plan().warnings[0]


def test_an_archive_that_exists_is_replaced_only_by_force():
    write("out/m.mar")
    with pytest.raises(PackagingError, match=r"out/m\.mar already exists\.") as raised:
        plan()
    assert raised.value.hint.startswith("Please specify --force/-f option to overwrite")
    assert plan(force=True).target == Path("out/m.mar")


def test_a_directory_that_is_no_model_is_not_replaced_even_by_force():
    write("out/m/precious.txt")
    with pytest.raises(PackagingError, match="is not a model archive, so it is not replaced"):
        plan(archive_format="no-archive", force=True)


def test_files_of_the_directory_to_be_replaced_are_not_lost():
    write("out/m/MAR-INF/MANIFEST.json")
    write("out/m/weights.pt")
    with pytest.raises(PackagingError, match="which would be replaced"):
        plan(archive_format="no-archive", force=True, serialized_file=Path("out/m/weights.pt"))


def test_an_older_archive_does_not_end_up_in_the_new_one():
    write("m.mar")
    assert names(export_path=Path("."), extra_files=(".",), force=True) == ["handler.py"]


def test_source_date_epoch_fixes_every_date(monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    made = plan()
    assert made.timestamp == 86400
    assert made.manifest.created_on == "02/01/1970 00:00:00"


def test_a_source_date_epoch_that_is_no_number_is_refused(monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    with pytest.raises(PackagingError, match="SOURCE_DATE_EPOCH=yesterday"):
        plan()
