"""Opens the gRPC ports as the configuration wants them. What they need is imported only where gRPC is on."""

from __future__ import annotations

import asyncio
import importlib
import logging
import ssl
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

from flambeau.api import Inference, Management
from flambeau.config.server import Address, ServerConfig
from flambeau.errors import ConfigError
from flambeau.frontends.http.auth import Tokens
from flambeau.frontends.http.responder import AccessRecorder, MetricsRecorder
from flambeau.frontends.open_inference import OpenInferenceModels
from flambeau.listeners import tls_context

if TYPE_CHECKING:
    from flambeau.frontends.grpc.site import GrpcSite

logger = logging.getLogger(__name__)


class GrpcPort(NamedTuple):
    """A port that is to be opened."""

    site: GrpcSite
    address: Address
    setting: str
    """The key that sets its number."""


async def grpc_ports(
    config: ServerConfig,
    inference: Inference,
    management: Management,
    metrics: MetricsRecorder,
    tokens: Tokens | None,
    access_log: AccessRecorder | None,
    open_inference: OpenInferenceModels | None = None,
) -> list[GrpcPort]:
    """The port for predictions and the one for management; nothing where gRPC is off.

    Args:
        tokens: None where calls need none.
        access_log: None where it is switched off.
        open_inference: None where KServe v2 is not served.

    Raises:
        ConfigError: gRPC is wanted and not installed.
    """
    ports = None if config.enable_grpc is False else await _load(is_required=config.enable_grpc is True)
    if ports is None:
        return []
    inference_site = ports.inference_port(
        inference,
        metrics,
        tokens,
        limits=config.limits,
        grpc_limits=ports.GrpcLimits(
            max_calls=config.grpc_max_concurrent_calls,
            max_age_s=config.grpc_inference_max_connection_age_s,
            max_age_grace_s=config.grpc_inference_max_connection_age_grace_s,
        ),
        access_log=access_log,
        sequence_keys=ports.SequenceKeys(
            config.header_key_sequence_id, config.header_key_sequence_start, config.header_key_sequence_end
        ),
        open_inference=open_inference,
    )
    management_site = ports.management_port(
        management,
        tokens,
        model_api_enabled=config.enable_model_api,
        limits=config.limits,
        grpc_limits=ports.GrpcLimits(
            max_calls=config.grpc_max_concurrent_calls,
            max_age_s=config.grpc_management_max_connection_age_s,
            max_age_grace_s=config.grpc_management_max_connection_age_grace_s,
        ),
        access_log=access_log,
    )
    return [
        GrpcPort(inference_site, config.grpc_inference, "grpc_inference_port"),
        GrpcPort(management_site, config.grpc_management, "grpc_management_port"),
    ]


def grpc_tls_context(config: ServerConfig) -> ssl.SSLContext | None:
    """What gRPC is encrypted with; None where it is not. Raises ConfigError, as ``listeners.tls_context``."""
    if not config.enable_grpc_ssl:
        return None
    return tls_context(config.certificate_file, config.private_key_file, protocol="h2")


async def _load(*, is_required: bool) -> ModuleType | None:
    """The module that makes the ports, imported beside the event loop, which answers HTTP meanwhile."""
    loop = asyncio.get_running_loop()
    try:
        return await loop.run_in_executor(None, importlib.import_module, "flambeau.frontends.grpc.ports")
    except ImportError as error:
        if is_required:
            raise ConfigError("enable_grpc", "true", f"needs flambeau[grpc]: {error}") from None
        logger.info("gRPC is off: it needs flambeau[grpc] (%s)", error)
        return None
