"""The settings of the server: frozen, checked, in seconds and bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from flambeau.errors import ConfigError

DEFAULT_ALLOWED_URLS = ("file://.*|http(s)?://.*",)


class MetricsMode(str, Enum):
    LOG = "log"
    PROMETHEUS = "prometheus"
    LEGACY = "legacy"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a listener binds: ``http://host:port``, ``https://host:port`` or ``unix:/path``; for gRPC ``grpc://host:port``
    or, with TLS, ``grpcs://host:port``."""

    scheme: str
    host: str = ""
    port: int = 0
    """0: any free port; the server says which it got."""
    path: str = ""

    @property
    def is_loopback(self) -> bool:
        return self.scheme == "unix" or self.host in ("127.0.0.1", "localhost", "::1") or self.host.startswith("127.")

    @property
    def is_tls(self) -> bool:
        return self.scheme in ("https", "grpcs")

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"unix:{self.path}" if self.scheme == "unix" else f"{self.scheme}://{host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """What one HTTP client may take. Each is a setting of the same name with the prefix ``http_``."""

    max_request_bytes: int = 6_553_500
    """``max_request_size``."""
    max_response_bytes: int = 6_553_500
    """``max_response_size``."""
    max_header_bytes: int = 64 * 1024
    """Request line and headers together."""
    max_headers: int = 128
    max_connections: int = 10_000
    max_pipelined: int = 64
    """Requests of one connection that may be under way; beyond, the connection is not read."""
    idle_timeout_s: float = 120.0
    """A connection that is between requests is closed after this long."""
    request_timeout_s: float = 60.0
    """A request that has begun must be complete after this long (slow writers)."""
    write_timeout_s: float = 60.0
    """A client that takes none of its reply for this long is cut off (slow readers)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartupModel:
    """A model to load at start: what ``--models`` and ``load_models`` name."""

    url: str
    """File or folder in the model store, absolute path, or URL."""
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """Everything that can be set for the server."""

    model_store: Path | None = None
    """None only where models are served from absolute paths and nothing is downloaded."""
    workflow_store: Path | None = None
    """None: the model store."""
    startup_models: tuple[StartupModel, ...] = ()
    load_all_models: bool = False
    inference_address: Address = Address("http", "127.0.0.1", 8080)
    management_address: Address = Address("http", "127.0.0.1", 8081)
    metrics_address: Address = Address("http", "127.0.0.1", 8082)
    enable_grpc: bool | None = None
    """None: on where what it needs is installed."""
    grpc_inference_address: str = "127.0.0.1"
    grpc_management_address: str = "127.0.0.1"
    grpc_inference_port: int = 7070
    """0: any free port; the server says which it got."""
    grpc_management_port: int = 7071
    grpc_inference_max_connection_age_s: float | None = None
    """None: connections may get as old as they like."""
    grpc_management_max_connection_age_s: float | None = None
    grpc_inference_max_connection_age_grace_s: float | None = None
    """For how long the calls of a connection that is too old may go on; None: until they end."""
    grpc_management_max_connection_age_grace_s: float | None = None
    grpc_max_concurrent_calls: int = 1024
    enable_grpc_ssl: bool = False
    limits: HttpLimits = field(default_factory=HttpLimits)
    default_workers_per_model: int = 0
    """0: what fills the cores without oversubscription."""
    default_response_timeout_s: float = 120.0
    default_startup_timeout_s: float = 120.0
    unregister_model_timeout_s: float = 120.0
    drain_timeout_s: float = 30.0
    """For how long a stopping server finishes what it has accepted."""
    job_queue_size: int = 100
    number_of_gpu: int | None = None
    model_defaults: Mapping[str, Mapping[str, Mapping[str, object]]] = field(default_factory=dict)
    """The ``models`` property: model, version, settings in TorchServe's words."""
    model_snapshot: Mapping[str, object] | None = None
    """The ``model_snapshot`` property, when the configuration is a snapshot."""
    snapshots: bool = True
    enable_model_api: bool = False
    token_authorization: bool | None = None
    """None: on unless every address is loopback."""
    token_expiration_s: float = 3600.0
    key_file: Path = Path("key_file.json")
    allowed_urls: tuple[str, ...] = DEFAULT_ALLOWED_URLS
    allow_private_urls: bool = False
    metrics_mode: MetricsMode = MetricsMode.LOG
    metrics_config: Path | None = None
    metrics_every_update: bool = False
    """In log mode: a line for each update, as TorchServe writes, instead of at most one a second and series."""
    metrics_interval_s: float = 60.0
    model_metrics_auto_detect: bool = False
    disable_system_metrics: bool = False
    enable_metrics_api: bool = True
    access_log: bool = True
    console_log: bool = False
    """Whether access log, metrics and worker output also go to the console, as TorchServe does."""
    log_dir: Path = Path("logs")
    metrics_dir: Path | None = None
    """None: ``log_dir``."""
    temp_dir: Path | None = None
    """None: the system's."""
    cors_allowed_origin: str = ""
    cors_allowed_methods: str = ""
    cors_allowed_headers: str = ""
    decode_input_request: bool = True
    limit_max_image_pixels: bool = True
    default_service_handler: str | None = None
    service_envelope: str | None = None
    install_py_dep_per_model: bool = False
    blacklist_env_vars: str = ""
    cpu_launcher_enable: bool = False
    cpu_launcher_args: str = ""
    ipex_enable: bool = False
    ipex_gpu_enable: bool = False
    open_inference_protocol: bool = False
    certificate_file: Path | None = None
    private_key_file: Path | None = None
    initial_worker_port: int = 9000
    """Worker ids count up from here and are never used again."""
    header_key_sequence_id: str = "ts_request_sequence_id"
    header_key_sequence_start: str = "ts_request_sequence_start"
    header_key_sequence_end: str = "ts_request_sequence_end"
    effective_properties: Mapping[str, str] = field(default_factory=dict)
    """Every setting in the words of ``config.properties``, for the snapshot."""

    def __post_init__(self) -> None:
        if self.job_queue_size < 1:
            raise ConfigError("job_queue_size", self.job_queue_size, "must be at least 1")

    @property
    def grpc_inference(self) -> Address:
        """Where gRPC listens for predictions, if it is on."""
        return Address(self._grpc_scheme, self.grpc_inference_address, self.grpc_inference_port)

    @property
    def grpc_management(self) -> Address:
        """Where gRPC listens for management, if it is on."""
        return Address(self._grpc_scheme, self.grpc_management_address, self.grpc_management_port)

    @property
    def _grpc_scheme(self) -> str:
        return "grpcs" if self.enable_grpc_ssl else "grpc"

    @property
    def authorizes(self) -> bool:
        """Whether calls need a token."""
        if self.token_authorization is not None:
            return self.token_authorization
        addresses = [self.inference_address, self.management_address]
        if self.enable_grpc is not False:
            addresses += [self.grpc_inference, self.grpc_management]
        return not all(address.is_loopback for address in addresses)
