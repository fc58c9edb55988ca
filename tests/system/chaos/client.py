"""A program that submits checksummed tasks and keeps a journal of what it was told.

Usage: client.py NAME PORT JOURNAL SEED PAUSE [KEY_FILE]. It may be killed at any moment; started
again, it takes up what it had not finished. It submits, with a pause of so many seconds after each
task, until a file named ``JOURNAL.stop`` exists, then waits for the rest and exits. The journal's
lines are ``submit N``, ``ask N`` (to cancel it), ``cancel N ANSWER``, ``end N STATE DIGEST``, and
``alarm K`` when the broker had forgotten what it had accepted.
"""

import random
import sys
import threading
import time
from pathlib import Path
from typing import TextIO

from task_plan import is_cancelled, is_echoed, is_poison, key_of, payload_of, tenant_of

from paintmq import Client, Task
from paintmq.client.task_handle import TaskHandle
from paintmq.errors import TaskNotCompletedError

IN_FLIGHT = 200


class Program:
    def __init__(
        self,
        name: str,
        endpoint: str,
        journal: Path,
        seed: int,
        pause: float,
        key: Path | None = None,
    ) -> None:
        self._name, self._journal = name, journal
        self._rng = random.Random(
            f"{seed}/{name}/{journal.stat().st_size if journal.exists() else 0}"
        )
        self._client = Client(endpoint, name=name, key=key)
        self._lock = threading.Lock()
        self._pause = pause
        self._room = threading.Semaphore(IN_FLIGHT)
        self._file: TextIO = journal.open("a", buffering=1)
        self._stop = Path(f"{journal}.stop")

    def run(self) -> None:
        submitted, ended = self._read()
        for number in submitted:
            if number not in ended:
                self._room.acquire()
                self._submit(number)
        number = max(submitted, default=-1) + 1
        while not self._stop.exists():
            if self._room.acquire(timeout=0.2):
                self._write(f"submit {number}")
                self._submit(number)
                number += 1
                time.sleep(self._pause)
        for _ in range(IN_FLIGHT):
            self._room.acquire()
        self._note_alarms()
        self._client.close()

    def _read(self) -> tuple[list[int], set[int]]:
        lines = [line.split() for line in self._journal.read_text().splitlines()]
        whole = [line for line in lines if len(line) >= 2]
        return (
            [int(line[1]) for line in whole if line[0] == "submit"],
            {int(line[1]) for line in whole if line[0] == "end" and len(line) == 4},
        )

    def _submit(self, number: int) -> None:
        handle = self._client.submit(task_of(self._name, number), patient=True)
        handle.add_done_callback(lambda done: self._ended(number, done))
        if is_cancelled(number):
            delay = threading.Timer(self._rng.uniform(0.0, 0.5), self._cancel, (number, handle))
            delay.daemon = True
            delay.start()

    def _cancel(self, number: int, handle: TaskHandle) -> None:
        self._write(f"ask {number}")
        try:
            self._write(f"cancel {number} {handle.cancel(timeout=60.0)}")
        except TimeoutError:
            self._write(f"cancel {number} unanswered")

    def _ended(self, number: int, handle: TaskHandle) -> None:
        try:
            outputs = handle.result(0).outputs
            digest = bytes(outputs["digest"]).decode()
            data = payload_of(self._name, number)
            if outputs.get("echo", b"") != (data if is_echoed(data) else b""):
                digest = "another-echo"
            self._write(f"end {number} succeeded {digest}")
        except TaskNotCompletedError as error:
            state = error.state.value if error.state is not None else error.code
            self._write(f"end {number} {state} {error.code}")
        self._note_alarms()
        self._room.release()

    def _note_alarms(self) -> None:
        if self._client.alarms:
            self._write(f"alarm {self._client.alarms}")

    def _write(self, line: str) -> None:
        with self._lock:
            self._file.write(line + "\n")


def task_of(name: str, number: int) -> Task:
    return Task(
        task_type="plugin",
        config={
            "model": "chaos",
            "seconds": (number % 7) * 0.01 if not is_cancelled(number) else 0.4,
            "poison": is_poison(name, number),
            "stubborn": number % 150 == 7,
        },
        inputs={"data": payload_of(name, number)},
        priority=number % 3,
        tenant=tenant_of(name, number),
        # What a killed worker was loading counts as failed, whoever it was loaded for.
        max_attempts=20,
        idempotency_key=key_of(name, number),
    )


if __name__ == "__main__":
    Program(
        sys.argv[1],
        f"tcp://127.0.0.1:{sys.argv[2]}",
        Path(sys.argv[3]),
        int(sys.argv[4]),
        float(sys.argv[5]),
        Path(sys.argv[6]) if sys.argv[6:] else None,
    ).run()
