"""The trace of a task, for programs that use OpenTelemetry: no dependency, and no cost without it.

A span is begun where the program, or the plugin ``opentelemetry``, has imported OpenTelemetry's API
already. The context travels in ``TaskRequest.trace``, as W3C Trace Context's ``traceparent``.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

SCOPE = "paintmq"
"""Name of the tracer."""
LONGEST = 55
"""Characters of a ``traceparent`` of version 00."""


def _api() -> Any:
    """Return OpenTelemetry's API for traces if it is in use; else None."""
    return sys.modules.get("opentelemetry.trace")


def is_traced() -> bool:
    """Return whether this program uses OpenTelemetry."""
    return "opentelemetry.trace" in sys.modules


def begin_span(
    name: str,
    *,
    kind: Literal["PRODUCER", "CONSUMER"],
    attributes: Mapping[str, str | int],
    parent: str = "",
) -> Any:
    """Return a span that has begun; None where OpenTelemetry is not in use.

    Args:
        name: of the span.
        kind: its role.
        attributes: what is known of it.
        parent: a ``traceparent``; empty: what is current in this thread.
    """
    api = _api()
    if api is None:
        return None
    context = _context_of(parent) if parent else None
    span = api.get_tracer(SCOPE).start_span(
        name, context=context, kind=getattr(api.SpanKind, kind), attributes=attributes
    )
    return span if span.get_span_context().is_valid else None


def traceparent(span: Any) -> str:
    """Return the context of a span as it travels."""
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


def end_span(span: Any, error: str = "") -> None:
    """End a span; ``error`` says what went wrong, if anything did."""
    api = _api()
    if error and api is not None:
        span.set_status(api.Status(api.StatusCode.ERROR, error))
    span.end()


@contextmanager
def run_spans(traces: Sequence[tuple[str, str, int]], model: str) -> Iterator[list[Any]]:
    """Give a span for each attempt of a batch that is traced; the first is current meanwhile.

    ``traces``: of each its ``traceparent``, task id and number of attempt.
    """
    spans = [
        span
        for parent, task_id, attempt in traces
        if parent
        and (
            span := begin_span(
                f"run {model}",
                kind="CONSUMER",
                attributes={
                    "paintmq.task_id": task_id,
                    "paintmq.model": model,
                    "paintmq.attempt": attempt,
                    "paintmq.batch_size": len(traces),
                },
                parent=parent,
            )
        )
        is not None
    ]
    if not spans:
        yield spans
        return
    api = _api()
    error = ""
    try:
        with api.use_span(spans[0], end_on_exit=False):
            yield spans
    except BaseException as raised:
        error = f"{type(raised).__name__}: {raised}"
        raise
    finally:
        for span in spans:
            end_span(span, error)


def _context_of(parent: str) -> Any:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({"traceparent": parent})
