"""Plants one fault after the other in copies of a run's journals: the judge must notice each.

Usage: plants.py FOLDER, of a run that the judge is content with. Exits with 1 if a fault slips by.
"""

import contextlib
import io
import json
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import judge
from task_plan import is_echoed, is_poison, key_of, payload_of, task_id

Record = dict[str, Any]


class Evidence:
    """A copy of what a run left behind, to be tampered with."""

    def __init__(self, run: Path, folder: Path, usable: frozenset[str] = frozenset()) -> None:
        self.folder, self.usable = folder, usable
        (folder / "journal").mkdir()
        for file in [*run.glob("*.journal"), *run.glob("owners.json"), run / "statistics.json"]:
            shutil.copy(file, folder)
        for file in (run / "journal").glob("paintmq.db*"):
            shutil.copy(file, folder / "journal")
        self.database = sqlite3.connect(folder / "journal" / "paintmq.db")

    def close(self) -> None:
        self.database.commit()
        self.database.close()

    # ---- the log -------------------------------------------------------------------------------

    def records(self, task: str) -> list[tuple[int, Record]]:
        rows = self.database.execute(
            "SELECT sequence, record FROM log WHERE CAST(record AS TEXT) LIKE ? ORDER BY sequence",
            (f"%{task}%",),
        )
        return [(sequence, json.loads(text)) for sequence, text in rows]

    def kept_and_began(self) -> frozenset[str]:
        """Return the tasks that began and are still kept, in one pass: there may be thousands."""
        began, purged = set[str](), set[str]()
        for (text,) in self.database.execute("SELECT record FROM log"):
            record = json.loads(text)
            if record.get("event") == "start":
                began.add(record["task_id"])
            elif record.get("record") == "TaskPurged":
                purged.add(record["task_id"])
        return frozenset(began - purged)

    def rewrite(self, sequence: int, record: Record) -> None:
        text = json.dumps(record).encode()
        self.database.execute("UPDATE log SET record = ? WHERE sequence = ?", (text, sequence))

    def change(self, task: str, event: str, change: Callable[[Record], None]) -> None:
        """Change what the last such record of the task says."""
        (*_, (sequence, record)) = [
            item for item in self.records(task) if item[1].get("event", "accept") == event
        ]
        change(record)
        self.rewrite(sequence, record)

    def append(self, record: Record) -> None:
        self.database.execute(
            "INSERT INTO log SELECT max(sequence) + 1, max(at), ?, x'' FROM log",
            (json.dumps(record).encode(),),
        )

    # ---- the journals --------------------------------------------------------------------------

    def numbers(self, state: str) -> list[int]:
        """Return tasks of client-a alone that ended so and were not asked to be cancelled."""
        lines = [line.split() for line in self.lines()]
        asked = {int(line[1]) for line in lines if line[0] == "ask"}
        ended = {int(line[1]) for line in lines if line[0] == "end" and line[2] == state}
        return sorted(n for n in ended - asked if key_of("client-a", n).startswith("client-a/"))

    def lines(self) -> list[str]:
        return (self.folder / "client-a.journal").read_text().splitlines()

    def write_lines(self, lines: list[str]) -> None:
        (self.folder / "client-a.journal").write_text("\n".join(lines) + "\n")

    def replace_line(self, start: str, *lines: str) -> None:
        kept = [line for line in self.lines() if not line.startswith(start)]
        assert len(kept) < len(self.lines()), start
        self.write_lines([*kept, *lines])


def number_of(evidence: Evidence) -> int:
    """Return an innocent task that succeeded, is still kept, and of which it is recorded that it
    began: with `pushpull` the result of a short one may overtake that word.
    """
    innocent = (n for n in evidence.numbers("succeeded") if not is_poison("client-a", n))
    return next(n for n in innocent if task_id("client-a", n) in evidence.usable)


def task_of(evidence: Evidence) -> str:
    return task_id("client-a", number_of(evidence))


def of_status(name: str, value: object) -> Callable[[Evidence], None]:
    """Return a plant: the last record of a task's ending says something else."""

    def plant(evidence: Evidence) -> None:
        evidence.change(task_of(evidence), "finish", lambda r: r["status"].update({name: value}))

    return plant


def lost_answer(evidence: Evidence) -> None:
    evidence.replace_line(f"end {number_of(evidence)} ")


def other_result(evidence: Evidence) -> None:
    number = number_of(evidence)
    evidence.replace_line(f"end {number} ", f"end {number} succeeded {'0' * 64}")


def other_ending(evidence: Evidence) -> None:
    number = number_of(evidence)
    evidence.replace_line(f"end {number} ", f"end {number} failed model_error")


def two_answers(evidence: Evidence) -> None:
    evidence.write_lines([*evidence.lines(), f"end {number_of(evidence)} failed model_error"])


def broken_cancel(evidence: Evidence) -> None:
    number = number_of(evidence)
    evidence.write_lines([*evidence.lines(), f"ask {number}", f"cancel {number} cancelled"])


def forgotten_cancel(evidence: Evidence) -> None:
    number = number_of(evidence)
    evidence.write_lines([*evidence.lines(), f"ask {number}", f"cancel {number} unknown"])


def cancel_of_others(evidence: Evidence) -> None:
    number = number_of(evidence)
    of_status("state", "cancelled")(evidence)
    evidence.replace_line(f"end {number} ", f"end {number} cancelled cancelled")


def alarm(evidence: Evidence) -> None:
    evidence.write_lines([*evidence.lines(), "alarm 1"])


def ghost(evidence: Evidence) -> None:
    number = number_of(evidence)
    evidence.replace_line(f"end {number} ")
    evidence.replace_line(f"submit {number}")
    evidence.write_lines([line for line in evidence.lines() if line != f"submit {number}"])


def vanished(evidence: Evidence) -> None:
    for sequence, _ in evidence.records(task_of(evidence)):
        evidence.database.execute("DELETE FROM log WHERE sequence = ?", (sequence,))


def endless(evidence: Evidence) -> None:
    task = task_of(evidence)
    start = next(r for _, r in evidence.records(task) if r.get("event") == "start")
    for sequence, record in evidence.records(task):
        if record.get("event") in {"finish", "acknowledge"}:
            evidence.rewrite(sequence, start)


def ended_twice(evidence: Evidence) -> None:
    finishes = [r for _, r in evidence.records(task_of(evidence)) if r.get("event") == "finish"]
    evidence.append(finishes[-1])


def accepted_twice(evidence: Evidence) -> None:
    evidence.append(evidence.records(task_of(evidence))[0][1])


def leased_twice(evidence: Evidence) -> None:
    task = task_of(evidence)

    def change(record: Record) -> None:
        lease = next(r for _, r in evidence.records(task) if r.get("event") == "lease")
        record.clear()
        record.update(lease)

    evidence.change(task, "start", change)


def leased_by_an_old_broker(evidence: Evidence) -> None:
    evidence.change(
        task_of(evidence), "lease", lambda record: record["status"].update(incarnation=1)
    )


def forgotten_early(evidence: Evidence) -> None:
    def change(record: Record) -> None:
        task = record["task_id"]
        record.clear()
        record.update(record="TaskPurged", task_id=task)

    evidence.change(task_of(evidence), "lease", change)


def other_input(evidence: Evidence) -> None:
    def change(record: Record) -> None:
        record["request"]["inputs"][0]["digest"] = "0" * 64

    sequence, record = evidence.records(task_of(evidence))[0]
    change(record)
    evidence.rewrite(sequence, record)


def changed_when_acknowledged(evidence: Evidence) -> None:
    evidence.change(
        task_of(evidence), "acknowledge", lambda record: record["status"].update(state="failed")
    )


def survived_poison(evidence: Evidence) -> None:
    lines = [line.split() for line in evidence.lines()]
    number = next(int(w[1]) for w in lines if w[0] == "end" and is_poison("client-a", int(w[1])))
    evidence.change(
        task_id("client-a", number), "finish", lambda r: r["status"].update(state="succeeded")
    )


def old_table(evidence: Evidence) -> None:
    task = task_of(evidence)
    status = next(r["status"] for _, r in evidence.records(task) if r.get("event") == "lease")
    evidence.database.execute(
        "UPDATE task SET status = ? WHERE id = ?", (json.dumps(status).encode(), task)
    )


def gap(evidence: Evidence) -> None:
    evidence.database.execute("DELETE FROM log WHERE sequence = 5")


def large_number_of(evidence: Evidence) -> int:
    """Return a task whose picture comes back: by shared memory both ways."""
    numbers = evidence.numbers("succeeded")
    return next(n for n in numbers if is_echoed(payload_of("client-a", n)))


def place_used_too_early(evidence: Evidence) -> None:
    """What the broker was given as the task's result is another's, which lay there next."""
    task = task_id("client-a", large_number_of(evidence))

    def change(record: Record) -> None:
        record["status"]["outputs"][1]["digest"] = "0" * 64

    evidence.change(task, "finish", change)


def place_read_too_late(evidence: Evidence) -> None:
    """The broker had the right result, and the client read something else in its place."""
    number = large_number_of(evidence)
    evidence.replace_line(f"end {number} ", f"end {number} succeeded another-echo")


def picture_left_out(evidence: Evidence) -> None:
    task = task_id("client-a", large_number_of(evidence))
    evidence.change(task, "finish", lambda record: record["status"]["outputs"].pop())


def miscount(evidence: Evidence) -> None:
    path = evidence.folder / "statistics.json"
    said = json.loads(path.read_text())
    said["statistics"]["queues"]["cpu-light"]["succeeded"] += 1
    path.write_text(json.dumps(said))


PLANTS: list[tuple[Callable[[Evidence], None], str]] = [
    (lost_answer, "was submitted and never ended"),
    (other_result, "got another task's result"),
    (other_ending, "was told failed, the log says ['succeeded']"),
    (two_answers, "was told"),
    (broken_cancel, "was called cancelled, and is ['succeeded']"),
    (forgotten_cancel, "was called unknown"),
    (cancel_of_others, "is cancelled, poison: False, cancelled: False"),
    (alarm, "that accepted tasks were forgotten"),
    (ghost, "was accepted, and no client submitted it"),
    (vanished, "was never accepted"),
    (endless, "was accepted and never ended"),
    (ended_twice, "finish led from succeeded to succeeded"),
    (accepted_twice, "accepted twice"),
    (leased_twice, "to leased"),
    (leased_by_an_old_broker, "leased by a broker that is not the last one started"),
    (forgotten_early, "was forgotten before it ended"),
    (other_input, "was given another task's input"),
    (changed_when_acknowledged, "its ending changed when it was acknowledged"),
    (survived_poison, "is succeeded, poison: True"),
    (old_table, "table and log differ"),
    (gap, "the log lacks records 5 to 5"),
    (miscount, "the broker counts"),
    (place_used_too_early, "was answered with another digest"),
    (place_read_too_late, "got another task's result"),
    (picture_left_out, "was answered with another digest"),
    (of_status("state", "failed"), "is failed, poison: False"),
    (of_status("state", "dead"), "is dead within its limits"),
    (of_status("attempt", 99), "finish by an old fence"),
    (of_status("worker", "zombie"), "was ended by zombie"),
    (of_status("crashes", 77), "moved its counters"),
    (of_status("outputs", []), "was answered with another digest"),
]


def usable_tasks(run: Path) -> frozenset[str]:
    with tempfile.TemporaryDirectory() as folder:
        evidence = Evidence(run, Path(folder))
        usable = evidence.kept_and_began()
        evidence.close()
    return usable


def main(run: Path) -> int:
    missed, usable = 0, usable_tasks(run)
    for plant, words in PLANTS:
        with tempfile.TemporaryDirectory() as folder:
            evidence = Evidence(run, Path(folder), usable)
            plant(evidence)
            evidence.close()
            said = io.StringIO()
            with contextlib.redirect_stdout(said):
                status = judge.main(Path(folder))
        if status != 1 or words not in said.getvalue():
            missed += 1
            print(f"not noticed: {words!r}; the judge said:\n{said.getvalue()}")
    print(f"{len(PLANTS) - missed} of {len(PLANTS)} planted faults noticed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
