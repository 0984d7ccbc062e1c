"""Models with real architectures, made once a session, and handlers that serve them."""

from __future__ import annotations

import io
import itertools
import json
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from flambeau.request import EXPLAIN, InferenceRequest, Purpose
from flambeau.runtime import LoadedHandler, load_handler

torch = pytest.importorskip("torch", reason="handlers of models need torch")
pytest.importorskip("torchvision", reason="handlers of images need torchvision: pip install torchvision")
PIL = pytest.importorskip("PIL.Image", reason="handlers of images need Pillow: pip install pillow")

Files = Mapping[str, str | bytes]


@pytest.fixture(autouse=True)
def _own_path_and_modules() -> Iterator[None]:
    """Models that a test loads leave nothing behind for the next."""
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name in ("handler", "net"):
            del sys.modules[name]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Small models gain nothing from threads, and lose much to them where other tests keep the cores busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def serve(tmp_path: Path) -> Callable[..., LoadedHandler]:
    """``serve("image_classifier", {"net.pt": …}, serializedFile="net.pt")``: a handler of an archive with these files.

    ``options`` are further ones of ``load_handler``.
    """

    made = itertools.count()

    def make(handler: str, files: Files, *, options: Mapping[str, Any] | None = None, **model: Any) -> LoadedHandler:
        folder = tmp_path / f"model-{next(made)}"
        (folder / "MAR-INF").mkdir(parents=True)
        manifest = {"model": {"modelName": "m", "modelVersion": "1.0", "handler": handler, **model}}
        (folder / "MAR-INF" / "MANIFEST.json").write_text(json.dumps(manifest))
        for name, content in files.items():
            (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return load_handler(folder, max_response_bytes=1 << 26, **(options or {}))

    return make


@pytest.fixture
def request_of() -> Callable[..., InferenceRequest]:
    """``request_of(body)`` or ``request_of(data=…, target=…)``; JSON where it is neither bytes nor text."""

    def make(body: Any = None, *, explain: bool = False, **fields: Any) -> InferenceRequest:
        values = fields if body is None else {"body": body, **fields}
        return InferenceRequest(
            "id-0",
            [EXPLAIN] if explain else [],
            [(name, *_encoded(value)) for name, value in values.items()],
            Purpose.EXPLAIN if explain else Purpose.PREDICT,
        )

    return make


@pytest.fixture
def answers() -> Callable[..., list[Any]]:
    """``answers(handler, request, …)``: what the clients get, of requests that must not fail."""

    def run(handler: LoadedHandler, *requests: InferenceRequest) -> list[Any]:
        replies = handler.run(list(requests))
        assert [(reply.error, bytes(reply.body) if reply.error else b"") for reply in replies] == [(0, b"")] * len(
            replies
        )
        return [json.loads(bytes(reply.body)) for reply in replies]

    return run


@pytest.fixture
def refusal() -> Callable[..., tuple[int, str]]:
    """``refusal(handler, request)``: status and sentence of a request that the handler rejects."""

    def run(handler: LoadedHandler, request: InferenceRequest) -> tuple[int, str]:
        (reply,) = handler.run([request])
        assert reply.error
        return reply.status, bytes(reply.body).decode()

    return run


@pytest.fixture(scope="session")
def picture() -> Callable[..., bytes]:
    """``picture(width, height, mode, format)``: a picture with something in it, the same each time."""

    def make(width: int = 96, height: int = 64, mode: str = "RGB", kind: str = "PNG") -> bytes:
        generator = torch.Generator().manual_seed(width * height)
        pixels = torch.randint(0, 256, (height, width, 3), generator=generator, dtype=torch.uint8)
        buffer = io.BytesIO()
        PIL.fromarray(pixels.numpy()).convert(mode).save(buffer, kind)
        return buffer.getvalue()

    return make


@pytest.fixture(scope="session")
def scripted() -> Callable[[Any], bytes]:
    """A module as TorchScript."""

    def make(module: Any) -> bytes:
        buffer = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.jit is deprecated
            torch.jit.save(torch.jit.script(module), buffer)
        return buffer.getvalue()

    return make


@pytest.fixture(scope="session")
def state_dict() -> Callable[[Any], bytes]:
    """A module's weights."""

    def make(module: Any) -> bytes:
        buffer = io.BytesIO()
        torch.save(module.state_dict(), buffer)
        return buffer.getvalue()

    return make


def _encoded(value: Any) -> tuple[str, bytearray]:
    if isinstance(value, (bytes, bytearray)):
        return "", bytearray(value)
    if isinstance(value, str):
        return "text/plain", bytearray(value.encode())
    return "application/json", bytearray(json.dumps(value).encode())
