import gzip
import io
import json
import os
import stat
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flambeau.archive.members import UnpackLimits
from flambeau.archive.reader import open_archive, read_manifest
from flambeau.errors import InternalError, InvalidModel, ModelNotFound, ServingError

MANIFEST = json.dumps({"runtime": "python", "model": {"modelName": "echo", "handler": "echo.py"}})
FILES = {"MAR-INF/MANIFEST.json": MANIFEST, "echo.py": "handle = 1\n", "sub/data.txt": "x" * 3000}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "unpacked"


def zip_of(path: Path, files: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def tar_of(path: Path, files: dict[str, str], links: list[tarfile.TarInfo] | None = None) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content.encode()))
        for link in links or []:
            archive.addfile(link)
    return path


def directory_of(path: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(content)
    return path


def tar_link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def zip_link(path: Path, name: str, target: str) -> Path:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(info, target)
    return path


def contents(directory: Path) -> dict[str, str]:
    return {str(p.relative_to(directory)): p.read_text() for p in directory.rglob("*") if p.is_file()}


def assert_refused(source: Path, root: Path, message: str, **options: UnpackLimits) -> None:
    with pytest.raises(InvalidModel, match=message):
        open_archive(source, root, **options)
    assert list(root.iterdir()) == []


# What is served


def test_a_mar_file_is_unpacked_into_a_directory_of_its_own(tmp_path, root):
    model = open_archive(zip_of(tmp_path / "m.mar", FILES), root)
    assert model.manifest.model_name == "echo"
    assert contents(model.directory) == FILES
    assert model.is_temporary
    assert model.directory.parent == root.resolve()
    assert len(model.directory.name) == 32


def test_remove_deletes_what_was_unpacked_and_may_be_called_again(tmp_path, root):
    archive = tar_of(tmp_path / "m.tar.gz", {f"m/{name}": content for name, content in FILES.items()})
    model = open_archive(archive, root)
    model.remove()
    model.remove()
    assert list(root.iterdir()) == []
    assert archive.exists()


@pytest.mark.parametrize("prefix", ["", "./", "m/", "./m/"])
def test_a_tar_file_is_served_with_or_without_a_directory_around_the_model(tmp_path, root, prefix):
    archive = tar_of(tmp_path / "m.tar.gz", {f"{prefix}{name}": content for name, content in FILES.items()})
    model = open_archive(archive, root)
    assert contents(model.directory) == FILES
    assert read_manifest(archive) == model.manifest


def test_the_content_tells_what_an_archive_is_not_its_name(tmp_path, root):
    assert contents(open_archive(zip_of(tmp_path / "m.model", FILES), root).directory) == FILES
    assert contents(open_archive(tar_of(tmp_path / "m.mar", FILES), root).directory) == FILES


def test_a_directory_is_served_in_place(tmp_path, root):
    source = directory_of(tmp_path / "model", FILES)
    model = open_archive(source, root)
    assert model.directory == source.resolve()
    assert not model.is_temporary
    model.remove()
    assert contents(source) == FILES
    assert not root.exists()


def test_a_link_to_a_directory_is_resolved(tmp_path, root):
    source = directory_of(tmp_path / "model", FILES)
    (tmp_path / "link").symlink_to(source)
    assert open_archive(tmp_path / "link", root).directory == source.resolve()


def test_a_directory_that_holds_only_the_models_directory_is_entered(tmp_path, root):
    source = directory_of(tmp_path / "outer" / "inner", FILES)
    (tmp_path / "outer" / ".cache").mkdir()
    assert open_archive(tmp_path / "outer", root).directory == source.resolve()


def test_a_directory_with_only_a_manifest_is_not_entered(tmp_path, root):
    source = directory_of(tmp_path / "model", {"MAR-INF/MANIFEST.json": MANIFEST})
    assert open_archive(source, root).directory == source.resolve()


def test_without_a_manifest_defaults_stand_in(tmp_path, root):
    model = open_archive(zip_of(tmp_path / "my-model.mar", {"echo.py": ""}), root)
    assert (model.manifest.model_name, model.manifest.model_version) == ("my_model", "1.0")
    assert (model.manifest.runtime, model.manifest.handler) == ("python", None)


def test_a_registrations_name_wins_over_the_manifests(tmp_path, root):
    source = zip_of(tmp_path / "m.mar", FILES)
    assert open_archive(source, root, model_name="mine").manifest.model_name == "mine"


def test_of_two_members_of_one_name_the_last_counts(tmp_path, root):
    with zipfile.ZipFile(tmp_path / "m.mar", "w") as archive:
        archive.writestr("a", "first")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a", "last")
    assert contents(open_archive(tmp_path / "m.mar", root).directory) == {"a": "last"}


def test_modes_are_plain_whatever_the_archive_says(tmp_path, root):
    with tarfile.open(tmp_path / "m.tar.gz", "w:gz") as archive:
        for name, mode in (("run", 0o4755), ("data", 0o0)):
            info = tarfile.TarInfo(name)
            info.mode = mode
            archive.addfile(info)
    directory = open_archive(tmp_path / "m.tar.gz", root).directory
    assert stat.S_IMODE((directory / "run").stat().st_mode) == 0o755
    assert stat.S_IMODE((directory / "data").stat().st_mode) == 0o644


def test_links_within_the_archive_are_kept(tmp_path, root):
    links = [tar_link("sub/up", "../echo.py"), tar_link("twin", "echo.py", tarfile.LNKTYPE), tar_link("later", "sub")]
    directory = open_archive(tar_of(tmp_path / "m.tar.gz", FILES, links), root).directory
    assert (directory / "sub/up").read_text() == FILES["echo.py"]
    assert (directory / "twin").samefile(directory / "echo.py")
    assert (directory / "later/data.txt").exists()


# What is refused


def test_a_missing_archive_is_not_found(tmp_path, root):
    with pytest.raises(ModelNotFound, match=r"Model not found at: m\.mar"):
        open_archive(tmp_path / "m.mar", root)
    with pytest.raises(ModelNotFound):
        read_manifest(tmp_path / "m.mar")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "Archive is empty"),
        (b"PK\x03\x04nonsense", "Archive is damaged"),
        (b"\x1f\x8bnonsense", "Archive is damaged"),
        (gzip.compress(b"nonsense"), "Archive is damaged"),
        (b"nonsense", "neither a zip file nor a gzip-compressed tar"),
    ],
)
def test_a_file_that_is_no_archive_is_refused(tmp_path, root, content, message):
    (tmp_path / "m.mar").write_bytes(content)
    assert_refused(tmp_path / "m.mar", root, message)
    with pytest.raises(InvalidModel, match=message):
        read_manifest(tmp_path / "m.mar")


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "a/../../evil"])
@pytest.mark.parametrize("make", [zip_of, tar_of])
def test_members_that_lead_out_are_refused(tmp_path, root, make, name):
    archive = make(tmp_path / "m", {**FILES, name: "evil"})
    assert_refused(archive, root, f"Detected Zip Slip vulnerability: {name}")
    with pytest.raises(InvalidModel):
        read_manifest(make(tmp_path / "m2", {name: "evil"}))


@pytest.mark.parametrize("target", ["/etc/passwd", "../../x", "sub/../../x"])
def test_symbolic_links_that_lead_out_are_refused(tmp_path, root, target):
    assert_refused(tar_of(tmp_path / "t", FILES, [tar_link("l", target)]), root, "link that leads out of it: l")
    assert_refused(zip_link(zip_of(tmp_path / "z", FILES), "l", target), root, "link that leads out of it: l")


def test_a_chain_of_links_that_leads_out_only_when_followed_is_refused(tmp_path, root):
    links = [tar_link("here", "sub"), tar_link("out", "here/../..")]
    assert_refused(tar_of(tmp_path / "t", FILES, links), root, "link that leads out")


def test_nothing_is_written_through_a_link(tmp_path, root):
    outside = tmp_path / "outside"
    outside.mkdir()
    with tarfile.open(tmp_path / "t", "w:gz") as archive:
        archive.addfile(tar_link("door", str(outside)))
        info = tarfile.TarInfo("door/file")
        archive.addfile(info)
    assert_refused(tmp_path / "t", root, "cannot be unpacked")
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("target", ["missing", "l"])
def test_hard_links_to_what_the_archive_lacks_are_refused(tmp_path, root, target):
    archive = tar_of(tmp_path / "t", FILES, [tar_link("l", target, tarfile.LNKTYPE)])
    assert_refused(archive, root, "link to a file that it does not have: l")


def test_hard_links_that_lead_out_are_refused(tmp_path, root):
    archive = tar_of(tmp_path / "t", FILES, [tar_link("l", "/etc/passwd", tarfile.LNKTYPE)])
    assert_refused(archive, root, "Zip Slip vulnerability: /etc/passwd")


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, b"?"])
def test_devices_pipes_and_unknown_members_are_refused(tmp_path, root, kind):
    archive = tar_of(tmp_path / "t", FILES, [tar_link("odd", "", kind)])
    assert_refused(archive, root, "not a file, directory or link: odd")


def test_encrypted_members_are_refused(tmp_path, root):
    data = bytearray(zip_of(tmp_path / "m.mar", {"a": "x"}).read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "m.mar").write_bytes(data)
    assert_refused(tmp_path / "m.mar", root, "encrypted member: a")


def test_a_zip_bomb_is_refused(tmp_path, root):
    limits = UnpackLimits(ratio_free_bytes=1000)
    for make in (zip_of, tar_of):
        assert_refused(make(tmp_path / "bomb", {"a": "0" * 1_000_000}), root, "too large when unpacked", limits=limits)


def test_too_many_members_are_refused(tmp_path, root):
    assert_refused(zip_of(tmp_path / "m", FILES), root, "too many members", limits=UnpackLimits(max_members=2))


def test_a_tar_header_of_any_size_is_not_read_into_memory(tmp_path, root):
    info = tarfile.TarInfo("long")
    info.type, info.size = tarfile.XHDTYPE, (8 << 30) - 1
    (tmp_path / "t").write_bytes(gzip.compress(info.tobuf() + b"0" * 10_000))
    assert_refused(tmp_path / "t", root, "header that is too long")


def test_a_tar_file_with_a_damaged_header_is_not_taken_for_a_shorter_one(tmp_path, root):
    data = bytearray(gzip.decompress(tar_of(tmp_path / "t", {"a": "x", "b": "y"}).read_bytes()))
    data[1024] ^= 0xFF
    (tmp_path / "t").write_bytes(gzip.compress(data))
    assert_refused(tmp_path / "t", root, "invalid header")


def test_a_wrong_checksum_after_the_last_member_is_noticed(tmp_path, root):
    data = bytearray(tar_of(tmp_path / "t", FILES).read_bytes())
    data[-8:-4] = struct.pack("<I", 0)
    (tmp_path / "t").write_bytes(data)
    assert_refused(tmp_path / "t", root, "Archive is damaged")


def test_a_name_that_the_file_system_cannot_hold_is_the_archives_fault(tmp_path, root):
    assert_refused(tar_of(tmp_path / "t", {"x" * 300: ""}), root, "cannot be unpacked: File name too long")


def test_a_file_and_a_directory_of_one_name_are_refused(tmp_path, root):
    assert_refused(zip_of(tmp_path / "z", {"a": "", "a/b": ""}), root, "cannot be unpacked")


@pytest.mark.parametrize("manifest", ["", "{", '{"model": {}}'])
def test_an_archive_with_a_bad_manifest_leaves_nothing(tmp_path, root, manifest):
    assert_refused(
        zip_of(tmp_path / "m.mar", {**FILES, "MAR-INF/MANIFEST.json": manifest}), root, "Manifest|Model name"
    )


def test_a_manifest_that_is_a_directory_is_refused(tmp_path, root):
    assert_refused(zip_of(tmp_path / "m.mar", {"MAR-INF/MANIFEST.json/x": ""}), root, "Manifest cannot be read")


def test_an_unpack_directory_that_cannot_be_made_is_the_servers_fault(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InternalError, match="cannot be written"):
        open_archive(zip_of(tmp_path / "m.mar", FILES), tmp_path / "file" / "models")


# Any input


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="module")
def valid_archives(workplace: Path) -> list[bytes]:
    links = [tar_link("sub/up", "../echo.py"), tar_link("twin", "echo.py", tarfile.LNKTYPE)]
    zipped = zip_link(zip_of(workplace / "z", FILES), "sub/up", "../echo.py").read_bytes()
    tarred = tar_of(workplace / "t", FILES, links).read_bytes()
    return [zipped, tarred]


def assert_opens_or_is_refused_and_leaves_nothing(data: bytes, workplace: Path) -> None:
    source, root = workplace / "source.mar", workplace / "root"
    source.write_bytes(data)
    try:
        read_manifest(source)
    except ServingError as error:
        error.message.encode()
    try:
        model = open_archive(source, root, limits=UnpackLimits(ratio_free_bytes=1 << 20))
    except ServingError as error:
        error.message.encode()
    else:
        assert all(Path(os.path.realpath(path)).is_relative_to(model.directory) for path in model.directory.rglob("*"))
        model.remove()
    assert list(root.iterdir()) == []


@given(st.binary() | st.binary().map(lambda data: b"PK\x03\x04" + data) | st.binary().map(gzip.compress))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_an_archive_or_are_refused(workplace, data):
    assert_opens_or_is_refused_and_leaves_nothing(data, workplace)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_any_truncation_is_refused(workplace, valid_archives, data):
    archive = data.draw(st.sampled_from(valid_archives))
    cut = data.draw(st.integers(0, len(archive) - 1))
    source, root = workplace / "cut.mar", workplace / "cut"
    source.write_bytes(archive[:cut])
    with pytest.raises(InvalidModel):
        open_archive(source, root)
    assert list(root.iterdir()) == []


@given(st.data())
@settings(max_examples=500, deadline=None)
def test_any_damage_is_survived(workplace, valid_archives, data):
    zipped, gzipped = valid_archives
    is_tar = data.draw(st.booleans())
    damaged = bytearray(gzip.decompress(gzipped) if is_tar else zipped)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    assert_opens_or_is_refused_and_leaves_nothing(gzip.compress(damaged) if is_tar else bytes(damaged), workplace)
