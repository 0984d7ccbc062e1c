"""Echo on mosec: one worker, raw bytes in and out. Usage: ``mosec_echo.py --address … --port …``."""

import os

from mosec import Server, Worker


class Echo(Worker):
    req_mime_type = resp_mime_type = "application/octet-stream"

    def deserialize(self, data):
        return data

    def serialize(self, data):
        return data

    def forward(self, data):
        return data


if __name__ == "__main__":
    server = Server()
    server.append_worker(
        Echo,
        num=1,
        max_batch_size=int(os.environ["ECHO_BATCH_SIZE"]),
        max_wait_time=int(os.environ["ECHO_DELAY_MS"]),
    )
    server.run()
