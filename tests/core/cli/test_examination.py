"""What the doctor finds, and what is to be done about it."""

import resource
import socket
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from tests.harness.toy_broker import toy_config, toy_plugins

from paintmq.broker.shell.server import BrokerServer
from paintmq.broker.stores.disk_space import DiskSpace
from paintmq.cli import common_options, examination
from paintmq.cli.examination import Finding
from paintmq.config import DEFAULT_QUEUE_CONFIGS, BrokerConfig, Config, Limits, RouterConfig
from paintmq.plugin.manager import PluginManager
from paintmq.plugin.report import PluginReport
from paintmq.testing.embedded_manager import config_on_free_ports
from paintmq.transport.key_files import add_key, init_keys, list_keys
from paintmq.transport.key_terms import KeyTerms


def told(findings: Iterable[Finding]) -> dict[str, tuple[str, str]]:
    """Return verdict and text by subject; the last one counts."""
    return {each.subject: (each.verdict, each.text) for each in findings}


def test_what_is_installed_here_is_good_enough() -> None:
    found = told(examination.software())

    assert found["libzmq"][0] == found["pillow"][0] == found["sqlite"][0] == "ok"


@pytest.mark.parametrize(
    ("version", "has_keys", "verdict"),
    [((4, 3, 4), True, "problem"), ((4, 3, 5), False, "note"), ((4, 4, 0), True, "ok")],
)
def test_an_old_libzmq_is_a_problem_and_one_without_keys_worth_a_note(
    version: tuple[int, ...], has_keys: bool, verdict: str
) -> None:
    assert examination.zeromq(version, has_keys).verdict == verdict


@pytest.mark.parametrize(
    ("version", "verdict", "text"),
    [
        (None, "note", "not installed"),
        ("2.9.1+cu128", "note", "update to 2.10"),
        ("2.10.0", "ok", "2.10.0"),
        ("3.0.0a1", "ok", "3.0.0a1"),
    ],
)
def test_an_old_torch_is_worth_a_note(version: str | None, verdict: str, text: str) -> None:
    found = examination.torch(version)

    assert found.verdict == verdict
    assert text in found.text


def test_the_machine_is_described() -> None:
    found = told(examination.machine())

    assert found["cpu"][0] == "ok"
    assert found["gpu"][0] in ("ok", "note")


def test_a_plugin_that_was_set_aside_and_a_router_that_is_missing_are_problems(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    manager = toy_plugins()
    broken = PluginReport(name="broken", state="set aside", reason="no models today")
    monkeypatch.setattr(manager, "reports", lambda: [broken])
    found = told(examination.plugins(manager, Config(router=RouterConfig(name="no-such-router"))))

    assert found["plugins"] == ("problem", "broken is set aside: no models today")
    assert found["router"][0] == "problem"
    good = told(examination.plugins(toy_plugins(), Config(router=RouterConfig(name="plain"))))
    assert good == {"plugins": ("ok", "1 in use, 2 models"), "router": ("ok", "plain")}


# ---- the journal -------------------------------------------------------------------------------


def journal(path: Path | str, **changes: Any) -> tuple[str, str]:
    broker = BrokerConfig(**({"durability": "full", "journal": str(path)} | changes))
    return told(examination.journal(broker, {"kept"}))["journal"]


def test_a_journal_on_a_disk_with_room_is_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = DiskSpace(size=2**40, free=5 * 2**30, files=10**6, free_files=10**6)
    monkeypatch.setattr(DiskSpace, "of", lambda path: space)

    assert journal(tmp_path / "not" / "made" / "yet") == (
        "ok",
        f"{tmp_path}/not/made/yet (full), 5.0 GiB free",
    )
    monkeypatch.setattr(DiskSpace, "of", lambda path: evolve(space, free=2**29))
    verdict, text = journal(tmp_path)
    assert verdict == "problem"
    assert "0.5 GiB free, short of space: new tasks are refused" in text
    monkeypatch.setattr(DiskSpace, "of", lambda path: evolve(space, free_files=3))
    assert "short of inodes" in journal(tmp_path)[1]


def test_a_journal_that_cannot_be_written_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")

    assert journal(tmp_path / "file") == (
        "problem",
        f"{tmp_path}/file cannot be written by this user",
    )


def test_a_journal_in_memory_and_one_of_a_plugin_are_told_apart() -> None:
    assert journal("", durability="memory")[0] == "note"
    assert journal("kept:somewhere") == ("ok", "kept:somewhere, kept by a plugin")


# ---- open files --------------------------------------------------------------------------------


def test_too_few_open_files_for_the_peers_allowed_are_worth_a_note(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 1128))

    def files(max_peers: int) -> tuple[str, str]:
        limits = Limits(max_peers=max_peers)
        return told(examination.files(Config(limits=limits)))["files"]

    assert files(500) == ("ok", "enough may be open for limits.max_peers = 500")
    verdict, text = files(501)
    assert verdict == "note"
    assert text.startswith("1128 at most are enough for 500 clients and as many workers, not for")
    assert "to 1130, or lower limits.max_peers" in text


# ---- keys --------------------------------------------------------------------------------------


def keys(**broker: Any) -> dict[str, tuple[str, str]]:
    return told(examination.keys(BrokerConfig(**broker), DEFAULT_QUEUE_CONFIGS))


def test_who_may_connect_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    init_keys(folder)
    alice = add_key(folder, "alice", "client")
    count = len(list_keys(folder))

    assert keys()["keys"] == ("ok", "none asked for: only this machine reaches 127.0.0.1")
    assert keys(host="0.0.0.0", insecure=True)["keys"][0] == "note"
    assert keys(host="0.0.0.0")["keys"][0] == "problem"
    found = keys(host="0.0.0.0", keys=str(folder), key=str(alice))
    assert found["keys"] == ("ok", f"{count} may connect, by {folder}")
    assert found["key"] == ("ok", f"{alice} is a client's")


def test_a_key_that_others_may_read_or_that_is_missing_is_a_problem(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    init_keys(folder)
    alice = add_key(folder, "alice", "client")
    alice.chmod(0o644)

    assert keys(key=str(alice))["keys"][0] == "problem"
    assert keys(keys=str(tmp_path / "nowhere"))["keys"][0] == "problem"


def test_keys_that_have_expired_or_soon_will_are_told(tmp_path: Path) -> None:
    folder, now = tmp_path / "keys", time.time_ns() / 1e9
    init_keys(folder)
    old = add_key(folder, "old", "client", KeyTerms(not_after=now - 5))
    soon = add_key(folder, "soon", "worker", KeyTerms(not_after=now + 86_400))
    add_key(folder, "wrong", "client", KeyTerms(queues=("gpu-lwo",)))

    found = list(examination.keys(BrokerConfig(keys=str(folder)), DEFAULT_QUEUE_CONFIGS))

    assert [each.verdict for each in found] == ["ok", "problem", "note", "problem"]
    assert found[0].text == f"4 may connect, by {folder}"
    assert "key 'old' expired on" in found[1].text
    assert "key 'soon' expires on" in found[2].text
    assert "key 'wrong' is for the unknown queue 'gpu-lwo'" in found[3].text
    assert keys(key=str(old))["key"][0] == "problem"
    assert keys(key=str(soon))["key"][0] == "note"


# ---- ports -------------------------------------------------------------------------------------


@pytest.fixture
def taken() -> Iterator[int]:
    """Return a port at which something listens that is no broker."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_where_nothing_listens_a_broker_could_start() -> None:
    assert told(examination.ports(config_on_free_ports()))["ports"][0] == "ok"


def test_a_queues_port_that_is_taken_is_named(taken: int) -> None:
    config = config_on_free_ports()
    queues = dict(config.queues)
    queues["serverless"] = evolve(queues["serverless"], port=taken)
    found = told(examination.ports(evolve(config, queues=queues)))

    assert found["ports"][0] == "problem"
    assert f"port {taken} for queue 'serverless' is taken" in found["ports"][1]


def test_a_broker_that_runs_is_asked_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common_options, "PATIENCE", 30.0)
    server = BrokerServer(toy_config(), toy_plugins())
    server.start()
    port = int(server.client_endpoint.rpartition(":")[2])
    found = told(examination.ports(toy_config(port=port)))
    server.stop(grace=0.0)

    assert found["broker"][0] == "ok"
    assert found["broker"][1].startswith(f"one runs at tcp://127.0.0.1:{port}: paintmq ")


@pytest.mark.slow
def test_something_else_at_the_brokers_port_is_a_problem(
    taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(common_options, "PATIENCE", 1.0)
    found = told(examination.ports(toy_config(port=taken)))

    assert found["broker"][0] == "problem"
    assert (
        f"what listens at tcp://127.0.0.1:{taken} is no broker, or asks for another key"
        in found["broker"][1]
    )


def test_what_listens_is_not_asked_with_a_key_that_cannot_be_used(
    taken: int, tmp_path: Path
) -> None:
    config = toy_config(port=taken, key=str(tmp_path / "missing.key"))

    assert told(examination.ports(config))["broker"][0] == "note"


def test_a_manager_without_plugins_has_none() -> None:
    found = told(examination.plugins(PluginManager(), Config()))

    assert found["plugins"] == ("ok", "0 in use, 0 models")
    assert found["router"][0] == "problem"
