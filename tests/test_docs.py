"""The documentation says what the code does."""

from pathlib import Path

from flambeau.config.document import with_current_tables

ROOT = Path(__file__).parent.parent


def test_the_configuration_page_describes_every_setting_as_it_is():
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert page == with_current_tables(page), "stale: run python -m flambeau.config.document"
