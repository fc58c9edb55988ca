"""The manifest of the model that the chaos run gives its tasks to."""

from attrs import frozen

from paintmq.hookspecs import RegisterModel, hookimpl
from paintmq.model import InputSpec, ModelSpec


@frozen
class ChaosOptions:
    """What running a task does."""

    seconds: float = 0.0
    poison: bool = False
    stubborn: bool = False
    """It takes long, and heeds no cancel."""


@hookimpl
def paintmq_register_models(register: RegisterModel) -> None:
    register(
        ModelSpec(
            name="chaos",
            implementation="paintmq_chaos_model:ChaosModel",
            task_types=("plugin",),
            options=ChaosOptions,
            inputs=(InputSpec(name="data", kind="data"),),
            max_batch=4,  # so that innocent tasks share a process with poison
            batch_key=lambda job: "any",
            run_seconds=lambda job: 0.05,
            load_seconds=0.05,
        )
    )
