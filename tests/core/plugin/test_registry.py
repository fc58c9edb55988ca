"""What plugins register: models, routers, stores and launchers, each checked."""

from typing import Any

import pytest
from attrs import field, frozen, validators
from tests.harness.trial_plugins import offering, plugin, raiser

from paintmq.config import NodeConfig, RouterConfig
from paintmq.errors import ConfigError, PluginError
from paintmq.launching import LaunchedNode, Launcher, NodeOrder, ProcessNode
from paintmq.model import API_VERSION, InputSpec
from paintmq.plugin.manager import PluginManager
from paintmq.plugin.registry import OLDEST_API_VERSION
from paintmq.testing.plain_router import PlainRouter

# ---- registering by hand -------------------------------------------------------------------------


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


# ---- models --------------------------------------------------------------------------------------


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
    ("changes", "message"),
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
def test_a_spec_that_contradicts_itself_is_refused_with_the_reason(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(PluginError) as caught:
        PluginManager().register(offering(**changes), "mine")

    assert message in str(caught.value)


# ---- routers, stores, launchers ------------------------------------------------------------------


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
    ("name", "parameters", "message"),
    [
        ("patent", {}, r"'patent' is not installed \(installed: patient\); did you mean 'patient'"),
        ("patient", {"secs": 3}, r"\[router\] patient: unknown option 'secs'"),
        ("patient", {"seconds": -3}, "option 'seconds' is -3, but must be at least 0"),
        ("patient", {"seconds": 101}, "patient of plugin mine cannot be made: too patient"),
    ],
)
def test_a_router_that_cannot_be_made_is_a_wrong_setting(
    name: str, parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        patient().make_router(RouterConfig(name=name, parameters=parameters))


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
    ("config", "message"),
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
    config: dict[str, Any], message: str
) -> None:
    manager = PluginManager()
    register = plugin(
        register_launchers=lambda register: register("slurm", SlurmLauncher, SlurmOptions)
    )
    manager.register(register, "mine")

    with pytest.raises(ConfigError, match=message):
        manager.make_launcher(NodeConfig(**{"launcher": "slurm", **config}))
