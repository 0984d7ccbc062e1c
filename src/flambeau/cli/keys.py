"""Which token a command sends: the one that it is given, or the one in the file that the server writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from flambeau.cli.client import Refusal, address_of
from flambeau.cli.failures import UsageProblem

KEY_FILE = Path("key_file.json")
"""Where a server writes its keys by default: in its working directory."""


def find_token(
    kind: Literal["inference", "management"], *, token: str | None, key_file: Path | None, url: str
) -> str | None:
    """The token to send; None: there is none to be found, and many servers want none.

    The key file of the working directory is used only where ``url`` leads to this machine: a key is nobody else's.

    Raises:
        UsageProblem: the key file that was named has no such key.
    """
    if token is not None:
        return token
    if key_file is not None:
        return _read(key_file, kind)
    if not address_of(url).is_loopback:
        return None
    try:
        return _read(KEY_FILE, kind)
    except UsageProblem:
        return None  # nobody has named this file; if a key is needed after all, the server says so


def hint_about_keys(refusal: Refusal) -> str:
    """What to do about a refused token; empty where the refusal is about something else."""
    if refusal.kind != "InvalidKeyException":
        return ""
    return f"the server writes its keys to {KEY_FILE}: name that file with --key-file, or give the key with --token"


def _read(path: Path, kind: str) -> str:
    hint = "name the key file of the server that you call"
    try:
        key = json.loads(path.read_bytes())[kind]["key"]
    except OSError as error:
        raise UsageProblem(f"{path}: {error.strerror}", hint) from None
    except (ValueError, KeyError, TypeError, RecursionError):
        key = None
    if not isinstance(key, str) or not key.isprintable() or not key.isascii():
        raise UsageProblem(f"{path} holds no {kind} key", hint)
    return key
