"""Client, AsyncClient, Task and handles, with odd arguments and odd callbacks."""

import itertools
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from attrs import evolve
from hypothesis import strategies as st

from paintmq import AsyncClient, Client, Result, Task, TaskHandle, TaskType
from paintmq.errors import PaintMQError
from tests.containment.case import Case
from tests.containment.recipes import value_of
from tests.containment.site import HarmError, Site
from tests.containment.strategies import RAISES, calls, public_methods, values
from tests.containment.strategies import cases as odd_fields

ENOUGH = 2.0
"""Seconds that an odd task is waited for, before it is cancelled: it may wait for a GPU."""
MANY = 300
KINDS: Mapping[str, Any] = {"client": Client, "asyncio": AsyncClient}


def cases(door: str) -> st.SearchStrategy[Case]:
    """Odd calls of every public method, of Task, and of a handle."""
    kind = KINDS[door]
    methods = [
        *(calls(door, name, getattr(kind, name)) for name in public_methods(kind, but=("ask",))),
        calls(door, "ask", kind.ask).flatmap(_with_argument),
        calls(door, "open", Client.__init__),
        *(calls(door, f"handle_{name}", getattr(TaskHandle, name)) for name in HANDLE_METHODS),
        odd_fields(door, "callback", {"raised": st.sampled_from(RAISES)}),
    ]
    task = calls(door, "task", Task.__init__)
    config = odd_fields(
        door,
        "config",
        {name: values() for name in ("model", "device", "salt", "key", "many", "nested")},
    )
    inputs = odd_fields(door, "inputs", {name: values() for name in ("image", "mask", "key")})
    every = st.one_of(task, task, config, inputs, *methods)
    return every.map(_without_exits) if door == "asyncio" else every


def _without_exits(case: Case) -> Case:
    """Asyncio lets SystemExit and the like end its loop, which is the caller's own."""
    arguments = [(name, _EXITS.sub("ValueError", recipe)) for name, recipe in case.arguments]
    return evolve(case, arguments=tuple(arguments))


_EXITS = re.compile("SystemExit|KeyboardInterrupt|UntoldExit")
HANDLE_METHODS = public_methods(TaskHandle)


def _with_argument(case: Case) -> st.SearchStrategy[Case]:
    """Ask a question that takes an argument with an odd one."""
    odd = st.tuples(st.sampled_from(("task_id", "state", "model", "limit")), values())
    return odd.map(lambda pair: case.with_argument(f"a.{pair[0]}", pair[1]))


def act(site: Site, case: Case) -> None:
    """Do it, and bring what was submitted to an end."""
    _ACTS.get(case.call, _call)(site, case)


def _values(case: Case) -> dict[str, Any]:
    return {name: value_of(recipe) for name, recipe in case.arguments}


def picture() -> "np.ndarray[Any, Any]":
    return np.zeros((8, 8, 3), np.uint8)


def settle(handle: Any, *, must_end: bool = False) -> Result | None:
    """Wait for the handle's ending, or have it cancelled if it need not end by itself.

    Raises:
        HarmError: it neither ends nor can be cancelled, or ends in an error that is not documented.
    """
    seconds = 60.0 if must_end else ENOUGH
    try:
        result: Result = handle.result(timeout=seconds)
    except PaintMQError:
        return None
    except TimeoutError as error:
        if must_end:
            raise HarmError(f"a task does not end: {error}") from error
        answer = handle.cancel(timeout=10.0)
        if answer not in ("cancelled", "too_late", "unknown"):
            raise HarmError(f"its cancel was answered by {answer!r}") from error
        return None
    return result


def _submit(site: Site, case: Case) -> None:
    arguments = {"task": site.honest_task(), "timeout": 20.0, **_values(case)}
    settle(site.client(case.door).submit(arguments.pop("task"), **arguments))


def _task(site: Site, case: Case) -> None:
    fields: dict[str, Any] = {
        "task_type": TaskType.PLUGIN,
        "config": {"model": "honest"},
        "inputs": {"image": picture()},
        **_values(case),
    }
    settle(site.client(case.door).submit(Task(**fields), timeout=20.0))


def _config(site: Site, case: Case) -> None:
    odd = _values(case)
    config: dict[Any, Any] = {"model": "honest"}
    config |= {name: odd[name] for name in ("model", "device", "salt") if name in odd}
    if "key" in odd:
        config[odd["key"]] = 1
    if "many" in odd:
        config |= {f"option{number}": odd["many"] for number in range(MANY)}
    if "nested" in odd:
        config["salt"] = {"deeper": [odd["nested"]]}
    task = Task(TaskType.PLUGIN, config, {"image": picture()})
    settle(site.client(case.door).submit(task, timeout=20.0))


def _inputs(site: Site, case: Case) -> None:
    odd = _values(case)
    inputs: dict[Any, Any] = {"image": picture()}
    inputs |= {name: odd[name] for name in ("image", "mask") if name in odd}
    if "key" in odd:
        inputs[odd["key"]] = picture()
    task = Task(TaskType.PLUGIN, {"model": "honest"}, inputs)
    settle(site.client(case.door).submit(task, timeout=20.0))


def _fetch(site: Site, case: Case) -> None:
    settle(site.client(case.door).fetch(_values(case).get("task_id", "0" * 32)))


def _cancel(site: Site, case: Case) -> None:
    arguments = {"task": "0" * 32, "timeout": 20.0, **_values(case)}
    client = site.client(case.door)
    client.run(client.client.cancel, arguments.pop("task"), **arguments)


def _map(site: Site, case: Case) -> None:
    odd = _values(case)
    tasks = odd.pop("tasks", [site.honest_task() for _ in range(3)])
    results = site.client(case.door).map(tasks, **{"timeout": 20.0, **odd})
    for _ in itertools.islice(results, 5):
        pass
    results.close()


def _as_completed(site: Site, case: Case) -> None:
    odd = _values(case)
    client = site.client(case.door)
    handles = [client.submit(site.honest_task()).handle for _ in range(3)]
    ended = client.as_completed(odd.pop("handles", handles), **{"timeout": 20.0, **odd})
    for _ in itertools.islice(ended, 5):
        pass


def _call(site: Site, case: Case) -> None:
    """A method about which there is nothing special."""
    getattr(site.client(case.door), case.call)(**_values(case))


def _ask(site: Site, case: Case) -> None:
    arguments = {"subject": "why", "timeout": 20.0}
    for name, value in _values(case).items():
        arguments[name.removeprefix("a.")] = value
    site.client(case.door).ask(arguments.pop("subject"), **arguments)


def _open(site: Site, case: Case) -> None:
    """A client of one's own may be as odd as one likes; it is closed again."""
    odd = _values(case)
    client = Client(odd.pop("endpoint", site.endpoint), **odd)
    try:
        settle(client.submit(site.honest_task(), timeout=ENOUGH))
    finally:
        client.close()


def _handle(method: str) -> Callable[[Site, Case], None]:
    def call_it(site: Site, case: Case) -> None:
        handle = site.client(case.door).submit(site.honest_task(), timeout=20.0)
        answer = getattr(handle, method)(**_values(case))
        if method == "updates":
            for _ in itertools.islice(answer, 20):
                pass
        settle(handle)

    return call_it


def _callback(site: Site, case: Case) -> None:
    def fail(handle: object) -> None:
        value_of(case.odd()["raised"])

    # It must not have ended before: the callback would be called here, and not by the client.
    config = {"model": "odd-model", "where": "wait"}
    task = Task(TaskType.PLUGIN, config, {"image": picture()})
    handle = site.client(case.door).submit(task, timeout=20.0)
    handle.add_done_callback(fail)
    handle.cancel(timeout=10.0)
    settle(handle, must_end=True)


_ACTS: Mapping[str, Callable[[Site, Case], None]] = {
    "submit": _submit,
    "task": _task,
    "config": _config,
    "inputs": _inputs,
    "fetch": _fetch,
    "cancel": _cancel,
    "map": _map,
    "as_completed": _as_completed,
    "ask": _ask,
    "open": _open,
    "callback": _callback,
    **{f"handle_{name}": _handle(name) for name in HANDLE_METHODS},
}
