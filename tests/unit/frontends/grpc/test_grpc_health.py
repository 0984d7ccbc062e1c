"""gRPC's health protocol: asked once, and watched."""

from __future__ import annotations

import pytest
from grpc_frames import message
from grpc_sites import Client, on_loop, site_of, turn

from flambeau.frontends.grpc import frames, health
from flambeau.frontends.grpc.frames import ErrorCode
from flambeau.frontends.grpc.health import SERVICE, HealthApi
from flambeau.frontends.grpc.protos.health_pb2 import HealthCheckRequest, HealthCheckResponse
from flambeau.frontends.grpc.status import Status

SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING


class Port:
    def __init__(self):
        self.is_healthy = True
        self.site = site_of(HealthApi(["a.Service"], lambda: self.is_healthy).methods())
        self.client = Client(self.site)

    async def check(self, service=""):
        answer = await self.client.call(f"{SERVICE}/Check", HealthCheckRequest(service=service))
        return answer, statuses(answer)

    def watch(self, service=""):
        self.client.send(self.client.headers(path=f"/{SERVICE}/Watch"))
        self.client.send(self.client.data(message(HealthCheckRequest(service=service).SerializeToString())))
        return self.client.answer

    async def told(self, answer, *expected):
        await self.client.until(lambda: statuses(answer) == list(expected))


def statuses(answer):
    return [HealthCheckResponse.FromString(found).status for found in answer.messages]


@on_loop
async def test_a_check_says_how_server_and_services_are():
    port = Port()
    assert [(await port.check(name))[1] for name in ("", "a.Service")] == [[SERVING], [SERVING]]
    port.is_healthy = False
    assert (await port.check())[1] == [NOT_SERVING]


@on_loop
async def test_a_service_that_is_not_there_is_not_found():
    answer, _ = await Port().check("b.Service")
    assert (answer.status, answer.text) == (Status.NOT_FOUND, "Service not found: b.Service")


@on_loop
async def test_a_watch_is_told_of_each_change(monkeypatch):
    monkeypatch.setattr(health, "_WATCH_S", 0.0)
    port = Port()
    answer = port.watch()
    await port.told(answer, SERVING)
    port.is_healthy = False
    await port.told(answer, SERVING, NOT_SERVING)
    port.is_healthy = True
    await port.told(answer, SERVING, NOT_SERVING, SERVING)
    assert not answer.has_ended
    port.client.send(frames.reset(port.client.last_id, ErrorCode.CANCEL))
    await turn()
    assert not port.site._work


@on_loop
async def test_a_watch_of_a_service_that_is_not_there_waits_for_it():
    port = Port()
    answer = port.watch("b.Service")
    await port.told(answer, HealthCheckResponse.SERVICE_UNKNOWN)
    assert not answer.has_ended
    await port.site.close(1.0)


@on_loop
async def test_a_watch_ends_with_the_server():
    port = Port()
    answer = port.watch()
    await port.told(answer, SERVING)
    await port.site.close(10.0)
    port.client.receive()
    assert statuses(answer) == [SERVING, NOT_SERVING]
    assert answer.status == Status.UNAVAILABLE
    assert not port.site._work


@pytest.mark.parametrize("contents", [[], [b"", b""], [b"\xff"]])
@on_loop
async def test_a_watch_takes_one_request(contents):
    port = Port()
    answer = await port.client.call(f"{SERVICE}/Watch", *contents)
    assert answer.status == Status.INTERNAL
    await turn()
    assert not port.site._work
