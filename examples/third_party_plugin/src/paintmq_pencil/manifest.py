"""What PaintMQ must know of the model without running it.

Imported by the broker, by clients and by every command: nothing heavy here, not even numpy.
"""

from typing import TYPE_CHECKING

from attrs import field, frozen, validators

from paintmq.model import InputSpec, Job, ModelSpec, Needs

if TYPE_CHECKING:
    from paintmq.hookspecs import RegisterModel


@frozen(kw_only=True)
class PencilOptions:
    """What a task may ask for. Types and validators are enforced before it is queued."""

    softness: int = field(
        default=4,
        validator=[validators.ge(1), validators.le(64)],
        metadata={"help": "width of the strokes, in pixels"},
    )
    darkness: float = field(
        default=1.0,
        validator=[validators.gt(0), validators.le(4)],
        metadata={"help": "above 1 presses harder, below 1 lighter"},
    )
    coloured: bool = field(default=False, metadata={"help": "use coloured pencils"})


def needs(job: Job) -> Needs:
    """Return the memory one picture takes: a few copies of it as floats."""
    return Needs(memory_mb=64 + job.pixels * 60 // 2**20)


def run_seconds(job: Job) -> float:
    return 0.005 + job.pixels * 1.5e-7


def batch_key(job: Job) -> str:
    """Return which tasks may share a batch: small ones, where the overhead of each counts."""
    return "small" if job.pixels <= 512 * 512 else f"{job.pixels} pixels"


SPEC = ModelSpec(
    name="pencil",
    implementation="paintmq_pencil.model:Pencil",
    task_types=("draw",),
    summary="Draws a photograph with a pencil",
    licence="Apache-2.0",
    options=PencilOptions,
    inputs=(InputSpec(name="image", summary="the photograph, 8 or 16 bits, alpha is kept"),),
    needs=needs,
    run_seconds=run_seconds,
    load_seconds=0.05,
    resident_mb=1,
    max_batch=8,
    batch_key=batch_key,
    api=2,
)


def paintmq_register_models(register: "RegisterModel") -> None:
    register(SPEC)
