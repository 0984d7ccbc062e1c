"""Token authorization: three keys in a file, and who may call with which.

Calls for predictions need the inference key, calls to manage models the management key; both expire. The API key does
not expire and serves only to renew the others.
"""

from __future__ import annotations

import hmac
import logging
import os
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from flambeau.errors import Unauthorized
from flambeau.frontends.http.json import pretty

logger = logging.getLogger(__name__)

_NS = 1_000_000_000
_KEY_BYTES = 6
"""What TorchServe's keys have; with base64 they are 8 characters."""
_BEARER = re.compile(rb"Bearer +(\S+)")


@dataclass(frozen=True, slots=True)
class _ExpiringKey:
    secret: str
    expires_ns: int
    """Since the epoch, by the wall clock: the time that the key file tells its readers."""


class Tokens:
    """The keys of one server. They are made anew at each start, and the key file is where users find them: from
    ``publish`` until ``withdraw``."""

    def __init__(self, key_file: Path, lifetime_s: float, time_ns: Callable[[], int] = time.time_ns) -> None:
        """Make the keys; nothing is written yet.

        Args:
            lifetime_s: for how long the inference and the management key are good, from their making on.
            time_ns: nanoseconds since the epoch.
        """
        self._key_file = key_file
        self._lifetime_ns = int(lifetime_s * _NS)
        self._time_ns = time_ns
        self._api_secret = _new_secret()
        self._keys = {"management": self._new_key(), "inference": self._new_key()}

    def publish(self) -> None:
        """Write the key file, over that of another server. Raises OSError if it cannot be written."""
        self._write(self._keys)

    def withdraw(self) -> None:
        """Delete the key file, unless another server has written its own keys there since."""
        try:
            if f'"{self._api_secret}"'.encode() in self._key_file.read_bytes():
                self._key_file.unlink()
        except FileNotFoundError:
            pass  # whoever stops a server may clean up after it, as `torchserve --stop` does
        except OSError as error:
            logger.warning("the key file %s could not be deleted: %s", self._key_file, error.strerror)

    def check_inference(self, authorization: bytes | None) -> None:
        """Let a call for a prediction pass.

        Args:
            authorization: value of the header ``Authorization``; None where the call has none.

        Raises:
            Unauthorized: it is not ``Bearer`` and the inference key, or that has expired.
        """
        self._check("inference", authorization)

    def check_management(self, authorization: bytes | None) -> None:
        """Let a call to the management API pass; as :meth:`check_inference`, with the management key."""
        self._check("management", authorization)

    def renew(self, key_type: str | None, authorization: bytes | None) -> None:
        """Replace a key, its expiry and the key file. The old key is no good from now on.

        Args:
            key_type: ``management`` or ``inference``.
            authorization: must carry the API key.

        Raises:
            Unauthorized: it does not, or there is no such type.
            OSError: the file cannot be written; the old key stays good.
        """
        if key_type not in self._keys or not _carries(authorization, self._api_secret):
            raise Unauthorized(
                "Token Authentication failed. Token either incorrect, expired, or not provided correctly"
            )
        renewed = {**self._keys, key_type: self._new_key()}
        self._write(renewed)
        self._keys = renewed

    def _check(self, key_type: str, authorization: bytes | None) -> None:
        key = self._keys[key_type]
        if not _carries(authorization, key.secret) or self._time_ns() >= key.expires_ns:
            raise Unauthorized("Token Authorization failed. Token either incorrect, expired, or not provided correctly")

    def _new_key(self) -> _ExpiringKey:
        return _ExpiringKey(_new_secret(), self._time_ns() + self._lifetime_ns)

    def _write(self, keys: dict[str, _ExpiringKey]) -> None:
        content: dict[str, dict[str, str]] = {
            key_type: {"key": key.secret, "expiration time": _iso_utc(key.expires_ns)} for key_type, key in keys.items()
        }
        content["API"] = {"key": self._api_secret}
        _write_private(self._key_file, pretty(content))


def _new_secret() -> str:
    return secrets.token_urlsafe(_KEY_BYTES)


def _carries(authorization: bytes | None, secret: str) -> bool:
    bearer = _BEARER.fullmatch(authorization or b"")
    return bearer is not None and hmac.compare_digest(bearer[1], secret.encode())


def _iso_utc(epoch_ns: int) -> str:
    seconds, nanoseconds = divmod(epoch_ns, _NS)
    return f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z"


def _write_private(path: Path, content: bytes) -> None:
    """Replace a file in one step by one that only its owner may read; nobody ever sees half of it."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
