from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest
from scenarios import Scenario, difference, load

from flambeau.frontends.http.apps import management_app
from flambeau.request import ModelRef
from flambeau.testing.management import FakeManagement

SCENARIOS = list(load(Path(__file__).with_name("management")))


async def differences(scenario: Scenario, client: httpx.AsyncClient) -> list[str]:
    """Play a scenario against a server that has no models yet."""
    found = []
    for step in scenario.steps:
        url = f"http://server{step.target}"
        response = await client.request(step.method, url, headers=step.headers, content=step.body)
        found.append(difference(step, response.status_code, response.content))
    return [one for one in found if one]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_management_replies_are_torchserves_byte_for_byte(scenario: Scenario) -> None:
    archives = {url: ModelRef(a["model_name"], a["version"]) for url, a in scenario.archives.items()}
    app = management_app(FakeManagement(archives), None, model_api_enabled=scenario.model_api)

    async def play() -> list[str]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
            return await differences(scenario, client)

    assert asyncio.run(play()) == []
