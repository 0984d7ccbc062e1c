"""Writes the tables of ``docs/configuration.md`` from the tables of settings: ``python -m flambeau.config.document``.

The page's text is written by hand; each table stands between two comments that name it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from flambeau.config.model import ModelConfig
from flambeau.config.model_settings import MODEL_SETTINGS_BY_GROUP, ModelSetting
from flambeau.config.model_settings import Group as ModelGroup
from flambeau.config.server import ServerConfig
from flambeau.config.settings import SETTINGS_BY_GROUP, EnvironmentRule, Group, ServerSetting
from flambeau.config.sources import read_field

PAGE = Path("docs/configuration.md")

_GENERATED = re.compile(r"(<!-- begin: (?P<name>[a-z ]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def with_current_tables(page: str) -> str:
    """The page with every table as the settings are now.

    Raises:
        KeyError: the page asks for a table that there is not.
    """
    return _GENERATED.sub(lambda match: f"{match[1]}\n{_TABLES[match['name']]()}\n{match[3]}", page)


def _server_tables() -> str:
    sections = []
    for group, settings in SETTINGS_BY_GROUP.items():
        if group is not Group.WITHOUT_EFFECT:
            head = ("Key", "Type", "Default", "Variable", "Option", "Meaning")
            sections.append(f"### {group.value}\n\n{_table(head, map(_server_row, settings))}")
    return "\n".join(sections)


def _server_row(setting: ServerSetting) -> tuple[str, ...]:
    value = read_field(ServerConfig(), setting)
    written = "" if value is None or value == {} else setting.type.format(value)
    default = setting.default or _code(written)
    return (
        _code(setting.key),
        setting.type.name,
        default,
        _variable(setting),
        _code(setting.option),
        setting.help,
    )


def _variable(setting: ServerSetting) -> str:
    if setting.variable is None:
        return ""
    always = setting.environment_rule in (EnvironmentRule.ALWAYS, EnvironmentRule.PROTOCOL)
    return _code(setting.variable) + (" (always)" if always else "")


def _model_tables() -> str:
    sections = []
    for group, settings in MODEL_SETTINGS_BY_GROUP.items():
        if group is not ModelGroup.WITHOUT_EFFECT:
            head = ("Key", "Type", "Default", "Register parameter", "In `models`", "Meaning")
            sections.append(f"### {group.value}\n\n{_table(head, map(_model_row, settings))}")
    return "\n".join(sections)


def _model_row(setting: ModelSetting) -> tuple[str, ...]:
    return (
        _code(setting.key),
        setting.type.name,
        setting.default or _code(setting.type.format(_model_default(setting))),
        _code(setting.parameter),
        "yes" if setting.is_model_property else "",
        setting.help,
    )


def _model_default(setting: ModelSetting) -> object:
    value: object = ModelConfig()
    for name in setting.field.split("."):
        value = getattr(value, name)
    return value


def _without_effect() -> str:
    server = ((_code(row.key), "server", row.without_effect) for row in SETTINGS_BY_GROUP[Group.WITHOUT_EFFECT])
    model = (
        (_code(row.key), "model", row.without_effect) for row in MODEL_SETTINGS_BY_GROUP[ModelGroup.WITHOUT_EFFECT]
    )
    return _table(("Key", "Of", "Why"), (*server, *model))


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


_TABLES: Mapping[str, Callable[[], str]] = {
    "server settings": _server_tables,
    "model settings": _model_tables,
    "settings without effect": _without_effect,
}


def main() -> None:
    """Bring the page up to date; it is looked for under the working directory."""
    if not PAGE.is_file():
        sys.exit(f"{PAGE} not found: run this at the root of the repository")
    PAGE.write_text(with_current_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
