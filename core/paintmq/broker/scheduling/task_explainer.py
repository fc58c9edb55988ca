"""Explains what a waiting task waits for and what would let it start."""

from collections.abc import Sequence

from paintmq.broker.scheduling.backlog import Backlog, WaitingTask
from paintmq.broker.scheduling.explanation import Explanation, WorkerVerdict
from paintmq.broker.scheduling.filters import model_objection, objection
from paintmq.broker.scheduling.guarded_router import GuardedRouter
from paintmq.broker.scheduling.scheduling_board import SchedulingBoard
from paintmq.broker.scheduling.worker import Worker
from paintmq.broker.scheduling.worker_table import WorkerTable
from paintmq.plugin.catalog import CheckedTask

MOST_WORKERS = 50
"""Workers listed in an explanation at most; those that could run the task come first."""
_LINE = "\n"


def why_none_could(board: WorkerTable, checked: CheckedTask, queues: Sequence[str]) -> str:
    """Return, in one line, what each kind of connected worker lacks to run the task in these
    queues.
    """
    reasons = dict.fromkeys(
        f"{worker.name} "
        f"{(_absent(worker) or unfit(board, worker, checked, queues)).partition(_LINE)[0]}"
        for worker in board.all()
    )
    if not reasons:
        return "no worker is connected"
    shown = list(reasons)[:3]
    more = f" (and {len(reasons) - 3} more)" if len(reasons) > 3 else ""
    return "; ".join(shown) + more


def _absent(worker: Worker) -> str:
    """Return why the worker takes no task at all, possibly in several lines; empty if it does."""
    if worker.trouble:
        return f"can run nothing now: {worker.trouble}"
    return "is leaving" if worker.draining else ""


def unfit(board: WorkerTable, worker: Worker, checked: CheckedTask, queues: Sequence[str]) -> str:
    """Return the filter that rules the worker out; empty if none does."""
    return objection(board.profiles[worker.profile], checked, queues)


def _own_queues(board: WorkerTable, worker: Worker) -> Sequence[str]:
    return board.profiles[worker.profile].queues or ()


def waiting_for(board: WorkerTable, task: WaitingTask, *, now: float) -> str:
    """Return what the task waits for; empty if a connected worker will take it."""
    backlog = task.backlog
    if backlog is None:
        return f"its next attempt, in {max(0.0, task.waiting.not_before - now):.1f} s"
    if board.has_live(backlog.key.profiles):
        return ""
    checked = task.waiting.checked
    return f"a worker that runs {checked.spec.name} on {' or '.join(checked.jobs)}: " + (
        why_none_could(board, checked, (task.queue,))
    )


def explain(
    view: SchedulingBoard, router: GuardedRouter, task: WaitingTask, *, now: float
) -> Explanation:
    """Return every filter and every score that lies between the task and the workers."""
    board, backlog = view.board, task.backlog
    verdicts = [_verdict(view, router, worker, task, now) for worker in board.all()]
    verdicts.sort(key=lambda verdict: verdict.verdict == "unfit")
    waits = waiting_for(board, task, now=now)
    return Explanation(
        task_id=task.id,
        model=task.waiting.checked.spec.name,
        queue=task.queue,
        router=router.name,
        waiting_for=waits or _what_it_waits_for(task, verdicts),
        unblocked_by=_what_would_help(board, task, verdicts, now),
        position=_position(backlog, task),
        backlog=len(backlog.ready) + len(backlog.parked) if backlog is not None else 1,
        workers=tuple(verdicts[:MOST_WORKERS]),
    )


def _position(backlog: Backlog | None, task: WaitingTask) -> int:
    if backlog is None:
        return 1
    ahead = backlog.ready.position(task)
    return ahead + 1 if task in backlog.ready else ahead + backlog.parked.position(task) + 1


def _verdict(
    view: SchedulingBoard, router: GuardedRouter, worker: Worker, task: WaitingTask, now: float
) -> WorkerVerdict:
    board, backlog, model = view.board, task.backlog, task.waiting.checked.spec.name
    checked, queues = task.waiting.checked, (task.queue,)
    reason = _absent(worker) or unfit(board, worker, checked, queues)
    if not reason and worker.cooling(model, now):
        left = worker.cool_offs[model].until - now
        reason = f"failed to load {model}; asked again in {left:.0f} s"
    if not reason and backlog is not None and not board.may_take(worker, backlog, now=now):
        reason = "failed this task before; another worker is preferred"
    if reason:
        return WorkerVerdict(worker=worker.name, verdict="unfit", reason=reason)
    if not worker.idle:
        doing = ", ".join(dict.fromkeys(holding.model for holding in worker.holdings))
        return WorkerVerdict(
            worker=worker.name,
            verdict="busy",
            reason=f"is busy with {doing}",
            free_in=max(0.0, worker.free_at(now) - now),
        )
    if backlog is None or not backlog.ready:
        return WorkerVerdict(worker=worker.name, verdict="idle")
    terms = router.explain(backlog, worker, now=now)
    if terms is None:
        reason = f"router {router.name} cannot explain itself: {router.last_fault}"
        return WorkerVerdict(worker=worker.name, verdict="idle", reason=reason)
    refused = "score" not in terms
    return WorkerVerdict(
        worker=worker.name,
        verdict="avoided" if refused else "idle",
        reason=str(terms.get("waits", "")) if refused else "",
        terms=terms,
    )


def _what_it_waits_for(task: WaitingTask, verdicts: list[WorkerVerdict]) -> str:
    if task.backlog is not None and task in task.backlog.parked:
        return f"its turn among the tasks of tenant {task.tenant}"
    if any(verdict.verdict == "idle" for verdict in verdicts):
        return ""
    avoided = [verdict for verdict in verdicts if verdict.verdict == "avoided"]
    if avoided:
        return f"a better worker than {avoided[0].worker}: {avoided[0].reason}"
    return "a worker to become free"


def _what_would_help(
    board: WorkerTable, task: WaitingTask, verdicts: list[WorkerVerdict], now: float
) -> str:
    backlog, checked = task.backlog, task.waiting.checked
    if backlog is None:
        return f"the end of its pause, in {max(0.0, task.waiting.not_before - now):.1f} s"
    if not board.has_live(backlog.key.profiles):
        for worker in board.all():
            if worker.trouble and not unfit(board, worker, checked, (task.queue,)):
                return f"{worker.name} working again, or another worker to connect"
        offers = [
            worker
            for worker in board.live()
            if not model_objection(board.profiles[worker.profile], checked.spec.name)
        ]
        if any(not unfit(board, worker, checked, _own_queues(board, worker)) for worker in offers):
            return f"a worker with a key for {task.queue} to connect"
        lacks = "a larger worker" if offers else f"a worker that offers {checked.spec.name}"
        return f"{lacks} to connect"
    busy = [verdict for verdict in verdicts if verdict.verdict == "busy"]
    if task in backlog.parked:
        return f"the end of another task of tenant {task.tenant}"
    if any(verdict.verdict == "idle" for verdict in verdicts):
        return "nothing: it is about to start"
    if busy:
        soonest = min(busy, key=lambda verdict: verdict.free_in)
        return f"{soonest.worker} becoming free, in about {soonest.free_in:.1f} s"
    return "a worker becoming ready for it"
