"""Judges a run of ``failover.py`` by the database and the client's notes; shares no code with it.

Usage: failover_judge.py ADDRESS NOTES. Prints what it found; exits with 1 if a promise was broken.
``NOTES`` has a line of JSON for each task that was handed in and for each ending that was told.
"""

import json
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import psycopg


def main(address: str, notes: Path) -> int:
    with psycopg.connect(address) as connection:
        rows = connection.execute(
            "SELECT sequence, record FROM paintmq.log ORDER BY sequence"
        ).fetchall()
    records = [(sequence, json.loads(bytes(record))) for sequence, record in rows]
    wrong: list[str] = []
    endings = of_the_log(records, wrong)
    told = of_the_client(notes, wrong)
    for task, state in told.items():
        if endings.get(task) != [state]:
            wrong.append(f"{task}: the client was told {state}, the log has {endings.get(task)}")
    for task, states in endings.items():
        if task not in told:
            wrong.append(f"{task}: it ended as {states}, and the client was told nothing")
    boots = sum(record["record"] == "BrokerBooted" for _, record in records)
    counts = ", ".join(f"{count} {state}" for state, count in Counter(told.values()).items())
    print(
        f"judged: {len(told)} tasks ({counts}), {len(records)} records, {boots} leaders; "
        f"{len(wrong)} promises broken"
    )
    for line in wrong[:20]:
        print(f"BROKEN: {line}")
    return 1 if wrong else 0


def of_the_log(records: list[tuple[int, Any]], wrong: list[str]) -> dict[str, list[str]]:
    """Return the endings of every task; no leader may write after its successor has begun."""
    endings: dict[str, list[str]] = defaultdict(list)
    accepted: set[str] = set()
    leads = 0
    for place, (sequence, record) in enumerate(records, records[0][0] if records else 1):
        if place != sequence:
            wrong.append(f"record {place} is missing")
            break
        match record:
            case {"record": "BrokerBooted", "incarnation": int(incarnation)}:
                leads = incarnation
            case {"record": "TaskAccepted", "task_id": str(task)}:
                if task in accepted:
                    wrong.append(f"{task}: accepted twice")
                accepted.add(task)
            case {"record": "TaskChanged", "task_id": str(task), "event": str(event)}:
                status = record["status"]
                if task not in accepted:
                    wrong.append(f"{task}: changed and was never accepted")
                if event == "finish":
                    endings[task].append(status["state"])
                elif endings[task] and event != "acknowledge":
                    wrong.append(f"{task}: {event} after its end")
                if event == "lease" and status["incarnation"] != leads:
                    wrong.append(f"{task}: leased by a broker that no longer led")
            case _:
                pass
    wrong += [
        f"{task}: {len(endings[task])} endings: {endings[task]}"
        for task in accepted
        if len(endings[task]) != 1
    ]
    return endings


def of_the_client(notes: Path, wrong: list[str]) -> dict[str, str]:
    """Return what the client was told of every task: one ending, and that it succeeded."""
    submitted: set[str] = set()
    told: dict[str, str] = {}
    for line in notes.read_text("utf-8").splitlines():
        note = json.loads(line)
        task = note["task"]
        if note["what"] == "submitted":
            submitted.add(task)
        elif task in told:
            wrong.append(f"{task}: the client was told twice how it ended")
        else:
            told[task] = note["state"]
            if note["state"] != "succeeded":
                wrong.append(f"{task}: {note['state']}: {note['error']}")
    wrong += [f"{task}: lost" for task in submitted - set(told)]
    return told


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
