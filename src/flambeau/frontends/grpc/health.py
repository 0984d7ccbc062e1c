"""gRPC's own health protocol, for load balancers and Kubernetes; TorchServe's clients call ``Ping``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from flambeau.frontends.grpc.call import Call, Method
from flambeau.frontends.grpc.errors import MANAGEMENT_ERRORS
from flambeau.frontends.grpc.messages import BadMessage
from flambeau.frontends.grpc.methods import parse
from flambeau.frontends.grpc.protos.health_pb2 import HealthCheckRequest, HealthCheckResponse
from flambeau.frontends.grpc.status import Status

SERVICE = "grpc.health.v1.Health"

_WATCH_S = 1.0
"""How often the server's health is looked at for those who watch it."""


class HealthApi:
    """The methods of :data:`SERVICE`, for one port."""

    def __init__(self, services: Collection[str], is_healthy: Callable[[], bool]) -> None:
        """
        Args:
            services: names of the port's other services, which are as well as the server is.
        """
        self._services = {"", *services}
        self._is_healthy = is_healthy

    def methods(self) -> list[Method]:
        return [
            Method(path=f"{SERVICE}/Check", errors=MANAGEMENT_ERRORS, handle=self._check),
            Method(path=f"{SERVICE}/Watch", errors=MANAGEMENT_ERRORS, open=lambda call: _Watch(call, self.status_of)),
        ]

    def status_of(self, service: str) -> HealthCheckResponse.ServingStatus:
        """How a service is; empty: the server as a whole."""
        if service not in self._services:
            return HealthCheckResponse.SERVICE_UNKNOWN
        return HealthCheckResponse.SERVING if self._is_healthy() else HealthCheckResponse.NOT_SERVING

    def _check(self, call: Call, message: bytes) -> None:
        service = parse(HealthCheckRequest, message).service
        status = self.status_of(service)
        if status == HealthCheckResponse.SERVICE_UNKNOWN:
            call.finish(Status.NOT_FOUND, f"Service not found: {service}")
        else:
            call.reply(_response(status))


class _Watch:
    """One call that is told of each change. Implements ``methods.Inbox``."""

    def __init__(self, call: Call, status_of: Callable[[str], HealthCheckResponse.ServingStatus]) -> None:
        self._call = call
        self._status_of = status_of
        self._has_begun = False

    def message(self, message: bytes) -> None:
        if self._has_begun:
            raise BadMessage(Status.INTERNAL, f"{SERVICE}/Watch takes one message.")
        self._has_begun = True
        service = parse(HealthCheckRequest, message).service
        self._call.run(lambda: self._report(service))

    def end(self) -> None:
        if not self._has_begun:
            raise BadMessage(Status.INTERNAL, f"{SERVICE}/Watch takes one message, and none was sent.")

    def drain(self) -> None:
        self._call.send(_response(HealthCheckResponse.NOT_SERVING))
        self._call.abort(Status.UNAVAILABLE, "Server is shutting down.")

    async def _report(self, service: str) -> None:
        told: HealthCheckResponse.ServingStatus | None = None
        while True:
            status = self._status_of(service)
            if status != told:
                told = status
                self._call.send(_response(status))
            await asyncio.sleep(_WATCH_S)


def _response(status: HealthCheckResponse.ServingStatus) -> bytes:
    return HealthCheckResponse(status=status).SerializeToString()
