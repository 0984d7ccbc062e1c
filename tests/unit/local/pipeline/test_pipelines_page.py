"""``docs/pipelines.md`` says what pipelines do."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import pytest
import yaml

from flambeau.local.pipeline.description import KEYS, describe_pipeline
from flambeau.local.pipeline.graph import Link, plan_of
from flambeau.local.pipeline.torchpipe import NOT_SUPPORTED

PAGE = (Path(__file__).parents[4] / "docs" / "pipelines.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def test_the_examples_hold():
    exec("\n".join(blocks("python")), {"__name__": "examples"})


def test_the_files_are_pipelines():
    toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    documents = [*map(yaml.safe_load, blocks("yaml")), *map(toml.loads, blocks("toml"))]
    assert len(documents) == 2
    for document in documents:
        stages = describe_pipeline(document, "page").stages
        assert plan_of([Link(stage.name, stage.after, stage.map) for stage in stages]).steps


@pytest.mark.parametrize("key", sorted(KEYS))
def test_every_key_is_on_the_page(key: str):
    snake = re.sub(r"[A-Z]", lambda letter: f"_{letter[0].lower()}", key)
    assert f"`{key}`" in PAGE or f"`{snake}`" in PAGE


@pytest.mark.parametrize("key", sorted(NOT_SUPPORTED))
def test_every_key_of_torchpipe_that_is_refused_is_on_the_page(key: str):
    assert f"`{key}`" in PAGE
