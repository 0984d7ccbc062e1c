import subprocess
import sys

import pytest

from flambeau import stages
from flambeau.stages.catalog import TORCHPIPE_NAMES
from flambeau.stages.requirements import require


def test_importing_the_package_imports_none_of_the_libraries_behind_it():
    script = "import sys; from flambeau import stages; stages.names(); print(*sys.modules)"
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert {"torch", "numpy", "PIL", "cv2", "tokenizers"}.isdisjoint(finished.stdout.split())


@pytest.mark.parametrize("name", stages.names())
def test_every_stage_is_an_attribute_and_is_found_by_every_way_to_write_it(name):
    stage = getattr(stages, name)
    assert stage.__name__ == name
    assert stages.find(name) is stages.find(f"stages.{name}") is stage


@pytest.mark.parametrize(
    ("small", "name"),
    [("decode_image", "DecodeImage"), ("stages.top_k", "TopK"), ("nms", "NMS"), ("to_tensor", "ToTensor")],
)
def test_a_stage_is_found_in_small_letters(small, name):
    assert stages.find(small).__name__ == name


@pytest.mark.parametrize("name", TORCHPIPE_NAMES)
def test_every_name_of_torchpipes_is_a_stage(name):
    assert stages.find(name).__name__ == name


def test_what_is_no_stage_is_refused_by_naming_those_that_there_are():
    with pytest.raises(KeyError, match="there is no stage 'Decode'; there are DecodeImage, Resize"):
        stages.find("Decode")
    with pytest.raises(AttributeError, match="no attribute 'Decode'"):
        stages.Decode  # noqa: B018


def test_a_package_that_is_missing_is_named_as_pip_knows_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(
        ModuleNotFoundError, match=r"cv2 is not installed in .*; install it with pip install opencv-python-headless"
    ):
        require("cv2")


def test_an_error_inside_of_a_package_that_is_there_is_raised_as_it_is(monkeypatch, tmp_path):
    (tmp_path / "broken_package.py").write_text("import module_that_it_lacks")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="No module named 'module_that_it_lacks'"):
        require("broken_package")
