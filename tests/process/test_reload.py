"""``flambeau serve --reload``: files change while the model is served."""

from __future__ import annotations

import threading
from pathlib import Path

import httpx
import pytest

from flambeau.archive.plan import ArchiveSpec, plan_archive
from flambeau.archive.writer import write_plan
from tests.serving import ServerProcess, wait_for, write_model

ANSWERING = "def handle(data, context):\n    return data and [{!r} for row in data]\n"


def save(path: Path, text: str) -> None:
    """As editors do it: whole at once."""
    draft = path.with_name(f"{path.name}.draft")
    draft.write_text(text)
    draft.rename(path)


def pack(folder: Path, answer: str, version: str) -> Path:
    (folder / "handler.py").write_text(ANSWERING.format(answer))
    spec = ArchiveSpec(
        model_name="packed", handler=str(folder / "handler.py"), version=version, export_path=folder, force=True
    )
    return write_plan(plan_archive(spec))


@pytest.fixture
def serve(tmp_path):
    """Starts a server that watches; it is stopped after the test."""
    started = []

    def serve(model: Path | str) -> ServerProcess:
        server = ServerProcess(model, folder=tmp_path / "server", options=["--reload", "--workers", "1"])
        started.append(server.__enter__())
        return server

    yield serve
    for server in started:
        server.__exit__(None, None, None)


def answer(server: ServerProcess, model: str) -> str:
    reply = httpx.post(f"{server.inference}/predictions/{model}", content=b"x", trust_env=False)
    assert reply.status_code == 200, reply.text
    return reply.text


def test_a_change_is_served_and_no_request_is_lost(serve, tmp_path):
    folder = write_model(tmp_path, "m", ANSWERING.format("old"))
    server = serve(folder)
    answers: list[str] = []
    is_over = threading.Event()

    def ask() -> None:
        while not is_over.is_set():
            answers.append(answer(server, "m"))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        save(folder / "handler.py", ANSWERING.format("new"))
        wait_for("new answer", lambda: "new" in answers or not asking.is_alive(), 30)
    finally:
        is_over.set()
        asking.join()
    assert list(dict.fromkeys(answers)) == ["old", "new"]
    assert f"m 1.0 reloaded: {folder}/handler.py has changed" in server.output()
    assert len(server.describe("m")[0]["workers"]) == 1  # type: ignore[arg-type]


def test_what_does_not_load_is_named_and_the_old_one_stays_until_it_is_mended(serve, tmp_path):
    folder = write_model(tmp_path, "m", ANSWERING.format("old"))
    server = serve(folder)
    save(folder / "handler.py", "raise RuntimeError('a slip')\n")
    wait_for("complaint", lambda: "Model m stays what it was" in server.output(), 30)
    assert "a slip" in server.output()
    assert answer(server, "m") == "old"
    save(folder / "handler.py", ANSWERING.format("mended"))
    wait_for("mended answer", lambda: answer(server, "m") == "mended", 30)


def test_a_load_that_is_out_of_date_is_given_up(serve, tmp_path):
    folder = write_model(tmp_path, "m", ANSWERING.format("old"))
    server = serve(folder)
    reached = tmp_path / "reached"
    save(folder / "handler.py", f"import pathlib, time\npathlib.Path({str(reached)!r}).touch()\ntime.sleep(1000)\n")
    wait_for("load that hangs", reached.exists, 30)
    save(folder / "handler.py", ANSWERING.format("new"))
    wait_for("new answer", lambda: answer(server, "m") == "new", 30)


def test_an_archive_that_is_replaced_is_served_with_its_new_version(serve, tmp_path):
    server = serve(pack(tmp_path, "old", "1.0"))
    pack(tmp_path, "new", "2.0")
    wait_for("new answer", lambda: answer(server, "packed") == "new", 30)
    assert [version["modelVersion"] for version in server.describe("packed")] == ["2.0"]


def test_an_archive_that_is_broken_or_of_another_model_is_not_served(serve, tmp_path):
    archive = pack(tmp_path, "old", "1.0")
    server = serve(archive)
    save(archive, "no archive")
    wait_for("complaint", lambda: "neither a zip file" in server.output(), 30)
    spec = ArchiveSpec(model_name="other", handler=str(tmp_path / "handler.py"), version="1.0", export_path=tmp_path)
    write_plan(plan_archive(spec)).rename(archive)
    wait_for("complaint", lambda: "is called other now" in server.output(), 30)
    assert answer(server, "packed") == "old"


def test_an_object_is_reloaded_with_what_it_imports_and_logs_beside_it_do_not_matter(serve, tmp_path):
    folder = tmp_path / "server"
    folder.mkdir()
    (folder / "words.py").write_text("WORD = 'old'\n")
    (folder / "app.py").write_text("from words import WORD\n\ndef answer(rows):\n    return [WORD for row in rows]\n")
    server = serve(f"{folder}/app.py:answer")  # which writes its logs to this folder
    assert answer(server, "answer") == "old"
    save(folder / "words.py", "WORD = 'new'\n")
    wait_for("new answer", lambda: answer(server, "answer") == "new", 30)
    assert server.output().count("answer 1.0 reloaded: ") == 1
