"""What a model author writes: a light ModelSpec, and a Model class that only workers import.

Rule 1: this module, and every manifest that uses it, imports nothing heavy.
Rule 2: functions of a spec (``needs``, ``run_seconds``, ``batch_key``) are pure and quick: the
broker calls them.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from attrs import field, frozen

from paintmq.task import DeviceKind, PayloadInfo, TaskId

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

API_VERSION = 2
"""Version of the interface in this module. This one and the previous one are accepted.

2: Request.seed.
"""

Effort: TypeAlias = Literal["light", "intensive"]


@frozen
class NoOptions:
    """Options of a model without any."""


@frozen(kw_only=True)
class Needs:
    """What one job needs of the worker that runs it. Megabytes are 2**20 bytes."""

    gpu_memory_mb: int = 0
    memory_mb: int = 256
    cores: int = 1


@frozen(kw_only=True)
class Job:
    """What the broker knows of a task when it estimates needs and times."""

    device: DeviceKind
    options: Any
    """An instance of the spec's options class."""
    inputs: tuple[PayloadInfo, ...] = ()

    @property
    def pixels(self) -> int:
        """Pixels of the largest input; 0 when unknown."""
        return max((i.width * i.height for i in self.inputs), default=0)


@frozen(kw_only=True)
class InputSpec:
    """One input of a model."""

    name: str
    required: bool = True
    kind: Literal["image", "mask", "data"] = "image"
    """``image``: decoded to uint8 (or uint16) of shape (H, W, 3) or (H, W, 4), RGB(A); ``mask``:
    decoded to uint8 (H, W), 255 = fill; ``data``: bytes, handed over as they are."""
    summary: str = ""
    needs_surroundings: bool = False
    """Of a mask: the model fills from what is left around it, so a mask that covers the whole
    picture is refused. Otherwise the result of an inpainting task says so in its note."""


@frozen(kw_only=True)
class WeightFile:
    """A file a model needs and does not ship."""

    name: str
    """Name in the models folder, of a file such as ``big-lama.pt`` or of a folder."""
    url: str = ""
    sha256: str = ""
    size: int = 0
    """Bytes; 0 when unknown."""
    licence: str = ""
    source: str = ""
    """Where the file comes from; free text."""
    md5: str = ""
    """Only if upstream publishes nothing better."""
    repository: str = ""
    """Where this is a folder: the repository on the Hugging Face hub it is a copy of."""
    parts: tuple[str, ...] = ()
    """Of a repository, the files that are needed, as patterns such as ``unet/*.safetensors``; those
    that start with ``!`` leave files out."""


def _no_needs(job: Job) -> Needs:
    return Needs()


@frozen(kw_only=True)
class ModelSpec:
    """The light description of a model: enough to validate, route and schedule its tasks."""

    name: str
    """Unique among installed plugins: ``[a-z0-9][a-z0-9._-]{0,63}``."""
    implementation: str
    """``"package.module:Class"`` of a Model subclass; imported in workers only."""
    task_types: tuple[str, ...] = ("inpaint",)
    summary: str = ""
    licence: str = ""
    options: type = NoOptions
    """A frozen attrs class. Types and validators are enforced before a task is queued; a field's
    ``metadata={"help": ...}`` documents it in ``paintmq models show``."""
    inputs: tuple[InputSpec, ...] = (InputSpec(name="image"),)
    devices: tuple[DeviceKind, ...] = ("cpu",)
    """In order of preference."""
    effort: Effort = "light"
    """Of one task on a CPU: ``light`` (under a second) or ``intensive``."""
    needs: Callable[[Job], Needs] = _no_needs
    """What a job needs; memory may depend on pixels and options."""
    load_seconds: float = 1.0
    """Estimate before the first measurement."""
    run_seconds: Callable[[Job], float] = field(default=lambda job: 1.0)
    """Estimate before the first measurement."""
    resident_mb: int = 64
    """Memory the loaded model keeps between tasks (GPU memory on a GPU)."""
    run_limit: float = 600.0
    """Seconds one attempt may take unless the task says otherwise."""
    stall_limit: float = 120.0
    """Seconds a running attempt may go without reporting progress before it counts as stuck."""
    load_limit: float = 600.0
    """Seconds loading may take."""
    max_batch: int = 1
    """How many compatible tasks one ``run`` may get."""
    batch_key: Callable[[Job], str] | None = None
    """Tasks with equal keys may share a batch; None never batches."""
    result_bytes: Callable[[Job], int] | None = None
    """Size of the largest output, as an array: a task whose result could not be sent is refused
    before it waits. None: the input's size, or unknown."""
    requires: tuple[str, ...] = ()
    """Importable modules the implementation needs; a worker without one does not offer it."""
    extra: str = ""
    """What to install when ``requires`` is not met, such as ``paintmq[lama]``."""
    weights: tuple[WeightFile, ...] = ()
    weight_problem: Callable[[WeightFile, Path], str] | None = None
    """Says why a file cannot be the weights, as "holds a network that ..."; empty when it may be.
    ``paintmq models list`` and ``verify`` ask, so it reads little and loads no library."""
    deterministic: bool = True
    """The same inputs and options (seed included) give the same bytes on one device."""
    api: int = API_VERSION
    """Version of this interface it was written for: state it, and a PaintMQ too old or too new for
    it says so."""


@frozen(kw_only=True)
class Device:
    """Where a worker runs its models."""

    kind: DeviceKind
    index: int = 0
    """Index among the devices visible to the process; 0 for the CPU."""
    name: str = "cpu"
    memory_mb: int = 0
    """GPU memory in total, or the worker's share of main memory."""
    threads: int = 1
    """CPU threads the worker should use."""

    @property
    def torch_name(self) -> str:
        return "cpu" if self.kind == "cpu" else f"cuda:{self.index}"


class WeightFinder(Protocol):
    """Finds weight files on this machine; see ``paintmq.weights``."""

    def path(self, name: str) -> Path:
        """Return where the file lies.

        Raises:
            WeightsMissingError: with the command that fetches it.
        """
        ...

    def trusts(self, sha256: str) -> bool:
        """Return whether the operator trusts a file with this checksum to be run as code."""
        ...


@frozen(kw_only=True)
class Request:
    """One task as a model gets it."""

    task_id: TaskId
    options: Any
    """An instance of the spec's options class."""
    inputs: Mapping[str, Any]
    """Decoded inputs by name: arrays (read-only) or bytes; see InputSpec.kind."""
    icc_profile: bytes | None = None
    """Colour profile of the main image, if it had one; the host puts it on the result."""
    seed: int = 0
    """What randomness starts from: the option ``seed`` if the model has one and it is not
    negative; else a number from 0 to 2**32 - 1 that is the same for the same options and
    inputs."""


Outputs: TypeAlias = "Mapping[str, NDArray[np.uint8 | np.uint16] | bytes]"
"""What ``run`` gives back for one request: arrays of shape (H, W), (H, W, 3) or (H, W, 4), or
bytes, by name. The main result is named ``image``; ``note``, in UTF-8, is told to the client;
the name ``icc_profile`` is the host's."""


class RunContext(Protocol):
    """What a running model may ask of its host. Safe to use from the thread that runs ``run``."""

    logger: logging.Logger

    @property
    def scratch(self) -> Path:
        """An empty folder of this attempt; removed afterwards."""
        ...

    def progress(self, step: int, total: int, preview: "NDArray[np.uint8] | None" = None) -> None:
        """Report that ``step`` of ``total`` is done; renews the lease. ``preview`` is uint8 RGB."""
        ...

    def raise_if_cancelled(self) -> None:
        """Raise Cancelled if every task of the batch was cancelled: call it between steps."""
        ...

    def is_cancelled(self, index: int) -> bool:
        """Return whether the request at this place of the batch was cancelled."""
        ...


class Model(ABC):
    """A model in a worker: loaded once, run many times, never by two threads at once."""

    def __init__(self, spec: ModelSpec, weights: WeightFinder) -> None:
        self.spec = spec
        self.weights = weights

    @abstractmethod
    def load(self, device: Device) -> None:
        """Make the model ready on the device. Called once, before the first ``run``."""

    @abstractmethod
    def run(self, batch: Sequence[Request], context: RunContext) -> Sequence[Outputs]:
        """Return the outputs of each request, in order.

        ``batch`` holds 1 to ``spec.max_batch`` requests with equal batch keys.

        Raises:
            ModelError: the attempt failed; say whether trying again may help.
            InvalidInputError: an input cannot be used; the client gets the text.
        """

    def unload(self) -> None:  # noqa: B027 -- most models need nothing beyond being dropped
        """Give back what dropping the object does not."""

    def resident_mb(self) -> int:
        """Return the memory the loaded model keeps; the spec's estimate unless overridden."""
        return self.spec.resident_mb
