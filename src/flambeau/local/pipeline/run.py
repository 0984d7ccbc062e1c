"""Pipelines: graphs of stages as one function of a row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from threading import Event
from time import monotonic, perf_counter
from typing import Any

from flambeau.archive.described import DESCRIPTION_SUFFIXES
from flambeau.errors import ConfigError, ForkedModel, ModelClosed, QueueFull
from flambeau.local.calls import LocalCallable
from flambeau.local.loading import load_model
from flambeau.local.pipeline.description import Description, describe_pipeline
from flambeau.local.pipeline.drawing import draw
from flambeau.local.pipeline.files import read_document
from flambeau.local.pipeline.graph import ROW, Step, plan_of
from flambeau.local.pipeline.member import Member, Terms
from flambeau.local.pipeline.progress import Progress
from flambeau.local.pipeline.sources import SourceFinder
from flambeau.local.pipeline.stage import Stage
from flambeau.local.pipeline.walk import Walk
from flambeau.local.settings import LoadSettings
from flambeau.local.sources import find_source


class Pipeline(LocalCallable):
    """Stages linked to one thread-safe function of a row. Each stage batches on its own, with the rows of all callers.

    A call walks through the stages in the calling thread; where several are due at once, the others run beside it. Rows
    that are submitted go from stage to stage without a thread waiting for them. Values are handed on as they are.
    """

    def __init__(self, stages: Iterable[Stage], *, name: str = "pipeline") -> None:
        """Check the graph, and load what is not loaded yet.

        Raises:
            ConfigError: the graph cannot be run, or a stage that is loaded already is given settings.
            Exception: what loading a stage raised. Those loaded before it are closed again.
        """
        self.name = name
        given = list(stages)
        for stage in given:
            if not isinstance(stage, Stage):
                raise ConfigError("stages", repr(stage), "is not a flambeau.Stage")
        self._plan = plan_of([stage.link for stage in given])
        self._under_way: list[None] = []  # an entry for each row: appending and popping need no lock
        self._is_closing = False
        self._idle = Event()
        self._members: list[Member] = []
        try:
            for step in self._plan.steps:
                self._members.append(_member(given[step.position]))
        except BaseException:
            self.close()
            raise
        self._conditions = [member.stage.when for member in self._members]
        self._chain: list[Member] | None = None
        if self._plan.is_chain and all(condition is None for condition in self._conditions):
            self._chain = [member for member in self._members if member.model is not None]
        self._has_stage_timeouts = any(stage.timeout_s is not None for stage in given)

    @classmethod
    def from_file(cls, path: str | Path) -> Pipeline:
        """The pipeline that a YAML or TOML file describes. Paths in it start at the file's folder.

        Raises:
            ConfigError: the file cannot be read, or says something that cannot be used.
            Exception: what loading a stage raised.
        """
        return cls._from_file(Path(path), ())

    @classmethod
    def from_dict(cls, document: Mapping[str, Any], *, folder: str | Path = ".", name: str = "pipeline") -> Pipeline:
        """The pipeline that the contents of such a file describe.

        Args:
            folder: where relative paths start.
            name: of the pipeline, unless the document says one.

        Raises:
            ConfigError: the document says something that cannot be used.
            Exception: what loading a stage raised.
        """
        return cls._described(describe_pipeline(document, name), Path(folder), ())

    @classmethod
    def _from_file(cls, path: Path, within: tuple[Path, ...]) -> Pipeline:
        """
        Args:
            within: the files that are being read because one names the next, the outermost first.
        """
        resolved = path.resolve()
        if resolved in within:
            circle = " → ".join(file.name for file in (*within[within.index(resolved) :], resolved))
            raise ConfigError("run", circle, "pipelines that are stages of themselves", str(path))
        document = read_document(path)
        try:
            return cls._described(describe_pipeline(document, path.stem), path.parent, (*within, resolved))
        except ConfigError as error:
            raise (error if error.source else error.at(str(path))) from error.__cause__

    @classmethod
    def _described(cls, description: Description, folder: Path, within: tuple[Path, ...]) -> Pipeline:
        opened: list[Pipeline] = []

        def open_pipeline(path: Path) -> Pipeline:
            opened.append(cls._from_file(path, within))
            return opened[-1]

        try:
            finder = SourceFinder(folder, open_pipeline)
            pipeline = cls([finder.stage(stage) for stage in description.stages], name=description.name)
        except BaseException:
            for inner in opened:
                inner.close()
            raise
        for member in pipeline._members:
            member.is_own = member.is_own or member.model in opened
        return pipeline

    def wrap_stages(self, wrap: Callable[[str, LocalCallable], LocalCallable]) -> None:
        """Put something around the model of each stage that has one, such as a tool that watches it. Not while rows are
        under way.

        Args:
            wrap: from a stage's name and model to what is to run in its place, and to close it.
        """
        for member in self._members:
            if member.model is not None:
                member.run_by(wrap(member.name, member.model))

    def __call__(self, row: Any, *, timeout_s: float | None = None, priority: int = 0) -> Any:
        try:
            self._under_way.append(None)  # inside: an interrupt right after it must not leave it there
            if self._is_closing:
                raise ModelClosed(self.name)
            if self._chain is None:
                return self._walk(row, timeout_s, priority, None).run()
            if timeout_s is not None or priority or self._has_stage_timeouts:
                return self._follow(self._chain, row, Terms(self.name, timeout_s, priority, None))
            try:
                began = perf_counter()
                for member in self._chain:
                    row = member.call(row)
                    now = perf_counter()
                    member.took(now - began)
                    began = now
            except Exception as error:  # the border of a stage: whatever it raises is its failure
                failed = Terms(self.name, None, 0, None).failure(member.stage, error)
                raise failed from failed.__cause__
            return row
        finally:
            self._leave()

    def _follow(self, chain: Sequence[Member], row: Any, terms: Terms) -> Any:
        """The same with terms, which each stage must be told."""
        for member in chain:
            began = perf_counter()
            try:
                row = member.call(row, timeout_s=terms.left_in_s(member.stage), priority=terms.priority)
            except Exception as error:  # the border of a stage: whatever it raises is its failure
                failed = terms.failure(member.stage, error)
                raise failed from failed.__cause__
            member.took(perf_counter() - began)
        return row

    def submit(self, row: Any, *, timeout_s: float | None = None, priority: int = 0) -> Future[Any]:
        return self.submit_row(row, None, timeout_s=timeout_s, priority=priority)

    def submit_row(
        self, row: Any, number: int | None, *, timeout_s: float | None = None, priority: int = 0
    ) -> Future[Any]:
        self._under_way.append(None)
        if self._is_closing:
            self._leave()
            raise ModelClosed(self.name)
        walk = self._walk(row, timeout_s, priority, number)
        walk.answer.add_done_callback(self._leave)
        walk.start()
        refused = walk.answer.done() and walk.answer.exception()
        if isinstance(refused, (QueueFull, ModelClosed, ForkedModel)):
            raise refused
        return walk.answer

    def close(self, timeout_s: float | None = None) -> bool:
        """Accept no more rows, answer those accepted, and close the stages that this pipeline loaded."""
        deadline = None if timeout_s is None else monotonic() + timeout_s
        self._is_closing = True
        if not self._under_way:
            self._idle.set()
        answered = self._idle.wait(timeout_s)
        for member in self._members:
            if member.is_own and member.model is not None:
                left = None if deadline is None else max(0.0, deadline - monotonic())
                answered = member.model.close(left) and answered
        return answered

    def describe(self) -> dict[str, Any]:
        """Name and graph, and of each stage its links, times and model: values that JSON can say.

        ``meanTimeMs`` is over the last rows, from being handed to a stage to being handed back, with the waiting for a
        batch and a worker in it; None before the first row.
        """
        means = {member.name: member.mean_s() for member in self._members}
        known = {name: mean for name, mean in means.items() if mean is not None}
        return {
            "name": self.name,
            "graph": self._drawing(),
            "slowestStage": max(known, key=known.__getitem__, default=None),
            "stages": [self._describe_stage(step, means) for step in self._plan.steps],
        }

    def __repr__(self) -> str:
        return f"<Pipeline {self.name!r}: {self._drawing()}>"

    def _window(self) -> int:
        return max(1, sum(member.model._window() for member in self._members if member.model is not None))

    def _walk(self, row: Any, timeout_s: float | None, priority: int, number: int | None) -> Walk:
        terms = Terms(self.name, timeout_s, priority, number)
        return Walk(self._members, Progress(self._plan, self._conditions, row), terms)

    def _leave(self, _: object = None) -> None:
        """A row is no longer under way."""
        self._under_way.pop()
        if self._is_closing and not self._under_way:
            self._idle.set()

    def _drawing(self) -> str:
        return draw(self._plan, {member.name: _label(member.stage) for member in self._members})

    def _describe_stage(self, step: Step, means: Mapping[str, float | None]) -> dict[str, Any]:
        member = self._members[step.slot - 1]
        mean = means[step.name]
        names = [ROW, *(other.name for other in self._plan.steps)]
        return {
            "name": step.name,
            "after": [names[slot] for slot in step.waits_for] or [ROW],
            "map": dict(member.stage.map) if isinstance(member.stage.map, Mapping) else member.stage.map,
            "isConditional": member.stage.when is not None,
            "timeout": member.stage.timeout_s,
            "meanTimeMs": None if mean is None else mean * 1000,
            "model": None if member.model is None else member.model.describe(),
        }


def _member(stage: Stage) -> Member:
    """The stage with what runs it, loaded unless it is already."""
    source = None if stage.run is None else find_source(stage.run)
    if source is None or isinstance(source, LocalCallable):
        _refuse_settings(stage, "runs nothing" if source is None else "is loaded already; say it when it is loaded")
        return Member(stage, source, is_own=False)
    if isinstance(source, Path) and source.suffix in DESCRIPTION_SUFFIXES:
        _refuse_settings(stage, "is a pipeline; say it of its stages")
        return Member(stage, Pipeline.from_file(source), is_own=True)
    try:
        return Member(stage, load_model(source, stage.name, LoadSettings(**stage.settings)), is_own=True)
    except ConfigError as error:
        raise ConfigError(f"{stage.name}.{error.key}", error.value, error.problem, error.source) from error


def _refuse_settings(stage: Stage, problem: str) -> None:
    for key, value in stage.settings.items():
        raise ConfigError(f"{stage.name}.{key}", repr(value), f"the stage {problem}")


def _label(stage: Stage) -> str:
    """A stage in the drawing of its pipeline."""
    sizes = {"workers": stage.workers, "processes": stage.processes, "batch": stage.batch_size}
    said = ", ".join(f"{word} {size}" for word, size in sizes.items() if size is not None)
    return stage.name + ("" if stage.when is None else "?") + (f" ({said})" if said else "")
