"""The specification of a workflow: a YAML file that lists models with their settings and links nodes to a graph."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import yaml

from flambeau.archive.manifest import can_stand_in_url
from flambeau.errors import InvalidWorkflow
from flambeau.workflows.graph import Graph

MAX_SPEC_BYTES = 1 << 20
"""A specification has some lines for each node. The limit keeps a hostile one from being parsed at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """How a node is served and called."""

    min_workers: int = 1
    max_workers: int = 1
    """So many are started."""
    batch_size: int = 1
    max_batch_delay_s: float = 0.05
    retry_attempts: int = 1
    """How often a call that failed or took too long is made again."""
    timeout_s: float = 10.0
    """Of each attempt, from the queue to the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One node of a workflow."""

    name: str
    url: str | None
    """The model's archive. None: the node is a function of the workflow's handler."""
    settings: NodeSettings

    @property
    def is_function(self) -> bool:
        return self.url is None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowSpec:
    """What a specification says."""

    settings: NodeSettings
    """What holds for every model that does not say otherwise."""
    nodes: tuple[Node, ...]
    """Those of the graph, each after its parents."""
    graph: Graph
    warnings: tuple[str, ...]
    """What is allowed but probably not meant: one sentence each."""

    @property
    def functions(self) -> list[str]:
        """The nodes that are functions of the handler."""
        return [node.name for node in self.nodes if node.is_function]


def parse_spec(text: str, name: str) -> WorkflowSpec:
    """Read a specification.

    Args:
        name: of the file, for messages.

    Raises:
        InvalidWorkflow: it is not YAML, says something twice, or a value cannot be used; says where.
        InvalidGraph: its nodes cannot be run one after the other.
    """
    document = _load(text, name)
    models = _mapping(document.get("models") or {}, f"{name}: models")
    links = _mapping(document.get("dag"), f"{name}: dag")
    place = f"{name}: models"
    common = _settings(NodeSettings(), models, place)
    warnings: list[str] = []
    served: dict[str, Node] = {}
    for key, value in models.items():
        if isinstance(value, dict):
            _check_node_name(key, place)
            served[key] = _model(key, value, common, f"{place}: {key}", warnings)
        elif key not in _SETTINGS:
            warnings.append(f"{place}: {key} is neither a setting nor a model; it is ignored.")
    graph = Graph.linking({node: _successors(value, f"{name}: dag: {node}") for node, value in links.items()})
    nodes = tuple(served.get(node) or _function(node, common, f"{name}: dag") for node in graph.parents)
    warnings += [
        f"{place}: {node} is not in the dag, so it is not served." for node in served if node not in graph.parents
    ]
    return WorkflowSpec(settings=common, nodes=nodes, graph=graph, warnings=tuple(warnings))


class _StrictLoader(yaml.SafeLoader):
    """Refuses a key that stands twice in one mapping: of two nodes with one name, one would be lost without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            if isinstance(key_node, yaml.ScalarNode):
                if key_node.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"{key_node.value} appears twice", key_node.start_mark
                    )
                seen.add(key_node.value)
        return super().construct_mapping(node, deep)


def _load(text: str, name: str) -> Mapping[str, Any]:
    if len(text) > MAX_SPEC_BYTES:
        raise InvalidWorkflow(f"Failed to parse yaml. ({name} is larger than {MAX_SPEC_BYTES} bytes)")
    try:
        document = yaml.load(text, _StrictLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{name}, line {mark.line + 1}" if mark else name
        raise InvalidWorkflow(f"Failed to parse yaml. ({place}: {error.problem or error.context})") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InvalidWorkflow(f"Failed to parse yaml. ({name}: {str(error).splitlines()[0]})") from error
    return _mapping(document, name)


def _mapping(value: object, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidWorkflow(f"{place} must be a mapping.")
    for key in value:
        if not isinstance(key, str):
            raise InvalidWorkflow(f"{place}: {key!r} must be text: put it in quotes.")
    return value


def _model(name: str, value: dict[Any, Any], common: NodeSettings, place: str, warnings: list[str]) -> Node:
    entry = _mapping(value, place)
    url = entry.get("url")
    if not isinstance(url, str) or not url:
        raise InvalidWorkflow(f"{place}: url must name the model's archive.")
    warnings += [f"{place}: {key} is no setting; it is ignored." for key in entry if key not in {"url", *_SETTINGS}]
    return Node(name=name, url=url, settings=_settings(common, entry, place))


def _function(name: str, common: NodeSettings, place: str) -> Node:
    """A node that is no model: one worker that takes one request at a time, whatever holds for models."""
    _check_node_name(name, place)
    if not name.isidentifier():
        raise InvalidWorkflow(f"{place}: {name} is none of the models, and cannot be the name of a function.")
    settings = NodeSettings(max_batch_delay_s=0.0, retry_attempts=common.retry_attempts, timeout_s=common.timeout_s)
    return Node(name=name, url=None, settings=settings)


def _check_node_name(name: str, place: str) -> None:
    if not can_stand_in_url(name):
        raise InvalidWorkflow(f"{place}: the name {name!r} cannot stand in a URL.")


def _successors(value: object, place: str) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(follower, str) for follower in value):
        raise InvalidWorkflow(f"{place} must be a list of node names.")
    return value


_SETTINGS = {
    "min-workers": ("min_workers", 0, 1),
    "max-workers": ("max_workers", 0, 1),
    "batch-size": ("batch_size", 1, 1),
    "max-batch-delay": ("max_batch_delay_s", 0, 1e-3),
    "retry-attempts": ("retry_attempts", 0, 1),
    "timeout-ms": ("timeout_s", 1, 1e-3),
}
"""By key: the field of :class:`NodeSettings`, the least value, and the field's unit for one of the key's."""


def _settings(given: NodeSettings, entry: Mapping[str, Any], place: str) -> NodeSettings:
    """The settings of a mapping, over those that hold already."""
    values: dict[str, Any] = {}
    for key, (field, least, unit) in _SETTINGS.items():
        if key not in entry:
            continue
        value = entry[key]
        if type(value) is not int or value < least:
            raise InvalidWorkflow(f"{place}: {key} must be an integer of at least {least}, not {value!r}.")
        values[field] = value * unit
    settings = replace(given, **values)
    if settings.max_workers >= settings.min_workers:
        return settings
    if "min-workers" in entry and "max-workers" in entry:
        raise InvalidWorkflow(f"{place}: max-workers must not be less than min-workers.")
    if "min-workers" in entry:
        return replace(settings, max_workers=settings.min_workers)
    return replace(settings, min_workers=settings.max_workers)
