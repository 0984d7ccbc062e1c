"""The published torchpipe report, redone on this machine: Flambeau, torchpipe and thrift in one run, a table a section.

``python -m benchmarks.local`` from the repository's root. Sides are interleaved: in each round every side of a section
is started, warmed, measured and stopped in turn, so that what changes on the machine meanwhile changes for all. A side
that cannot run is left out with the reason. Ends with status 1 where one of Flambeau's could not or, with ``--check``,
a bound was missed.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress, TaskID

from benchmarks.local_report.archives import pack_resnet
from benchmarks.local_report.load import LoadFailed, Window
from benchmarks.local_report.page import page
from benchmarks.local_report.published import SOURCE
from benchmarks.local_report.sections import FLAMBEAU, SECTIONS, Section
from benchmarks.local_report.sides import Setup, peer_versions
from benchmarks.local_report.tables import Findings, as_csv, bounds_grid, json_report, missing_lines, section_grid
from benchmarks.processes import ServerFailed, stop_servers_on_sigterm
from benchmarks.report import MET, machine, markdown, progress_bar

TITLE = "Local calls: the published torchpipe report, redone"
OWN_PACKAGES = ("flambeau", "torch", "torchvision", "grpcio", "httptools")
PEER_PACKAGES = ("torchpipe", "omniback", "thrift")
console = Console(stderr=True)


@dataclass(frozen=True)
class Plan:
    """How long and how often."""

    rounds: int
    seconds: float
    warm_up_s: float
    peers_python: Path


def measure(section: Section, plan: Plan, progress: Progress, bar: TaskID) -> Findings:
    """All rounds of one section."""
    findings = Findings(section)
    with tempfile.TemporaryDirectory(prefix="local-") as name:
        folder = Path(name)
        row = folder / "row"
        row.write_bytes(section.row())
        for number in range(1, plan.rounds + 1):
            for batch_size in section.batch_sizes:
                archive = pack_resnet(section.network, folder, batch_size=batch_size) if section.network else None
                setup = Setup(batch_size=batch_size, row=row, archive=archive, peers_python=plan.peers_python)
                for side in section.sides:
                    progress.update(bar, description=f"{section.name}, round {number} of {plan.rounds}: {side}")
                    if side not in findings.missing:
                        _measure_side(findings, side, setup, plan)
                    progress.advance(bar)
    return findings


def _measure_side(findings: Findings, side: str, setup: Setup, plan: Plan) -> None:
    section = findings.section
    try:
        with section.sides[side](setup) as sample_with:
            for clients in section.clients:
                window = Window.after(plan.warm_up_s, plan.seconds * section.longer)
                findings.add(side, setup.batch_size, clients, sample_with(clients, window))
    except (LoadFailed, ServerFailed) as error:
        findings.give_up(side, str(error))


def facts(plan: Plan) -> dict[str, object]:
    """What the figures depend on: machine, versions, lengths."""
    versions = {name: _own_version(name) for name in OWN_PACKAGES} | peer_versions(plan.peers_python, PEER_PACKAGES)
    return {
        **machine(),
        **versions,
        "rounds": plan.rounds,
        "seconds": f"{plan.seconds:g} after {plan.warm_up_s:g} of warm-up",
        "figures": "median over the rounds (lowest to highest); ratios are taken within each round",
    }


def _own_version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def as_markdown(all_findings: list[Findings], about: dict[str, object]) -> str:
    lines = [f"# {TITLE}", "", *(f"- {key}: {value}" for key, value in about.items())]
    lines += [f"- published figures: {SOURCE}, on another machine", ""]
    for findings in all_findings:
        lines += [markdown(section_grid(findings)), *(f"{line}\n" for line in missing_lines(findings))]
        lines += [markdown(bounds_grid(findings))]
    return "\n".join(lines)


def write_all(folder: Path, all_findings: list[Findings], about: dict[str, object]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    folder.joinpath("report.md").write_text(as_markdown(all_findings, about))
    folder.joinpath("results.csv").write_text(as_csv(all_findings))
    folder.joinpath("results.json").write_text(json_report(all_findings, about))
    folder.joinpath("page.html").write_text(page(all_findings, about, TITLE))


def main(
    section: Annotated[list[str] | None, typer.Option(help=f"Of: {', '.join(SECTIONS)}. May be repeated.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often each side is measured.")] = 5,
    seconds: Annotated[float, typer.Option(min=0.1, help="Length of each measurement; ResNets take twice that.")] = 3,
    warm_up: Annotated[float, typer.Option(min=0.1, help="Seconds of load before each that are not counted.")] = 1,
    quick: Annotated[
        bool, typer.Option(help="One round of short measurements: whether all runs, not how fast.")
    ] = False,
    peers_python: Annotated[Path, typer.Option(help="Python of the peers' environment.")] = Path(
        ".venv-peers/bin/python"
    ),
    json_file: Annotated[Path | None, typer.Option("--json", help="Write every run to this file.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write report.md, results.csv, results.json, page.html here.")
    ] = None,
    check: Annotated[bool, typer.Option(help="Fail unless every bound is kept.")] = False,
) -> None:
    """Redo the published torchpipe report with Flambeau beside torchpipe and thrift."""
    names = section or list(SECTIONS)
    unknown = set(names) - set(SECTIONS)
    if unknown:
        raise typer.BadParameter(f"no such section: {', '.join(sorted(unknown))}", param_hint="--section")
    if out and find_spec("plotly") is None:
        raise typer.BadParameter("the page's plots need plotly: pip install 'flambeau[report]'", param_hint="--out")
    plan = Plan(rounds, seconds, warm_up, peers_python.absolute())
    if quick:
        plan = Plan(1, 0.5, 0.3, plan.peers_python)
    chosen = [SECTIONS[name] for name in names]
    with progress_bar(console) as progress:
        steps = sum(plan.rounds * len(one.batch_sizes) * len(one.sides) for one in chosen)
        bar = progress.add_task("", total=steps)
        all_findings = [measure(one, plan, progress, bar) for one in chosen]

    about = facts(plan)
    sys.stdout.write(as_markdown(all_findings, about))
    if json_file:
        json_file.write_text(json_report(all_findings, about))
    if out:
        write_all(out, all_findings, about)
    is_complete = not any(side.startswith(FLAMBEAU) for findings in all_findings for side in findings.missing)
    all_met = all(row[-1] == MET for findings in all_findings for row in bounds_grid(findings).rows)
    if not is_complete or (check and not all_met):
        raise typer.Exit(1)


if __name__ == "__main__":
    stop_servers_on_sigterm()
    typer.run(main)
