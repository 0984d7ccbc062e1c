"""What a model's files import, and what is not there."""

from __future__ import annotations

import pytest

from flambeau.migrate.code import check_code
from flambeau.migrate.findings import Severity


@pytest.fixture
def found(tmp_path):
    """What is found in a handler with this source, as ``line: what``."""

    def found(source, **others):
        (tmp_path / "handler.py").write_text(source)
        for name, text in others.items():
            (tmp_path / f"{name}.py").write_text(text)
        return [f"{finding.line}: {finding.what}" for finding in check_code(tmp_path, {"handler.py"})]

    return found


@pytest.mark.parametrize(
    "source",
    [
        "import os, json.decoder",
        "import torch.nn.functional as F",
        "from ts.torch_handler.base_handler import BaseHandler",
        "from ts.utils.util import *",
        "from ts.torch_handler import base_handler",
        "import helper\nfrom package.part import x",
        "from . import sibling",
        "try:\n    import nothing_of_this_name\nexcept ImportError:\n    pass",
        "try:\n    import nothing_of_this_name\nexcept (ValueError, ModuleNotFoundError):\n    pass",
        "try:\n    import nothing_of_this_name\nexcept:\n    pass",
    ],
)
def test_what_is_there_is_not_mentioned(found, tmp_path, source):
    (tmp_path / "package").mkdir()
    assert found(source, helper="") == []


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("\nimport nothing_of_this_name.part", "2: nothing_of_this_name is not installed"),
        ("def handle():\n    import nothing_of_this_name", "2: nothing_of_this_name is not installed"),
        (
            "try:\n    import nothing_of_this_name\nfinally:\n    pass",
            "2: nothing_of_this_name is not installed",
        ),
        ("import ts.nothing.here", "1: ts.nothing.here of TorchServe is not there"),
        ("from ts.utils.util import no_such", "1: ts.utils.util.no_such of TorchServe is not there"),
        ("from mms.service import x", "1: mms.service is of the server before TorchServe"),
        ("def handle(:", "1: it is not Python"),
    ],
)
def test_what_is_not_there_is_named_with_its_line(found, source, what):
    (shown,) = found(source)
    assert shown.startswith(what)


def test_a_package_that_several_lines_import_is_named_once(found):
    assert (
        len(found("import nothing_of_this_name\nimport nothing_of_this_name.x", other="import nothing_of_this_name"))
        == 1
    )


def test_a_package_is_named_as_pip_calls_it(tmp_path):
    (tmp_path / "handler.py").write_text("import no_such_package_42\n")
    (finding,) = check_code(tmp_path, ())
    assert (finding.package, finding.todo) == ("no-such-package-42", "pip install no-such-package-42")


def test_a_file_that_is_not_python_keeps_the_model_from_running_only_if_it_is_needed(tmp_path):
    (tmp_path / "handler.py").write_text("print 'hello'\n")
    assert [finding.severity for finding in check_code(tmp_path, {"handler.py"})] == [Severity.BLOCKS]
    assert [finding.severity for finding in check_code(tmp_path, set())] == [Severity.NOTE]


def test_environments_that_were_packed_with_a_model_are_passed_over(tmp_path):
    (tmp_path / "venv" / "lib").mkdir(parents=True)
    (tmp_path / "venv" / "lib" / "x.py").write_text("import nothing_of_this_name\n")
    assert list(check_code(tmp_path, ())) == []
