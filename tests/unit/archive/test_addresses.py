import socket

import pytest

from flambeau.archive.addresses import NoPublicAddress, connect, is_public


@pytest.mark.parametrize("address", ["8.8.8.8", "2001:4860:4860::8888", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_addresses_of_the_internet_are_public(address):
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
    ],
)
def test_all_others_are_not(address):
    assert not is_public(address)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.1", "2130706433", "0x7f.1"])
def test_any_spelling_of_loopback_is_refused_before_connecting(host):
    with pytest.raises(NoPublicAddress):
        connect(host, 80, timeout_s=1, allow_private=False)


def test_private_addresses_are_connected_to_when_allowed():
    with socket.create_server(("127.0.0.1", 0)) as server:
        connect("localhost", server.getsockname()[1], timeout_s=5, allow_private=True).close()


def test_a_closed_port_is_reported():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectionRefusedError):
            connect("127.0.0.1", unused.getsockname()[1], timeout_s=5, allow_private=True)
