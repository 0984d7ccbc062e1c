"""The README's first model, typed as it stands there, answers what the README says."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import httpx

from tests.serving import ServerProcess

README = (Path(__file__).parents[2] / "README.md").read_text()
FLAMBEAU = str(Path(sys.executable).with_name("flambeau"))
LOCAL_ADDRESS = "http://127.0.0.1:8080"


def block_after(sentence: str) -> str:
    """The first fenced block after a sentence of the README."""
    found = re.search(r"^```\w+\n(.*?)^```", README[README.index(sentence) :], re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


def test_first_model_of_the_readme_answers_what_the_readme_says(tmp_path: Path):
    (tmp_path / "shout.py").write_text(block_after("Write this one to `shout.py`"))
    pack, serve = (shlex.split(line) for line in block_after("Pack it and serve it").splitlines())
    ask = shlex.split(block_after("Ask it, from another terminal"))
    answer = re.search(r"It answers `(\w+)`", README)
    assert answer is not None

    subprocess.run([FLAMBEAU, *pack[1:]], cwd=tmp_path, check=True, capture_output=True, timeout=60)
    _, _, model, *options = serve
    with ServerProcess(model, folder=tmp_path, options=options) as server:
        url = ask[-1].replace(LOCAL_ADDRESS, server.inference)
        header, _, value = ask[ask.index("-H") + 1].partition(": ")
        reply = httpx.post(url, content=ask[ask.index("-d") + 1], headers={header: value}, trust_env=False)
    assert (reply.status_code, reply.text) == (200, answer[1])
