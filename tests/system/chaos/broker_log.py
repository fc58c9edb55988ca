"""The broker's log, read as the lives of its tasks, each step of which must be a legal one."""

import hashlib
import json
import sqlite3
from pathlib import Path
from typing import Any

LEASED = {"leased", "loading", "running"}
OVER = {"succeeded", "failed", "cancelled", "expired", "dead"}
STEPS: dict[str, tuple[set[str], set[str]]] = {
    "lease": ({"queued"}, {"leased"}),
    "start": (LEASED, {"loading", "running"}),
    "requeue": (LEASED, {"queued"}),
    "forgive": ({"queued"}, {"queued"}),
    "adopt": ({"queued"} | LEASED | OVER, {"queued"} | LEASED | OVER),
    "finish": ({"queued"} | LEASED, OVER),
    "acknowledge": (OVER, OVER),
    "revive": ({"dead"}, {"queued"}),
}
"""What may happen to a task, in which states, and which it leads to."""
COUNTERS = ("crashes", "losses", "undelivered", "failures")


class Life:
    """One task from its acceptance, or from the dead, to its ending."""

    def __init__(self, task: str, status: dict[str, Any], input_digest: str) -> None:
        self.task, self.status, self.input_digest = task, status, input_digest
        self.end: dict[str, Any] | None = None
        self.leases = 0
        self.uncharged = 0
        """Leases that ended in a crash which nobody was charged."""
        self.given_back = 0
        """Leases that a worker gave back which could run nothing: no model host started there."""
        self.purged = False
        self.poison = False
        self.output_digests: list[str] = []

    def charges(self) -> str:
        return ", ".join(f"{self.status[name]} {name}" for name in COUNTERS)


class Log:
    """All lives, and how often the broker was started."""

    def __init__(self) -> None:
        self.lives: dict[str, list[Life]] = {}
        self.boots = 0
        self.leases = 0
        self.revived = 0
        self._incarnation = 0

    def endings_of(self, task: str) -> set[str]:
        return {life.end["state"] for life in self.lives.get(task, ()) if life.end is not None}

    def counted(self) -> list[Life]:
        """Return what counters of all brokers together count: of a life revived, the last."""
        return [
            life
            for lives in self.lives.values()
            for life, following in zip(lives, [*lives[1:], None], strict=True)
            if following is None or life.purged
        ]

    def add(self, record: dict[str, Any], wrong: list[str]) -> None:
        match record["record"]:
            case "BrokerBooted":
                self.boots += 1
                self._incarnation = record["incarnation"]
            case "TaskAccepted":
                self._accept(record, wrong)
            case "TaskPurged":
                life = self._life(record, wrong)
                if life is not None and life.end is None:
                    wrong.append(f"{life.task} was forgotten before it ended")
                if life is not None:
                    life.purged = True
            case "TaskChanged":
                life = self._life(record, wrong)
                if life is not None:
                    self._change(life, record["event"], record["status"], wrong)
            case other:
                wrong.append(f"a record of an unknown kind: {other}")

    def _accept(self, record: dict[str, Any], wrong: list[str]) -> None:
        task, lives = record["task_id"], self.lives.setdefault(record["task_id"], [])
        if lives and not lives[-1].purged:
            wrong.append(f"{task} accepted twice")
        (payload,) = record["request"]["inputs"]
        lives.append(Life(task, record["status"], payload["digest"]))

    def _life(self, record: dict[str, Any], wrong: list[str]) -> Life | None:
        lives = self.lives.get(record["task_id"])
        if not lives or lives[-1].purged:
            wrong.append(f"{record['task_id']} changed, and was not there")
            return None
        return lives[-1]

    def _change(self, life: Life, event: str, status: dict[str, Any], wrong: list[str]) -> None:
        task, before = life.task, life.status
        sources, targets = STEPS.get(event, (set(), set()))
        if before["state"] not in sources or status["state"] not in targets:
            wrong.append(f"{task}: {event} led from {before['state']} to {status['state']}")
        if event == "acknowledge" and status["state"] != before["state"]:
            wrong.append(f"{task}: its ending changed when it was acknowledged")
        if event == "revive":
            self.revived += 1
            life = Life(task, before, life.input_digest)
            self.lives[task].append(life)
        else:
            self._check_counters(task, event, before, status, wrong)
        if event == "lease":
            self.leases += 1
            life.leases += 1
            if status["attempt"] != before["attempt"] + 1:
                wrong.append(f"{task}: fences do not grow")
            if status["incarnation"] != self._incarnation:
                wrong.append(f"{task}: leased by a broker that is not the last one started")
        elif (status["incarnation"], status["attempt"]) != (
            before["incarnation"],
            before["attempt"],
        ):
            wrong.append(f"{task}: {event} by an old fence")
        if event == "finish":
            life.end = status
            if status["state"] == "succeeded" and before["state"] not in LEASED:
                wrong.append(f"{task} succeeded without a lease")
            if status["state"] == "succeeded" and status["worker"] != before["worker"]:
                wrong.append(f"{task} was ended by {status['worker']}, held by {before['worker']}")
        if event == "requeue" and all(status[name] == before[name] for name in COUNTERS):
            report = status["history"][-1]
            if report["outcome"] == "handed_back" and "model host" in report["error"]["message"]:
                life.given_back += 1
            else:
                life.uncharged += 1
        life.status = status

    @staticmethod
    def _check_counters(
        task: str, event: str, before: dict[str, Any], status: dict[str, Any], wrong: list[str]
    ) -> None:
        """A counter goes up by one at a time, and only when an attempt ends."""
        steps = [status[name] - before[name] for name in COUNTERS]
        may = 1 if event == "requeue" or status["state"] == "dead" else 0
        if min(steps) < 0 or sum(steps) > (may if event in {"requeue", "finish"} else 0):
            wrong.append(f"{task}: {event} moved its counters by {steps}")


def read_log(path: Path, wrong: list[str]) -> Log:
    """Return the log, with every illegal step put into words."""
    connection = sqlite3.connect(path)
    log, before = Log(), 0
    for sequence, text in connection.execute("SELECT sequence, record FROM log ORDER BY sequence"):
        if sequence != before + 1:
            wrong.append(f"the log lacks records {before + 1} to {sequence - 1}")
        before = sequence
        log.add(json.loads(text), wrong)
    connection.close()
    return log


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
