"""The blocking client: hand tasks to a broker and wait for their results."""

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from paintmq.client.journal import journal_for
from paintmq.client.reachability import none_answers
from paintmq.client.session import Session
from paintmq.client.task_handle import TaskHandle
from paintmq.client.task_verbs import TaskVerbs
from paintmq.client.window import WindowLimits

if TYPE_CHECKING:
    import zmq

DEFAULT_ENDPOINT = "tcp://127.0.0.1:5550"
"""Where ``paintmq up`` and ``paintmq broker`` listen unless told otherwise."""


class Client(TaskVerbs):
    """A connection to a broker that is renewed by itself; any thread may use it.

    Nothing is opened before the first use. ``max_tasks`` and ``max_bytes`` bound what is
    unfinished at a time: ``submit`` waits for room, so that a fast producer does not fill the
    memory. ``key`` is a key file, for a broker that asks for one (``paintmq keys add``).
    ``durable`` writes every task to a folder (True: in the platform's data folder) until the
    program has taken its outcome: after a crash, ``recovered`` has the handles.
    """

    def __init__(
        self,
        endpoint: str = DEFAULT_ENDPOINT,
        *,
        context: "zmq.Context[zmq.Socket[bytes]] | None" = None,
        name: str = "",
        key: Path | str | None = None,
        max_tasks: int = WindowLimits().tasks,
        max_bytes: int = WindowLimits().bytes,
        durable: bool | Path | str = False,
    ) -> None:
        self._session = Session(
            endpoint,
            context=context,
            name=name,
            key=key,
            window=WindowLimits(tasks=max_tasks, bytes=max_bytes),
            journal=journal_for(durable),
        )

    @property
    def endpoint(self) -> str:
        return self._session.endpoint

    @property
    def trouble(self) -> str:
        """What is wrong with the connection, for people; empty while the broker answers."""
        return self._session.trouble

    @property
    def has_failed(self) -> bool:
        """Whether this client has ended by itself: nothing will be answered any more."""
        return self._session.has_failed

    @property
    def alarms(self) -> int:
        """How often the broker was found to have forgotten what it had promised."""
        return self._session.alarms

    @property
    def recovered(self) -> tuple[TaskHandle, ...]:
        """Tasks that an earlier durable client on the same folder left behind, oldest first.

        They were submitted again, under their ids, when this client started. First come those whose
        outcomes it had taken last, and perhaps not seen, when it died: of these the broker is
        asked.
        """
        self._session.start()
        return tuple(TaskHandle(self._session, task) for task in self._session.recovered)

    def connect(self, timeout: float | None = 10.0) -> None:
        """Wait until the broker has answered. Optional: every other method connects by itself.

        Raises:
            TimeoutError: it did not.
        """
        self._session.check_may_wait("connect()")
        if not self._session.wait_until_connected(timeout):
            raise TimeoutError(none_answers(self.endpoint, timeout, self._session.key))

    def close(self) -> None:
        """Say goodbye. Accepted tasks go on; handles that wait get a ManagerStoppedError."""
        self._session.close()

    def _get_session(self) -> Session:
        self._session.start()
        return self._session

    def __enter__(self) -> Self:
        self._session.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
