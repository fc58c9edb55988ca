"""Backlogs by what their tasks have in common, re-sorted as workers of new kinds join."""

from collections.abc import Iterable, Iterator, Sequence

from attrs import define, evolve, field

from paintmq.broker.scheduling.backlog import Backlog, BacklogKey, Waiting, WaitingTask
from paintmq.broker.scheduling.filters import Profile, model_objection, objection, spread
from paintmq.broker.scheduling.task_forms import TaskForms
from paintmq.plugin.catalog import CheckedTask


@define(eq=False)
class BacklogTable:
    """Sorts tasks into backlogs by model and by the set of worker profiles that fit them.

    The number of backlogs a model therefore depends on how many groups of its tasks the workers
    tell apart, not on how finely the tasks' needs vary.
    """

    _profiles: list[Profile]
    """Shared with the worker board."""
    _forms: TaskForms = field(factory=TaskForms)
    _backlogs: dict[BacklogKey, Backlog] = field(factory=dict[BacklogKey, Backlog], init=False)
    _created: int = field(default=0, init=False)

    def __iter__(self) -> Iterator[Backlog]:
        return iter(list(self._backlogs.values()))

    def mask(self, checked: CheckedTask, queues: Sequence[str]) -> int:
        """Return which known profiles could run the task in one of these queues, as a mask."""
        return sum(
            1 << number
            for number, profile in enumerate(self._profiles)
            if not objection(profile, checked, queues)
        )

    def backlog_for(self, waiting: Waiting) -> Backlog:
        """Return the backlog the task belongs to, creating it if necessary."""
        form = self._forms.of(waiting.checked)
        key = form.keys.get((waiting.queue, waiting.suspect, waiting.excluded))
        if key is None:
            key = BacklogKey(
                model=waiting.checked.spec.name,
                devices=tuple(waiting.checked.jobs),
                suspect=waiting.suspect,
                excluded=waiting.excluded,
                profiles=self.mask(waiting.checked, (waiting.queue,)),
            )
            form.keys[waiting.queue, waiting.suspect, waiting.excluded] = key
        backlog = self._backlogs.get(key)
        if backlog is None:
            self._created += 1
            backlog = Backlog(key, waiting.checked.spec, self._created)
            self._backlogs[key] = backlog
        backlog.cover(waiting.checked, waiting.queue, form.number)
        return backlog

    def drop(self, backlog: Backlog) -> None:
        """Forget a backlog that has no tasks."""
        del self._backlogs[backlog.key]

    def add_profile(self, profile: Profile) -> Iterable[WaitingTask]:
        """Account for a new worker profile, the last one in the list.

        Returns:
            Tasks that must change their backlog: of those they are in, only others fit the worker.
        """
        self._forms.forget_keys()
        bit = 1 << len(self._profiles) - 1
        movers: list[WaitingTask] = []
        for backlog in list(self._backlogs.values()):
            if model_objection(profile, backlog.model):
                continue
            fits = spread(profile, backlog.lowest, backlog.highest, backlog.queues)
            if fits is None:
                movers += backlog.tasks()
            elif fits:
                del self._backlogs[backlog.key]
                backlog.key = evolve(backlog.key, profiles=backlog.key.profiles | bit)
                self._backlogs[backlog.key] = backlog
        return movers
