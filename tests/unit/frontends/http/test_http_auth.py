from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from flambeau.errors import Unauthorized
from flambeau.frontends.http.auth import Tokens

START_NS = 1_700_000_000_123_456_789


class WallClock:
    def __init__(self) -> None:
        self.now_ns = START_NS

    def __call__(self) -> int:
        return self.now_ns

    def advance(self, seconds: float) -> None:
        self.now_ns += int(seconds * 1e9)


@pytest.fixture
def clock() -> WallClock:
    return WallClock()


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    return tmp_path / "key_file.json"


@pytest.fixture
def tokens(key_file: Path, clock: WallClock) -> Tokens:
    return published(key_file, clock)


def published(key_file: Path, clock: WallClock) -> Tokens:
    tokens = Tokens(key_file, 3600, clock)
    tokens.publish()
    return tokens


def bearer(key_file: Path, key: str) -> bytes:
    return f"Bearer {json.loads(key_file.read_bytes())[key]['key']}".encode()


def test_the_key_file_has_torchserves_format_and_is_private(tokens: Tokens, key_file: Path):
    content = json.loads(key_file.read_bytes())
    assert list(content) == ["management", "inference", "API"]
    expiry = "2023-11-14T23:13:20.123456789Z"
    assert content["management"]["expiration time"] == content["inference"]["expiration time"] == expiry
    assert list(content["API"]) == ["key"]
    keys = {content[name]["key"] for name in content}
    assert len(keys) == 3
    assert all(len(key) == 8 for key in keys)
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600


def test_each_start_replaces_the_file_and_its_keys(tokens: Tokens, key_file: Path, clock: WallClock):
    key_file.chmod(0o644)
    before = key_file.read_bytes()
    published(key_file, clock)
    assert key_file.read_bytes() != before
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    assert [path.name for path in key_file.parent.iterdir()] == ["key_file.json"]


def test_the_file_goes_with_its_server(tokens: Tokens, key_file: Path):
    tokens.withdraw()
    assert not key_file.exists()
    tokens.withdraw()


def test_the_file_of_a_later_server_stays(tokens: Tokens, key_file: Path, clock: WallClock):
    published(key_file, clock)
    tokens.withdraw()
    assert key_file.exists()


def test_making_keys_leaves_the_file_of_a_running_server_alone(tokens: Tokens, key_file: Path, clock: WallClock):
    before = key_file.read_bytes()
    Tokens(key_file, 3600, clock).withdraw()
    assert key_file.read_bytes() == before


def test_a_file_that_cannot_be_deleted_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (tmp_path / "keys").mkdir()
    Tokens(tmp_path / "keys", 3600).withdraw()
    assert "could not be deleted: Is a directory" in caplog.text


def test_each_key_opens_its_own_door_only(tokens: Tokens, key_file: Path):
    tokens.check_inference(bearer(key_file, "inference"))
    tokens.check_management(bearer(key_file, "management"))
    for wrong in ("management", "API"):
        with pytest.raises(Unauthorized):
            tokens.check_inference(bearer(key_file, wrong))
    for wrong in ("inference", "API"):
        with pytest.raises(Unauthorized):
            tokens.check_management(bearer(key_file, wrong))


def test_several_blanks_may_stand_before_the_key(tokens: Tokens, key_file: Path):
    tokens.check_inference(bearer(key_file, "inference").replace(b" ", b"   "))


@pytest.mark.parametrize(
    "authorization", [None, b"", b"Bearer", b"Bearer ", b"Bearer wrong", b"Bearer \xff\xfe", b"Basic x"]
)
def test_anything_else_is_refused_in_torchserves_words(tokens: Tokens, authorization: bytes | None):
    with pytest.raises(Unauthorized) as refused:
        tokens.check_inference(authorization)
    assert refused.value.message == (
        "Token Authorization failed. Token either incorrect, expired, or not provided correctly"
    )


@pytest.mark.parametrize("prefix", [b"bearer ", b"BEARER ", b"Bearer", b" Bearer ", b"Bearer\t"])
def test_the_scheme_is_bearer_and_a_blank_exactly(tokens: Tokens, key_file: Path, prefix: bytes):
    key = bearer(key_file, "inference").removeprefix(b"Bearer ")
    with pytest.raises(Unauthorized):
        tokens.check_inference(prefix + key)


def test_keys_expire(tokens: Tokens, key_file: Path, clock: WallClock):
    inference, management = bearer(key_file, "inference"), bearer(key_file, "management")
    clock.advance(3599.999)
    tokens.check_inference(inference)
    clock.advance(0.001)
    with pytest.raises(Unauthorized):
        tokens.check_inference(inference)
    with pytest.raises(Unauthorized):
        tokens.check_management(management)


def test_renewal_replaces_one_key_and_its_expiry(tokens: Tokens, key_file: Path, clock: WallClock):
    old, management = bearer(key_file, "inference"), bearer(key_file, "management")
    clock.advance(3000)
    tokens.renew("inference", bearer(key_file, "API"))
    with pytest.raises(Unauthorized):
        tokens.check_inference(old)
    clock.advance(3000)
    tokens.check_inference(bearer(key_file, "inference"))
    assert bearer(key_file, "management") == management


def test_the_api_key_never_expires(tokens: Tokens, key_file: Path, clock: WallClock):
    clock.advance(1e9)
    tokens.renew("management", bearer(key_file, "API"))
    tokens.check_management(bearer(key_file, "management"))


@pytest.mark.parametrize(("key_type", "key"), [("inference", "inference"), (None, "API"), ("API", "API"), ("", "API")])
def test_renewal_needs_the_api_key_and_a_type(tokens: Tokens, key_file: Path, key_type: str | None, key: str):
    before = key_file.read_bytes()
    with pytest.raises(Unauthorized) as refused:
        tokens.renew(key_type, bearer(key_file, key))
    assert refused.value.message == (
        "Token Authentication failed. Token either incorrect, expired, or not provided correctly"
    )
    assert key_file.read_bytes() == before


def test_a_key_whose_file_cannot_be_written_stays_good(tmp_path: Path, clock: WallClock):
    folder = tmp_path / "keys"
    folder.mkdir()
    key_file = folder / "key_file.json"
    tokens = published(key_file, clock)
    inference, api = bearer(key_file, "inference"), bearer(key_file, "API")
    folder.rename(tmp_path / "gone")
    with pytest.raises(FileNotFoundError):
        tokens.renew("inference", api)
    tokens.check_inference(inference)
