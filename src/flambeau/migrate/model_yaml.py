"""A model's YAML file, key by key, with the lines that they stand in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from flambeau.config.model_settings import MODEL_SETTINGS
from flambeau.migrate.findings import CONFIGURATION, DIFFERENCES, MISSING, Finding, Severity


def check_yaml(text: str, file: str) -> Iterator[Finding]:
    """What is to be said of each key that the server reads; the others are the handler's."""
    try:
        node = yaml.compose(text, yaml.SafeLoader)
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        what = f"it is not YAML: {getattr(error, 'problem', None) or error}"
        yield Finding(severity=Severity.BLOCKS, what=what, file=file, line=mark.line + 1 if mark else None)
        return
    if document is None:
        return
    if not isinstance(document, dict) or not isinstance(node, yaml.MappingNode):
        yield Finding(severity=Severity.BLOCKS, what="it is not a mapping of settings", file=file, line=1)
        return
    lines = {key.value: key.start_mark.line + 1 for key, _ in node.value if isinstance(key, yaml.ScalarNode)}
    for key, setting in MODEL_SETTINGS.items():
        if key not in document:
            continue
        value = document[key]
        if setting.without_effect:
            if value:
                yield Finding(
                    severity=Severity.CHANGE,
                    what=f"it has no effect: {setting.without_effect}",
                    file=file,
                    line=lines.get(key),
                    key=key,
                    doc=MISSING,
                )
            continue
        try:
            setting.type.parse(value)
        except ValueError as error:
            yield Finding(
                severity=Severity.NOTE,
                what=f"{value!r} {error}: it is ignored, as TorchServe ignored it",
                file=file,
                line=lines.get(key),
                key=key,
                doc=CONFIGURATION,
            )
    yield from _differences(document, lines, file)


def _differences(document: Mapping[str, Any], lines: Mapping[str, int], file: str) -> Iterator[Finding]:
    batch_size = document.get("batchSize")
    if isinstance(batch_size, int) and batch_size > 1 and "batchPolicy" not in document:
        yield Finding(
            severity=Severity.DIFFERS,
            what="a free worker does not wait for requests that cannot come, so batches may be smaller and sooner",
            todo="batchPolicy: fixed brings TorchServe's rule back",
            file=file,
            line=lines.get("batchSize"),
            key="batchSize",
            doc=DIFFERENCES,
        )
