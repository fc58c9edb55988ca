"""What settings choose among plugins, and what is said of those that were set aside."""

import sys

import pytest
from tests.harness.trial_plugins import SOUND, Install, report_on

from paintmq.config import PluginsConfig, RouterConfig
from paintmq.errors import ConfigError, UnknownModelError
from paintmq.plugin.manager import PluginManager

# ---- disable, allow, settings --------------------------------------------------------------------


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


# ---- routers, stores, launchers ------------------------------------------------------------------


def test_a_router_whose_plugin_was_set_aside_is_missed_with_the_reason(install: Install) -> None:
    install("fancy", "import no_such_module")

    with pytest.raises(ConfigError, match=r"plugin fancy \(.*\) is set aside: ModuleNotFound"):
        PluginManager.installed().make_router(RouterConfig(name="fancy"))


# ---- observers and commands ----------------------------------------------------------------------


def test_a_model_whose_plugin_was_set_aside_is_missed_with_the_reason(install: Install) -> None:
    install("fancy", "import no_such_module")

    with pytest.raises(
        UnknownModelError, match=r"plugin fancy \(.*\) is set aside: ModuleNotFound"
    ):
        PluginManager.installed().catalog().get("fancy")
