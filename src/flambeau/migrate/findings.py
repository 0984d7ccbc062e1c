"""What was found, as values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

PAGE = "docs/migrating-from-torchserve.md"
TO_DO = f"{PAGE}#what-to-do"
DIFFERENCES = f"{PAGE}#what-behaves-differently"
MISSING = f"{PAGE}#what-is-not-there"
CONFIGURATION = "docs/configuration.md"


class Severity(str, Enum):
    """How much a finding matters, the most first."""

    BLOCKS = "blocks"
    """The model, or the server, does not run like this."""
    CHANGE = "change"
    """Something is to be changed, or a part of it will not work."""
    DIFFERS = "differs"
    """It runs, and behaves otherwise."""
    NOTE = "note"
    """Worth knowing; as it was with TorchServe."""

    @property
    def needs_attention(self) -> bool:
        return self in (Severity.BLOCKS, Severity.CHANGE)


class Verdict(str, Enum):
    """What is to be said of a whole model."""

    RUNS = "runs"
    DIFFERS = "runs, with differences"
    NOT_TRIED = "not tried"
    CHANGE = "needs a change"
    BLOCKED = "does not run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing, and where it is written."""

    severity: Severity
    what: str
    """A clause, without a full stop."""
    todo: str = ""
    """What to change, or how to have it as it was; empty where there is nothing to do."""
    file: str = ""
    line: int | None = None
    key: str = ""
    """The setting; empty where it is not about one."""
    package: str = ""
    """What pip is to install; empty where it is not about that."""
    doc: str = ""

    @property
    def place(self) -> str:
        """``config.properties:12``; empty where there is none."""
        return self.file if self.line is None else f"{self.file}:{self.line}"

    def as_dict(self) -> dict[str, Any]:
        shown = {name: getattr(self, name) for name in ("what", "todo", "file", "line", "key", "package", "doc")}
        return {
            "severity": self.severity.value,
            **{name: value for name, value in shown.items() if value not in ("", None)},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What came of loading a handler."""

    loaded: bool
    seconds: float
    problem: str = ""
    """Why it did not load, in a line."""
    place: str = ""
    """File and line of the model's code that it happened at, as far as that is known."""
    missing_module: str = ""

    def as_dict(self) -> dict[str, Any]:
        shown = {"problem": self.problem, "place": self.place, "missingModule": self.missing_module}
        seconds = round(self.seconds, 2)
        return {"loaded": self.loaded, "seconds": seconds, **{key: text for key, text in shown.items() if text}}


@dataclass(slots=True, kw_only=True)
class ModelReport:
    """One archive or folder of the store."""

    source: str
    """Its name there."""
    name: str
    version: str = ""
    handler: str = ""
    findings: list[Finding] = field(default_factory=list)
    trial: Trial | None = None
    """None: it was not tried."""
    says_workers: bool = True
    """Whether it, or the ``models`` property, says how many workers it wants."""

    @property
    def verdict(self) -> Verdict:
        severities = {finding.severity for finding in self.findings}
        if Severity.BLOCKS in severities:
            return Verdict.BLOCKED
        if Severity.CHANGE in severities:
            return Verdict.CHANGE
        if self.trial is None:
            return Verdict.NOT_TRIED
        return Verdict.DIFFERS if Severity.DIFFERS in severities else Verdict.RUNS

    def as_dict(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "name": self.name,
            "version": self.version,
            "handler": self.handler,
            "verdict": self.verdict.value,
            "trial": None if self.trial is None else self.trial.as_dict(),
            "findings": [finding.as_dict() for finding in self.findings],
        }


@dataclass(slots=True, kw_only=True)
class Report:
    """A whole installation."""

    store: str
    config: str
    """The properties file; empty where there is none."""
    python: str
    """Version and path of the interpreter that models were tried in, which is the one that would serve them."""
    findings: list[Finding] = field(default_factory=list)
    """About no single model."""
    models: list[ModelReport] = field(default_factory=list)

    @property
    def needs_attention(self) -> bool:
        return any(finding.severity.needs_attention for finding in self.all_findings())

    @property
    def packages(self) -> list[str]:
        """What pip is to install, all together."""
        return sorted({finding.package for finding in self.all_findings() if finding.package})

    def all_findings(self) -> Iterator[Finding]:
        yield from self.findings
        for model in self.models:
            yield from model.findings

    def as_dict(self) -> dict[str, Any]:
        return {
            "store": self.store,
            "config": self.config,
            "python": self.python,
            "needsAttention": self.needs_attention,
            "install": self.packages,
            "findings": [finding.as_dict() for finding in self.findings],
            "models": [model.as_dict() for model in self.models],
        }
