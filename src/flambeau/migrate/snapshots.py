"""The newest snapshot, which a server restores when it is started without a properties file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from flambeau.archive.described import exists
from flambeau.errors import ConfigError
from flambeau.migrate.findings import Finding, Severity
from flambeau.migrate.settings import read_properties

_KEY = "model_snapshot"
_DOC = "docs/configuration.md"


def check_snapshots(folder: Path, store: Path) -> Iterator[Finding]:
    """
    Args:
        folder: that of the snapshots, which need not be there.
        store: where their archives are.
    """
    try:
        newest = max(folder.glob("*.cfg"), key=lambda path: path.stat().st_mtime_ns, default=None)
        if newest is None:
            return
        properties = read_properties(newest)
        names = _archives(next((value for key, value, _ in properties if key == _KEY), "{}"))
    except (ConfigError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        yield Finding(
            severity=Severity.CHANGE,
            what=f"the newest snapshot cannot be read: {' '.join(str(error).split())}",
            todo="delete it, or start with --ncs",
            file=str(folder),
            doc=_DOC,
        )
        return
    gone = [name for name in names if not exists(store / name.lstrip("/")) and not exists(Path(name))]
    if gone:
        yield Finding(
            severity=Severity.CHANGE,
            what=f"the newest snapshot names {', '.join(gone)}, which is not in the store: torchserve does not start",
            todo="put it back, delete the snapshot, or start with --ncs",
            file=newest.name,
            doc=_DOC,
        )
    elif names:
        yield Finding(
            severity=Severity.NOTE,
            what=f"torchserve without --ncs and --ts-config restores its models: {', '.join(sorted(names))}",
            file=newest.name,
            doc=_DOC,
        )


def _archives(snapshot: str) -> set[str]:
    models = json.loads(snapshot).get("models", {})
    return {str(saved["marName"]) for versions in models.values() for saved in versions.values()}
