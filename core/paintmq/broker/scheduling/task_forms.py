"""What is worked out once for all tasks that the catalog found to be alike.

Most tasks come in large numbers that differ in nothing but their ids: the catalog gives equal ones
the same ``CheckedTask``, and what the scheduler makes of it is kept here by that object.
"""

from attrs import define, field

from paintmq.broker.scheduling.backlog import BacklogKey
from paintmq.broker.scheduling.estimates import RunKey, run_key
from paintmq.plugin.catalog import CheckedTask
from paintmq.task import DeviceKind

REMEMBERED = 1_000
"""Forms that are kept, as many as the catalog keeps checked tasks."""


@define
class QueueChoice:
    """The queue that a router chose last for tasks of a form."""

    under: tuple[object, ...]
    """All that must be as it was: the time, the workers, the settings, the candidates."""
    queue: str
    left: int
    """For how many further tasks it stands."""


@define(eq=False)
class TaskForm:
    """A kind of task, as the scheduler sees it."""

    checked: CheckedTask
    number: int
    runs: dict[DeviceKind, RunKey]
    """By device: what its run time depends on. Shared by all its tasks, never changed."""
    keys: dict[tuple[str, bool, tuple[str, ...]], BacklogKey] = field(init=False)
    """Keys of its backlogs, by queue, suspicion and excluded workers; empty it when there is one
    more kind of worker."""
    homes: dict[str, tuple[int, DeviceKind | None, int]] = field(init=False)
    """By queue: the edition of the worker table in which its workers were counted, their device,
    and how many could run such a task."""
    choice: QueueChoice | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self.keys, self.homes = {}, {}


@define(eq=False)
class TaskForms:
    """The forms of the latest tasks."""

    _known: dict[int, TaskForm] = field(factory=dict[int, TaskForm], init=False)
    """By identity of the checked task, which the form keeps alive."""
    _made: int = field(default=0, init=False)

    def of(self, checked: CheckedTask) -> TaskForm:
        known = self._known.get(id(checked))
        if known is not None:
            return known
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        self._made += 1
        runs = {
            device: run_key(checked.spec.name, job, checked.run_seconds[device])
            for device, job in checked.jobs.items()
        }
        form = self._known[id(checked)] = TaskForm(checked, self._made, runs)
        return form

    def forget_keys(self) -> None:
        """Forget to which backlogs tasks belong: a kind of worker was added."""
        for form in self._known.values():
            form.keys.clear()
