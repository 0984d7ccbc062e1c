"""What a client is told when a handler fails."""

from __future__ import annotations

from flambeau.request import InferenceReply, RowError

PREDICTION_FAILED = "Prediction failed"
NOT_A_LIST = "Invalid model predict output"
WRONG_LENGTH = "number of batch response mismatched"
NOT_SERIALIZABLE = "Unsupported model output data type."
OUT_OF_RESOURCES = "Out of resources"

_HOST_MEMORY_SIGNS = ("out of memory", "can't allocate memory")
"""What torch's allocators say in a ``RuntimeError`` where CUDA is not involved."""


class PredictionException(Exception):
    """Raised by a handler to choose the client's message and status itself."""

    def __init__(self, message: str, error_code: int = 500) -> None:
        super().__init__(message)
        self.message = message
        self.error_code = error_code

    def __str__(self) -> str:
        return f"{self.message} : {self.error_code}"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether host or device ran out of memory, as far as an exception tells; any CUDA error counts."""
    if isinstance(error, MemoryError):
        return True
    text = _text_of(error)
    return "CUDA" in text or (isinstance(error, RuntimeError) and any(sign in text for sign in _HOST_MEMORY_SIGNS))


def failed(message: str = PREDICTION_FAILED) -> InferenceReply:
    """The reply of a row whose handler gave no answer."""
    return InferenceReply(message.encode(), error=RowError.FAILED)


def unusable(message: str) -> InferenceReply:
    """The reply of a row that is not what the model takes."""
    return InferenceReply(message.encode(errors="replace"), error=RowError.UNUSABLE)


def reply_for(error: Exception) -> InferenceReply:
    """The reply of a row whose handler raised."""
    if isinstance(error, PredictionException):
        message = _text_of(error.message).encode(errors="replace")
        return InferenceReply(message, _status_of(error), error=RowError.REJECTED)
    if is_out_of_memory(error):
        return InferenceReply(OUT_OF_RESOURCES.encode(), error=RowError.OUT_OF_MEMORY)
    return failed()


def _status_of(error: PredictionException) -> int:
    code = error.error_code
    return code if isinstance(code, int) and 100 <= code <= 999 else 500


def _text_of(value: object) -> str:
    try:
        return str(value)
    except Exception:  # user code: an exception whose own text fails must not end the worker
        return type(value).__name__
