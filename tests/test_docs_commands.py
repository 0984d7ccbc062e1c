"""What README and docs tell people to type exists: make targets, commands with their options, files linked to."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from flambeau.cli.main import app

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def page_name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def shell_lines(page: Path) -> Iterator[str]:
    """Commands of the page's ``bash`` blocks, and those after a prompt in its ``console`` blocks."""
    for language, block in re.findall(r"^```(bash|console)\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
        for line in block.replace("\\\n", " ").splitlines():
            if language == "bash":
                yield line
            elif line.startswith("$ "):
                yield line.removeprefix("$ ")


def commands(program: str) -> list[tuple[Path, list[str]]]:
    """Each use of a program in the pages, as a list of arguments."""
    found = []
    for page in PAGES:
        for line in shell_lines(page):
            words = shlex.split(line, comments=True)
            if words and words[0] == program:
                found.append((page, words[1:]))
    return found


def test_pages_use_the_commands_that_are_checked_here():
    assert commands("flambeau")
    assert commands("make")


def test_make_targets_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page, words in commands("make"):
        named = {word for word in words if "=" not in word}
        assert named <= targets, page_name(page)


def test_flambeau_commands_parse():
    command = typer.main.get_command(app)
    for page, (name, *arguments) in commands("flambeau"):
        if name.startswith("-"):
            continue
        assert name in command.commands, f"{page_name(page)}: flambeau {name}"
        try:
            command.commands[name].make_context(name, arguments)
        except Exception as error:
            pytest.fail(f"{page_name(page)}: flambeau {name} {shlex.join(arguments)}: {error}")


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_links_to_files_of_the_project_lead_somewhere(page: Path):
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
    local = [target for target in targets if not re.match(r"[a-z]+:", target)]
    assert [target for target in local if not (page.parent / target).exists()] == []
