"""The table of model settings: every key of a model's YAML file that the server reads, TorchServe's and ours.

Other keys of the file belong to the handler. A setting that is added to :class:`ModelConfig` gets its row here; a test
says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import msgspec

from flambeau.config.model import BatchPolicy
from flambeau.signature import Signature, parse_signature

MAX_INTEGER = 2**31 - 1
"""TorchServe's integers are Java's; what is larger has the wrong type."""


@dataclass(frozen=True, slots=True)
class YamlType:
    """How a value is written in YAML."""

    name: str
    """For people."""
    parse: Callable[[object], Any]
    """From what YAML gives to what the field holds; None: counts as not set. Its ``ValueError`` completes "value …"."""
    format: Callable[[Any], str] = str


class Group(Enum):
    """The sections of the reference page."""

    WORKERS = "Workers and devices"
    BATCHING = "Batching and queue"
    TENSORS = "Tensors"
    TIMES = "Time-outs and recovery"
    WITHOUT_EFFECT = "Accepted without effect"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSetting:
    """One row."""

    key: str
    """In the YAML file."""
    type: YamlType
    help: str = ""
    """One sentence; empty where there is no effect to speak of."""
    field: str = ""
    """Of :class:`ModelConfig`; ``batching.x`` and ``placement.x`` for those of its parts. Empty: no field holds it."""
    default: str = ""
    """For people, where the field's own default does not say it."""
    parameter: str = ""
    """Of the register call."""
    is_model_property: bool = False
    """Whether the ``models`` property may set it, under the same key."""
    without_effect: str = ""
    """Why the key changes nothing here, except what the describe call says. Empty: it does."""


def _require(value: object, wanted: type, name: str) -> Any:
    if type(value) is not wanted:  # a boolean is not an integer here
        raise ValueError(f"is not {name}")
    return value


def _integer(
    minimum: int,
    maximum: int = MAX_INTEGER,
    *,
    raised: bool = False,
    zero_is_unset: bool = False,
    unit_s: float | None = None,
) -> YamlType:
    """Whole numbers.

    Args:
        raised: whether smaller numbers become the minimum; else they are refused.
        zero_is_unset: whether 0 counts as not set.
        unit_s: what one of them is in seconds, where the field is in seconds.
    """

    def parse(value: object) -> int | float | None:
        number: int = _require(value, int, "an integer")
        if number < minimum and not raised:
            raise ValueError(f"is less than {minimum}")
        if number > maximum:
            raise ValueError(f"is more than {maximum}")
        number = max(number, minimum)
        if number == 0 and zero_is_unset:
            return None
        return number if unit_s is None else number * unit_s

    def write(value: float) -> str:
        return str(value if unit_s is None else round(value / unit_s))

    name = {None: "integer", 1: "seconds, integer", 0.001: "milliseconds, integer"}[unit_s]
    return YamlType(f"{name} of at least {minimum}", parse, write)


def _choice(*choices: str) -> YamlType:
    def parse(value: object) -> str:
        if value not in choices:
            raise ValueError(f"is not one of {', '.join(choices)}")
        return str(value)

    return YamlType(" or ".join(f"`{choice}`" for choice in choices), parse)


def _parse_boolean(value: object) -> bool:
    return bool(_require(value, bool, "true or false"))


def _parse_core_numbers(value: object) -> tuple[int, ...]:
    numbers: list[object] = _require(value, list, "a list of integers")
    if not numbers or not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError("is not a list of integers of at least 0")
    return tuple(int(str(number)) for number in numbers)


def _parse_core_sets(value: object) -> tuple[tuple[int, ...], ...]:
    sets: list[object] = _require(value, list, "a list of lists of core numbers")
    if not sets:
        raise ValueError("is empty")
    return tuple(_parse_core_numbers(cores) for cores in sets)


def _parse_texts(value: object) -> tuple[str, ...]:
    texts: list[object] = _require(value, list, "a list of texts")
    return tuple(_require(text, str, "a list of texts") for text in texts)


def _parse_policy(value: object) -> BatchPolicy:
    return BatchPolicy(_choice(*_POLICIES).parse(value))


def _parse_map(value: object) -> dict[str, object]:
    return dict(_require(value, dict, "a mapping"))


def _format_boolean(value: bool) -> str:
    return "true" if value else "false"


def _format_signature(signature: Signature) -> str:
    return msgspec.json.encode(signature).decode()


_POLICIES = tuple(policy.value for policy in BatchPolicy)
_BOOLEAN = YamlType("boolean", _parse_boolean, _format_boolean)
_SECONDS = _integer(1, unit_s=1)
_SECONDS_OR_ZERO = _integer(0, unit_s=1)
_MILLISECONDS = _integer(0, unit_s=0.001)

_NO_PIP = "install what models need into the environment of the server"
_ONE_DEVICE = "a worker uses one device"
_WHOLE_BATCHES = "a batch is complete before the next begins"
_NO_SEQUENCES = "requests of a sequence are batched like all others"

MODEL_SETTINGS_BY_GROUP: Mapping[Group, tuple[ModelSetting, ...]] = {
    Group.WORKERS: (
        ModelSetting(
            key="minWorkers",
            type=_integer(1, raised=True),
            field="min_workers",
            default="not set",
            parameter="initial_workers",
            is_model_property=True,
            help="Workers to keep; counts only together with `maxWorkers`.",
        ),
        ModelSetting(
            key="maxWorkers",
            type=_integer(0, zero_is_unset=True),
            field="max_workers",
            default="not set",
            parameter="initial_workers",
            is_model_property=True,
            help="Workers at most; counts only together with `minWorkers`.",
        ),
        ModelSetting(
            key="deviceType",
            type=_choice("cpu", "gpu"),
            field="placement.device_type",
            default="gpu where there is one",
            help="Kind of processor; `gpu` falls back to the CPU where there is none.",
        ),
        ModelSetting(
            key="deviceIds",
            type=YamlType("list of integers", _parse_core_numbers),
            field="placement.device_ids",
            default="all",
            help="GPUs to use, in turn.",
        ),
        ModelSetting(
            key="threads",
            type=_integer(1),
            field="placement.threads",
            default="cores divided by workers",
            help="Threads of each worker within one operator.",
        ),
        ModelSetting(
            key="interOpThreads",
            type=_integer(1),
            field="placement.inter_op_threads",
            help="Threads of each worker across operators.",
        ),
        ModelSetting(
            key="pinCores",
            type=_BOOLEAN,
            field="placement.pin_cores",
            help="Holds each worker to cores of its own.",
        ),
        ModelSetting(
            key="cores",
            type=YamlType("list of lists of core numbers", _parse_core_sets),
            field="placement.cores",
            default="chosen",
            help="The cores of each worker, in turn: `[[0, 1], [2, 3]]`.",
        ),
        ModelSetting(
            key="warmUp",
            type=YamlType("list of paths in the archive", _parse_texts, ", ".join),
            field="warm_up",
            default="none",
            help="Inputs that a worker answers before it counts as ready.",
        ),
    ),
    Group.BATCHING: (
        ModelSetting(
            key="batchSize",
            type=_integer(1, raised=True),
            field="batching.batch_size",
            parameter="batch_size",
            is_model_property=True,
            help="Requests of one batch at most.",
        ),
        ModelSetting(
            key="maxBatchDelay",
            type=_integer(0, zero_is_unset=True, unit_s=0.001),
            field="batching.max_batch_delay_s",
            parameter="max_batch_delay",
            is_model_property=True,
            help="Longest time that a free worker waits for a batch to fill, from its first request on.",
        ),
        ModelSetting(
            key="batchPolicy",
            type=YamlType(
                " or ".join(f"`{policy}`" for policy in _POLICIES), _parse_policy, lambda policy: policy.value
            ),
            field="batching.policy",
            help="`adaptive` does not wait for company that cannot come; `fixed` is TorchServe's rule.",
        ),
        ModelSetting(
            key="jobQueueSize",
            type=_integer(0, zero_is_unset=True),
            field="queue_jobs",
            default="`job_queue_size` of the server",
            help="Requests that may wait.",
        ),
        ModelSetting(
            key="jobQueueBytes",
            type=_integer(1, 2**63 - 1),
            field="queue_bytes",
            help="Bytes of request bodies that may wait.",
        ),
        ModelSetting(
            key="useJobTicket",
            type=_BOOLEAN,
            field="use_job_ticket",
            help="Accepts a request only while a worker is idle.",
        ),
    ),
    Group.TENSORS: (
        ModelSetting(
            key="signature",
            type=YamlType("mapping of `inputs` and `outputs`", parse_signature, _format_signature),
            field="signature",
            default="none",
            help="The handler takes and gives [arrays](open-inference-protocol.md), and which.",
        ),
    ),
    Group.TIMES: (
        ModelSetting(
            key="responseTimeout",
            type=_SECONDS,
            field="response_timeout_s",
            parameter="response_timeout",
            is_model_property=True,
            help="Longest time that a request may take in a worker, and longest wait in the queue.",
        ),
        ModelSetting(
            key="startupTimeout",
            type=_SECONDS,
            field="startup_timeout_s",
            parameter="startup_timeout",
            is_model_property=True,
            help="Longest time that a worker may take to load the model.",
        ),
        ModelSetting(
            key="maxRetryTimeoutInSec",
            type=_SECONDS_OR_ZERO,
            field="max_retry_timeout_s",
            help="For how long workers that fail are started again before the model is given up.",
        ),
        ModelSetting(
            key="clientTimeoutInMills",
            type=_MILLISECONDS,
            field="client_timeout_s",
            help="Requests that are older than this are dropped without an answer; 0 keeps them.",
        ),
        ModelSetting(
            key="retryOnWorkerDeath",
            type=_BOOLEAN,
            field="retry_on_worker_death",
            help="Runs the requests of a worker that died once more, each alone.",
        ),
        ModelSetting(
            key="isolateFailures",
            type=_BOOLEAN,
            field="isolate_failures",
            help="Runs a batch that failed again row by row, so that a bad row costs only itself.",
        ),
    ),
    Group.WITHOUT_EFFECT: (
        ModelSetting(
            key="useVenv",
            type=_BOOLEAN,
            field="use_venv",
            without_effect=_NO_PIP,
        ),
        ModelSetting(
            key="parallelType",
            type=_choice("pp", "tp", "pptp", "custom"),
            field="parallel_type",
            default="none",
            without_effect=_ONE_DEVICE,
        ),
        ModelSetting(
            key="parallelLevel",
            type=_integer(0),
            field="parallel_level",
            is_model_property=True,
            without_effect=_ONE_DEVICE,
        ),
        ModelSetting(
            key="torchrun",
            type=YamlType("mapping", _parse_map),
            default="none",
            without_effect=_ONE_DEVICE,
        ),
        ModelSetting(
            key="continuousBatching",
            type=_BOOLEAN,
            field="continuous_batching",
            without_effect=_WHOLE_BATCHES,
        ),
        ModelSetting(
            key="sequenceBatching",
            type=_BOOLEAN,
            field="sequence_batching",
            without_effect=_NO_SEQUENCES,
        ),
        ModelSetting(
            key="sequenceMaxIdleMSec",
            type=_integer(0),
            field="sequence_max_idle_ms",
            without_effect=_NO_SEQUENCES,
        ),
        ModelSetting(
            key="sequenceTimeoutMSec",
            type=_integer(0),
            field="sequence_timeout_ms",
            without_effect=_NO_SEQUENCES,
        ),
        ModelSetting(
            key="maxNumSequence",
            type=_integer(1, raised=True),
            field="max_num_sequence",
            without_effect=_NO_SEQUENCES,
        ),
        ModelSetting(
            key="maxSequenceJobQueueSize",
            type=_integer(1, raised=True),
            field="max_sequence_job_queue_size",
            without_effect=_NO_SEQUENCES,
        ),
        ModelSetting(
            key="asyncCommunication",
            type=_BOOLEAN,
            without_effect="a worker runs one batch at a time; give the model more workers",
        ),
    ),
}

MODEL_SETTINGS: Mapping[str, ModelSetting] = {row.key: row for rows in MODEL_SETTINGS_BY_GROUP.values() for row in rows}
