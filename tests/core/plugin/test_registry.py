"""What plugins register: models, routers, stores and launchers, each checked."""

from typing import Any

import attrs
import pytest
from attrs import field, frozen, validators
from tests.harness.odd_values import EXCEPTIONS, VALUES, raising
from tests.harness.trial_plugins import offering, plugin, raiser

from paintmq.config import NodeConfig, RouterConfig
from paintmq.errors import ConfigError, PluginError
from paintmq.launching import LaunchedNode, Launcher, NodeOrder, ProcessNode
from paintmq.model import API_VERSION, InputSpec, ModelSpec, WeightFile
from paintmq.plugin.manager import PluginManager
from paintmq.plugin.spec_check import OLDEST_API_VERSION
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


SPEC_FIELDS = [each.name for each in attrs.fields(ModelSpec)]


@pytest.mark.parametrize("name", SPEC_FIELDS)
@pytest.mark.parametrize("value", VALUES)
def test_a_field_of_a_spec_is_taken_only_as_what_it_must_be(name: str, value: str) -> None:
    fine = {
        ("None", "batch_key"),
        ("None", "result_bytes"),
        ("None", "weight_problem"),
        ("true", "deterministic"),
        *(("digits", each) for each in ("name", "summary", "licence", "extra")),
    }
    functions = ("needs", "run_seconds", "batch_key", "result_bytes", "weight_problem")
    if name in functions and callable(VALUES[value]):
        fine.add((value, name))  # what it does when it is called is seen then
    manager = PluginManager()
    if (value, name) in fine:
        manager.register(offering(**{name: VALUES[value]}), "mine")
        return

    with pytest.raises(PluginError) as caught:
        manager.register(offering(**{name: VALUES[value]}), "mine")
    str(caught.value).encode("utf-8")
    assert manager.catalog().specs == {}


@pytest.mark.parametrize("kind", [InputSpec, WeightFile])
@pytest.mark.parametrize("value", VALUES)
def test_what_inputs_and_weights_hold_is_checked_too(kind: type, value: str) -> None:
    where = {InputSpec: "inputs", WeightFile: "weights"}[kind]
    fine = {("true", "required"), *(("digits", each.name) for each in attrs.fields(kind))}
    for each in attrs.fields(kind):
        if (value, each.name) in fine - {("digits", "kind"), ("digits", "required")}:
            continue
        part = kind(**{"name": "a", each.name: VALUES[value]})
        with pytest.raises(PluginError):
            PluginManager().register(offering(**{where: (part,)}), "mine")


def test_a_spec_that_computes_its_fields_is_kept_as_it_was_when_it_was_checked() -> None:
    class Fickle(ModelSpec):
        def __getattribute__(self, name: str) -> Any:
            return next(limits) if name == "run_limit" else super().__getattribute__(name)

    limits = iter([5.0])
    spec = Fickle(name="brush", implementation="brush.model:Brush")
    manager = PluginManager()
    manager.register(plugin(register_models=lambda register: register(spec)), "mine")

    assert type(manager.catalog().get("brush")) is ModelSpec
    assert manager.catalog().get("brush").run_limit == 5.0


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


@pytest.mark.parametrize("error", EXCEPTIONS)
def test_a_router_that_cannot_be_made_is_a_fault_of_the_settings(error: str) -> None:
    make = raising(EXCEPTIONS[error])
    manager = PluginManager()
    manager.register(plugin(register_routers=lambda register: register("odd", make)), "mine")

    with pytest.raises(ConfigError, match=r"\[router\] odd of plugin mine cannot be made: "):
        manager.make_router(RouterConfig(name="odd"))


def test_what_a_factory_makes_must_be_a_router() -> None:
    manager = PluginManager()
    manager.register(plugin(register_routers=lambda register: register("odd", lambda _: 5)), "mine")

    with pytest.raises(ConfigError, match=r"odd of plugin mine made 5, which is no .*Router"):
        manager.make_router(RouterConfig(name="odd"))


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
