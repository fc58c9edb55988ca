"""Plugins that tests register or install: a sound one, one with given hooks, ones that raise."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from paintmq.model import ModelSpec
from paintmq.plugin.manager import PluginManager
from paintmq.plugin.report import PluginReport

SOUND = """
from paintmq.model import ModelSpec

def paintmq_register_models(register):
    register(ModelSpec(name="{model}", implementation="{model}_impl:Model"))
"""
Install = Callable[..., str]


def report_on(manager: PluginManager, name: str) -> PluginReport:
    (report,) = [report for report in manager.reports() if report.name == name]
    return report


def plugin(**hooks: object) -> SimpleNamespace:
    return SimpleNamespace(**{f"paintmq_{name}": hook for name, hook in hooks.items()})


def offering(**changes: Any) -> SimpleNamespace:
    """Return a plugin with one model."""
    spec = ModelSpec(**{"name": "brush", "implementation": "brush.model:Brush"} | changes)
    return plugin(register_models=lambda register: register(spec))


def raiser(error: BaseException) -> Callable[..., None]:
    def hook(*arguments: object) -> None:
        raise error

    def configure(settings: object) -> None:
        hook()

    return configure
