"""How long models take to load and tasks to run: declared first, measured ever after."""

from collections import deque
from typing import TypeVar

from attrs import define, field, frozen

from paintmq.model import Job, ModelSpec
from paintmq.task import DeviceKind

WEIGHT = 0.2
"""Weight of a new measurement: two thirds of a change are learned within five tasks."""

ERROR_WEIGHT = 0.02
"""Weight of one task in the error of the estimates."""

RATE_TASKS = 16
"""The latest tasks of a model from which its arrival rate is measured."""

FALLBACK_SECONDS = 1.0
"""Used where a spec expects no time at all; measurements soon replace it."""

LEAST_SECONDS = 1e-6
"""Of a run, declared or measured: what was learned is kept as a ratio of the two."""

MOST_KEPT = 10_000
"""Averages of one kind at most. Workers choose their device names, so the number is bounded:
beyond it, unknown keys are not learned."""


@frozen
class RunKey:
    """What a task's run time depends on, apart from the name of the device."""

    model: str
    device: DeviceKind
    bucket: int
    """The number of pixels, as a power of two."""
    declared: float
    """The spec's own estimate, seconds."""


def run_key(model: str, job: Job, seconds: float) -> RunKey:
    """Return the key of the job's run time; ``seconds``: the plugin's own estimate, checked."""
    declared = max(seconds, LEAST_SECONDS) if seconds else FALLBACK_SECONDS
    return RunKey(model, job.device, job.pixels.bit_length(), declared)


@define
class Estimates:
    """Moving averages of load and run times, and of arrivals.

    Run times are learned as ratios to what the spec declares, so that a task with twice the
    declared time (more steps, say) counts twice from its first measurement on. They are kept for
    each model, device name and size; a size or device not measured yet borrows the model's ratio.
    """

    _ratios: dict[tuple[str | int, ...], float] = field(
        factory=dict[tuple[str | int, ...], float], init=False
    )
    _loads: dict[tuple[str, ...], float] = field(factory=dict[tuple[str, ...], float], init=False)
    _least_loads: dict[str, float] = field(factory=dict[str, float], init=False)
    _means: dict[tuple[str, ...], float] = field(factory=dict[tuple[str, ...], float], init=False)
    _arrivals: dict[str, deque[float]] = field(factory=dict[str, deque[float]], init=False)
    _since: float | None = field(default=None, init=False)
    error: float = field(default=0.0, init=False)
    """Moving average of how far expected and measured run times differ, as a share of the longer
    one, where such a task was measured before."""

    def run_seconds(self, key: RunKey, device_name: str = "") -> float:
        """Return how long such a task should run on a device of this name."""
        ratios, model, device = self._ratios, key.model, key.device
        ratio = ratios.get((model, device, device_name, key.bucket))
        if ratio is None:
            ratio = ratios.get((model, device, device_name)) or ratios.get((model, device), 1.0)
        return key.declared * ratio

    def ran(self, key: RunKey, device_name: str, seconds: float) -> None:
        """Learn from an attempt that succeeded."""
        ratio = max(seconds, LEAST_SECONDS) / key.declared
        known = self._ratios.get((key.model, key.device, device_name, key.bucket))
        if known is not None:
            off = 1 - min(ratio, known) / max(ratio, known)
            self.error += ERROR_WEIGHT * (off - self.error)
        ratios = self._ratios
        for learned in (
            (key.model, key.device, device_name, key.bucket),
            (key.model, key.device, device_name),
            (key.model, key.device),
        ):
            if (average := ratios.get(learned)) is not None:  # as ``_average`` does, for each task
                ratios[learned] = average + WEIGHT * (ratio - average)
            else:
                _average(ratios, learned, ratio)
        _average(self._means, (key.device, device_name), seconds, weight=0.02)

    def mean_run_seconds(self, device: DeviceKind, device_name: str = "") -> float:
        """Return how long tasks of any model run on such a device, on average."""
        return self._means.get((device, device_name), FALLBACK_SECONDS)

    def load_seconds(self, spec: ModelSpec, device: DeviceKind, device_name: str = "") -> float:
        """Return how long the model should take to load on such a device."""
        for learned in ((spec.name, device, device_name), (spec.name, device)):
            seconds = self._loads.get(learned)
            if seconds is not None:
                return seconds
        return spec.load_seconds if spec.load_seconds > 0 else 0.0

    def least_load_seconds(self, spec: ModelSpec) -> float:
        """Return how long the model should take where it loads quickest."""
        return self._least_loads.get(spec.name, max(0.0, spec.load_seconds))

    def loaded(self, model: str, device: DeviceKind, device_name: str, seconds: float) -> None:
        """Learn from a model that was loaded."""
        _average(self._loads, (model, device, device_name), max(seconds, 0.0))
        _average(self._loads, (model, device), max(seconds, 0.0))
        averages = [average for key, average in self._loads.items() if key[0] == model]
        self._least_loads[model] = min(averages, default=seconds)

    def arrived(self, model: str, *, now: float) -> None:
        """Count a task for the model."""
        if self._since is None:
            self._since = now
        times = self._arrivals.get(model)
        if times is None:
            times = self._arrivals[model] = deque(maxlen=RATE_TASKS)
        times.append(now)

    def arrival_rate(self, model: str, *, now: float) -> float:
        """Return the model's recent arrivals per second."""
        times = self._arrivals.get(model)
        if times is None or self._since is None:
            return 0.0
        since = times[0] if len(times) == RATE_TASKS else self._since
        return len(times) / max(now - since, 1e-3)


_Key = TypeVar("_Key", bound=tuple[str | int, ...])


def _average(
    table: dict[_Key, float],
    key: _Key,
    value: float,
    *,
    weight: float = WEIGHT,
) -> None:
    known = table.get(key)
    if known is None and len(table) >= MOST_KEPT:
        return
    table[key] = value if known is None else known + weight * (value - known)
