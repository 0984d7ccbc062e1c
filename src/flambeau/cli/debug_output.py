"""What ``flambeau debug`` says: on the terminal as it happens, or as one JSON object."""

from __future__ import annotations

import json
import pdb
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.text import Text

from flambeau.cli.display import console, harmless, show_answer, table
from flambeau.cli.latency import summarize
from flambeau.debug.frames import own_traceback
from flambeau.debug.session import OpenModel
from flambeau.debug.trace import StageCall
from flambeau.errors import HandlerFailed, ServingError
from flambeau.frontends.http.asgi import reason_phrase
from flambeau.frontends.http.errors import error_body, error_status
from flambeau.request import InferenceReply, MetricUpdate
from flambeau.scheduling.dispatcher import error_of

_BODY_CHARACTERS = 2000
"""Of an answer that are shown; all of it is what `flambeau predict` is for."""


class HttpAnswer(NamedTuple):
    """A reply as a client sees it."""

    status: int
    phrase: str
    content_type: str
    """Empty where the server would say none."""
    body: bytes

    @classmethod
    def of(cls, reply: InferenceReply) -> HttpAnswer:
        error: ServingError | None = error_of(reply) if reply.error else None
        if reply.status < 200:
            error = HandlerFailed()
        if error is not None:
            status = error_status(error)
            return cls(status, reason_phrase(status), "application/json", error_body(error))
        content_type = next((value for name, value in reply.headers if name.lower() == "content-type"), "")
        body = b"" if isinstance(reply.body, int) else bytes(reply.body)
        return cls(reply.status, reply.phrase or reason_phrase(reply.status), content_type, body)


class TerminalOutput:
    """Prints as it happens; of repetitions, the first whole and all together the times."""

    def __init__(self, *, post_mortem: bool) -> None:
        """``post_mortem``: whether to open the debugger where something was raised."""
        self.has_failed = False
        self._post_mortem = post_mortem
        self._out = console()
        self._seconds: dict[str, list[float]] = {}
        self._batches = 0

    def opened(self, model: OpenModel) -> None:
        self._title(f"{model.name} {model.version}")
        self._line("handler", model.handler)
        self._line("folder", str(model.folder))

    def stage(self, call: StageCall) -> None:
        self._seconds.setdefault(call.stage, []).append(call.seconds)
        if self._batches:
            return
        self._title(call.stage, _milliseconds(call.seconds))
        if call.given:
            self._line("given", call.given)
        if call.gave:
            self._line("gave", call.gave)
        if call.error:
            self._line("raised", call.error, "red")

    def replied(self, replies: Sequence[InferenceReply], metrics: Sequence[MetricUpdate]) -> None:
        self._batches += 1
        answers = [HttpAnswer.of(reply) for reply in replies]
        self.has_failed = self.has_failed or any(answer.status >= 400 for answer in answers)
        if self._batches > 1:
            return
        for answer in answers:
            kind = answer.content_type or "no content type"
            self._title("answer", f"{answer.status} {answer.phrase}, {kind}, {len(answer.body)} bytes")
            self._show_body(answer)
        if metrics:
            self._title("metrics")
            for metric in metrics:
                dimensions = ", ".join(f"{name}={value}" for name, value in metric.dimensions)
                self._line(metric.name, f"{metric.value:g} {metric.unit} ({metric.kind}; {dimensions})")

    def failed(self, error: BaseException, folder: Path) -> None:
        self.has_failed = True
        self._title("failed")
        self._out.print(harmless(own_traceback(error, folder)), style="red", end="", soft_wrap=True)
        if self._post_mortem:
            pdb.post_mortem(error.__traceback__)

    def finish(self) -> None:
        """All batches are over."""
        if self._batches < 2:
            return
        self._title("times", f"{self._batches} batches, ms")
        figures = {stage: summarize(seconds) for stage, seconds in self._seconds.items() if len(seconds) > 1}
        rows = table("stage", *next(iter(figures.values()), {}))
        for stage, summary in figures.items():
            rows.add_row(stage, *(f"{value:.3f}" for value in summary.values()))
        self._out.print(rows)

    def _show_body(self, answer: HttpAnswer) -> None:
        if len(answer.body) > _BODY_CHARACTERS:
            shown = answer.body[:_BODY_CHARACTERS].decode(errors="replace")
            self._out.print(f"{harmless(shown)}…", soft_wrap=True)
        elif answer.body and not show_answer(answer.body, answer.content_type):
            self._line("bytes", answer.body[:16].hex(" "))

    def _title(self, title: str, remark: str = "") -> None:
        self._out.print(
            Text.assemble((f"{harmless(title):<12}", "bold"), " ", (harmless(remark), "cyan")), soft_wrap=True
        )

    def _line(self, label: str, text: str, style: str = "") -> None:
        self._out.print(Text.assemble((f"  {label:<8} ", "dim"), (harmless(text), style)), soft_wrap=True)


class JsonOutput:
    """Gathers everything, and prints it at the end."""

    def __init__(self) -> None:
        self.has_failed = False
        self._document: dict[str, object] = {}
        self._stages: list[dict[str, object]] = []
        self._batches: list[dict[str, object]] = []
        self._error: dict[str, object] | None = None

    def opened(self, model: OpenModel) -> None:
        self._document |= {"model": model.name, "version": model.version, "handler": model.handler}

    def stage(self, call: StageCall) -> None:
        shown: dict[str, object] = {"stage": call.stage, "ms": round(call.seconds * 1000, 3)}
        shown |= {
            key: text for key, text in (("given", call.given), ("gave", call.gave), ("error", call.error)) if text
        }
        self._stages.append(shown)

    def replied(self, replies: Sequence[InferenceReply], metrics: Sequence[MetricUpdate]) -> None:
        answers = [HttpAnswer.of(reply) for reply in replies]
        self.has_failed = self.has_failed or any(answer.status >= 400 for answer in answers)
        self._batches.append(
            {
                "answers": [_answer(answer) for answer in answers],
                "metrics": [
                    {"name": one.name, "value": one.value, "unit": one.unit, "kind": one.kind, **dict(one.dimensions)}
                    for one in metrics
                ],
            }
        )

    def failed(self, error: BaseException, folder: Path) -> None:
        self.has_failed = True
        summary = traceback.format_exception_only(error)[-1].strip()
        self._error = {"error": summary, "traceback": own_traceback(error, folder)}

    def finish(self) -> None:
        """Print it."""
        document = {**self._document, "stages": self._stages, "batches": self._batches, "failure": self._error}
        print(json.dumps(document, indent=2))


def _answer(answer: HttpAnswer) -> dict[str, object]:
    """The body as JSON or text where it is that, else its size alone."""
    shown: dict[str, object] = {"status": answer.status, "contentType": answer.content_type, "bytes": len(answer.body)}
    try:
        return {**shown, "body": json.loads(answer.body)}
    except (ValueError, RecursionError):
        pass
    try:
        return {**shown, "body": answer.body.decode()}
    except UnicodeDecodeError:
        return shown


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.3f} ms"
