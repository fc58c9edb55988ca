"""The two tasks as Dramatiq's worker imports them."""

import os

import dramatiq
import numpy as np
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from tests.benchmarks.peer_systems.system import Picture

encoder = dramatiq.PickleEncoder()  # JSON, the default, holds no arrays
dramatiq.set_encoder(encoder)
broker = RedisBroker(url=os.environ["PEERS_REDIS"])
broker.add_middleware(Results(backend=RedisBackend(url=os.environ["PEERS_REDIS"], encoder=encoder)))
dramatiq.set_broker(broker)


@dramatiq.actor(store_results=True, max_retries=0)
def echo(payload: bytes) -> bytes:
    return payload


@dramatiq.actor(store_results=True, max_retries=0)
def invert(picture: Picture) -> Picture:
    return np.bitwise_not(picture)
