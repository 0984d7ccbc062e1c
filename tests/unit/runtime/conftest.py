"""Requests and model folders for tests of the runtime."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flambeau.request import InferenceRequest
from flambeau.runtime import LoadedHandler, load_handler


@pytest.fixture(autouse=True)
def _own_path_and_modules() -> Iterator[None]:
    """Models that a test loads leave nothing behind for the next."""
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if not name.startswith(("torch", "flambeau", "ts", "yaml", "numpy")):
            del sys.modules[name]


@pytest.fixture
def request_of() -> Callable[..., InferenceRequest]:
    """``request_of(b"body")`` or ``request_of(name=value, ...)``, with ``headers`` as text."""

    def make(
        body: bytes | None = None,
        *,
        content_type: str = "",
        request_id: str = "id-0",
        headers: dict[str, str] | None = None,
        **parameters: bytes,
    ) -> InferenceRequest:
        values = parameters if body is None else {"body": body, **parameters}
        return InferenceRequest(
            request_id,
            [(name.encode(), value.encode()) for name, value in (headers or {}).items()],
            [(name, content_type, bytearray(value)) for name, value in values.items()],
        )

    return make


@pytest.fixture
def model_dir(tmp_path: Path) -> Callable[..., Path]:
    """``model_dir({"handler.py": source}, manifest_model_section)`` writes a model's folder."""
    made = 0

    def make(files: dict[str, str], model: dict[str, Any] | None = None) -> Path:
        nonlocal made
        folder = tmp_path / f"model{made}"
        made += 1
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))
        if model is not None:
            (folder / "MAR-INF").mkdir(parents=True)
            (folder / "MAR-INF" / "MANIFEST.json").write_text(json.dumps({"model": model}))
        return folder

    return make


@pytest.fixture
def load(model_dir: Callable[..., Path]) -> Callable[..., LoadedHandler]:
    """``load(source)``: a handler from the source of its file."""

    def make(source: str, **arguments: Any) -> LoadedHandler:
        return load_handler(model_dir({"handler.py": source}), handler="handler.py", model_name="m", **arguments)

    return make
