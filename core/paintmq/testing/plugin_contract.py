"""What every plugin must satisfy, whatever it provides: its manifest is light and valid."""

from typing import ClassVar

from paintmq.plugin.discovery import import_target
from paintmq.plugin.manager import PluginManager
from paintmq.testing.manifest_budget import measure_manifest


class PluginContract:
    """Tests for one plugin; ModelContract and RouterContract hold them too."""

    plugin: ClassVar[str]
    """What your entry point names: a module, or ``module:object``."""

    @classmethod
    def plugins(cls) -> PluginManager:
        """Return a manager with only this plugin."""
        manager = PluginManager()
        manager.register(import_target(cls.plugin), cls.plugin)
        return manager

    def test_the_manifest_is_light(self) -> None:
        fault = measure_manifest(self.plugin).fault

        assert not fault, fault

    def test_nothing_about_the_plugin_needs_mending(self) -> None:
        (report,) = self.plugins().reports()

        assert not report.warnings, "; ".join(report.warnings)
