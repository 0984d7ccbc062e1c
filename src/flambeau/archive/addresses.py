"""Which network addresses a download may reach."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

_NAT64 = IPv6Network("64:ff9b::/96")


class NoPublicAddress(OSError):
    """A host has addresses, and every one of them is private."""


def is_public(address: str) -> bool:
    """Whether an IP address is on the open Internet: not private, loopback, link-local, multicast or reserved.

    An IPv6 address that carries an IPv4 address in it is judged by that one too.
    """
    parsed = ip_address(address)
    embedded = _embedded_address(parsed) if isinstance(parsed, IPv6Address) else None
    if embedded is not None:
        return is_public(str(embedded))
    return parsed.is_global and not parsed.is_multicast


def _embedded_address(address: IPv6Address) -> IPv4Address | None:
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


def connect(host: str, port: int, *, timeout_s: float, allow_private: bool) -> socket.socket:
    """Resolve a name once and connect to one of the addresses found, so that what was checked is what is reached.

    Raises:
        NoPublicAddress: only private addresses were found, and those are not allowed.
        OSError: the name does not resolve, or none of the addresses answers.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    allowed = [entry for entry in found if allow_private or is_public(str(entry[4][0]))]
    if not allowed:
        raise NoPublicAddress(f"{host} has no public address")
    failure: OSError | None = None
    for family, kind, protocol, _, address in allowed:
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(timeout_s)
            connection.connect(address)
        except OSError as error:
            connection.close()
            failure = error
        else:
            return connection
    raise failure or OSError(f"no address of {host} answers")
