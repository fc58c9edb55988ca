"""Judges a chaos run from the clients' journals and the broker's log; shares no code with it.

Usage: judge.py FOLDER. Prints what it found; exits with 1 if a promise was broken. The folder holds
``*.journal`` of the clients and ``journal/paintmq.db`` of the broker.
"""

import hashlib
import json
import sqlite3
import sys
from collections import Counter
from pathlib import Path

ENDINGS = {"succeeded", "failed", "cancelled", "expired", "dead"}


def main(folder: Path) -> int:
    wrong: list[str] = []
    ends_in_log = read_log(folder / "journal" / "paintmq.db", wrong)
    states: Counter[str] = Counter()
    for journal in sorted(folder.glob("*.journal")):
        read_journal(journal, ends_in_log, states, wrong)
    summary = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    print(f"judged: {sum(states.values())} tasks ({summary}); {len(wrong)} promises broken")
    for line in wrong[:20]:
        print(f"BROKEN: {line}")
    return 1 if wrong else 0


def read_log(path: Path, wrong: list[str]) -> dict[str, dict[str, object]]:
    """Return each task's ending by id; check that each has one, by a fence that was current."""
    connection = sqlite3.connect(path)
    ends: dict[str, dict[str, object]] = {}
    fences: dict[str, tuple[int, int]] = {}
    accepted: set[str] = set()
    for (text,) in connection.execute("SELECT record FROM log ORDER BY sequence"):
        record = json.loads(text)
        if record["record"] == "TaskAccepted":
            if record["task_id"] in accepted:
                wrong.append(f"{record['task_id']} accepted twice")
            accepted.add(record["task_id"])
        if record["record"] != "TaskChanged":
            continue
        task_id, status = record["task_id"], record["status"]
        fence = (status["incarnation"], status["attempt"])
        if record["event"] == "lease":
            if fence[1] <= fences.get(task_id, (0, 0))[1]:
                wrong.append(f"{task_id}: fences do not grow")
            fences[task_id] = fence
        if record["event"] == "finish":
            if task_id in ends:
                wrong.append(f"{task_id} ended twice")
            if status["state"] == "succeeded" and fence != fences.get(task_id):
                wrong.append(f"{task_id} ended by an old fence")
            ends[task_id] = status
    for (text,) in connection.execute("SELECT status FROM task"):
        if json.loads(text)["state"] not in ENDINGS:
            wrong.append(f"a task is still {json.loads(text)['state']}")
    connection.close()
    wrong += [f"{task_id} was accepted and never ended" for task_id in accepted - ends.keys()]
    return ends


def read_journal(
    path: Path,
    ends_in_log: dict[str, dict[str, object]],
    states: Counter[str],
    wrong: list[str],
) -> None:
    name = path.stem
    submitted: set[str] = set()
    ends: dict[str, list[str]] = {}
    for line in path.read_text().splitlines():
        words = line.split()
        if words[0] == "submit":
            submitted.add(words[1])
        elif words[0] == "end" and len(words) == 4:
            if words[1] in ends and ends[words[1]] != words[2:]:
                wrong.append(f"{name}/{words[1]} was told {ends[words[1]]} and {words[2:]}")
            ends[words[1]] = words[2:]
        elif words[0] == "cancel" and words[2:] == ["cancelled"]:
            logged = ends_in_log.get(task_id(f"{name}/{words[1]}"), {}).get("state")
            if logged != "cancelled":
                wrong.append(f"{name}/{words[1]} was called cancelled, and is {logged}")
    wrong += [
        f"{name}/{number} was submitted and never ended" for number in submitted - ends.keys()
    ]
    for number, (state, answer) in ends.items():
        states[state] += 1
        key = f"{name}/{number}"
        logged = ends_in_log.get(task_id(key), {}).get("state")
        if logged != state:
            wrong.append(f"{key} was told {state}, the log says {logged}")
        poison = int(number) % 500 == 250
        if state == "succeeded" and (poison or answer != expected_digest(name, int(number))):
            wrong.append(f"{key} got another task's result: {answer}")
        if state == "dead" and not poison:
            crashes = ends_in_log.get(task_id(key), {}).get("crashes", 0)
            wrong.append(f"{key} is dead and no poison ({crashes} crashes charged)")


def task_id(key: str) -> str:
    """RFC 9562 version 8, of the SHA-256 of tenant, zero byte and key."""
    value = bytearray(hashlib.sha256(b"\0" + key.encode()).digest()[:16])
    value[6] = value[6] & 0x0F | 0x80
    value[8] = value[8] & 0x3F | 0x80
    return value.hex()


def expected_digest(name: str, number: int) -> str:
    size = 3_000_000 if number % 97 == 5 else 300_000 if number % 31 == 3 else 200
    block = hashlib.sha256(f"{name}/{number}".encode()).digest()
    return hashlib.sha256((block * (size // 32 + 1))[:size]).hexdigest()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
