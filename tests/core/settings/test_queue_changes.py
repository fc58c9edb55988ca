"""Changes of queues over the settings, and what a reload says of differences."""

from typing import Any

import pytest
from attrs import evolve

from paintmq.config import BrokerConfig, Config, Limits, QueueConfig, RouterConfig, Timers
from paintmq.errors import ConfigError
from paintmq.settings.differences import applied, differences
from paintmq.settings.queue_changes import (
    MOST_QUEUES,
    Changes,
    changed,
    from_text,
    in_state,
    to_text,
    with_changes,
)

FILE = Config(queues={"a": QueueConfig(port=7001, capacity=5), "b": QueueConfig(port=7002)})


def after(*steps: tuple[str, str, dict[str, Any]]) -> Changes:
    changes: Changes = {}
    for action, name, settings in steps:
        changes = changed(changes, FILE, action, name, settings)
        with_changes(FILE, changes)
    return changes


def test_a_change_lies_over_the_file_and_leaves_the_rest_to_it() -> None:
    changes = after(("set", "a", {"capacity": 9}))
    other = evolve(FILE, queues={**FILE.queues, "a": QueueConfig(port=7001, weight=2.0)})

    assert with_changes(FILE, changes).queues["a"] == QueueConfig(port=7001, capacity=9)
    assert with_changes(other, changes).queues["a"].weight == 2.0
    assert with_changes(other, changes).queues["a"].capacity == 9


def test_changes_survive_their_text() -> None:
    changes = after(
        ("set", "a", {"models": ["sd*"]}),
        ("add", "c", {"requirements": {"gpu": True, "gpu_memory": 10}}),
        ("pause", "b", {}),
        ("drain", "c", {}),
    )

    again = from_text(to_text(changes))

    assert with_changes(FILE, again) == with_changes(FILE, changes)
    assert with_changes(FILE, again).queues["c"] == QueueConfig(device="cuda", gpu_memory_mb=10)
    assert (in_state(again, "paused"), in_state(again, "draining")) == (("b",), ("c",))
    assert from_text("") == {}


@pytest.mark.parametrize("text", ["{", "[]", '{"a": 1}', '{"a": {"unheard_of": 1}}'])
def test_text_that_is_not_ours_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        from_text(text)


def test_what_is_undone_leaves_nothing() -> None:
    assert after(("set", "a", {"capacity": 9}), ("reset", "a", {})) == {}
    assert after(("pause", "a", {}), ("resume", "a", {})) == {}
    assert after(("add", "c", {}), ("remove", "c", {})) == {}
    assert after(("remove", "a", {}), ("reset", "a", {})) == {}
    assert after(("reset", "a", {})) == {}


def test_a_removed_queue_of_the_file_stays_removed_until_it_is_added_again() -> None:
    removed = after(("remove", "a", {}))
    assert list(with_changes(FILE, removed).queues) == ["b"]

    added = changed(removed, FILE, "add", "a", {"capacity": 3})

    assert with_changes(FILE, added).queues["a"] == QueueConfig(capacity=3)


@pytest.mark.parametrize(
    ("action", "name", "settings", "text"),
    [
        ("add", "a", {}, "there is a queue 'a' already"),
        ("add", "", {}, "'' is no name"),
        ("add", "x" * 101, {}, "is no name"),
        ("set", "c", {}, "there is no queue 'c'; there are a, b"),
        ("purge", "a", {}, "unknown action 'purge'"),
        ("set", "a", {"capacty": 1}, "queues.a.capacty: unknown key; did you mean"),
        ("set", "a", {"capacity": 0}, "queues.a.capacity = 0 must be greater than 0"),
        ("set", "a", {"requirements": {"gpu": 1}}, "queues.a.requirements.gpu: expected true"),
        ("add", "c", {"port": 7001}, "queues.c.port = 7001 is also queues.a.port"),
    ],
)
def test_what_cannot_be_is_refused(
    action: str, name: str, settings: dict[str, Any], text: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        with_changes(FILE, changed({}, FILE, action, name, settings))

    assert text in str(caught.value)


def test_the_last_queue_cannot_be_removed_and_there_cannot_be_too_many() -> None:
    with pytest.raises(ConfigError, match="there must be at least one"):
        after(("remove", "a", {}), ("remove", "b", {}))
    with pytest.raises(ConfigError, match=f"{MOST_QUEUES + 1} are more than"):
        after(*(("add", f"q{number}", {}) for number in range(MOST_QUEUES - 1)))


def test_a_reload_tells_setting_by_setting_what_counts_at_once_and_why_the_rest_does_not() -> None:
    wanted = Config(
        broker=BrokerConfig(port=6000, admission="strict"),
        queues={"a": QueueConfig(port=7009, capacity=6), "c": QueueConfig()},
        router=RouterConfig(name="priority-first"),
        timers=Timers(lease=40.0, retry_most=70.0),
        limits=Limits(max_tasks=5, max_peers=6),
    )

    found = {each.key: each for each in differences(FILE, wanted)}
    running = applied(FILE, wanted)

    at_once = {key for key, each in found.items() if not each.late}
    assert at_once == {
        "broker.admission",
        "queues.a.capacity",
        "queues.b",
        "queues.c",
        "router.name",
        "timers.retry_most",
        "limits.max_tasks",
    }
    assert set(found) - at_once == {
        "broker.port",
        "queues.a.port",
        "timers.lease",
        "limits.max_peers",
    }
    assert found["queues.a.port"].late == "workers are connected to the old one"
    assert {each.key for each in differences(running, wanted)} == set(found) - at_once
    assert differences(running, running) == []


@pytest.mark.parametrize("section", ["workers", "node", "http", "monitoring", "plugins", "weights"])
def test_sections_of_others_take_effect_at_a_start(section: str) -> None:
    other: dict[str, dict[str, Any]] = {
        "workers": {"count": 3},
        "node": {"count": 3},
        "http": {"port": 3},
        "monitoring": {"enabled": False},
        "plugins": {"disable": ("x",)},
        "weights": {"offline": True},
    }
    changed_section = evolve(getattr(FILE, section), **other[section])

    (found,) = differences(FILE, evolve(FILE, **{section: changed_section}))

    assert found.late
    assert applied(FILE, evolve(FILE, **{section: changed_section})) == FILE
