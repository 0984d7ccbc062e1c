import io

import pytest

from flambeau.archive.members import Admission, Member, MemberKind, UnpackLimits, safe_path, sole_directory
from flambeau.errors import InvalidModel


def member(name: str = "a", size: int = 0, kind: MemberKind = MemberKind.FILE) -> Member:
    return Member(name=name, kind=kind, size=size, is_executable=False, open=io.BytesIO)


@pytest.mark.parametrize("name", ["../a", "a/../../b", "..", "/etc/passwd", "\\windows", "a\\..\\..\\b", "..\\a"])
def test_a_name_that_leads_out_is_refused_in_torchserves_words(name):
    with pytest.raises(InvalidModel) as raised:
        safe_path(name)
    assert raised.value.message == f"Detected Zip Slip vulnerability: {name}"


@pytest.mark.parametrize(("name", "path"), [("a/b", "a/b"), ("./a//b/", "a/b"), ("a..b/..c", "a..b/..c")])
def test_a_name_within_is_kept(name, path):
    assert str(safe_path(name)) == path


def test_the_root_itself_is_nothing_to_unpack():
    assert Admission(UnpackLimits(), 1).admit(member("./", kind=MemberKind.DIRECTORY)) is None


def test_devices_are_refused():
    with pytest.raises(InvalidModel, match="not a file, directory or link: null"):
        Admission(UnpackLimits(), 1).admit(member("null", kind=MemberKind.OTHER))


def test_one_member_too_many_is_refused():
    admission = Admission(UnpackLimits(max_members=2), 1)
    admission.admit(member("a"))
    admission.admit(member("b"))
    with pytest.raises(InvalidModel, match="too many members"):
        admission.admit(member("c"))


def test_sizes_add_up_to_the_limit_and_no_further():
    admission = Admission(UnpackLimits(max_bytes=10), archive_bytes=10)
    admission.admit(member("a", 6))
    admission.admit(member("b", 4))
    with pytest.raises(InvalidModel, match="too large"):
        admission.admit(member("c", 1))


@pytest.mark.parametrize(
    ("archive_bytes", "budget"),
    [(1, 1000), (50, 1000), (100, 2000), (1000, 5000)],
    ids=["tiny", "below the free size", "by ratio", "by total"],
)
def test_the_budget_follows_the_archives_size_between_its_bounds(archive_bytes, budget):
    limits = UnpackLimits(max_bytes=5000, max_ratio=20, ratio_free_bytes=1000)
    assert limits.budget_bytes(archive_bytes) == budget


def test_a_message_never_carries_what_is_not_unicode():
    with pytest.raises(InvalidModel) as raised:
        safe_path("../\udcff")
    assert raised.value.message.encode() == rb"Detected Zip Slip vulnerability: ../\udcff"


@pytest.mark.parametrize(
    ("names", "directory"),
    [
        (["model"], "model"),
        (["model", ".DS_Store", "__MACOSX"], "model"),
        (["MAR-INF"], None),
        (["a", "b"], None),
        ([], None),
    ],
)
def test_the_only_directory_of_a_root_holds_the_model(names, directory):
    found = sole_directory(names)
    assert (found and str(found)) == directory
