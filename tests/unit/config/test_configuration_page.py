import pytest

from flambeau.config.document import with_current_tables
from flambeau.config.model_settings import MODEL_SETTINGS
from flambeau.config.settings import SERVER_SETTINGS

PAGE = """before
<!-- begin: server settings -->
stale
<!-- end -->
between
<!-- begin: model settings -->
<!-- end -->
<!-- begin: settings without effect -->
<!-- end -->
after
"""


def test_every_setting_is_in_a_table():
    page = with_current_tables(PAGE)
    assert [key for key in (*SERVER_SETTINGS, *MODEL_SETTINGS) if f"| `{key}` |" not in page] == []


def test_only_the_tables_are_replaced_and_a_second_time_changes_nothing():
    page = with_current_tables(PAGE)
    assert page.startswith("before\n")
    assert page.endswith("<!-- end -->\nafter\n")
    assert "stale" not in page
    assert with_current_tables(page) == page


def test_a_table_that_does_not_exist_is_an_error():
    with pytest.raises(KeyError):
        with_current_tables("<!-- begin: nothing -->\n<!-- end -->")
