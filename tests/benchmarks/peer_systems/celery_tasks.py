"""The two tasks as Celery's worker imports them."""

import os

import numpy as np
from celery import Celery

from tests.benchmarks.peer_systems.system import Picture

app = Celery("peers", broker=os.environ["PEERS_REDIS"], backend=os.environ["PEERS_REDIS"])
app.conf.update(  # JSON, the default, holds no arrays
    task_serializer="pickle", result_serializer="pickle", accept_content=["pickle"]
)


@app.task
def echo(payload: bytes) -> bytes:
    return payload


@app.task
def invert(picture: Picture) -> Picture:
    return np.bitwise_not(picture)
