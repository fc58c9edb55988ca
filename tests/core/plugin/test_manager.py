"""Plugins: found, loaded, listed, and set aside when they cannot be used."""

import itertools
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from attrs import field, frozen, validators
from tests.harness.written_distribution import write_distribution

from paintmq.config import NodeConfig, PluginsConfig, RouterConfig
from paintmq.errors import ConfigError, PluginError, UnknownModelError
from paintmq.hookspecs import hookimpl
from paintmq.launching import LaunchedNode, Launcher, NodeOrder, ProcessNode
from paintmq.model import API_VERSION, InputSpec, ModelSpec
from paintmq.plugin.manager import FAILURES_ALLOWED, PluginManager
from paintmq.plugin.registry import OLDEST_API_VERSION, PluginRoute
from paintmq.plugin.report import PluginReport
from paintmq.statistics import BrokerStatistics
from paintmq.testing.plain_router import PlainRouter

SOUND = """
from paintmq.model import ModelSpec

def paintmq_register_models(register):
    register(ModelSpec(name="{model}", implementation="{model}_impl:Model"))
"""

Install = Callable[..., str]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install a plugin of one module; returns the module's name."""
    numbers = itertools.count()
    modules: list[str] = []

    def install(
        name: str, source: str, *, distribution: str = "", version: str = "1.0", target: str = ""
    ) -> str:
        # A module is imported once in a process, so each test's has a name of its own.
        module = f"paintmq_test_{tmp_path.name.replace('-', '_')}_{next(numbers)}"
        modules.append(module)
        write_distribution(
            tmp_path / module,
            distribution or f"paintmq-{name}",
            entry_points={name: module + target},
            files={f"{module}.py": source},
            version=version,
        )
        monkeypatch.syspath_prepend(tmp_path / module)
        return module

    yield install
    for module in modules:
        sys.modules.pop(module, None)


def report_on(manager: PluginManager, name: str) -> PluginReport:
    (report,) = [report for report in manager.reports() if report.name == name]
    return report


def plugin(**hooks: object) -> SimpleNamespace:
    return SimpleNamespace(**{f"paintmq_{name}": hook for name, hook in hooks.items()})


def offering(**changes: Any) -> SimpleNamespace:
    """Return a plugin with one model."""
    spec = ModelSpec(**{"name": "brush", "implementation": "brush.model:Brush"} | changes)
    return plugin(register_models=lambda register: register(spec))


# ---- finding and loading -----------------------------------------------------------------------


def test_an_installed_plugin_is_found_and_its_models_are_offered(install: Install) -> None:
    install("brush", SOUND.format(model="brush"), version="2.1")

    manager = PluginManager.installed()

    assert manager.catalog().get("brush").implementation == "brush_impl:Model"
    report = report_on(manager, "brush")
    assert report.title == "brush (paintmq-brush 2.1)"
    assert (report.state, report.reason, report.warnings) == ("ready", "", ())
    assert report.provides == ("model brush",)
    assert report.load_seconds > 0


def test_an_entry_point_may_name_an_object_or_a_class(install: Install) -> None:
    source = """
    class Plugin:
        def paintmq_events(self, batch): pass

    one = Plugin()
    """
    install("by-class", source, target=":Plugin")
    install("by-object", source, target=":one")

    manager = PluginManager.installed()

    assert report_on(manager, "by-class").provides == ("events",)
    assert report_on(manager, "by-object").provides == ("events",)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("import sys; sys.exit(3)", "it called sys.exit(3)"),
        ("raise SystemExit", "it called sys.exit(None)"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("raise GeneratorExit('of all things')", "GeneratorExit: of all things"),
        ("class Own(BaseException): pass\nraise Own('x')", "Own: x"),
        ("def paintmq_register_models(register): raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("def paintmq_register_models(register): 1 / 0", "ZeroDivisionError: division by zero"),
        (
            "def paintmq_register_models(register): import sys; sys.exit('no')",
            "it called sys.exit('no')",
        ),
        ("def paintmq_register_model(register): pass", "did you mean paintmq_register_models?"),
        ("def paintmq_zzz(): pass", "there is no hook paintmq_zzz; hooks: paintmq_configure"),
        ("def paintmq_events(events): pass", "hookimpl definition: paintmq_events(events) Arg"),
        ("syntax error", "SyntaxError"),
        (
            "def paintmq_register_models(register): register('lama')",
            "it registers 'lama' as a model; a ModelSpec is wanted",
        ),
    ],
)
def test_a_plugin_that_cannot_be_used_is_set_aside_alone(
    install: Install, caplog: pytest.LogCaptureFixture, source: str, reason: str
) -> None:
    install("a-broken", source)
    install("brush", SOUND.format(model="brush"))

    manager = PluginManager.installed()

    report = report_on(manager, "a-broken")
    assert report.state == "set aside"
    assert reason in report.reason
    assert report.provides == ()
    assert "plugin a-broken (paintmq-a-broken 1.0) is set aside" in caplog.text
    assert "brush" in manager.catalog().specs


def test_a_plugin_that_fails_halfway_leaves_nothing_behind(install: Install) -> None:
    install(
        "half",
        SOUND.format(model="half") + "\n    raise RuntimeError('then this')\n"
        "def paintmq_events(batch): raise AssertionError('must not be called')\n",
    )

    manager = PluginManager.installed()

    assert "half" not in manager.catalog().specs
    assert not manager.observes_events


def let_go(module: str) -> None:
    """Let a plugin that waits for it go on, once it has come so far."""
    until = time.monotonic() + 30
    while not hasattr(sys.modules.get(module), "go") and time.monotonic() < until:
        time.sleep(0.005)
    sys.modules[module].go.set()


@pytest.mark.parametrize(
    "source",
    [
        "go.wait()",
        "def paintmq_configure(settings): go.wait()",
        "def paintmq_register_models(register): go.wait()",
    ],
)
def test_a_plugin_that_does_not_come_back_is_set_aside(
    install: Install, source: str, caplog: pytest.LogCaptureFixture
) -> None:
    module = install("hangs", f"import threading; go = threading.Event()\n{source}")

    manager = PluginManager.installed(PluginsConfig(allow=("hangs",), load_limit=0.2))
    let_go(module)

    report = report_on(manager, "hangs")
    assert (report.state, report.reason) == ("set aside", "it has not finished after 0.2 seconds")
    (record,) = caplog.records
    assert (record.levelname, record.args[0]) == ("ERROR", "hangs (paintmq-hangs 1.0)")  # type: ignore[index]


@pytest.mark.slow
def test_plugins_after_one_that_does_not_come_back_work(install: Install) -> None:
    module = install("a-hangs", "import threading; go = threading.Event(); go.wait()")
    install("sound", SOUND.format(model="brush"))

    # Long enough for a sound plugin on a machine that is badly overloaded.
    manager = PluginManager.installed(PluginsConfig(allow=("a-hangs", "sound"), load_limit=3.0))
    let_go(module)

    assert "brush" in manager.catalog().specs


def test_what_a_plugin_registers_after_its_time_is_forgotten(install: Install) -> None:
    module = install(
        "late",
        """
        import threading
        from paintmq.model import ModelSpec

        go, done = threading.Event(), threading.Event()

        def paintmq_register_models(register):
            go.wait()
            register(ModelSpec(name="late", implementation="a:B"))
            done.set()
        """,
    )

    manager = PluginManager.installed(PluginsConfig(allow=("late",), load_limit=0.2))
    let_go(module)
    assert sys.modules[module].done.wait(30)

    assert list(manager.catalog().specs) == []


def test_no_thread_is_left_where_plugins_come_back(install: Install) -> None:
    install("brush", SOUND.format(model="brush"))
    before = threading.enumerate()

    PluginManager.installed(PluginsConfig(allow=("brush",)))

    assert set(threading.enumerate()) <= set(before)


def test_distributions_with_unreadable_entry_points_hide_no_others(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("brush", SOUND.format(model="brush"))
    write_distribution(tmp_path / "bad", "bad", entry_points={}, files={})
    (tmp_path / "bad" / "bad-1.0.dist-info" / "entry_points.txt").write_bytes(
        b"[paintmq]\n\xff\xfe"
    )
    monkeypatch.syspath_prepend(tmp_path / "bad")

    assert "brush" in PluginManager.installed().catalog().specs


def test_of_two_plugins_of_one_name_the_first_distribution_wins(install: Install) -> None:
    install("brush", SOUND.format(model="other"), distribution="b-dist")
    install("brush", SOUND.format(model="brush"), distribution="a-dist")

    manager = PluginManager.installed()

    first, second = [report for report in manager.reports() if report.name == "brush"]
    assert (first.distribution, first.state) == ("a-dist", "ready")
    assert (second.distribution, second.state) == ("b-dist", "set aside")
    assert second.reason == "plugin brush (a-dist 1.0) already has its name"
    assert "other" not in manager.catalog().specs


def test_two_models_of_one_name_clash_and_both_plugins_are_named(install: Install) -> None:
    install("p1", SOUND.format(model="lama2"))
    install("p2", SOUND.format(model="lama2"))

    report = report_on(PluginManager.installed(), "p2")

    assert report.state == "set aside"
    assert report.reason == "its model 'lama2' is already provided by plugin p1 (paintmq-p1 1.0)"


def test_a_manifest_that_imports_something_heavy_works_but_is_reported(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    write_distribution(tmp_path, "fake", entry_points={}, files={"tensorflow.py": ""})
    monkeypatch.syspath_prepend(tmp_path)
    install("slow", "import tensorflow\n" + SOUND.format(model="slow"))

    report = report_on(PluginManager.installed(), "slow")

    monkeypatch.delitem(sys.modules, "tensorflow")
    assert report.state == "ready"
    assert report.warnings == ("its manifest imports tensorflow: leave that to the implementation",)


def test_a_plugin_without_hooks_is_told_that_it_provides_nothing(install: Install) -> None:
    install("empty", "paintmq_events = 3")

    assert report_on(PluginManager.installed(), "empty").warnings == ("it provides nothing",)


# ---- disable, allow, settings ------------------------------------------------------------------


@pytest.mark.parametrize("entry", ["brush", "Brush", "paintmq-brush", "PaintMQ_Brush"])
def test_a_disabled_plugin_is_not_even_imported(install: Install, entry: str) -> None:
    module = install("brush", SOUND.format(model="brush"))

    manager = PluginManager.installed(PluginsConfig(disable=(entry,)))

    assert module not in sys.modules
    assert report_on(manager, "brush").state == "disabled"
    assert report_on(manager, "brush").reason == "named in [plugins] disable"
    assert manager.warnings == []


def test_an_allow_list_leaves_out_everything_else(install: Install) -> None:
    install("brush", SOUND.format(model="brush"))
    install("other", SOUND.format(model="other"))

    manager = PluginManager.installed(PluginsConfig(allow=("paintmq-brush",)))

    assert list(manager.catalog().specs) == ["brush"]
    assert report_on(manager, "other").reason == "not named in [plugins] allow"


def test_an_empty_allow_list_loads_nothing(install: Install) -> None:
    install("brush", SOUND.format(model="brush"))

    manager = PluginManager.installed(PluginsConfig(allow=()))

    assert {report.state for report in manager.reports()} == {"disabled"}


def test_a_name_that_matches_nothing_is_warned_about(
    install: Install, caplog: pytest.LogCaptureFixture
) -> None:
    install("brush", SOUND.format(model="brush"))

    manager = PluginManager.installed(
        PluginsConfig(disable=("brsh",), settings={"brus": {}, "brush": {"size": 3}})
    )

    assert manager.warnings == [
        "[plugins] disable: 'brsh' matches no installed plugin or distribution",
        "[plugins.settings.brus]: no such plugin is installed; did you mean 'brush'?",
        "[plugins.settings.brush]: this plugin takes no settings",
    ]
    assert manager.warnings[0] in caplog.text


def test_a_plugin_gets_its_own_settings_before_anything_else(install: Install) -> None:
    install(
        "brush",
        """
        from paintmq.model import ModelSpec

        def paintmq_configure(settings):
            global size
            size = settings["size"]

        def paintmq_register_models(register):
            register(ModelSpec(name=f"brush-{size}", implementation="a:B"))
        """,
    )

    manager = PluginManager.installed(PluginsConfig(settings={"brush": {"size": 3}}))

    assert "brush-3" in manager.catalog().specs
    assert manager.warnings == []


# ---- registering by hand -----------------------------------------------------------------------


def test_an_application_may_register_a_plugin_of_its_own() -> None:
    manager = PluginManager()

    manager.register(offering(), "mine")

    assert list(manager.catalog().specs) == ["brush"]
    assert manager.reports()[0].provides == ("model brush",)


def test_registering_a_plugin_that_cannot_be_used_raises() -> None:
    manager = PluginManager()

    with pytest.raises(PluginError, match="plugin mine: ValueError: no"):
        manager.register(plugin(configure=raiser(ValueError("no"))), "mine")
    assert manager.reports() == []
    manager.register(offering(), "mine")
    with pytest.raises(PluginError, match="a plugin of this name is already registered"):
        manager.register(offering(name="other"), "mine")
    assert list(manager.catalog().specs) == ["brush"]


def raiser(error: BaseException) -> Callable[..., None]:
    def hook(*arguments: object) -> None:
        raise error

    def configure(settings: object) -> None:
        hook()

    return configure


# ---- models ------------------------------------------------------------------------------------


@pytest.mark.parametrize("api", range(OLDEST_API_VERSION, API_VERSION + 1))
def test_this_version_of_the_interface_and_the_one_before_are_taken(api: int) -> None:
    manager = PluginManager()

    manager.register(offering(api=api), "mine")

    assert manager.catalog().get("brush").api == api


def test_a_newer_interface_is_refused_with_the_remedy() -> None:
    with pytest.raises(
        PluginError,
        match=f"written for version {API_VERSION + 1} .* has version {API_VERSION}: upgrade paint",
    ):
        PluginManager().register(offering(api=API_VERSION + 1), "mine")


def test_an_interface_that_is_too_old_is_refused_with_the_remedy() -> None:
    with pytest.raises(PluginError, match=r"takes \d+ to \d+: upgrade the plugin"):
        PluginManager().register(offering(api=OLDEST_API_VERSION - 1), "mine")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "La Ma"}, "model name 'La Ma' is not like"),
        ({"name": 3}, "model name 3"),
        ({"implementation": "brush.model"}, "not like 'package.module:Class'"),
        ({"implementation": object}, "not like 'package.module:Class'"),
        ({"api": "1"}, "api '1' is no version number"),
        ({"effort": "huge"}, "neither 'light' nor 'intensive'"),
        ({"needs": 5}, "needs must be a function"),
        ({"batch_key": "size"}, "batch_key must be a function"),
        ({"run_limit": 0}, "run_limit 0 must be more than 0"),
        ({"stall_limit": None}, "stall_limit None"),
        ({"load_seconds": -1}, "load_seconds -1 must not be negative"),
        ({"resident_mb": float("nan")}, "resident_mb nan"),
        ({"max_batch": 0}, "max_batch 0 must be at least 1"),
        ({"max_batch": 4}, "without a batch_key"),
        ({"task_types": "inpaint"}, "task_types must be a tuple of str, not 'inpaint'"),
        ({"task_types": ()}, "one or more names"),
        ({"devices": ("tpu",)}, "must be 'cpu', 'cuda' or both"),
        ({"devices": ()}, "must be 'cpu', 'cuda' or both"),
        ({"inputs": (InputSpec(name="a"), InputSpec(name="a"))}, "two inputs have one name"),
        ({"inputs": ("image",)}, "inputs must be a tuple of InputSpec"),
        ({"options": dict}, "must be a frozen attrs class"),
    ],
)
def test_a_spec_that_makes_no_sense_is_refused_in_words(
    changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(PluginError) as caught:
        PluginManager().register(offering(**changes), "mine")

    assert words in str(caught.value)


# ---- routers, stores, launchers ----------------------------------------------------------------


@frozen
class Patience:
    seconds: float = field(default=1.0, validator=validators.ge(0))


class PatientRouter(PlainRouter):
    def __init__(self, parameters: Patience) -> None:
        if parameters.seconds > 100:
            raise RuntimeError("too patient")
        self.patience = parameters.seconds


def patient() -> PluginManager:
    manager = PluginManager()
    manager.register(
        plugin(register_routers=lambda register: register("patient", PatientRouter, Patience)),
        "mine",
    )
    return manager


def test_a_router_is_made_with_its_checked_parameters() -> None:
    router = patient().make_router(RouterConfig(name="patient", parameters={"seconds": 3}))

    assert isinstance(router, PatientRouter)
    assert router.patience == 3.0
    assert patient().router_parameters("patient") is Patience


@pytest.mark.parametrize(
    ("name", "parameters", "words"),
    [
        ("patent", {}, r"'patent' is not installed \(installed: patient\); did you mean 'patient'"),
        ("patient", {"secs": 3}, r"\[router\] patient: unknown option 'secs'"),
        ("patient", {"seconds": -3}, "option 'seconds' is -3, but must be at least 0"),
        ("patient", {"seconds": 101}, "patient of plugin mine cannot be made: too patient"),
    ],
)
def test_a_router_that_cannot_be_made_is_a_wrong_setting(
    name: str, parameters: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        patient().make_router(RouterConfig(name=name, parameters=parameters))


def test_a_router_whose_plugin_was_set_aside_is_missed_with_the_reason(install: Install) -> None:
    install("fancy", "import no_such_module")

    with pytest.raises(ConfigError, match=r"plugin fancy \(.*\) is set aside: ModuleNotFound"):
        PluginManager.installed().make_router(RouterConfig(name="fancy"))


@frozen
class SlurmOptions:
    partition: str = "any"


class SlurmLauncher(Launcher):
    def __init__(self, options: SlurmOptions) -> None:
        if options.partition == "gone":
            raise RuntimeError("no partition")

    def launch(self, order: NodeOrder) -> LaunchedNode:
        return ProcessNode.start(order)


def test_stores_and_launchers_are_kept_by_name() -> None:
    manager = PluginManager()
    manager.register(
        plugin(
            register_stores=lambda register: register("shelf", str),
            register_launchers=lambda register: register("slurm", SlurmLauncher, SlurmOptions),
        ),
        "mine",
    )

    assert manager.stores == {"shelf": str}
    assert manager.launchers == ["slurm"]
    with pytest.raises(PluginError, match="its store 'shelf' is already provided by plugin mine"):
        manager.register(plugin(register_stores=lambda register: register("shelf", str)), "another")
    with pytest.raises(PluginError, match="no factory"):
        manager.register(plugin(register_launchers=lambda register: register("x", 3)), "third")
    with pytest.raises(PluginError, match="launcher 'local' is built in"):
        manager.register(
            plugin(register_launchers=lambda register: register("local", SlurmLauncher)), "fourth"
        )


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (
            {"launcher": "slum"},
            r"'slum' is not installed \(installed: local, slurm\); did you mean",
        ),
        ({"options": {"partitoin": "a"}}, r"\[node\] launcher slurm: unknown option 'partitoin'"),
        ({"options": {"partition": "gone"}}, "slurm of plugin mine cannot be made: no partition"),
    ],
)
def test_a_launcher_that_cannot_be_made_is_a_wrong_setting(
    config: dict[str, Any], words: str
) -> None:
    manager = PluginManager()
    register = plugin(
        register_launchers=lambda register: register("slurm", SlurmLauncher, SlurmOptions)
    )
    manager.register(register, "mine")

    with pytest.raises(ConfigError, match=words):
        manager.make_launcher(NodeConfig(**{"launcher": "slurm", **config}))


# ---- observers and commands --------------------------------------------------------------------


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
def test_one_observer_that_raises_keeps_nothing_from_the_others(
    error: type[BaseException],
) -> None:
    manager, seen = PluginManager(), []

    def fail(batch: object) -> None:
        raise error

    manager.register(plugin(events=fail), "bad")
    manager.register(plugin(events=lambda batch: seen.append(batch)), "good")
    manager.register(plugin(statistics=lambda sample: seen.append(sample)), "counts")

    manager.deliver_events([{"event": "lease"}])
    manager.deliver_statistics(BrokerStatistics(workers=3))

    assert seen == [[{"event": "lease"}], BrokerStatistics(workers=3)]
    assert manager.observes_events


def test_an_observer_that_keeps_raising_is_no_longer_called_and_reported() -> None:
    manager, calls = PluginManager(), []

    def fail(batch: object) -> None:
        calls.append(batch)
        raise ValueError("no disk")

    manager.register(plugin(events=fail), "bad")

    for _ in range(FAILURES_ALLOWED + 3):
        manager.deliver_events([])

    assert len(calls) == FAILURES_ALLOWED
    (warning,) = report_on(manager, "bad").warnings
    assert "paintmq_events raised 5 times in a row and is no longer called" in warning
    assert "ValueError: no disk" in warning


def test_an_observer_that_recovers_stays() -> None:
    manager, calls = PluginManager(), []

    def sometimes(batch: object) -> None:
        calls.append(batch)
        if len(calls) % FAILURES_ALLOWED:
            raise ValueError

    manager.register(plugin(events=sometimes), "flaky")

    for _ in range(4 * FAILURES_ALLOWED):
        manager.deliver_events([])

    assert len(calls) == 4 * FAILURES_ALLOWED
    assert report_on(manager, "flaky").warnings == ()


def test_hooks_may_take_fewer_arguments_and_be_decorated_for_order() -> None:
    manager, seen = PluginManager(), []

    class Last:
        @hookimpl(trylast=True)
        def paintmq_events(self) -> None:
            seen.append("last")

    manager.register(Last(), "last")
    manager.register(plugin(events=lambda batch: seen.append("first")), "first")

    manager.deliver_events([])

    assert seen == ["first", "last"]


def test_a_plugin_adds_commands_and_a_failing_one_is_left_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    manager, app = PluginManager(), typer.Typer()

    def fail(app: object) -> None:
        raise ImportError("no click")

    manager.register(plugin(register_commands=fail), "bad")
    manager.register(
        plugin(register_commands=lambda app: app.command("greet")(lambda: None)), "good"
    )
    manager.register_commands(app)

    assert [command.name for command in app.registered_commands] == ["greet"]
    assert "plugin bad: its commands are left out: ImportError: no click" in caplog.text


async def endpoint(request: object) -> None:
    pass


def test_plugins_add_routes_and_a_failing_one_adds_none() -> None:
    manager = PluginManager()

    def half(register: Callable[..., None]) -> None:
        register("/fine", endpoint)
        register("not-fine", endpoint)

    def good(register: Callable[..., None]) -> None:
        register("/hello", endpoint, ["GET", "POST"])

    manager.register(plugin(register_routes=half), "bad")
    manager.register(plugin(register_routes=good), "good")

    assert manager.routes() == [PluginRoute("good", "/hello", endpoint, ("GET", "POST"))]
    assert report_on(manager, "good").provides == ("routes",)
    (warning,) = report_on(manager, "bad").warnings
    assert warning == "its routes are left out: route 'not-fine' does not begin with a slash"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((3, endpoint, ("GET",)), "route 3 does not begin"),
        (("/x", 3, ("GET",)), "3 cannot be called"),
        (("/x", endpoint, ("PUT",)), "methods are GET, POST and DELETE"),
        (("/x", endpoint, ()), "methods are GET, POST and DELETE"),
    ],
)
def test_a_route_that_makes_no_sense_is_refused(arguments: tuple[Any, ...], words: str) -> None:
    with pytest.raises(PluginError, match=words):
        PluginRoute("x", *arguments)


def test_a_hook_wrapper_is_refused() -> None:
    class Wraps:
        @hookimpl(wrapper=True)
        def paintmq_events(self, batch: object) -> Iterator[None]:
            yield

    manager = PluginManager()
    with pytest.raises(PluginError, match="paintmq_events must not be a hook wrapper"):
        manager.register(Wraps(), "wraps")


def test_a_model_whose_plugin_was_set_aside_is_missed_with_the_reason(install: Install) -> None:
    install("fancy", "import no_such_module")

    with pytest.raises(
        UnknownModelError, match=r"plugin fancy \(.*\) is set aside: ModuleNotFound"
    ):
        PluginManager.installed().catalog().get("fancy")
