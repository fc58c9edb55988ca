"""Queues of a running broker, by command."""

import json

from tests.harness.operated_broker import OperatedBroker


def test_a_queue_is_added_changed_and_listed(operated: OperatedBroker) -> None:
    added = operated.command("queues", "add", "nightly", "models=to*,lama", "capacity=5")
    changed = operated.command("queues", "set", "nightly", "capacity=7", "weight=2")

    assert added == (0, "queues.nightly: no queue -> added, at once\n", "")
    assert changed[1] == (
        "queues.nightly.weight: 1.0 -> 2.0, at once\nqueues.nightly.capacity: 5 -> 7, at once\n"
    )
    listed = json.loads(operated.command("queues", "list", "--json")[1])
    assert listed["nightly"]["settings"]["models"] == ["to*", "lama"]
    assert listed["nightly"]["changed"] == ["capacity", "models", "weight"]
    assert "cpu, to*, lama" in operated.command("queues", "list")[1]


def test_a_dry_run_changes_nothing(operated: OperatedBroker) -> None:
    dry = operated.command("queues", "remove", "cpu-light", "--dry-run")
    nothing = operated.command("queues", "reset", "cpu-light", "--dry-run")

    assert dry[1] == "queues.cpu-light: a queue -> removed, at once\n"
    assert nothing[1] == "nothing would change\n"
    assert "cpu-light" in operated.command("queues", "list")[1]
    assert operated.command("reload", "--dry-run")[1] == "nothing would change\n"


def test_a_queue_is_paused_drained_and_resumed(operated: OperatedBroker) -> None:
    for command, state in (("pause", "paused"), ("drain", "draining"), ("resume", "open")):
        assert operated.command("queues", command, "cpu-light")[0] == 0
        listed = json.loads(operated.command("queues", "list", "--json")[1])
        assert listed["cpu-light"]["state"] == state


def test_what_waits_is_purged_only_if_that_is_sure(operated: OperatedBroker) -> None:
    operated.submit()
    operated.submit()

    assert operated.command("queues", "purge", "cpu-light", "--yes")[1] == (
        "cpu-light: 2 waiting tasks cancelled\n"
    )


def test_what_cannot_be_is_refused_with_the_reason(operated: OperatedBroker) -> None:
    for arguments, reason in (
        (("remove", "nightly"), "there is no queue 'nightly'; there are cpu-light, cpu-intensive"),
        (("set", "cpu-light", "capacty=5"), "did you mean 'queues.cpu-light.capacity'?"),
        (("set", "cpu-light", "capacity"), "capacity: not KEY=VALUE"),
    ):
        status, _, errors = operated.command("queues", *arguments)
        assert status == 2
        assert reason in errors
