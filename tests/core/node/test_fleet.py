"""The nodes a broker starts for itself, with launchers that do as they are told."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import define, evolve, field

from paintmq.config import BrokerConfig, Config, NodeConfig, QueueConfig, WorkersConfig
from paintmq.errors import ConfigError
from paintmq.launching import LaunchedNode, Launcher, NodeEnding, NodeOrder
from paintmq.node import fleet as fleet_module
from paintmq.node.fleet import NodeFleet, make_fleet
from paintmq.plugin.manager import PluginManager
from paintmq.settings.file import load_config
from paintmq.settings.toml_text import node_settings
from paintmq.task import TaskId

PATIENCE = 30.0


@define(eq=False)
class ScriptedNode(LaunchedNode):
    """Runs until it is told how it ends."""

    heeds_stop: bool = True
    ending: NodeEnding | None = None
    stops: list[float] = field(factory=list[float])
    killed: bool = False
    told: threading.Event = field(factory=threading.Event)

    def wait(self, seconds: float) -> NodeEnding | None:
        return self.ending

    def stop(self, grace: float) -> None:
        self.stops.append(grace)
        self.told.set()
        if self.heeds_stop:
            self.handed_back = (TaskId("7" * 32),)
            self.ending = NodeEnding("stopped", again=False)

    def kill(self) -> None:
        self.killed = True
        self.ending = NodeEnding("killed")


@define(eq=False)
class ScriptedLauncher(Launcher):
    make: Callable[[int], LaunchedNode] = field(default=lambda number: ScriptedNode())
    """Called with the number of the launch, from 1."""
    orders: list[NodeOrder] = field(factory=list[NodeOrder])
    nodes: list[Any] = field(factory=list[Any])
    launched: threading.Semaphore = field(factory=lambda: threading.Semaphore(0))
    closed: bool = False

    def launch(self, order: NodeOrder) -> LaunchedNode:
        self.orders.append(order)
        try:
            self.nodes.append(self.make(len(self.orders)))
        finally:
            self.launched.release()
        return self.nodes[-1]  # type: ignore[no-any-return]  # what make() returned

    def close(self) -> None:
        self.closed = True


def order(number: int = 0) -> NodeOrder:
    return NodeOrder(name=f"farm-{number}", number=number, arguments=("node",), environment={})


Start = Callable[..., NodeFleet]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Start fleets whose loop turns quickly, and stop them in the end."""
    for name in ("LOOK_EVERY", "AGAIN_FIRST", "KILL_AFTER"):
        monkeypatch.setattr(fleet_module, name, 0.01)
    fleets: list[NodeFleet] = []

    def start(launcher: Launcher, nodes: int = 1) -> NodeFleet:
        fleets.append(NodeFleet(launcher, [order(n) for n in range(nodes)], title="scripted"))
        fleets[-1].start()
        return fleets[-1]

    yield start
    for each in fleets:
        each.stop(0.0)


def launches(launcher: ScriptedLauncher, count: int) -> None:
    for _ in range(count):
        assert launcher.launched.acquire(timeout=PATIENCE), launcher.orders


def test_as_many_nodes_as_ordered_are_started_and_stopped_together(start: Start) -> None:
    launcher = ScriptedLauncher()

    fleet = start(launcher, nodes=3)
    assert [each.name for each in launcher.orders] == ["farm-0", "farm-1", "farm-2"]
    fleet.stop(5.0)

    assert [node.stops for node in launcher.nodes] == [[5.0]] * 3
    assert fleet.handed_back == [TaskId("7" * 32)] * 3
    assert launcher.closed


@pytest.mark.parametrize("failure", [NodeEnding("exited with status 1"), OSError("no place")])
def test_a_node_that_ended_or_could_not_be_started_is_started_again_under_its_name(
    start: Start, failure: NodeEnding | OSError, caplog: pytest.LogCaptureFixture
) -> None:
    def make(number: int) -> LaunchedNode:
        if number == 1 and isinstance(failure, OSError):
            raise failure
        return ScriptedNode(ending=failure if number == 1 else None)  # type: ignore[arg-type]

    launcher = ScriptedLauncher(make=make)
    start(launcher)
    launches(launcher, 2)

    assert [each.name for each in launcher.orders] == ["farm-0", "farm-0"]
    assert "node farm-0: " in caplog.text


def test_a_node_that_left_on_purpose_is_not_started_again(start: Start) -> None:
    left, failed = NodeEnding("drained", again=False), NodeEnding("failed")
    launcher = ScriptedLauncher(
        make=lambda number: ScriptedNode(ending=(left if number == 1 else failed))
    )

    start(launcher, nodes=2)
    launches(launcher, 5)  # of the second, again and again

    assert [each.number for each in launcher.orders].count(0) == 1


def test_settings_that_cannot_work_fail_the_start_and_leave_nothing(start: Start) -> None:
    def make(number: int) -> LaunchedNode:
        if number == 2:
            raise ConfigError("no queue is for cpu workers")
        return ScriptedNode()

    launcher = ScriptedLauncher(make=make)

    with pytest.raises(ConfigError, match="no queue is for cpu workers"):
        start(launcher, nodes=2)

    assert launcher.nodes[0].stops == [0.0]
    assert launcher.closed


def test_a_node_that_does_not_heed_stop_is_killed(start: Start) -> None:
    launcher = ScriptedLauncher(make=lambda number: ScriptedNode(heeds_stop=False))
    fleet = start(launcher)

    fleet.stop(0.02)

    assert (launcher.nodes[0].stops, launcher.nodes[0].killed) == ([0.02], True)


def test_a_second_stop_shortens_the_grace(start: Start) -> None:
    launcher = ScriptedLauncher(make=lambda number: ScriptedNode(heeds_stop=False))
    fleet = start(launcher)
    node = launcher.nodes[0]

    first = threading.Thread(target=fleet.stop, args=(600.0,))
    first.start()
    assert node.told.wait(PATIENCE)
    fleet.stop(0.0)
    first.join(PATIENCE)

    assert node.stops == [600.0, 0.0]


def test_a_launcher_that_hangs_holds_up_neither_start_nor_stop_for_ever(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(fleet_module, "START_PATIENCE", 0.01)
    monkeypatch.setattr(fleet_module, "STOP_PATIENCE", 0.01)
    let_go = threading.Event()

    def make(number: int) -> LaunchedNode:
        let_go.wait(PATIENCE)
        return ScriptedNode()

    fleet = start(ScriptedLauncher(make=make))
    fleet.stop(0.0)
    let_go.set()

    assert "launcher scripted is slow to start its nodes" in caplog.text
    assert "launcher scripted does not return" in caplog.text


@pytest.mark.parametrize("method", ["wait", "stop", "kill"])
def test_a_node_whose_methods_raise_harms_no_other(start: Start, method: str) -> None:
    class Raises(ScriptedNode):
        pass

    def fail(*arguments: object) -> None:
        raise RuntimeError

    setattr(Raises, method, fail)
    launcher = ScriptedLauncher(
        make=lambda number: Raises(heeds_stop=False) if number == 1 else ScriptedNode()
    )
    fleet = start(launcher, nodes=2)

    fleet.stop(0.0)

    assert launcher.nodes[1].stops == [0.0]
    assert launcher.closed


# ---- what is ordered ---------------------------------------------------------------------------


class _Plugin:
    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher

    def paintmq_register_launchers(self, register: Any) -> None:
        register("farm", lambda options: self._launcher)


def ordered(config: Config, client_endpoint: str = "tcp://0.0.0.0:6000") -> list[NodeOrder]:
    plugins = PluginManager()
    plugins.register(_Plugin(ScriptedLauncher()), "farm")
    endpoints = {name: f"tcp://0.0.0.0:{7000 + n}" for n, name in enumerate(config.queues)}
    fleet = make_fleet(config, plugins, queue_endpoints=endpoints, client_endpoint=client_endpoint)
    return fleet.orders


def test_an_order_says_where_the_broker_is_reached() -> None:
    here = NodeConfig(launcher="farm", count=2)

    (_, second) = ordered(Config(node=here))
    (elsewhere, _) = ordered(Config(node=evolve(here, connect="tcp://broker.example:5550")))

    assert (second.name, second.number) == ("farm-1", 1)
    assert second.arguments == (
        "node",
        "--connect",
        "tcp://127.0.0.1:6000",
        "--name",
        "farm-1",
        "--tethered",
    )
    assert elsewhere.arguments[2] == "tcp://broker.example:5550"


def test_an_order_carries_the_settings_a_node_needs_and_no_others(tmp_path: Path) -> None:
    queues = {"mine": QueueConfig(device="cpu", cores=3), "plain": QueueConfig()}
    config = Config(
        broker=BrokerConfig(host="127.0.0.1", port=0, keys="", journal="/secret"),
        queues=queues,
        workers=WorkersConfig(count=2, pinned=("lama",)),
        node=NodeConfig(launcher="farm"),
    )

    (only,) = ordered(config)
    there = load_config(environ=only.environment)

    assert there.workers == config.workers
    assert there.queues == {
        "mine": evolve(queues["mine"], port=7000),
        "plain": evolve(queues["plain"], port=7001),
    }
    assert there == evolve(Config(), workers=there.workers, queues=there.queues)
    assert "secret" not in only.environment["PAINTMQ_SETTINGS"]


def test_default_settings_are_not_sent() -> None:
    assert node_settings(Config()) == ""


def test_broken_settings_in_the_variable_are_refused_by_its_name() -> None:
    with pytest.raises(ConfigError, match="PAINTMQ_SETTINGS: is not valid TOML"):
        load_config(environ={"PAINTMQ_SETTINGS": "workers ="})
    with pytest.raises(ConfigError, match=r"PAINTMQ_SETTINGS: workers\.cuont: unknown key"):
        load_config(environ={"PAINTMQ_SETTINGS": "[workers]\ncuont = 1"})


def test_a_file_that_was_named_wins_over_the_variable(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[workers]\ncount = 5\n", encoding="utf-8")

    config = load_config(file, {"PAINTMQ_SETTINGS": "[workers]\ncount = 1"})

    assert config.workers.count == 5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("count = 2", "node.count = 2 needs another node.launcher than 'local'"),
        ("count = 0", "count = 0 must be greater than 0"),
        ("options = { a = 1 }", "node.options has no use with node.launcher = 'local'"),
    ],
)
def test_what_the_local_launcher_cannot_do_is_a_wrong_setting(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_config(environ={"PAINTMQ_SETTINGS": f"[node]\n{text}"})
