"""The documentation says what the code does."""

import re
from pathlib import Path

from typer.main import get_command

from flambeau.cli.main import app
from flambeau.config.document import with_current_tables
from flambeau.config.settings import SERVER_SETTINGS

ROOT = Path(__file__).parent.parent


def test_the_configuration_page_describes_every_setting_as_it_is():
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert page == with_current_tables(page), "stale: run python -m flambeau.config.document"


def test_every_option_that_a_setting_names_exists():
    serve = get_command(app).commands["serve"]
    existing = {name for parameter in serve.params for name in (*parameter.opts, *parameter.secondary_opts)}
    named = {name for setting in SERVER_SETTINGS.values() for name in setting.option.split(" / ")}
    assert named - existing - {"", "MODEL…"} == set()


def test_every_page_can_be_reached_from_the_readme():
    found = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        found.add(page)
        for target in re.findall(r"\]\(([^)#:]+\.md)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            linked = (page.parent / target).resolve()
            assert linked.exists(), f"{page.name} links to {target}, which is not there"
            if linked not in found:
                waiting.append(linked)
    assert set((ROOT / "docs").glob("*.md")) - found == set()
