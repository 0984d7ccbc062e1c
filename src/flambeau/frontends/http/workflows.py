"""The management port: the workflows of the server, each route one call of ``api.WorkflowManagement``."""

from __future__ import annotations

from starlette.responses import Response

from flambeau.api import WorkflowManagement
from flambeau.errors import MethodNotAllowed
from flambeau.frontends.http import management_parameters as parameters
from flambeau.frontends.http.chain import Call
from flambeau.frontends.http.json import PrettyJsonResponse, status_response


class WorkflowLink:
    """``/workflows…``. As with TorchServe, ``enable_model_api`` does not matter, nor do further path segments."""

    def __init__(self, management: WorkflowManagement) -> None:
        self._management = management

    async def __call__(self, call: Call) -> Response | None:
        match call.segments:
            case ["workflows"]:
                return await self._workflows(call)
            case ["workflows", name, *_]:
                return await self._workflow(call, name)
        return None

    async def _workflows(self, call: Call) -> Response:
        match call.method:
            case "GET":
                limit, offset = parameters.page(call.request.query_params)
                return PrettyJsonResponse(self._management.list_workflows(limit, offset))
            case "POST":
                registration = await parameters.workflow_registration(call.request)
                done = await self._management.register(registration)
                return status_response(done.message, 200 if done.is_complete else 202)
        raise MethodNotAllowed

    async def _workflow(self, call: Call, name: str) -> Response:
        match call.method:
            case "GET":
                return PrettyJsonResponse([self._management.describe(name)])
            case "DELETE":
                return status_response((await self._management.unregister(name)).message)
        raise MethodNotAllowed
