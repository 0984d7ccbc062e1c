"""``flambeau serve --show-config``: every setting, its value and where it comes from."""

from __future__ import annotations

import json

from rich.console import Console
from rich.table import Table

from flambeau.config.settings import SERVER_SETTINGS
from flambeau.config.sources import DEFAULT, LoadedConfig


def print_config(loaded: LoadedConfig, *, as_json: bool) -> None:
    """Print to stdout: a table, or a JSON object of ``{"value", "origin"}`` by key. Unset values are empty or null."""
    settings = [
        (key, loaded.config.effective_properties.get(key), loaded.origins[key])
        for key, setting in SERVER_SETTINGS.items()
        if not setting.without_effect
    ]
    if as_json:
        print(json.dumps({key: {"value": value, "origin": origin} for key, value, origin in settings}, indent=2))
        return
    table = Table("setting", "value", "origin", box=None, pad_edge=False)
    for key, value, origin in settings:
        table.add_row(key, value or "", origin, style="dim" if origin == DEFAULT else None)
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 1000  # one setting a line, for grep
    console.print(table)
