"""Requests of the protocol, as clients make them."""

from __future__ import annotations

from typing import Any

import msgspec


def json_request(*inputs: dict[str, Any], **members: Any) -> bytes:
    return msgspec.json.encode({"inputs": inputs, **members})


def json_tensor(
    data: Any, datatype: str = "FP32", shape: Any = (3,), name: str = "x", **members: Any
) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape, "data": data, **members}


def binary_tensor(
    size: Any, datatype: str = "FP32", shape: Any = (3,), name: str = "x", **members: Any
) -> dict[str, Any]:
    return {
        "name": name,
        "datatype": datatype,
        "shape": shape,
        "parameters": {"binary_data_size": size},
        **members,
    }
