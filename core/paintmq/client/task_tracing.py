"""The client's span of a task: from the submission to the ending."""

from attrs import evolve

from paintmq.client.followed_task import FollowedTask
from paintmq.client.task import PreparedTask
from paintmq.tracing import begin_span, end_span, traceparent


def traced(prepared: PreparedTask, followed: FollowedTask) -> PreparedTask:
    """Begin a span where the program uses OpenTelemetry; return the task that carries it."""
    request = prepared.request
    span = begin_span(
        f"task {request.model}",
        kind="PRODUCER",
        attributes={
            "paintmq.task_id": request.id,
            "paintmq.model": request.model,
            "paintmq.task_type": request.task_type,
        },
    )
    if span is None:
        return prepared

    def ended() -> None:
        end_span(span, "" if followed.succeeded else str(followed.error))

    followed.when_done(ended)
    return prepared._replace(request=evolve(request, trace=traceparent(span)))
