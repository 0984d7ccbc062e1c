import os
import stat
import tempfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flambeau.archive.manifest import MANIFEST_PATH
from flambeau.archive.plan import FORMAT_SUFFIXES, ArchiveSpec
from flambeau.archive.reader import open_archive, read_manifest
from flambeau.archive.writer import write_archive
from flambeau.errors import PackagingError

FORMATS = sorted(FORMAT_SUFFIXES)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = tmp_path / "source"
    (directory / "extra/sub").mkdir(parents=True)
    (directory / "handler.py").write_text("def handle(data, context): ...\n")
    (directory / "model.pt").write_bytes(b"0" * 100)
    (directory / "extra/big.json").write_bytes(b"0" * ((1 << 20) + 1))
    (directory / "extra/small.json").write_text("{}" * 100)
    (directory / "extra/sub/run").write_text("#!/bin/sh\n")
    (directory / "extra/sub/run").chmod(0o750)
    return directory


def spec(source: Path, export_path: Path, **options: object) -> ArchiveSpec:
    given = {
        "model_name": "m",
        "handler": str(source / "handler.py"),
        "serialized_file": source / "model.pt",
        "extra_files": (str(source / "extra"),),
        "export_path": export_path,
    }
    return ArchiveSpec(**{**given, **options})


def test_an_archive_deflates_what_shrinks_and_stores_weights(source, tmp_path):
    path = write_archive(spec(source, tmp_path))
    with zipfile.ZipFile(path) as archive:
        deflated = {info.filename for info in archive.infolist() if info.compress_type == zipfile.ZIP_DEFLATED}
        assert archive.namelist()[0] == MANIFEST_PATH
        assert archive.testzip() is None
    assert deflated == {MANIFEST_PATH, "handler.py", "small.json", "sub/run"}


def test_zip_store_stores_everything(source, tmp_path):
    with zipfile.ZipFile(write_archive(spec(source, tmp_path, archive_format="zip-store"))) as archive:
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}


@pytest.mark.parametrize(
    ("archive_format", "name"),
    [("default", "m.mar"), ("zip-store", "m.mar"), ("tgz", "m.tar.gz"), ("no-archive", "m")],
)
def test_every_format_opens_again_with_the_same_files(source, tmp_path, archive_format, name):
    export_path = tmp_path / "made" / "here"
    path = write_archive(spec(source, export_path, archive_format=archive_format))
    assert path == export_path / name
    assert read_manifest(path).serialized_file == "model.pt"
    directory = open_archive(path, tmp_path / "unpacked").directory
    assert (directory / "big.json").read_bytes() == (source / "extra/big.json").read_bytes()
    assert stat.S_IMODE((directory / "sub/run").stat().st_mode) == 0o755
    assert stat.S_IMODE((directory / "model.pt").stat().st_mode) == 0o644


@pytest.mark.parametrize("archive_format", FORMATS)
def test_progress_reaches_the_total(source, tmp_path, archive_format):
    seen: list[tuple[str, int, int]] = []
    write_archive(spec(source, tmp_path, archive_format=archive_format), lambda *update: seen.append(update))
    done = [update[1] for update in seen]
    assert done == sorted(done)
    assert done[-1] == seen[0][2] == sum(f.stat().st_size for f in source.rglob("*") if f.is_file())
    assert {update[0] for update in seen} == {"handler.py", "model.pt", "big.json", "small.json", "sub/run"}


@pytest.mark.parametrize("archive_format", ["default", "zip-store", "tgz"])
def test_source_date_epoch_makes_equal_bytes_of_equal_input(source, tmp_path, monkeypatch, archive_format):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    first = write_archive(spec(source, tmp_path / "1", archive_format=archive_format)).read_bytes()
    os.utime(source / "handler.py", (1, 1))
    assert write_archive(spec(source, tmp_path / "2", archive_format=archive_format)).read_bytes() == first


def test_dates_that_a_zip_file_cannot_hold_are_no_obstacle(source, tmp_path):
    os.utime(source / "handler.py", (0, 0))
    os.utime(source / "model.pt", (1 << 33, 1 << 33))
    with zipfile.ZipFile(write_archive(spec(source, tmp_path))) as archive:
        assert archive.getinfo("handler.py").date_time == (1980, 1, 1, 0, 0, 0)
        assert archive.getinfo("model.pt").date_time == (2107, 12, 31, 23, 59, 58)


class Interrupted(BaseException):
    pass


def interrupt(name: str, done: int, total: int) -> None:
    raise Interrupted


@pytest.mark.parametrize("archive_format", FORMATS)
def test_an_interrupted_run_leaves_nothing(source, tmp_path, archive_format):
    with pytest.raises(Interrupted):
        write_archive(spec(source, tmp_path / "out", archive_format=archive_format), interrupt)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("archive_format", FORMATS)
def test_force_replaces_the_archive_and_an_interruption_keeps_the_old_one(source, tmp_path, archive_format):
    out = tmp_path / "out"
    path = write_archive(spec(source, out, archive_format=archive_format))
    with pytest.raises(Interrupted):
        write_archive(spec(source, out, archive_format=archive_format, version="2", force=True), interrupt)
    assert read_manifest(path).model_version == "1.0"
    write_archive(spec(source, out, archive_format=archive_format, version="2", force=True))
    assert read_manifest(path).model_version == "2"
    assert list(out.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_reported(source, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PackagingError, match="Failed to save the model archive"):
        write_archive(spec(source, tmp_path / "file" / "out"))


def test_doubts_go_to_the_log(source, tmp_path, caplog):
    write_archive(spec(source, tmp_path, extra_files=("*.none",)))
    assert caplog.messages == ["Given wildcard pattern did not match any file: *.none"]


PARTS = st.text("abcXYZ019_- é", min_size=1, max_size=8).filter(lambda part: part.strip() and part != "MAR-INF")
PATHS = st.lists(PARTS, min_size=1, max_size=3).map("/".join)


VERSIONS = st.text("0123456789.", min_size=1, max_size=5).filter(lambda version: version not in (".", ".."))


@st.composite
def trees(draw: st.DrawFn) -> dict[str, bytes]:
    """Files by path, no path the directory of another."""
    files = draw(st.dictionaries(PATHS, st.binary(max_size=200), max_size=6))
    return {path: data for path, data in files.items() if not any(other.startswith(f"{path}/") for other in files)}


@given(files=trees(), archive_format=st.sampled_from(FORMATS), version=VERSIONS)
@settings(max_examples=100, deadline=None)
def test_what_is_packaged_is_what_is_opened(files, archive_format, version):
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "in").mkdir()
        for path, data in files.items():
            (directory / "in" / path).parent.mkdir(parents=True, exist_ok=True)
            (directory / "in" / path).write_bytes(data)
        archive = write_archive(
            ArchiveSpec(
                model_name="m",
                handler="base_handler",
                version=version,
                extra_files=(str(directory / "in"),),
                export_path=directory / "out",
                archive_format=archive_format,
            )
        )
        model = open_archive(archive, directory / "unpacked")
        found = {str(f.relative_to(model.directory)): f.read_bytes() for f in model.directory.rglob("*") if f.is_file()}
        del found[MANIFEST_PATH]
        assert found == files
        assert model.manifest == read_manifest(archive)
        assert (model.manifest.handler, model.manifest.model_version) == ("base_handler", version)
        model.remove()
        assert not model.is_temporary or list((directory / "unpacked").iterdir()) == []


@pytest.mark.parametrize("version", ["", ".", "..", "1/2", "1\n"])
def test_a_version_that_no_request_could_name_is_refused(tmp_path, source, version):
    with pytest.raises(PackagingError, match="cannot stand in a URL"):
        write_archive(spec(source, tmp_path, version=version))
