"""The report of ``flambeau migrate``, for a terminal and as Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from rich.text import Text

from flambeau.cli.display import console, harmless, table
from flambeau.migrate.findings import Finding, ModelReport, Report, Severity, Trial, Verdict

_STYLES = {Severity.BLOCKS: "red", Severity.CHANGE: "yellow", Severity.DIFFERS: "cyan", Severity.NOTE: "dim"}
_VERDICT_STYLES = {
    Verdict.RUNS: "green",
    Verdict.DIFFERS: "green",
    Verdict.NOT_TRIED: "dim",
    Verdict.CHANGE: "yellow",
    Verdict.BLOCKED: "red",
}


def print_report(report: Report) -> None:
    """A table of the models, then what was found, the gravest first."""
    out = console()
    rows = table("model", "version", "archive", "verdict", "handler loads")
    for model in report.models:
        verdict = Text(model.verdict.value, _VERDICT_STYLES[model.verdict])
        rows.add_row(
            harmless(model.name), harmless(model.version), harmless(model.source), verdict, _trial(model.trial)
        )
    out.print(rows)
    for title, findings in _sections(report):
        out.print()
        out.print(Text(harmless(title), "bold"), soft_wrap=True)
        for finding in findings:
            place = " ".join(filter(None, (finding.place, finding.key)))
            line = Text.assemble(
                (f"  {finding.severity.value:<8}", _STYLES[finding.severity]), f"{place}: " if place else ""
            )
            line.append(harmless(finding.what))
            out.print(line, soft_wrap=True)
            if finding.todo:
                out.print(Text(f"          {harmless(finding.todo)}", "bold"), soft_wrap=True)
            if finding.doc:
                out.print(Text(f"          {finding.doc}", "dim"), soft_wrap=True)
    out.print()
    if report.packages:
        out.print(f"pip install {_quoted(report.packages)}", soft_wrap=True)
    out.print(Text(summary(report), "bold"), soft_wrap=True)


def markdown(report: Report) -> str:
    """The same as a page."""
    lines = ["# Migration report", ""]
    lines += [f"- model store: `{report.store}`", f"- properties: `{report.config or 'none'}`"]
    lines += [f"- Python: {report.python}", "", summary(report), ""]
    lines += ["| model | version | archive | verdict | handler loads |", "|---|---|---|---|---|"]
    for model in report.models:
        cells = (model.name, model.version, model.source, model.verdict.value, _trial(model.trial))
        lines.append(f"| {' | '.join(_cell(cell) for cell in cells)} |")
    for title, findings in _sections(report):
        lines += ["", f"## {_cell(title)}", "", "| | where | what | what to do | more |", "|---|---|---|---|---|"]
        for finding in findings:
            place = " ".join(filter(None, (finding.place, finding.key)))
            cells = (finding.severity.value, place, finding.what, finding.todo, finding.doc)
            lines.append(f"| {' | '.join(_cell(cell) for cell in cells)} |")
    if report.packages:
        lines += ["", "```bash", f"pip install {_quoted(report.packages)}", "```"]
    return "\n".join(lines) + "\n"


def summary(report: Report) -> str:
    """How many models there are, by verdict."""
    counts = Counter(model.verdict for model in report.models)
    models = "; ".join(f"{verdict.value}: {counts[verdict]}" for verdict in Verdict if counts[verdict])
    return f"Models: {len(report.models)}. {models}."


def _sections(report: Report) -> Iterator[tuple[str, list[Finding]]]:
    """Findings by what they are about; nothing of what has none."""
    if report.findings:
        yield "the server", _gravest_first(report.findings)
    for model in report.models:
        if model.findings:
            yield _title(model), _gravest_first(model.findings)


def _title(model: ModelReport) -> str:
    return f"{model.name} {model.version} ({model.source})" if model.version else model.source


def _gravest_first(findings: Iterable[Finding]) -> list[Finding]:
    order = list(Severity)
    return sorted(findings, key=lambda finding: order.index(finding.severity))


def _trial(trial: Trial | None) -> str:
    if trial is None:
        return "not tried"
    return f"in {trial.seconds:.1f} s" if trial.loaded else "no"


def _quoted(packages: Iterable[str]) -> str:
    return " ".join(f"'{package}'" if set(package) & set("<>=! ;[]~") else package for package in packages)


def _cell(text: str) -> str:
    return harmless(" ".join(text.split())).replace("|", "\\|")
