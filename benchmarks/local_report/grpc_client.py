"""One client of Flambeau's gRPC frontend: ``python -m benchmarks.local_report.grpc_client TARGET MODEL BODY_FILE``."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import grpc

from benchmarks.local_report.load import measure_threads
from benchmarks.local_report.orders import Orders
from flambeau.frontends.grpc.protos.inference_pb2 import PredictionResponse, PredictionsRequest

METHOD = "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions"


class GrpcCaller:
    """Call one model's predictions over one channel."""

    def __init__(self, target: str, model: str) -> None:
        self._model = model
        self._call = grpc.insecure_channel(target).unary_unary(
            METHOD, PredictionsRequest.SerializeToString, PredictionResponse.FromString
        )

    def __call__(self, body: bytes) -> bytes:
        """The prediction. Raises grpc.RpcError."""
        prediction: bytes = self._call(PredictionsRequest(model_name=self._model, input={"body": body})).prediction
        return prediction


def main() -> None:
    orders = Orders()
    target, model, body_file = sys.argv[1:]
    body = Path(body_file).read_bytes()
    call = GrpcCaller(target, model)
    call(body)
    orders.serve(partial(measure_threads, call, body))


if __name__ == "__main__":
    main()
