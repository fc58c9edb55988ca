"""A model that keeps to every rule, and the contract held against it or a worse one."""

from collections.abc import Callable, Sequence
from typing import ClassVar

from attrs import field, frozen

from paintmq.model import Device, InputSpec, Model, ModelSpec, Outputs, Request
from paintmq.model import RunContext as Context
from paintmq.testing.model_bench import ModelBench
from paintmq.testing.model_contract import ModelContract
from paintmq.testing.scripted_context import ScriptedContext

STEPS = 4


@frozen
class Options:
    shade: int = field(default=7, metadata={"help": "what the mask is filled with"})


SPEC = ModelSpec(
    name="sound",
    implementation=f"{__name__}:Sound",
    summary="Fills the mask",
    licence="none",
    options=Options,
    inputs=(InputSpec(name="image"), InputSpec(name="mask", kind="mask")),
)


class Sound(Model):
    """Keeps to every rule; each test below breaks one."""

    def load(self, device: Device) -> None:
        pass

    def run(self, batch: Sequence[Request], context: Context) -> Sequence[Outputs]:
        outputs: list[Outputs] = []
        for request in batch:
            image = request.inputs["image"].copy()
            for step in range(1, STEPS + 1):
                context.raise_if_cancelled()
                context.progress(step, STEPS)
            image[request.inputs["mask"] > 0, :3] = request.options.shade
            outputs.append({"image": image})
        return outputs


class Contract(ModelContract):
    """The contract of a model that is handed in, not imported."""

    __test__ = False
    tried: ClassVar[ModelSpec] = SPEC

    @classmethod
    def spec(cls) -> ModelSpec:
        return cls.tried


def contract_of(spec: ModelSpec) -> Contract:
    class Tried(Contract):
        __test__ = False
        tried = spec

    return Tried()


@frozen
class Trial:
    """A model, and what the contract's tests are handed with it."""

    bench: ModelBench
    loaded: Model
    context: ScriptedContext
    contract: Contract


class TrialBench(ModelBench):
    """A bench whose model is a class of this test, not one that can be imported."""

    kind: ClassVar[type[Model]]

    def load(self) -> Model:
        model = self.kind(self.spec, self.weights)
        model.load(self.device)
        return model


Try = Callable[..., Trial]
