"""Lines of a server's logs, taken apart: which log, when, which level, which model."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum


class LogKind(str, Enum):
    """What to look at."""

    SERVER = "server"
    MODEL = "model"
    ACCESS = "access"
    METRICS = "metrics"


FILES = {
    LogKind.SERVER: ("ts_log.log",),
    LogKind.MODEL: ("model_log.log",),
    LogKind.ACCESS: ("access_log.log",),
    LogKind.METRICS: ("ts_metrics.log", "model_metrics.log"),
}

_ENTRY = re.compile(
    r"(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d,\d{3})(?: \[(?P<level>\w+) *\] (?P<place>.*?))? - (?P<text>.*)"
)
_WORKER = re.compile(r"W-\d+-(?P<model>.+)_(?P<version>[^_]+)-std(?:out|err) ")
_REQUEST = re.compile(r'/(?P<client>\S+) "(?P<method>\S+) (?P<target>.+) HTTP/[\d.]+" (?P<status>\d+) (?P<ms>\d+)')
_MODEL_ROUTES = ("predictions", "explanations", "models", "v1/models", "v2/models")


@dataclass(slots=True)
class Entry:
    """One entry of a log."""

    kind: LogKind
    time: datetime
    """Local, without a zone: as it is written."""
    level: str
    """Empty where the log has none."""
    place: str
    """Thread and logger; empty where the log has none."""
    lines: list[str] = field(default_factory=list)
    """The message; a traceback's lines follow."""

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def is_about(self, model: str) -> bool:
        """Whether it names a model."""
        return _IS_ABOUT[self.kind](self, model)

    def fields(self) -> dict[str, object]:
        """For JSON; an entry of the access log is taken apart further."""
        shown: dict[str, object] = {
            "time": self.time.astimezone().isoformat(timespec="milliseconds"),
            "kind": self.kind.value,
        }
        if self.level:
            shown["level"] = self.level
        if worker := _WORKER.match(self.place):
            shown |= worker.groupdict()
        request = _REQUEST.fullmatch(self.text) if self.kind is LogKind.ACCESS else None
        if request is None:
            return {**shown, "message": self.text}
        status, milliseconds = int(request["status"]), int(request["ms"])
        return {**shown, **request.groupdict(), "status": status, "ms": milliseconds}


def begin_entry(kind: LogKind, line: str) -> Entry | None:
    """The entry that a line begins; None: it belongs to the one before."""
    match = _ENTRY.fullmatch(line)
    if match is None:
        return None
    try:
        time = datetime.strptime(match["time"], "%Y-%m-%dT%H:%M:%S,%f")
    except ValueError:
        return None
    return Entry(kind, time, match["level"] or "", match["place"] or "", [match["text"]])


def _is_request_for(entry: Entry, model: str) -> bool:
    request = _REQUEST.fullmatch(entry.text)
    if request is None:
        return False
    path = request["target"].partition("?")[0].strip("/")
    return any(re.match(rf"{route}/{re.escape(model)}(?![^/:])", path) for route in _MODEL_ROUTES)


def _is_line_of(entry: Entry, model: str) -> bool:
    worker = _WORKER.match(entry.place)
    return worker is not None and worker["model"] == model


def _is_metric_of(entry: Entry, model: str) -> bool:
    return re.search(rf"\b(?:ModelName|model_name):{re.escape(model)}(?![^,|])", entry.text) is not None


def _mentions(entry: Entry, model: str) -> bool:
    name = re.escape(model)
    return re.search(rf"(?<![\w.-]){name}(?![\w-])|\bW-\d+-{name}_", entry.text) is not None


_IS_ABOUT: dict[LogKind, Callable[[Entry, str], bool]] = {
    LogKind.SERVER: _mentions,
    LogKind.MODEL: _is_line_of,
    LogKind.ACCESS: _is_request_for,
    LogKind.METRICS: _is_metric_of,
}
