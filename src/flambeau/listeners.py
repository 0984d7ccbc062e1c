"""Binding the addresses of the configuration."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from flambeau.config.server import Address
from flambeau.errors import ConfigError

_BACKLOG = 1024
"""Connections that the kernel holds until they are accepted: TorchServe's number."""


class Listener:
    """One bound address."""

    def __init__(self, server: asyncio.AbstractServer, address: Address) -> None:
        self._server = server
        self._is_open = True
        self.address = address
        """With the real port."""

    @classmethod
    async def bind(
        cls, address: Address, connect: Callable[[], asyncio.BaseProtocol], tls: ssl.SSLContext | None
    ) -> Listener:
        """Listen on an address.

        Raises:
            OSError: it is in use, or not allowed; the text names the address.
            ConfigError: ``https`` or ``grpcs`` without a certificate.
        """
        loop = asyncio.get_running_loop()
        if address.is_tls and tls is None:
            raise ConfigError("certificate_file", "", f"is needed, and private_key_file, to listen on {address}")
        try:
            if address.scheme == "unix":
                unix_socket = _bind_unix(Path(address.path))
                return cls(await loop.create_unix_server(connect, sock=unix_socket, backlog=_BACKLOG), address)
            server = await loop.create_server(
                connect,
                address.host,
                address.port,
                ssl=tls if address.is_tls else None,
                backlog=_BACKLOG,
            )
        except OSError as error:
            raise OSError(error.errno, f"cannot listen on {address}: {_problem(error)}") from None
        port = server.sockets[0].getsockname()[1]
        return cls(server, replace(address, port=port))

    def close(self) -> None:
        """Accept no more connections; those that are open stay. The second time it does nothing: by then the path of a
        Unix socket may be another server's."""
        if not self._is_open:
            return
        self._is_open = False
        self._server.close()
        if self.address.scheme == "unix":
            Path(self.address.path).unlink(missing_ok=True)


def tls_context(
    certificate: Path | None, private_key: Path | None, *, protocol: str | None = None
) -> ssl.SSLContext | None:
    """The context of encrypted listeners; None without a certificate.

    Args:
        protocol: to agree upon with clients (ALPN); None where there is nothing to choose.

    Raises:
        ConfigError: the files do not hold a certificate and its key.
    """
    if certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if protocol is not None:
        context.set_alpn_protocols([protocol])
    try:
        context.load_cert_chain(certificate, private_key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError("certificate_file", certificate, f"cannot be used with private_key_file: {error}") from None
    return context


def _problem(error: OSError) -> str:
    """In a few words, without the address, which event loops put in; errors of names have no number of the system's."""
    return os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)


def _bind_unix(path: Path) -> socket.socket:
    """A bound socket. Event loops would take the path away from another server that listens there."""
    _remove_stale_socket(path)
    unix_socket = socket.socket(socket.AF_UNIX)
    try:
        unix_socket.bind(str(path))
    except OSError:
        unix_socket.close()
        raise
    return unix_socket


def _remove_stale_socket(path: Path) -> None:
    """A socket that a killed server left behind is in the way of the next."""
    try:
        if stat.S_ISSOCK(path.stat().st_mode) and not _is_served(path):
            path.unlink()
    except FileNotFoundError:
        pass


def _is_served(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True
