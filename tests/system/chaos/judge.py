"""Judges a chaos run from the clients' journals and the broker's log; shares no code with it.

Usage: judge.py FOLDER. Prints what it found; exits with 1 if a promise was broken. The folder holds
``*.journal`` of the clients, ``journal/paintmq.db`` of the broker, ``statistics.json``: what the
broker said of itself at the end, and ``owners.json``: the names of the keys that clients showed.
What each task should have come to is in ``task_plan.py``.
"""

import json
import sqlite3
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from broker_log import Life, Log, digest_of, read_log
from task_plan import is_echoed, is_poison, payload_of, result_of, task_id

CRASHES, LOSSES, UNDELIVERED, FAILURES = 3, 200, 400, 20
"""The limits that the run was started with."""


def main(folder: Path) -> int:
    wrong: list[str] = []
    log = read_log(folder / "journal" / "paintmq.db", wrong)
    owners = json.loads((folder / "owners.json").read_text())
    journals = [
        Journal(path, owners.get(path.stem, "")) for path in sorted(folder.glob("*.journal"))
    ]
    check_ownership(log, journals, wrong)
    asked = {j.task_id(number) for j in journals for number in j.asked}
    for lives in log.lives.values():
        for life in lives:
            check_life(life, wrong, was_cancelled=life.task in asked)
    for journal in journals:
        check_journal(journal, log, wrong)
    check_table(folder / "journal" / "paintmq.db", log, wrong)
    check_statistics(json.loads((folder / "statistics.json").read_text()), log, wrong)

    states = Counter(end[0] for journal in journals for end in journal.ends.values())
    summary = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    print(
        f"judged: {sum(states.values())} tasks ({summary}) in {log.leases} leases,"
        f" {log.boots} lives of the broker, {log.revived} requeued from the dead;"
        f" {len(wrong)} promises broken"
    )
    for line in wrong[:20]:
        print(f"BROKEN: {line}")
    return 1 if wrong else 0


class Journal:
    """What one client was told."""

    def __init__(self, path: Path, owner: str) -> None:
        self.name, self.owner = path.stem, owner
        self.submitted: set[int] = set()
        self.asked: set[int] = set()
        self.answers: list[tuple[int, str]] = []
        self.ends: dict[int, list[str]] = {}
        self.ids: dict[int, str] = {}
        """Of tasks whose ids the gateway made."""
        self.contradictions: list[str] = []
        self.alarms = 0
        for line in path.read_text().splitlines():
            self._read(line.split())

    def task_id(self, number: int) -> str:
        return self.ids.get(number) or task_id(self.name, number, self.owner)

    def _read(self, line: list[str]) -> None:
        match line:
            case ["submit", number]:
                self.submitted.add(int(number))
            case ["ask", number]:
                self.asked.add(int(number))
            case ["cancel", number, answer]:
                self.answers.append((int(number), answer))
            case ["end", number, state, answer]:
                before = self.ends.setdefault(int(number), [state, answer])
                if before != [state, answer]:
                    self.contradictions.append(f"{number} as {before} and {state} {answer}")
            case ["id", number, task]:
                first = self.ids.setdefault(int(number), task)
                if first != task:
                    self.contradictions.append(f"{number} under two ids, {first} and {task}")
            case ["alarm", count]:
                self.alarms = max(self.alarms, int(count))
            case _:
                self.contradictions.append(f"an unreadable line: {line}")


def check_ownership(log: Log, journals: list[Journal], wrong: list[str]) -> None:
    """Every task was submitted by a client, with the inputs that it has, and accepted."""
    planned = {j.task_id(number): (j.name, number) for j in journals for number in j.submitted}
    wrong += [
        f"{task} was accepted, and no client submitted it" for task in log.lives.keys() - planned
    ]
    wrong += [f"{planned[task]} was never accepted" for task in planned.keys() - log.lives]
    for task, lives in log.lives.items():
        if task in planned and lives[0].input_digest != digest_of(payload_of(*planned[task])):
            wrong.append(f"{planned[task]} was given another task's input")
        for life in lives if task in planned else []:
            life.poison = is_poison(*planned[task])
            life.output_digests = outputs_of(*planned[task])


def outputs_of(client: str, number: int) -> list[str]:
    """Return the digests of what the model should answer, in order of its outputs' names."""
    data = payload_of(client, number)
    digests = [digest_of(result_of(client, number).encode())]
    return [*digests, digest_of(data)] if is_echoed(data) else digests


def check_life(life: Life, wrong: list[str], *, was_cancelled: bool) -> None:
    """The task ended as it deserved, and was charged what the log accounts for."""
    task, end = life.task, life.end
    if end is None:
        wrong.append(f"{task} was accepted and never ended")
        return
    state, last = end["state"], life.status
    deserved = {"succeeded"} if not life.poison else {"dead"}
    if state not in deserved | ({"cancelled"} if was_cancelled else set()):
        wrong.append(f"{task} is {state}, poison: {life.poison}, cancelled: {was_cancelled}")
    if state == "succeeded" and [o["digest"] for o in end["outputs"]] != life.output_digests:
        wrong.append(f"{task} was answered with another digest")
    spent = (
        end["crashes"] >= CRASHES
        or end["losses"] >= LOSSES
        or end["undelivered"] >= UNDELIVERED
        or end["failures"] >= FAILURES
    )
    if state == "dead" and not spent:
        wrong.append(f"{task} is dead within its limits: {life.charges()}")
    if state != "dead" and spent:
        wrong.append(f"{task} went over its limits: {life.charges()}")
    # Each lease but the last ended in a charge, in the one crash that others shared, or was given
    # back by a worker whose trouble is nobody's fault.
    charged = end["crashes"] + end["losses"] + end["undelivered"] + end["failures"]
    if life.leases - life.uncharged - life.given_back > charged + 1:
        wrong.append(f"{task} had {life.leases} leases, and {life.charges()}")
    if life.uncharged > 1:
        wrong.append(f"{task} was let off {life.uncharged} crashes that others shared")
    if last["state"] != state:
        wrong.append(f"{task} ended {state} and is {last['state']}")


def check_journal(journal: Journal, log: Log, wrong: list[str]) -> None:
    """What the client was told is what the log says."""
    name = journal.name
    wrong += [f"{name} was told {text}" for text in journal.contradictions]
    if journal.alarms:
        wrong.append(f"{name} noticed {journal.alarms} times that accepted tasks were forgotten")
    for number in sorted(journal.submitted - journal.ends.keys()):
        wrong.append(f"{name}/{number} was submitted and never ended")
    for number, (state, answer) in journal.ends.items():
        logged = log.endings_of(journal.task_id(number))
        if state not in logged:
            wrong.append(f"{name}/{number} was told {state}, the log says {sorted(logged)}")
        if state == "succeeded" and answer != result_of(name, number):
            wrong.append(f"{name}/{number} got another task's result: {answer}")
    for number, answer in journal.answers:
        logged = log.endings_of(journal.task_id(number))
        right = {
            "cancelled": "cancelled" in logged,
            "too_late": bool(logged - {"cancelled"}),
            "unanswered": True,
        }
        if not right.get(answer, False):
            wrong.append(f"{name}/{number} was called {answer}, and is {sorted(logged)}")


def check_table(path: Path, log: Log, wrong: list[str]) -> None:
    """The present is what the past comes to: a restart finds what the log tells."""
    connection = sqlite3.connect(path)
    rows = {
        str(task): json.loads(status)
        for task, status in connection.execute("SELECT id, status FROM task")
    }
    connection.close()
    kept = {task: lives[-1].status for task, lives in log.lives.items() if not lives[-1].purged}
    wrong += [f"{task} is in the log and not in the table" for task in kept.keys() - rows]
    wrong += [f"{task} is in the table and not in the log" for task in rows.keys() - kept]
    wrong += [
        f"{task}: table and log differ" for task in rows.keys() & kept if rows[task] != kept[task]
    ]


def check_statistics(said: Any, log: Log, wrong: list[str]) -> None:
    """Every counter, which survives kills of the broker, is what a recount of the log gives."""
    statistics = said["statistics"]
    standing = {"queued": "waiting", "leased": "running", "loading": "running"}
    states = [life.status["state"] for life in log.counted()]
    recount = Counter(standing.get(state, state) for state in states)
    counted: Counter[str] = Counter()
    for queue in statistics["queues"].values():
        for state in ("waiting", "running", "succeeded", "failed", "cancelled", "expired", "dead"):
            counted[state] += queue[state]
    if +counted != recount:
        wrong.append(f"the broker counts {dict(+counted)}, the log {dict(recount)}")
    if statistics["accepted"] != sum(recount.values()):
        wrong.append(f"the broker accepted {statistics['accepted']}, of {sum(recount.values())}")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
