import os
import socket
import socketserver
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from flambeau.archive.download import DownloadLimits
from flambeau.archive.store import ModelStore, is_remote
from flambeau.config.server import DEFAULT_ALLOWED_URLS
from flambeau.errors import DownloadFailed, ModelFileExists, ModelNotFound

CONTENT = b"archive" * 1000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "store").mkdir()
    return tmp_path / "store"


def store(root: Path | None, *, allowed: tuple[str, ...] = DEFAULT_ALLOWED_URLS, private: bool = True, **limits: float):
    return ModelStore(root, Path("/nowhere"), allowed, private, limits=DownloadLimits(**limits))


# Names


def test_a_name_stands_for_a_file_or_directory_of_the_store(root):
    (root / "m.mar").write_text("")
    (root / "d").mkdir()
    assert store(root).resolve("m.mar") == root / "m.mar"
    assert store(root).resolve("d") == root / "d"


def test_absolute_paths_need_no_store(tmp_path):
    assert store(None).resolve(str(tmp_path)) == tmp_path


def test_an_absolute_path_is_looked_up_in_the_store_first(root):
    (root / "m.mar").write_text("")
    assert store(root).resolve("/m.mar") == root / "m.mar"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "empty url"),
        ("../m.mar", "Relative path is not allowed in url: ../m.mar"),
        ("a/../../m.mar", "Relative path is not allowed in url: a/../../m.mar"),
        ("none.mar", "Model not found at: none.mar"),
        ("/none.mar", "Model not found at: /none.mar"),
        ("a\0b", "Model not found at: a\0b"),
        ("x" * 5000, "Model not found at: " + "x" * 5000),
    ],
)
def test_names_of_nothing_are_not_found_in_torchserves_words(root, url, message):
    with pytest.raises(ModelNotFound) as raised:
        store(root).resolve(url)
    assert raised.value.message == message


def test_without_a_store_names_cannot_be_resolved_listed_or_fetched():
    for call in (lambda s: s.resolve("m.mar"), lambda s: s.list_all(), lambda s: s.fetch("http://h/m.mar")):
        with pytest.raises(ModelNotFound, match=r"Model store has not been configured\."):
            call(store(None))


def test_all_means_archives_and_directories_that_are_not_hidden(root):
    for name in ("b.mar", "a.model", "c.tar.gz", ".hidden.mar", "notes.txt", "d.tgz"):
        (root / name).write_text("")
    (root / "dir").mkdir()
    (root / ".cache").mkdir()
    assert store(root).list_all() == ["a.model", "b.mar", "c.tar.gz", "dir"]


def test_archives_are_unpacked_in_the_models_directory_of_the_temp_directory(root):
    assert store(root).unpack_root == Path("/nowhere/models")


@pytest.mark.parametrize(
    ("url", "remote"),
    [("http://h/m.mar", True), ("HTTPS://h", True), ("file:///m", True), ("m.mar", False), ("s3://b/m", False)],
)
def test_three_schemes_are_fetched(url, remote):
    assert is_remote(url) is remote


# Fetching over HTTP


class Site(BaseHTTPRequestHandler):
    """Answers each path in its own way."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/redirect.mar":
            self.answer(302, b"", Location="/real.mar")
        elif path == "/loop.mar":
            self.answer(302, b"", Location="/loop.mar")
        elif path == "/to-file.mar":
            self.answer(302, b"", Location="file:///etc/passwd")
        elif path == "/elsewhere.mar":
            self.answer(302, b"", Location=f"http://localhost:{self.server.server_address[1]}/real.mar")
        elif path == "/missing.mar":
            self.answer(404, b"not here")
        elif path == "/short.mar":
            self.answer(200, CONTENT, **{"Content-Length": str(len(CONTENT) + 1)})
        elif path == "/drip.mar":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            self.server.hang.wait(30)
        elif path == "/unending.mar":
            self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\nsome")
            self.server.hang.wait(30)
        else:
            self.answer(200, CONTENT)

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # HTTPServer's asks DNS for its own name
        self.server_name, self.server_port = self.server_address[:2]


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with Server(("127.0.0.1", 0), Site) as server:
        server.hang = threading.Event()
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.hang.set()
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/dir/m.mar", "m.mar"),
        ("/m.mar?token=a/b", "m.mar"),
        ("/redirect.mar", "redirect.mar"),
        ("/a%20b.mar", "a b.mar"),
    ],
)
def test_a_download_lands_in_the_store_under_the_last_part_of_its_path(root, site, path, name):
    fetched = store(root).fetch(site + path)
    assert fetched == root / name
    assert fetched.read_bytes() == CONTENT
    assert os.listdir(root) == [name]


def test_what_was_downloaded_can_be_removed_and_nothing_else(root, site, tmp_path):
    models = store(root)
    fetched = models.fetch(f"{site}/m.mar")
    models.remove_downloaded(fetched)
    models.remove_downloaded(fetched)
    assert os.listdir(root) == []
    with pytest.raises(ValueError, match="was not downloaded to this store"):
        models.remove_downloaded(tmp_path / "other.mar")


@pytest.mark.parametrize("path", ["missing.mar", "short.mar", "loop.mar"])
def test_a_failed_download_is_reported_in_torchserves_words_and_leaves_nothing(root, site, path):
    with pytest.raises(DownloadFailed) as raised:
        store(root).fetch(f"{site}/{path}")
    assert raised.value.message == f"Failed to download archive from: {site}/{path}"
    assert os.listdir(root) == []


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/m.mar", "http://h:99999/m.mar", "http:///m.mar", "http://[x/m.mar"]
)
def test_a_url_that_leads_nowhere_is_a_failed_download_or_not_found(root, url):
    with pytest.raises((DownloadFailed, ModelNotFound)):
        store(root).fetch(url)
    assert os.listdir(root) == []


def test_private_addresses_are_refused_by_default_with_the_reason(root, site):
    with pytest.raises(DownloadFailed, match="private addresses are not allowed, see allow_private_urls"):
        store(root, private=False).fetch(f"{site}/m.mar")
    assert os.listdir(root) == []


def test_a_redirect_is_checked_against_the_allowed_urls_again(root, site):
    allowed = store(root, allowed=(r"http://127\.0\.0\.1.*",))
    with pytest.raises(ModelNotFound, match=r"Given URL http://localhost.* does not match any allowed URL"):
        allowed.fetch(f"{site}/elsewhere.mar")
    assert os.listdir(root) == []


def test_a_redirect_never_leads_to_a_file(root, site):
    with pytest.raises(DownloadFailed):
        store(root).fetch(f"{site}/to-file.mar")
    assert os.listdir(root) == []


def test_a_url_that_no_pattern_matches_whole_is_not_found_in_torchserves_words(root, site):
    with pytest.raises(ModelNotFound) as raised:
        store(root, allowed=("https://good.example/.*", "http")).fetch(f"{site}/m.mar")
    assert raised.value.message == f"Given URL {site}/m.mar does not match any allowed URL(s)"


def test_letter_case_does_not_matter_to_patterns(root, site):
    assert store(root, allowed=("HTTP://127.*",)).fetch(f"{site}/m.mar").exists()


def test_a_file_of_the_store_is_not_overwritten(root, site):
    (root / "m.mar").write_text("mine")
    with pytest.raises(ModelFileExists, match=r"Model file already exists m\.mar"):
        store(root).fetch(f"{site}/m.mar")
    assert (root / "m.mar").read_text() == "mine"


@pytest.mark.parametrize("path", ["", "dir/", ".hidden.mar", "%2e%2e", "a%2Fb.mar", "a%00b.mar", "x" * 300])
def test_a_path_that_names_no_file_is_not_found(root, site, path):
    with pytest.raises(ModelNotFound):
        store(root).fetch(f"{site}/{path}")
    assert os.listdir(root) == []


def test_a_download_over_the_size_limit_is_cut_off(root, site):
    with pytest.raises(DownloadFailed, match="larger than 100 bytes"):
        store(root, max_bytes=100).fetch(f"{site}/m.mar")
    assert os.listdir(root) == []


@pytest.mark.parametrize("path", ["drip.mar", "unending.mar"])
@pytest.mark.parametrize("limit", ["timeout_s", "total_timeout_s"])
def test_a_server_that_does_not_finish_is_given_up(root, site, path, limit):
    with pytest.raises(DownloadFailed):
        store(root, **{limit: 0.2}).fetch(f"{site}/{path}")
    assert os.listdir(root) == []


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\n\r\nsome"])
def test_downloads_under_way_are_interrupted_and_later_ones_do_not_begin(root, site, answer):
    models = store(root)
    with socket.create_server(("127.0.0.1", 0)) as slow, ThreadPoolExecutor(1) as threads:
        fetched = threads.submit(models.fetch, f"http://127.0.0.1:{slow.getsockname()[1]}/m.mar")
        connection, _ = slow.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(answer)
            models.interrupt()
            with pytest.raises(DownloadFailed):
                fetched.result(10)
    with pytest.raises(DownloadFailed):
        models.fetch(f"{site}/m.mar")
    assert os.listdir(root) == []


# Fetching files


def test_a_file_url_is_copied_into_the_store(root, tmp_path):
    (tmp_path / "a b.mar").write_bytes(CONTENT)
    assert store(root, private=False).fetch(f"file://{tmp_path}/a%20b.mar").read_bytes() == CONTENT


@pytest.mark.parametrize("what", ["missing", "directory", "pipe", "device", "other host"])
def test_a_file_url_of_anything_else_is_a_failed_download(root, tmp_path, what):
    os.mkfifo(tmp_path / "pipe.mar")
    urls = {
        "missing": f"file://{tmp_path}/none.mar",
        "directory": f"file://{tmp_path}",
        "pipe": f"file://{tmp_path}/pipe.mar",
        "device": "file:///dev/zero",
        "other host": "file://host/m.mar",
    }
    with pytest.raises(DownloadFailed):
        store(root).fetch(urls[what])
    assert os.listdir(root) == []


def test_a_file_over_the_size_limit_is_not_copied(root, tmp_path):
    (tmp_path / "m.mar").write_bytes(CONTENT)
    with pytest.raises(DownloadFailed, match="larger than"):
        store(root, max_bytes=100).fetch(f"file://{tmp_path}/m.mar")
