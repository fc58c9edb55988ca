"""The two tasks as a Mosec server of one worker: bytes in, bytes out."""

import numpy as np
from mosec import Server, Worker

PICTURE_BYTES = 100_000
"""A body from this size on is a picture."""


class Both(Worker):
    """Echoes small bodies and inverts pictures."""

    def deserialize(self, data: bytes) -> bytes:
        return data

    def serialize(self, data: bytes) -> bytes:
        return data

    def forward(self, data: bytes) -> bytes:
        if len(data) < PICTURE_BYTES:
            return data
        return np.bitwise_not(np.frombuffer(data, np.uint8)).tobytes()


if __name__ == "__main__":
    server = Server()
    server.append_worker(Both, num=1)
    server.run()
