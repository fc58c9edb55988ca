"""Plugins are found, loaded and listed, or set aside when they cannot be used."""

import sys
import threading
import time
from pathlib import Path

import pytest
from tests.harness.trial_plugins import SOUND, Install, report_on
from tests.harness.written_distribution import write_distribution

from paintmq.config import PluginsConfig
from paintmq.plugin.manager import PluginManager


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
