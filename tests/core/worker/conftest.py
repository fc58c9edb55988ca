"""Workers to begin with: the broker, the model host and the clock are played by hand."""

import pytest
from tests.harness.worker_bench import Bench, key_of, make_bench

from paintmq.wire.messages import AttemptRecorded


@pytest.fixture
def bench() -> Bench:
    """A worker that was welcomed and does nothing yet."""
    bench = make_bench()
    bench.welcome()
    return bench


@pytest.fixture
def warm() -> Bench:
    """A worker whose host is up with the model ``alpha``."""
    bench = make_bench()
    bench.welcome()
    bench.assign(99)
    bench.ready("alpha")
    bench.end(99, batch=1)
    bench.hear(AttemptRecorded(*key_of(99)))
    bench.commands.clear()
    return bench
