"""What clients ask of the management API: query strings and JSON bodies as the values that ``api`` takes.

As in TorchServe, an integer that cannot be read counts as not given, and so does the negative number by which its
clients say "unset"; a boolean is true if it reads ``true``. Parameters that TorchServe does not have are strict.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple, TypeVar

import msgspec
from starlette.requests import Request

from flambeau.api import Registration, Scaling, WorkflowRegistration
from flambeau.errors import BadRequest

MAX_PAGE = 100
"""Models on one page of the list: the default and the most that a client may ask for."""

_INTEGER = re.compile(r"[+-]?[0-9]{1,10}")


class Page(NamedTuple):
    """A part of the list of models."""

    limit: int
    offset: int


class _RegistrationFields(msgspec.Struct):
    """The parameters of ``POST /models``, as they are named there. None: not given."""

    url: str | None = None
    model_name: str | None = None
    runtime: str | None = None
    handler: str | None = None
    batch_size: int | None = None
    max_batch_delay: int | None = None
    """Milliseconds."""
    initial_workers: int | None = None
    synchronous: bool | None = None
    response_timeout: int | None = None
    """Seconds."""
    startup_timeout: int | None = None
    """Seconds."""
    s3_sse_kms: bool | None = None


class _WorkflowFields(msgspec.Struct):
    """The parameters of ``POST /workflows``, as they are named there. None: not given."""

    url: str | None = None
    workflow_name: str | None = None
    response_timeout: int | None = None
    """Seconds."""
    startup_timeout: int | None = None
    """Seconds."""
    synchronous: bool | None = None
    s3_sse_kms: bool | None = None


def page(query: Mapping[str, str]) -> Page:
    """``limit`` and ``next_page_token``; outside their range they are 100 and 0."""
    limit = _integer(query, "limit")
    offset = _integer(query, "next_page_token")
    return Page(MAX_PAGE if limit is None or not 0 <= limit <= MAX_PAGE else limit, max(0, offset or 0))


def registration_from_query(query: Mapping[str, str]) -> Registration:
    """Raises BadRequest if there is no ``url``."""
    return _registration(
        _RegistrationFields(
            url=query.get("url"),
            model_name=query.get("model_name"),
            runtime=query.get("runtime"),
            handler=query.get("handler"),
            batch_size=_integer(query, "batch_size"),
            max_batch_delay=_integer(query, "max_batch_delay"),
            initial_workers=_integer(query, "initial_workers"),
            synchronous=flag(query, "synchronous"),
            response_timeout=_integer(query, "response_timeout"),
            startup_timeout=_integer(query, "startup_timeout"),
            s3_sse_kms=flag(query, "s3_sse_kms"),
        )
    )


def registration_from_json(body: bytes) -> Registration:
    """Raises BadRequest if it is no JSON object, a field has the wrong type, or there is no ``url``."""
    return _registration(_decode(body, _RegistrationFields))


async def workflow_registration(request: Request) -> WorkflowRegistration:
    """What ``POST /workflows`` asks for, in its query or its JSON body; ``synchronous`` is Flambeau's.

    Raises:
        BadRequest: there is no ``url``, or the body is no JSON object or has a field of the wrong type.
    """
    query = request.query_params
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json":
        fields = _decode(await request.body(), _WorkflowFields)
    else:
        fields = _WorkflowFields(
            url=query.get("url"),
            workflow_name=query.get("workflow_name"),
            response_timeout=_integer(query, "response_timeout"),
            startup_timeout=_integer(query, "startup_timeout"),
            synchronous=flag(query, "synchronous"),
            s3_sse_kms=flag(query, "s3_sse_kms"),
        )
    if fields.url is None:
        raise BadRequest("Parameter url is required.")
    return WorkflowRegistration(
        url=fields.url,
        workflow_name=fields.workflow_name or None,
        response_timeout_s=_seconds(_given(fields.response_timeout)),
        startup_timeout_s=_seconds(_given(fields.startup_timeout)),
        synchronous=fields.synchronous is not False,
        s3_sse_kms=fields.s3_sse_kms is True,
    )


def scaling(query: Mapping[str, str]) -> Scaling:
    """What ``PUT /models/{m}`` asks for; ``batch_size``, ``max_batch_delay`` and ``response_timeout`` are Flambeau's.

    Raises:
        BadRequest: one of Flambeau's is not an integer in its range.
    """
    return Scaling(
        min_worker=_integer(query, "min_worker"),
        max_worker=_integer(query, "max_worker"),
        synchronous=flag(query, "synchronous") or False,
        batch_size=_live_setting(query, "batch_size", at_least=1),
        max_batch_delay_s=_seconds(_live_setting(query, "max_batch_delay", at_least=0), per_second=1000),
        response_timeout_s=_seconds(_live_setting(query, "response_timeout", at_least=1)),
    )


def flag(query: Mapping[str, str], name: str) -> bool | None:
    """Whether a parameter reads ``true``, in any case; None if it is not given."""
    value = query.get(name)
    return None if value is None else value.lower() == "true"


_Fields = TypeVar("_Fields", bound=msgspec.Struct)


def _decode(body: bytes, fields: type[_Fields]) -> _Fields:
    try:
        return msgspec.json.decode(body, type=fields, strict=False)
    except (ValueError, RecursionError) as error:  # msgspec's own are ValueErrors
        raise BadRequest(f"The JSON body cannot be read: {error}") from None


def _registration(fields: _RegistrationFields) -> Registration:
    if fields.url is None:
        raise BadRequest("Parameter url is required.")
    return Registration(
        url=fields.url,
        model_name=fields.model_name or None,
        runtime=fields.runtime or None,
        handler=fields.handler or None,
        batch_size=_given(fields.batch_size),
        max_batch_delay_s=_seconds(_given(fields.max_batch_delay), per_second=1000),
        initial_workers=_given(fields.initial_workers),
        synchronous=fields.synchronous is not False,
        response_timeout_s=_seconds(_given(fields.response_timeout)),
        startup_timeout_s=_seconds(_given(fields.startup_timeout)),
        s3_sse_kms=fields.s3_sse_kms is True,
    )


def _integer(query: Mapping[str, str], name: str) -> int | None:
    value = query.get(name, "")
    return int(value) if _INTEGER.fullmatch(value) else None


def _live_setting(query: Mapping[str, str], name: str, *, at_least: int) -> int | None:
    if name not in query:
        return None
    value = _integer(query, name)
    if value is None or value < at_least:
        raise BadRequest(f"Parameter {name} must be an integer of at least {at_least}.")
    return value


def _given(value: int | None) -> int | None:
    return None if value is None or value < 0 else value


def _seconds(value: int | None, *, per_second: int = 1) -> float | None:
    return None if value is None else value / per_second
