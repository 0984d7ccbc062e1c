"""Which gRPC ports a configuration opens."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from flambeau.config.server import ServerConfig
from flambeau.errors import ConfigError
from flambeau.grpc_ports import grpc_ports, grpc_tls_context
from flambeau.testing.inference import FakeInference
from flambeau.testing.management import FakeManagement


class NoMetrics:
    def series(self, *key):
        return None


def ports_of(config):
    async def open_ports():
        ports = await grpc_ports(config, FakeInference(), FakeManagement({}), NoMetrics(), None, None)
        for port in ports:
            await port.site.close(0.0)
        return ports

    return asyncio.run(open_ports())


@pytest.mark.parametrize("enabled", [None, True])
def test_both_ports_are_open_where_what_they_need_is_installed(enabled):
    config = ServerConfig(enable_grpc=enabled)
    assert [(port.address, port.setting) for port in ports_of(config)] == [
        (config.grpc_inference, "grpc_inference_port"),
        (config.grpc_management, "grpc_management_port"),
    ]


def test_none_is_open_where_grpc_is_off():
    assert ports_of(ServerConfig(enable_grpc=False)) == []


def test_what_is_missing_stops_the_start_only_where_grpc_is_asked_for(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "flambeau.frontends.grpc.ports", None)
    with caplog.at_level("INFO"):
        assert ports_of(ServerConfig()) == []
    assert "gRPC is off: it needs flambeau[grpc]" in caplog.text
    with pytest.raises(ConfigError, match=r"enable_grpc=true: needs flambeau\[grpc\]"):
        ports_of(ServerConfig(enable_grpc=True))


def test_encryption_needs_a_certificate_and_offers_http_2(tmp_path):
    assert grpc_tls_context(ServerConfig()) is None
    assert grpc_tls_context(ServerConfig(enable_grpc_ssl=True)) is None  # the listener says what is missing
    with pytest.raises(ConfigError, match="certificate_file"):
        grpc_tls_context(ServerConfig(enable_grpc_ssl=True, certificate_file=tmp_path, private_key_file=tmp_path))


def test_a_server_without_grpc_imports_nothing_of_it():
    script = "import sys, flambeau.server; print(*sorted({'google.protobuf', 'hpack', 'grpc'} & set(sys.modules)))"
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert finished.stdout.split() == []
