"""What each gRPC port serves. Importing this loads everything that gRPC needs; a server without gRPC never does."""

from __future__ import annotations

from flambeau.api import Inference, Management
from flambeau.frontends.grpc import inference as inference_api
from flambeau.frontends.grpc import management as management_api
from flambeau.frontends.grpc import open_inference as open_inference_api
from flambeau.frontends.grpc.connection import GrpcLimits
from flambeau.frontends.grpc.health import HealthApi
from flambeau.frontends.grpc.inference import InferenceApi
from flambeau.frontends.grpc.management import ManagementApi
from flambeau.frontends.grpc.open_inference import OpenInferenceApi
from flambeau.frontends.grpc.sequences import SequenceKeys
from flambeau.frontends.grpc.site import GrpcSite
from flambeau.frontends.http.auth import Tokens
from flambeau.frontends.http.limits import ConnectionLimits
from flambeau.frontends.http.responder import AccessRecorder, MetricsRecorder
from flambeau.frontends.open_inference import OpenInferenceModels

__all__ = ["GrpcLimits", "SequenceKeys", "inference_port", "management_port"]


def inference_port(
    inference: Inference,
    metrics: MetricsRecorder,
    tokens: Tokens | None,
    *,
    limits: ConnectionLimits,
    grpc_limits: GrpcLimits,
    access_log: AccessRecorder | None,
    sequence_keys: SequenceKeys,
    open_inference: OpenInferenceModels | None,
) -> GrpcSite:
    """The port for predictions.

    Args:
        tokens: None where calls need none.
        open_inference: None where KServe v2 is not served.
    """
    services = [inference_api.SERVICE]
    methods = InferenceApi(inference, metrics, sequence_keys).methods()
    if open_inference is not None:
        services += open_inference_api.SERVICES
        methods += OpenInferenceApi(inference, open_inference, metrics).methods()
    methods += HealthApi(services, inference.is_healthy).methods()
    return GrpcSite(
        methods,
        limits,
        grpc_limits,
        check=tokens.check_inference if tokens else None,
        access_log=access_log,
        check_management=tokens.check_management if tokens else None,
    )


def management_port(
    management: Management,
    tokens: Tokens | None,
    *,
    model_api_enabled: bool,
    limits: ConnectionLimits,
    grpc_limits: GrpcLimits,
    access_log: AccessRecorder | None,
) -> GrpcSite:
    """The port for models. It is well while it answers."""
    api = ManagementApi(management, model_api_enabled=model_api_enabled)
    health = HealthApi([management_api.SERVICE], lambda: True)
    return GrpcSite(
        [*api.methods(), *health.methods()],
        limits,
        grpc_limits,
        check=tokens.check_management if tokens else None,
        access_log=access_log,
    )
