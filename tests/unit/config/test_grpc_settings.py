"""The settings of gRPC: TorchServe's words, and what they mean for tokens."""

from __future__ import annotations

import pytest

from flambeau.config.server import ServerConfig
from flambeau.config.sources import COMMAND_LINE, HOST, load_server_config
from flambeau.errors import ConfigError


@pytest.fixture
def load(tmp_path):
    def load(properties="", **cli):
        (tmp_path / "config.properties").write_text(properties)
        return load_server_config(cli=cli, environ={}, cwd=tmp_path)

    return load


def test_the_addresses_are_torchserves():
    config = ServerConfig()
    assert [str(config.grpc_inference), str(config.grpc_management)] == [
        "grpc://127.0.0.1:7070",
        "grpc://127.0.0.1:7071",
    ]


def test_torchserves_keys_have_their_meaning(load):
    config = load(
        "grpc_inference_address=::1\ngrpc_inference_port=1\ngrpc_management_port=2\nenable_grpc_ssl=true\n"
        "grpc_inference_max_connection_age_ms=1500\ngrpc_inference_max_connection_age_grace_ms=250\n"
        "grpc_management_max_connection_age_ms=9223372036854775807\n"
    ).config
    assert [str(config.grpc_inference), str(config.grpc_management)] == ["grpcs://[::1]:1", "grpcs://127.0.0.1:2"]
    assert config.grpc_inference_max_connection_age_s == 1.5
    assert config.grpc_inference_max_connection_age_grace_s == 0.25
    assert config.grpc_management_max_connection_age_s == pytest.approx(2**63 / 1000)
    assert config.grpc_management_max_connection_age_grace_s is None


def test_the_host_of_the_command_line_is_that_of_grpc_too(load):
    loaded = load("grpc_inference_address=10.0.0.1", **{HOST: "[::]"})
    assert loaded.config.grpc_inference_address == loaded.config.grpc_management_address == "::"
    assert loaded.origins["grpc_inference_address"] == COMMAND_LINE


@pytest.mark.parametrize(
    "line", ["grpc_inference_port=70000", "grpc_management_address=http://h", "grpc_inference_address="]
)
def test_what_is_no_port_or_host_is_refused(load, line):
    with pytest.raises(ConfigError, match=line.partition("=")[0]):
        load(line)


@pytest.mark.parametrize(
    ("line", "authorizes"), [("", True), ("enable_grpc=true\n", True), ("enable_grpc=false\n", False)]
)
def test_grpc_beyond_loopback_needs_tokens_unless_it_is_off(load, line, authorizes):
    assert load(f"{line}grpc_management_address=0.0.0.0").config.authorizes is authorizes
    assert not load(line).config.authorizes
