"""One message of every kind, and inputs made of them by damage: what the fuzzers throw."""

import random

from attrs import evolve

from paintmq.statistics import GpuMetrics, SystemMetrics
from paintmq.task import Buffer, Fence, PayloadInfo, TaskError, TaskId, TaskRequest, TaskState
from paintmq.wire import messages as m
from paintmq.wire.codec import encode
from paintmq.wire.frames import CHUNK, CREDIT, HEADER_BYTES, KIND_OF, RUN, Header, unpack_header
from paintmq.wire.runs import RUN_KINDS, encode_run

_TASK = TaskId("0123456789abcdef" * 2)
_FENCE = Fence(7, 3)
_SYSTEM = SystemMetrics(
    cpu=0.5,
    load=1.0,
    memory_used_mb=1,
    memory_total_mb=2,
    process_memory_mb=1,
    process_threads=3,
    gpus=(GpuMetrics(name="a", memory_used_mb=1, memory_total_mb=2, utilisation=0.5),),
)
_PAYLOADS = (
    PayloadInfo(name="image", size=12, digest="0" * 64, kind="array", dtype="uint8", shape=(2, 6)),
    PayloadInfo(name="mask", size=3, digest="0" * 64, kind="file", width=9, height=9),
)
_REQUEST = TaskRequest(
    id=_TASK,
    task_type="inpaint",
    model="opencv",
    options={"radius": 5, "nested": {"list": [1, 2.5, None, True, "text"]}},
    inputs=_PAYLOADS,
)
_HOSTILE = (
    b"\xdd\xff\xff\xff\xff",  # an array of 4 G items
    b"\xdf\xff\xff\xff\xff",  # a map of 4 G items
    b"\xc6\xff\xff\xff\xff",  # 4 GiB of bytes
    b"\xdb\xff\xff\xff\xff",  # 4 GiB of text
    b"\x91" * 2_000,  # depth
    b"\x81\xa1a" * 500,
    b"\xc1",  # never used
    b"\xc7\x0c\xff" + bytes(12),  # a timestamp
    b"\xca\x7f\xc0\x00\x00",  # not a number
    b"\xcf" + b"\xff" * 8,
    b"\xa1\xff",  # no UTF-8
)


def sample_messages() -> list[m.Message]:
    """Return one message of every kind, most fields away from their defaults."""
    error = TaskError(code="model_error", message="no", retryable=True, traceback="line 1")
    held = ((_TASK, _FENCE),)
    return [
        m.ClientHello(name="fuzz"),
        m.Submit(_REQUEST),
        m.Cancel(_TASK),
        m.Query((_TASK, _TASK)),
        m.ResultReceived(_TASK),
        m.Ask(request_id=1, subject="why", arguments={"task_id": _TASK, "deep": [[[1]]]}),
        m.ClientGoodbye(),
        m.Welcome(incarnation=7, durable_sequence=9, heartbeat=5.0),
        m.Accepted(task_id=_TASK, queue="cpu", durable_sequence=9, waiting_for="a worker"),
        m.Rejected(task_id=_TASK, code="queue_full", reason="full", retry_after=2.0),
        m.Progressed(task_id=_TASK, state=TaskState.RUNNING, step=1, total=2, preview=_PAYLOADS),
        m.Finished(task_id=_TASK, state=TaskState.SUCCEEDED, outputs=_PAYLOADS, error=error),
        m.UnknownTask(_TASK),
        m.CancelAnswered(_TASK, "cancelled"),
        m.Answer(request_id=1, value=[{"a": 1}], error="no"),
        m.WorkerHello(
            name="node/cpu-0",
            node="node",
            queue="cpu",
            device="cpu",
            models=("opencv",),
            unavailable={"lama": "no torch"},
            resident=(m.ResidentModel(model="opencv", memory_mb=1),),
            running=held,
        ),
        m.AttemptStarted(task_id=_TASK, fence=_FENCE, loading=True),
        m.AttemptProgressed(task_id=_TASK, fence=_FENCE, step=1, total=2, preview=_PAYLOADS),
        m.AttemptSucceeded(task_id=_TASK, fence=_FENCE, outputs=_PAYLOADS, ran=0.5),
        m.AttemptFailed(task_id=_TASK, fence=_FENCE, error=error),
        m.AttemptCrashed(task_id=_TASK, fence=_FENCE, alone=True, detail="SIGSEGV"),
        m.AttemptReturned(task_id=_TASK, fence=_FENCE, cancelled=True),
        m.ModelLoaded(model="opencv", seconds=0.1, memory_mb=1),
        m.ModelUnloaded(model="opencv", error="no"),
        m.Draining(),
        m.WorkerGoodbye(),
        m.ModelLogged(lines=(m.LogLine(text="x", level=20, tasks=(_TASK,), age=1.0),), dropped=2),
        m.NodeMeasured(system=_SYSTEM),
        m.WorkerWelcome(incarnation=7, heartbeat=5.0, lease=30.0, tasks_port=1, results_port=2),
        m.Assign((m.Assignment(task=_REQUEST, fence=_FENCE, run_limit=60.0),)),
        m.Abandon(task_id=_TASK, fence=_FENCE, grace=5.0),
        m.AttemptRecorded(task_id=_TASK, fence=_FENCE),
        m.Preload("opencv"),
        m.Drain(30.0),
        m.WhoAreYou(),
        m.Refused("no"),
        m.BrokerHeartbeat(),
        m.Heartbeat(running=held, memory_free_mb=5),
    ]


def sample_runs() -> list[bytes]:
    """Return a run of every kind that comes in runs, without payload frames, as an item."""
    ids = [_TASK, TaskId("f" * 32)]
    several = (
        [m.ResultReceived(each) for each in ids],
        [m.Submit(evolve(_REQUEST, id=each, priority=n)) for n, each in enumerate(ids)],
        [m.Accepted(task_id=each, queue="cpu", durable_sequence=9) for each in ids],
        [m.Finished(task_id=each, state=TaskState.SUCCEEDED, outputs=_PAYLOADS) for each in ids],
        [
            m.AttemptSucceeded(task_id=each, fence=Fence(7, n), outputs=_PAYLOADS, ran=float(n))
            for n, each in enumerate(ids)
        ],
        [m.AttemptRecorded(task_id=each, fence=_FENCE) for each in ids],
    )
    runs = []
    for members in several:
        body = encode_run(members)
        frames = 1 if m.payloads_of(members[0]) else 0
        header = Header(RUN_KINDS[type(members[0])], len(body), frames=frames, sequence=RUN)
        runs.append(header.pack() + body)
    return runs


class Mutator:
    """Makes inputs: messages that were damaged in one of many ways, and plain garbage."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._samples = [encode(message) for message in sample_messages()] + sample_runs()

    def next(self) -> bytes:
        """Return one head frame."""
        rng = self._rng
        data = bytearray(rng.choice(self._samples))
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            data = self._mutated(data)
        if rng.random() < 0.6 and len(data) >= HEADER_BYTES:
            # Most damage should get past the check of the body's length.
            data[12:16] = (len(data) - HEADER_BYTES).to_bytes(4)
        return bytes(data)

    def frames(self) -> list[Buffer]:
        """Return one multipart message: heads with more or fewer payload frames than they say."""
        rng = self._rng
        match rng.randrange(4):
            case 0:
                head = self.next()
            case 1:
                head = b"".join(rng.choice(self._samples) for _ in range(rng.randrange(1, 5)))
            case 2:
                header = Header(rng.choice((CHUNK, CREDIT)), task_id=rng.randbytes(16))
                head = self._miscounted(header).pack()
            case _:
                sample = rng.choice(self._samples)
                header = self._miscounted(unpack_header(sample))
                head = header.pack() + sample[HEADER_BYTES:]
        sizes = [rng.choice((0, 3, 12, 30, 100)) for _ in range(rng.choice((0, 0, 1, 2, 3)))]
        return [head, *(bytes(size) for size in sizes)]

    def _miscounted(self, header: Header) -> Header:
        rng = self._rng
        return header._replace(
            frames=rng.choice((0, 1, 2, 0xFFFF)),
            number=rng.choice((0, 1, 2, 0xFFFF_FFFF)),
            sequence=rng.choice((0, 1, RUN, 0xFFFF)),
        )

    def _mutated(self, data: bytearray) -> bytearray:
        rng = self._rng
        place = rng.randrange(len(data) + 1)
        match rng.randrange(8):
            case 0 if data:
                data[place % len(data)] ^= 1 << rng.randrange(8)
            case 1 if data:
                data[place % len(data)] = rng.randrange(256)
            case 2:
                del data[place : place + rng.randrange(1, 20)]
            case 3:
                data[place:place] = rng.randbytes(rng.randrange(1, 20))
            case 4:
                data[place:place] = rng.choice(_HOSTILE)
            case 5:
                other = rng.choice(self._samples)
                data = data[:place] + other[rng.randrange(len(other)) :]
            case 6:
                data = bytearray(rng.randbytes(rng.randrange(200)))
            case _:
                data[3:4] = bytes([rng.choice([*KIND_OF.values(), rng.randrange(256)])])
        return data
