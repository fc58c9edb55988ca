"""What a run came to: counts and names, whatever the number of pictures."""

from pathlib import Path
from typing import TYPE_CHECKING

from attrs import define, field

from paintmq.cli.shown_names import shown

if TYPE_CHECKING:
    from paintmq.cli.image_jobs import Plan
    from paintmq.client import Result


@define
class RunSummary:
    """Counts the jobs of one run as they end."""

    done: int = 0
    failed: int = 0
    there_already: int = 0
    """Left alone by --skip-existing."""
    replaced: int = 0
    only_bad_input: bool = True
    """Whether every failure was one of what the user gave."""
    _queues: set[str] = field(factory=set[str], init=False)
    _workers: set[str] = field(factory=set[str], init=False)
    _last: "tuple[Path, str] | None" = field(default=None, init=False)

    @property
    def ended(self) -> int:
        return self.done + self.failed + self.there_already

    def count(self, result: "Result", path: Path, *, is_replaced: bool) -> None:
        self.done += 1
        self.replaced += is_replaced
        self._queues.add(result.queue)
        self._workers.add(result.worker)
        times = f"waited {result.waited:.2f} s, ran {result.ran:.2f} s"
        self._last = path, f"queue {result.queue}, worker {result.worker}, {times}"

    def text(self, plan: "Plan", seconds: float) -> str:
        """Return the line that sums it up; empty when there is nothing to say."""
        if plan.total == 1 and self._last is not None:
            path, how = self._last
            return f"{shown(path)}: {how}" + ", replaced" * self.replaced
        was_there = f"{'was' if self.there_already == 1 else 'were'} there already"
        more = [
            f"{count:,} {what}"
            for count, what in (
                (self.failed, "failed"),
                (self.replaced, "replaced"),
                (self.there_already, was_there),
            )
            if count
        ]
        if not self.done:
            return f"nothing to do: {', '.join(more)}" if self.there_already else ""
        workers = len(self._workers)
        return "; ".join(
            [
                f"{self.done:,} image{'s' * (self.done > 1)} in {self._places(plan)}: queue"
                f" {', '.join(sorted(self._queues))}, {workers} worker{'s' * (workers > 1)},"
                f" {seconds:.1f} s in all",
                *more,
            ]
        )

    def _places(self, plan: "Plan") -> str:
        folders = sorted({job.output.parent for job in plan.jobs})
        if len(folders) > 3:
            return f"{shown(folders[0])} and {len(folders) - 1:,} other folders"
        return ", ".join(map(shown, folders))
