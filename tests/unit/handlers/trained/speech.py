"""Where somebody speaks, by Silero VAD: WAV files of 16 kHz in, the probability of each 32 ms out."""

import io
import wave

import torch

from ts.torch_handler.base_handler import BaseHandler
from ts.utils.util import PredictionException

RATE = 16_000
WINDOW = 512


class Speech(BaseHandler):
    def preprocess(self, data):
        return [self.samples(row.get("data") or row.get("body")) for row in data]

    def samples(self, body):
        try:
            with wave.open(io.BytesIO(body)) as recording:
                if (recording.getframerate(), recording.getnchannels(), recording.getsampwidth()) != (RATE, 1, 2):
                    raise PredictionException("the recording is not 16 bit mono at 16 kHz", 400)
                frames = bytearray(recording.readframes(recording.getnframes()))
        except (wave.Error, EOFError) as error:
            raise PredictionException(f"the body is not a WAV file: {error}", 400) from error
        return torch.frombuffer(frames, dtype=torch.int16).float() / 32768

    def inference(self, data):
        answers = []
        with torch.inference_mode():
            for samples in data:
                self.model.reset_states()
                windows = samples[: len(samples) // WINDOW * WINDOW].split(WINDOW)
                answers.append([self.model(window, RATE).item() for window in windows])
        return answers

    def postprocess(self, data):
        return data
