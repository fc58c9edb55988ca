"""How long honest tasks take during an attack.

A broker, an honest client with an honest worker, and the attackers are processes of their own. The
honest ones bring one small task after the other to its end and ask one question beside each. The
figures are against the same broker's in quiet, of the same run, since all share the machine.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from math import inf
from pathlib import Path
from typing import Any

from attrs import frozen

from paintmq.transport.curve import secure_with
from paintmq.transport.key_files import (
    LOCAL_ADMIN,
    LOCAL_WORKER,
    init_keys,
    load_peer_key,
)
from paintmq.transport.pipes import Secure, no_keys
from paintmq.wire.messages import Answer, Ask, Submit
from tests.benchmarks.attackers import ATTACKS, MIB
from tests.benchmarks.page import run_with_page
from tests.harness.broker_process import BrokerProcess
from tests.harness.honest_work import HonestWork
from tests.harness.toy_broker import toy_client, toy_task
from tests.harness.wire_peer import WirePeer


@frozen
class Figures:
    """Of some seconds; times in milliseconds."""

    tasks: int
    task_p50: float
    task_p99: float
    question_p99: float
    turn_p99: float
    """Of the turns of the broker's loop, during each of which it hears nobody."""
    busy_p99: float
    """Of the processor's time in a turn: what others on the machine do not change."""
    busy_longest: float
    memory: int


def measure(broker: BrokerProcess, honest: HonestWork, asker: WirePeer, seconds: float) -> Figures:
    tasks, questions_, memory = [], [], 0
    before = turn_counts(asker)
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        began = time.monotonic()
        asker.say(Ask(request_id=1, subject="version"))
        asker.hear(Answer)
        questions_.append(time.monotonic() - began)
        began = time.monotonic()
        honest.submit(1)
        honest.finish()
        tasks.append(time.monotonic() - began)
        memory = max(memory, broker.memory())
        time.sleep(0.005)
    turns, busy = (
        {bound: count - old[bound] for bound, count in new.items()}
        for old, new in zip(before, turn_counts(asker), strict=True)
    )
    return Figures(
        len(tasks),
        1000 * _share(tasks, 0.5),
        1000 * _share(tasks, 0.99),
        1000 * _share(questions_, 0.99),
        1000 * share_of(turns, 0.99),
        1000 * share_of(busy, 0.99),
        1000 * share_of(busy, 1.0),
        memory,
    )


def turn_counts(asker: WirePeer) -> tuple[dict[float, int], dict[float, int]]:
    """Return how many turns the broker's loop has made, by the seconds they took at most, and by
    those of the processor.
    """
    asker.say(Ask(request_id=2, subject="turns"))
    while (answer := asker.hear(Answer)).request_id != 2:
        pass
    value: Any = answer.value
    bounds = [*value["bounds"], inf]
    turns, busy = (dict(zip(bounds, value[name], strict=True)) for name in ("counts", "busy"))
    return turns, busy


def share_of(counts: Mapping[float, int], share: float) -> float:
    """Return the bound that this share of what was counted is not above."""
    wanted, seen = share * sum(counts.values()), 0
    for bound in sorted(counts):
        seen += counts[bound]
        if seen >= wanted and seen:
            return bound
    return 0.0


def _share(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def run(name: str, seconds: float, folder: Path) -> tuple[Figures, Figures]:
    """Return the figures in quiet, and under the attack."""
    with ExitStack() as stack:
        keys = folder / "keys"
        secure: dict[str, Secure] = {}
        broker_key = ""
        if name == "handshakes":
            init_keys(keys)
            for local in (LOCAL_ADMIN, LOCAL_WORKER):
                key = load_peer_key(keys / f"{local}.key")
                broker_key = key.broker
                secure[local] = lambda socket, key=key: secure_with(socket, key)  # type: ignore[misc]
        broker = stack.enter_context(
            BrokerProcess(
                journal=folder / "journal",
                broker={"keys": str(keys)} if secure else {},
                timers={"lease": 600.0},
            )
        )
        client, worker = secure.get(LOCAL_ADMIN, no_keys), secure.get(LOCAL_WORKER, no_keys)
        asker = stack.enter_context(toy_client(broker, client))
        for _ in range(2_000):  # a backlog that nobody works off, for lists to be long
            asker.say(Submit(toy_task(queue="cpu-intensive")))
        honest = stack.enter_context(HonestWork(broker, secure_client=client, secure_worker=worker))
        measure(broker, honest, asker, 0.5)
        quiet = measure(broker, honest, asker, seconds)
        attacker = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.benchmarks.attacks",
                "--be",
                name,
                broker.client_endpoint,
                broker_key,
            ]
        )
        try:
            time.sleep(1.0)
            attacked = measure(broker, honest, asker, seconds)
        except TimeoutError:
            attacked = Figures(
                0, inf, inf, inf, inf, inf, inf, broker.memory()
            )  # no answer in 20 s
        finally:
            attacker.kill()
            attacker.wait()
        assert broker.is_running, "the broker died"
        return quiet, attacked


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("attacks", nargs="*", default=list(ATTACKS))
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--be", nargs=3, metavar=("ATTACK", "ENDPOINT", "KEY"))
    chosen = parser.parse_args()
    if chosen.be:
        attack, endpoint, key = chosen.be
        ATTACKS[attack](endpoint, key)
    print(
        "| attack | task p50, ms | task p99, ms | question p99, ms "
        "| turn p99, ms | processor p99, ms | at most, ms "
        "| memory, MiB |"
    )
    print("|" + 8 * " --- |")
    for name in chosen.attacks:
        with tempfile.TemporaryDirectory() as folder:
            quiet, attacked = run(name, chosen.seconds, Path(folder))
        print(
            f"| {name.replace('_', ' ')} "
            f"| {quiet.task_p50:.1f} → {attacked.task_p50:.1f} "
            f"| {quiet.task_p99:.1f} → {attacked.task_p99:.1f} "
            f"| {quiet.question_p99:.1f} → {attacked.question_p99:.1f} "
            f"| {quiet.turn_p99:.1f} → {attacked.turn_p99:.1f} "
            f"| {quiet.busy_p99:.1f} → {attacked.busy_p99:.1f} "
            f"| {quiet.busy_longest:.1f} → {attacked.busy_longest:.1f} "
            f"| {quiet.memory // MIB} → {attacked.memory // MIB} |",
            flush=True,
        )


if __name__ == "__main__":
    run_with_page(main)
