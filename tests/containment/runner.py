"""Runs cases against a site, tells which of them harmed somebody, and goes on with a new site."""

import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from attrs import define, field, frozen
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as with_seed

from tests.containment.case import Case
from tests.containment.doors import DOORS
from tests.containment.site import HarmError, Site, within

ALL_CHANNELS = ("client", "asyncio", "http")
EVERY = 50
"""Cases after which honest tasks go through all channels, not only the one at the door."""


@frozen
class Finding:
    """A case that harmed somebody."""

    case: Case
    harm: str
    log: str = field(repr=False)

    def __str__(self) -> str:
        return f"{self.case}\n    {self.harm}"


@define
class Runner:
    """Tries one case after the other. Use it in a ``with`` statement."""

    transport: str = "router"
    tell: Callable[[Finding], object] = id
    """Called with each finding as it is made."""
    findings: list[Finding] = field(factory=list[Finding], init=False)
    tried: int = field(default=0, init=False)
    _site: Site | None = field(default=None, init=False)
    _folder: Any = field(default=None, init=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def try_case(self, case: Case) -> Finding | None:
        """Try it, and say whom it harmed; the next one gets a new site then."""
        door = DOORS[case.door]
        site = self._open()
        self.tried += 1
        try:
            with no_thread_dies():
                answer = within(door.seconds, lambda: door.act(site, case))
                if isinstance(answer, HarmError):
                    raise answer
                site.probe(*(ALL_CHANNELS if self.tried % EVERY == 0 else door.channels))
        except HarmError as harm:
            finding = Finding(case, str(harm), site.said())
            self.findings.append(finding)
            self.tell(finding)
            self._close()
            return finding
        return None

    def answer_to(self, case: Case) -> BaseException | None:
        """Return what the caller is told: an exception, or nothing."""
        door = DOORS[case.door]
        return within(door.seconds, lambda: door.act(self._open(), case))

    def try_many(self, name: str, count: int, seed: int, *, enough: int = 20) -> None:
        """Try cases of one door, the same ones for one seed, until that many were found to harm."""
        door, before = DOORS[name], len(self.findings)

        @with_seed(seed)
        @settings(
            max_examples=count,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(door.cases())
        def one(case: Case) -> None:
            if len(self.findings) - before < enough:
                self.try_case(case)

        one()

    def finish(self) -> None:
        """See to it that the honest ones are well at the end."""
        if self._site is not None:
            self._site.probe(*ALL_CHANNELS)

    def _open(self) -> Site:
        if self._site is None:
            self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
            self._site = self._new_site()
        return self._site

    def _new_site(self) -> Site:
        site = Site(Path(self._folder.name), transport=self.transport)
        try:
            return site.__enter__()
        except AssertionError:  # on a machine that is very busy it may not start in time, once
            return site.__enter__()

    def _close(self) -> None:
        site, self._site = self._site, None
        if site is not None:
            with suppress(HarmError):  # a client that hangs is left behind: its finding is recorded
                site.__exit__()
            self._folder.cleanup()


@contextmanager
def no_thread_dies() -> Iterator[None]:
    """Raise HarmError if a thread of this program ends by an exception meanwhile."""
    died: list[str] = []
    before = threading.excepthook
    threading.excepthook = lambda args: died.append(f"{args.thread}: {args.exc_value!r:.300}")
    try:
        yield
    finally:
        threading.excepthook = before
    if died:
        raise HarmError(f"a thread died: {'; '.join(died)}")
