"""The model store: the directory that models are named in and downloaded to."""

from __future__ import annotations

import http.client
import io
import logging
import os
import re
import shutil
import stat
import threading
import uuid
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from flambeau.archive.addresses import NoPublicAddress
from flambeau.archive.described import exists
from flambeau.archive.download import DownloadLimits, Interruption, TooLarge, UnusableAnswer, download
from flambeau.errors import DownloadFailed, ModelFileExists, ModelNotFound

logger = logging.getLogger(__name__)

DEFAULT_LIMITS = DownloadLimits()

_CHUNK_BYTES = 1 << 20
_REMOTE = re.compile(r"(https?|file)://", re.IGNORECASE)
_ARCHIVE_SUFFIXES = (".mar", ".model", ".tar.gz")


def is_remote(url: str) -> bool:
    """Whether a model's URL is to be fetched (``http``, ``https``, ``file``), and not a name or path to resolve."""
    return _REMOTE.match(url) is not None


class ModelStore:
    """Finds archives by name, and fetches those that are elsewhere. Safe to use from several threads."""

    def __init__(
        self,
        root: Path | None,
        temp_dir: Path,
        allowed_urls: Sequence[str],
        allow_private_urls: bool,
        *,
        limits: DownloadLimits = DEFAULT_LIMITS,
    ) -> None:
        """
        Args:
            root: the store's directory; None: only absolute paths can be resolved.
            temp_dir: archives are unpacked below it.
            allowed_urls: regular expressions, one of which must match a URL whole, in any letter case.
            allow_private_urls: whether downloads may reach private, loopback and link-local addresses.
        """
        self.root = root
        self.unpack_root = temp_dir / "models"
        """What to give to ``open_archive``."""
        self._allowed_urls = [re.compile(pattern, re.IGNORECASE) for pattern in allowed_urls]
        self._allow_private_urls = allow_private_urls
        self._limits = limits
        self._naming = threading.Lock()
        self._interruption = Interruption()

    def resolve(self, url: str) -> Path:
        """The archive or directory that a name in the store, or an absolute path, stands for.

        Raises:
            ModelNotFound: there is none, or the name is not allowed.
        """
        _check_url(url)
        if not os.path.isabs(url):
            return self._existing(self._root() / url, url)
        if self.root is not None and exists(in_store := self.root / url.lstrip("/")):
            return in_store
        return self._existing(Path(url), url)

    def list_all(self) -> list[str]:
        """The names in the store that ``load_models=all`` loads: archives and directories that are not hidden, sorted.

        Raises:
            ModelNotFound: no store is configured.
        """
        with os.scandir(self._root()) as children:
            return sorted(
                child.name
                for child in children
                if not child.name.startswith(".") and (child.is_dir() or child.name.endswith(_ARCHIVE_SUFFIXES))
            )

    def fetch(self, url: str) -> Path:
        """Copy what a URL names into the store, under the last part of its path. Blocks until that is done.

        Returns:
            The new file; ``remove_downloaded`` takes it out again.

        Raises:
            ModelNotFound: no store is configured, or the URL is not allowed or names no file.
            ModelFileExists: the store has a file of this name.
            DownloadFailed: it could not be fetched.
        """
        _check_url(url)
        self._check_allowed(url)
        target = self._root() / _file_name(url)
        if os.path.lexists(target):
            raise ModelFileExists(target.name)
        partial = target.with_name(f".{uuid.uuid4().hex}.part")
        try:
            self._copy(url, partial)
            with self._naming:
                if os.path.lexists(target):
                    raise ModelFileExists(target.name)
                partial.rename(target)
        except NoPublicAddress as error:
            logger.warning("refused to download a model: %s", error)
            raise DownloadFailed(url, "private addresses are not allowed, see allow_private_urls") from None
        except TooLarge:
            raise DownloadFailed(url, f"larger than {self._limits.max_bytes} bytes") from None
        except (UnusableAnswer, OSError, http.client.HTTPException, ValueError) as error:
            logger.warning("failed to download a model from %s: %s", url, error)
            raise DownloadFailed(url) from error
        finally:
            partial.unlink(missing_ok=True)
        return target

    def interrupt(self) -> None:
        """Have every ``fetch`` that is under way fail now, and those to come as well: the server stops."""
        self._interruption.set()

    def remove_downloaded(self, path: Path) -> None:
        """Delete what ``fetch`` returned; nothing happens if it is gone already."""
        if self.root is None or path.parent != self.root:
            raise ValueError(f"{path} was not downloaded to this store")
        path.unlink(missing_ok=True)

    def _root(self) -> Path:
        if self.root is None:
            raise ModelNotFound("Model store has not been configured.")
        return self.root

    def _existing(self, path: Path, url: str) -> Path:
        if not exists(path):
            raise ModelNotFound(f"Model not found at: {url}")
        return path

    def _check_allowed(self, url: str) -> None:
        if not any(pattern.fullmatch(url) for pattern in self._allowed_urls):
            raise ModelNotFound(f"Given URL {url} does not match any allowed URL(s)")

    def _copy(self, url: str, place: Path) -> None:
        with place.open("xb") as file:
            if urlsplit(url).scheme == "file":
                with _open_regular(Path(_local_path(url))) as source:
                    if os.fstat(source.fileno()).st_size > self._limits.max_bytes:
                        raise TooLarge
                    shutil.copyfileobj(source, file, _CHUNK_BYTES)
            else:
                download(
                    url,
                    file,
                    allow_private=self._allow_private_urls,
                    check_redirect=self._check_allowed,
                    limits=self._limits,
                    interruption=self._interruption,
                )


def _check_url(url: str) -> None:
    if not url:
        raise ModelNotFound("empty url")
    if ".." in url:
        raise ModelNotFound(f"Relative path is not allowed in url: {url}")


def _file_name(url: str) -> str:
    """The last part of a URL's path, decoded.

    Raises:
        ModelNotFound: it cannot be the name of a file in the store.
    """
    try:
        name = unquote(urlsplit(url).path.rpartition("/")[2])
    except ValueError:
        name = ""
    if not name or name.startswith(".") or "/" in name or not name.isprintable() or len(os.fsencode(name)) > 200:
        raise ModelNotFound(f"Model not found at: {url}")
    return name


def _local_path(url: str) -> str:
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        raise UnusableAnswer(f"files of the host {parts.netloc} cannot be read")
    return unquote(parts.path)


def _open_regular(path: Path) -> io.FileIO:
    """Open a file for reading; a pipe or a device is refused, and not waited for."""
    file = io.FileIO(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise UnusableAnswer("not a regular file")
    return file
