"""``model_archiver`` as a library."""

from __future__ import annotations

import json
import zipfile

import pytest

from model_archiver import ModelArchiver, ModelArchiverConfig
from model_archiver.model_archiver_error import ModelArchiverError
from model_archiver.model_packaging import generate_model_archive


@pytest.fixture
def handler(tmp_path):
    path = tmp_path / "handler.py"
    path.write_text("def handle(data, context):\n    return data\n")
    return str(path)


def test_an_archive_is_written_where_the_configuration_says(tmp_path, handler):
    (tmp_path / "labels.json").write_text("{}")
    (tmp_path / "net.pt").write_bytes(b"weights")
    config = ModelArchiverConfig(
        model_name="m",
        handler=f"{handler}:handle",
        version="2.0",
        serialized_file=str(tmp_path / "net.pt"),
        extra_files=f"{tmp_path / 'labels.json'}",
        export_path=str(tmp_path),
    )
    ModelArchiver.generate_model_archive(config)
    with zipfile.ZipFile(tmp_path / "m.mar") as archive:
        assert {"handler.py", "labels.json", "net.pt"} <= set(archive.namelist())
        manifest = json.loads(archive.read("MAR-INF/MANIFEST.json"))
    assert manifest["model"]["handler"] == "handler.py:handle"
    assert manifest["model"]["modelVersion"] == "2.0"


def test_the_current_directory_is_the_default(tmp_path, handler, monkeypatch):
    monkeypatch.chdir(tmp_path)
    generate_model_archive(ModelArchiverConfig("m", "image_classifier", "1.0", archive_format="no-archive"))
    assert (tmp_path / "m" / "MAR-INF" / "MANIFEST.json").is_file()


def test_an_archive_that_exists_is_replaced_only_by_force(tmp_path, handler):
    config = ModelArchiverConfig("m", handler, "1.0", export_path=str(tmp_path))
    generate_model_archive(config)
    with pytest.raises(ModelArchiverError, match="already exists"):
        generate_model_archive(config)
    config.force = True
    generate_model_archive(config)


def test_what_is_probably_not_meant_is_logged(tmp_path, handler, caplog):
    config = ModelArchiverConfig("m", handler, "1.0", extra_files=str(tmp_path / "*.none"), export_path=str(tmp_path))
    generate_model_archive(config)
    assert "*.none" in caplog.text
