"""Echo on LitServe: one worker, JSON in and out, which is what it decodes. Usage: ``litserve_echo.py PORT``."""

import os
import sys

import litserve


class Echo(litserve.LitAPI):
    def setup(self, device):
        pass

    def decode_request(self, request):
        return request

    def predict(self, x):
        return x

    def encode_response(self, output):
        return output


if __name__ == "__main__":
    api = Echo(max_batch_size=int(os.environ["ECHO_BATCH_SIZE"]), batch_timeout=int(os.environ["ECHO_DELAY_MS"]) / 1000)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning")
