"""Binding addresses: Unix sockets that others left, and errors that name the address."""

from __future__ import annotations

import asyncio
import socket

import pytest

from flambeau.config.server import Address
from flambeau.errors import ConfigError
from flambeau.listeners import Listener, tls_context


def bind(address):
    return Listener.bind(address, asyncio.Protocol, None)


def unix(tmp_path):
    return Address("unix", path=str(tmp_path / "s.sock"))


def is_served(address):
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(address.path) == 0


def in_loop(scenario):
    def test(tmp_path):
        asyncio.run(scenario(tmp_path))

    test.__name__ = scenario.__name__
    return test


@in_loop
async def test_a_socket_that_a_killed_server_left_is_replaced(tmp_path):
    address = unix(tmp_path)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(address.path)
    listener = await bind(address)
    assert is_served(address)
    listener.close()
    assert not (tmp_path / "s.sock").exists()


@in_loop
async def test_a_socket_that_is_served_is_in_use(tmp_path):
    listener = await bind(unix(tmp_path))
    with pytest.raises(OSError, match=r"cannot listen on unix:.*s\.sock: Address already in use"):
        await bind(unix(tmp_path))
    assert is_served(listener.address)
    listener.close()


@in_loop
async def test_a_file_that_is_no_socket_is_not_deleted(tmp_path):
    (tmp_path / "s.sock").write_text("precious")
    with pytest.raises(OSError, match="cannot listen on unix:"):
        await bind(unix(tmp_path))
    assert (tmp_path / "s.sock").read_text() == "precious"


@in_loop
async def test_closing_twice_does_not_take_the_socket_of_the_next_server(tmp_path):
    listener = await bind(unix(tmp_path))
    listener.close()
    following = await bind(unix(tmp_path))
    listener.close()
    assert is_served(following.address)
    following.close()


@in_loop
async def test_an_address_in_use_is_named(tmp_path):
    listener = await bind(Address("http", "127.0.0.1", 0))
    assert listener.address.port > 0
    with pytest.raises(OSError, match=f"cannot listen on {listener.address}: Address already in use"):
        await bind(listener.address)
    listener.close()


@in_loop
async def test_a_host_that_has_no_address_is_named(tmp_path):
    with pytest.raises(OSError, match=r"cannot listen on http://no-such-host\.invalid:0: [A-Z][a-z]+ ") as failed:
        await bind(Address("http", "no-such-host.invalid", 0))
    assert "Unknown error" not in str(failed.value)


@in_loop
async def test_a_path_that_is_too_long_is_named(tmp_path):
    with pytest.raises(OSError, match=r"cannot listen on unix:/x+: AF_UNIX path too long"):
        await bind(Address("unix", path=f"/{'x' * 200}"))


@in_loop
async def test_https_needs_a_certificate(tmp_path):
    with pytest.raises(ConfigError, match="to listen on https://127"):
        await bind(Address("https", "127.0.0.1", 0))


def test_a_certificate_that_is_none_is_named(tmp_path):
    (tmp_path / "cert.pem").write_text("no certificate")
    with pytest.raises(ConfigError, match=r"certificate_file=.*cert\.pem: cannot be used with private_key_file"):
        tls_context(tmp_path / "cert.pem", tmp_path / "none.pem")
    assert tls_context(None, None) is None
