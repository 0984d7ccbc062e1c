"""The table of server settings: every key of ``config.properties``, TorchServe's and ours.

``sources`` reads values by it, ``document`` makes the reference page from it, and the commands take their help texts
from it. A setting that is added to :class:`ServerConfig` gets its row here; a test says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

from flambeau.config.values import (
    BOOLEAN,
    HOST,
    INVERTED_BOOLEAN,
    JSON_OBJECT,
    METRICS_MODE,
    MODEL_DEFAULTS,
    OPTIONAL_TEXT,
    PATH,
    PORT,
    REGEX,
    REGEXES,
    STARTUP_MODELS,
    TEXT,
    ValueType,
    address,
    duration,
    integer,
)


class EnvironmentRule(Enum):
    """When the variable of a setting is read."""

    NEVER = auto()
    ENABLED = auto()
    """While ``enable_envvars_config`` is true; it then beats the command line, as in TorchServe."""
    ENABLED_URLS = auto()
    """As ``ENABLED``, and only while ``use_env_allowed_urls`` is true: who sets variables may not open the server."""
    ALWAYS = auto()
    """At any time; it beats the file, and the command line beats it."""
    PROTOCOL = auto()
    """At any time and over everything else: ``oip`` switches on, any other word off."""


class Group(Enum):
    """The sections of the reference page."""

    ADDRESSES = "Addresses and protocols"
    MODELS = "Models and workers"
    SECURITY = "Security"
    LIMITS = "Limits and time-outs"
    METRICS = "Metrics"
    LOGS = "Logs, snapshots and directories"
    HANDLERS = "What handlers see"
    SOURCES = "Where settings come from"
    WITHOUT_EFFECT = "Accepted without effect"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSetting:
    """One row."""

    key: str
    """In ``config.properties``."""
    type: ValueType
    help: str
    """One sentence."""
    field: str = ""
    """Of :class:`ServerConfig`; ``limits.x`` for one of its ``HttpLimits``. Empty: no field holds it.
    One without effect keeps its default."""
    default: str = ""
    """For people, where the field's own default does not say it."""
    environment: str = ""
    """The variable, where it is not ``TS_`` and the key in capitals."""
    environment_rule: EnvironmentRule = EnvironmentRule.ENABLED
    option: str = ""
    """Of ``flambeau serve``."""
    without_effect: str = ""
    """Why the key changes nothing here. Empty: it does."""

    @property
    def variable(self) -> str | None:
        """The environment variable; None if there is none."""
        if self.environment_rule is EnvironmentRule.NEVER:
            return None
        return self.environment or f"TS_{self.key.upper()}"


def _without_effect(key: str, reason: str, field: str = "") -> ServerSetting:
    return ServerSetting(
        key=key, type=TEXT, field=field, help="", environment_rule=EnvironmentRule.NEVER, without_effect=reason
    )


_PYTHON_LOOP = "one event loop serves all connections; there is no thread pool to size"
_NO_PIP = "install what models need into the environment of the server"
_NO_LAUNCHER = "workers are held to cores of their own without a launcher; see pinCores and cores"
_NO_KEYSTORE = "Java key stores are not read: export PEM files and name them in certificate_file and private_key_file"
SNAPSHOT_NOTE = "written into snapshots for information"
"""The reason that needs no warning: nobody set these."""

SETTINGS_BY_GROUP: Mapping[Group, tuple[ServerSetting, ...]] = {
    Group.ADDRESSES: (
        ServerSetting(
            key="inference_address",
            type=address(80, 443),
            field="inference_address",
            option="--inference-address",
            help="Where predictions are answered; equal to `management_address`, one listener answers both.",
        ),
        ServerSetting(
            key="management_address",
            type=address(8081, 8444),
            field="management_address",
            option="--management-address",
            help="Where models are registered, scaled and described.",
        ),
        ServerSetting(
            key="metrics_address",
            type=address(8082, 8445),
            field="metrics_address",
            option="--metrics-address",
            help="Where Prometheus metrics are read.",
        ),
        ServerSetting(
            key="enable_grpc",
            type=BOOLEAN,
            field="enable_grpc",
            default="true where `flambeau[grpc]` is installed",
            option="--grpc / --no-grpc",
            help="Answers gRPC, too.",
        ),
        ServerSetting(
            key="grpc_inference_address",
            type=HOST,
            field="grpc_inference_address",
            help="Host of the gRPC port for predictions.",
        ),
        ServerSetting(
            key="grpc_inference_port",
            type=PORT,
            field="grpc_inference_port",
            option="--grpc-port",
            help="gRPC port for predictions; 0: any free one.",
        ),
        ServerSetting(
            key="grpc_management_address",
            type=HOST,
            field="grpc_management_address",
            help="Host of the gRPC port for management.",
        ),
        ServerSetting(
            key="grpc_management_port",
            type=PORT,
            field="grpc_management_port",
            option="--grpc-management-port",
            help="gRPC port for management; 0: any free one.",
        ),
        ServerSetting(
            key="enable_grpc_ssl",
            type=BOOLEAN,
            field="enable_grpc_ssl",
            help="Encrypts gRPC, with `certificate_file` and `private_key_file`.",
        ),
        ServerSetting(
            key="certificate_file",
            type=PATH,
            field="certificate_file",
            help="X.509 certificate chain, PEM, for `https` addresses and gRPC.",
        ),
        ServerSetting(
            key="private_key_file",
            type=PATH,
            field="private_key_file",
            help="Private key of the certificate, PEM.",
        ),
        ServerSetting(
            key="cors_allowed_origin",
            type=TEXT,
            field="cors_allowed_origin",
            help="Value of the reply header `Access-Control-Allow-Origin`; empty sends none.",
        ),
        ServerSetting(
            key="cors_allowed_methods",
            type=TEXT,
            field="cors_allowed_methods",
            help="Value of the reply header `Access-Control-Allow-Methods`; empty sends none.",
        ),
        ServerSetting(
            key="cors_allowed_headers",
            type=TEXT,
            field="cors_allowed_headers",
            help="Value of the reply header `Access-Control-Allow-Headers`; empty sends none.",
        ),
        ServerSetting(
            key="ts_open_inference_protocol",
            type=BOOLEAN,
            field="open_inference_protocol",
            environment="TS_OPEN_INFERENCE_PROTOCOL",
            environment_rule=EnvironmentRule.PROTOCOL,
            help="Answers the routes and gRPC methods of the Open Inference Protocol (KServe v2).",
        ),
    ),
    Group.MODELS: (
        ServerSetting(
            key="model_store",
            type=PATH,
            field="model_store",
            option="--model-store",
            help="Folder of the archives that can be served by name, and of those that are downloaded.",
        ),
        ServerSetting(
            key="workflow_store",
            type=PATH,
            field="workflow_store",
            default="`model_store`",
            option="--workflow-store",
            help="Folder of the archives of workflows.",
        ),
        ServerSetting(
            key="load_models",
            type=STARTUP_MODELS,
            field="startup_models",
            option="MODEL…",
            help="Models to serve from the start.",
        ),
        ServerSetting(
            key="models",
            type=MODEL_DEFAULTS,
            field="model_defaults",
            environment_rule=EnvironmentRule.NEVER,
            help="Settings of models that cannot set them in their archive, by name and version.",
        ),
        ServerSetting(
            key="default_workers_per_model",
            type=integer(0),
            field="default_workers_per_model",
            help="Workers of a model that does not say how many it wants; 0 fills the machine at start-up"
            " and starts none at registration.",
        ),
        ServerSetting(
            key="default_response_timeout",
            type=duration("seconds", 1, zero=False),
            field="default_response_timeout_s",
            help="Longest time that a request may take in a worker, and longest wait in the queue.",
        ),
        ServerSetting(
            key="default_startup_timeout",
            type=duration("seconds", 1, zero=True),
            field="default_startup_timeout_s",
            help="Longest time that a worker may take to load its model.",
        ),
        ServerSetting(
            key="unregister_model_timeout",
            type=duration("seconds", 1, zero=True),
            field="unregister_model_timeout_s",
            help="Longest wait for the workers of an unregistered model to end.",
        ),
        ServerSetting(
            key="job_queue_size",
            type=integer(1),
            field="job_queue_size",
            help="Requests that may wait for each model version; beyond it they are answered 503 at once.",
        ),
        ServerSetting(
            key="number_of_gpu",
            type=integer(0),
            field="number_of_gpu",
            default="all that are found",
            help="Upper bound of the GPUs that are used.",
        ),
        ServerSetting(
            key="initial_worker_port",
            type=integer(0, 65_535),
            field="initial_worker_port",
            help="First worker id; ids count up and are never used again.",
        ),
    ),
    Group.SECURITY: (
        ServerSetting(
            key="enable_model_api",
            type=BOOLEAN,
            field="enable_model_api",
            option="--enable-model-api",
            help="Allows clients to register and unregister models.",
        ),
        ServerSetting(
            key="disable_token_authorization",
            type=INVERTED_BOOLEAN,
            field="token_authorization",
            default="true while every address is loopback",
            option="--disable-token-auth / --token-auth",
            help="Answers calls that carry no token.",
        ),
        ServerSetting(
            key="token_expiration_min",
            type=duration("minutes", 60, zero=False),
            field="token_expiration_s",
            environment="TS_TOKEN_EXPIRATION_TIME_MIN",
            help="Life of the inference and management tokens.",
        ),
        ServerSetting(
            key="key_file",
            type=PATH,
            field="key_file",
            help="File that the tokens are written to.",
        ),
        ServerSetting(
            key="allowed_urls",
            type=REGEXES,
            field="allowed_urls",
            environment_rule=EnvironmentRule.ENABLED_URLS,
            help="Model URLs that may be registered: each must match one of these whole, in any letter case.",
        ),
        ServerSetting(
            key="allow_private_urls",
            type=BOOLEAN,
            field="allow_private_urls",
            help="Lets model URLs lead to private, loopback and link-local addresses.",
        ),
        ServerSetting(
            key="blacklist_env_vars",
            type=REGEX,
            field="blacklist_env_vars",
            help="Environment variables whose whole name matches are hidden from workers.",
        ),
    ),
    Group.LIMITS: (
        ServerSetting(
            key="max_request_size",
            type=integer(1),
            field="limits.max_request_bytes",
            help="Bytes of one request body.",
        ),
        ServerSetting(
            key="max_response_size",
            type=integer(1),
            field="limits.max_response_bytes",
            help="Bytes of one worker's reply.",
        ),
        ServerSetting(
            key="http_max_header_bytes",
            type=integer(1),
            field="limits.max_header_bytes",
            help="Bytes of request line and headers together.",
        ),
        ServerSetting(
            key="http_max_headers",
            type=integer(1),
            field="limits.max_headers",
            help="Headers of one request.",
        ),
        ServerSetting(
            key="http_max_connections",
            type=integer(1),
            field="limits.max_connections",
            help="Connections that are open at a time.",
        ),
        ServerSetting(
            key="http_max_pipelined",
            type=integer(1),
            field="limits.max_pipelined",
            help="Requests of one connection that may be under way; beyond, it is not read.",
        ),
        ServerSetting(
            key="http_idle_timeout_s",
            type=duration("seconds", 1, zero=False),
            field="limits.idle_timeout_s",
            help="A connection without a request is closed after this long.",
        ),
        ServerSetting(
            key="http_request_timeout_s",
            type=duration("seconds", 1, zero=False),
            field="limits.request_timeout_s",
            help="A request that has begun must be complete after this long.",
        ),
        ServerSetting(
            key="http_write_timeout_s",
            type=duration("seconds", 1, zero=False),
            field="limits.write_timeout_s",
            help="A client that takes none of its reply for this long is cut off.",
        ),
        ServerSetting(
            key="grpc_max_concurrent_calls",
            type=integer(1),
            field="grpc_max_concurrent_calls",
            help="Calls of one gRPC connection that may be under way; clients hold further ones back.",
        ),
        ServerSetting(
            key="grpc_inference_max_connection_age_ms",
            type=duration("milliseconds", 1e-3, zero=False),
            field="grpc_inference_max_connection_age_s",
            default="no limit",
            help="Age at which a connection to the gRPC port for predictions takes no new calls.",
        ),
        ServerSetting(
            key="grpc_inference_max_connection_age_grace_ms",
            type=duration("milliseconds", 1e-3, zero=False),
            field="grpc_inference_max_connection_age_grace_s",
            default="no limit",
            help="Time that its calls then have left.",
        ),
        ServerSetting(
            key="grpc_management_max_connection_age_ms",
            type=duration("milliseconds", 1e-3, zero=False),
            field="grpc_management_max_connection_age_s",
            default="no limit",
            help="Age at which a connection to the gRPC port for management takes no new calls.",
        ),
        ServerSetting(
            key="grpc_management_max_connection_age_grace_ms",
            type=duration("milliseconds", 1e-3, zero=False),
            field="grpc_management_max_connection_age_grace_s",
            default="no limit",
            help="Time that its calls then have left.",
        ),
        ServerSetting(
            key="drain_timeout",
            type=duration("seconds", 1, zero=True),
            field="drain_timeout_s",
            help="For how long a stopping server finishes what it has accepted.",
        ),
    ),
    Group.METRICS: (
        ServerSetting(
            key="metrics_mode",
            type=METRICS_MODE,
            field="metrics_mode",
            option="--metrics-mode",
            help="Where metrics go: to the metrics logs, to the metrics address, or, with `legacy`, three of them to"
            " the address and the others to the logs.",
        ),
        ServerSetting(
            key="metrics_config",
            type=PATH,
            field="metrics_config",
            default="the one in the package",
            help="YAML file that defines the metrics.",
        ),
        ServerSetting(
            key="enable_metrics_api",
            type=BOOLEAN,
            field="enable_metrics_api",
            help="Answers `/metrics`.",
        ),
        ServerSetting(
            key="model_metrics_auto_detect",
            type=BOOLEAN,
            field="model_metrics_auto_detect",
            help="Records metrics of handlers that the metrics file does not define.",
        ),
        ServerSetting(
            key="metrics_every_update",
            type=BOOLEAN,
            field="metrics_every_update",
            help="Logs a line for each update of a metric, as TorchServe does, instead of at most one a second and"
            " series.",
        ),
        ServerSetting(
            key="metric_time_interval",
            type=duration("seconds", 1, zero=False),
            field="metrics_interval_s",
            environment_rule=EnvironmentRule.NEVER,
            help="Time between two readings of the host's metrics.",
        ),
        ServerSetting(
            key="disable_system_metrics",
            type=BOOLEAN,
            field="disable_system_metrics",
            help="Does not read the host's metrics.",
        ),
    ),
    Group.LOGS: (
        ServerSetting(
            key="log_dir",
            type=PATH,
            field="log_dir",
            environment="LOG_LOCATION",
            environment_rule=EnvironmentRule.ALWAYS,
            option="--log-dir",
            help="Folder of the log files and, in its `config` folder, of the snapshots.",
        ),
        ServerSetting(
            key="metrics_dir",
            type=PATH,
            field="metrics_dir",
            default="`log_dir`",
            environment="METRICS_LOCATION",
            environment_rule=EnvironmentRule.ALWAYS,
            help="Folder of the metrics logs.",
        ),
        ServerSetting(
            key="temp_dir",
            type=PATH,
            field="temp_dir",
            default="the system's",
            environment="TEMP",
            environment_rule=EnvironmentRule.ALWAYS,
            help="Folder that archives are unpacked in.",
        ),
        ServerSetting(
            key="access_log",
            type=BOOLEAN,
            field="access_log",
            option="--no-access-log",
            help="Logs every request.",
        ),
        ServerSetting(
            key="console_log",
            type=BOOLEAN,
            field="console_log",
            default="false; `torchserve`: true",
            help="Also writes access log, metrics and worker output to the console.",
        ),
        ServerSetting(
            key="snapshots",
            type=BOOLEAN,
            field="snapshots",
            default="`flambeau serve`: false; `torchserve`: true",
            option="--snapshots / --no-snapshots",
            help="Writes what is served to a file after every change, so that a restart can restore it.",
        ),
        ServerSetting(
            key="model_snapshot",
            type=JSON_OBJECT,
            field="model_snapshot",
            environment_rule=EnvironmentRule.NEVER,
            help="The models of a snapshot; written by the server, and restored when the configuration holds it.",
        ),
    ),
    Group.HANDLERS: (
        ServerSetting(
            key="default_service_handler",
            type=OPTIONAL_TEXT,
            field="default_service_handler",
            help="Handler of archives whose manifest names none.",
        ),
        ServerSetting(
            key="service_envelope",
            type=OPTIONAL_TEXT,
            field="service_envelope",
            help="Request envelope of all handlers: `body`, `json`, `kserve`, `kservev2`, or one of your own.",
        ),
        ServerSetting(
            key="decode_input_request",
            type=BOOLEAN,
            field="decode_input_request",
            help="Decodes JSON and text bodies before the handler sees them.",
        ),
        ServerSetting(
            key="limit_max_image_pixels",
            type=BOOLEAN,
            field="limit_max_image_pixels",
            help="Keeps Pillow's limit of pixels in vision handlers.",
        ),
        ServerSetting(
            key="ipex_enable",
            type=BOOLEAN,
            field="ipex_enable",
            help="Sets `TS_IPEX_ENABLE` for workers.",
        ),
        ServerSetting(
            key="ipex_gpu_enable",
            type=BOOLEAN,
            field="ipex_gpu_enable",
            help="Sets `TS_IPEX_GPU_ENABLE` for workers.",
        ),
        ServerSetting(
            key="ts_header_key_sequence_id",
            type=TEXT,
            field="header_key_sequence_id",
            environment="TS_HEADER_KEY_SEQUENCE_ID",
            help="Header that names a request's sequence.",
        ),
        ServerSetting(
            key="ts_header_key_sequence_start",
            type=TEXT,
            field="header_key_sequence_start",
            environment="TS_HEADER_KEY_SEQUENCE_START",
            help="Header that begins a sequence.",
        ),
        ServerSetting(
            key="ts_header_key_sequence_end",
            type=TEXT,
            field="header_key_sequence_end",
            environment="TS_HEADER_KEY_SEQUENCE_END",
            help="Header that ends a sequence.",
        ),
    ),
    Group.SOURCES: (
        ServerSetting(
            key="enable_envvars_config",
            type=BOOLEAN,
            default="false",
            environment_rule=EnvironmentRule.NEVER,
            help="Lets environment variables set what this page says they can; they then beat the command line.",
        ),
        ServerSetting(
            key="use_env_allowed_urls",
            type=BOOLEAN,
            default="false",
            environment_rule=EnvironmentRule.NEVER,
            help="Lets `TS_ALLOWED_URLS` set `allowed_urls`, which other variables' permission does not cover.",
        ),
    ),
    Group.WITHOUT_EFFECT: (
        _without_effect("debug", "attach a debugger to a worker process instead"),
        _without_effect("number_of_netty_threads", _PYTHON_LOOP),
        _without_effect("netty_client_threads", _PYTHON_LOOP),
        _without_effect("async_logging", "a choice between Java's log appenders"),
        _without_effect("prefer_direct_buffer", "a setting of the Java heap"),
        _without_effect("use_native_io", "a choice between Java's socket layers"),
        _without_effect("io_ratio", "a setting of Java's event loops"),
        _without_effect("vmargs", "there is no Java virtual machine"),
        _without_effect("plugins_path", "plug-ins are Java archives"),
        _without_effect("model_server_home", "nothing is read from an installation folder"),
        _without_effect("system_metrics_cmd", "the server reads the host's metrics itself"),
        _without_effect("cpp_log_config", "there is no C++ backend"),
        _without_effect("install_py_dep_per_model", _NO_PIP, "install_py_dep_per_model"),
        _without_effect("cpu_launcher_enable", _NO_LAUNCHER, "cpu_launcher_enable"),
        _without_effect("cpu_launcher_args", _NO_LAUNCHER, "cpu_launcher_args"),
        _without_effect("initial_distribution_port", "workers do not talk to one another"),
        _without_effect("keystore", _NO_KEYSTORE),
        _without_effect("keystore_pass", _NO_KEYSTORE),
        _without_effect("keystore_type", _NO_KEYSTORE),
        _without_effect("version", SNAPSHOT_NOTE),
        _without_effect("tsConfigFile", SNAPSHOT_NOTE),
        _without_effect("python", SNAPSHOT_NOTE),
    ),
}

SERVER_SETTINGS: Mapping[str, ServerSetting] = {row.key: row for rows in SETTINGS_BY_GROUP.values() for row in rows}
