"""The settings of a running broker: its file's, what operators changed, and what is in use."""

import logging

from attrs import define, field, frozen

from paintmq.broker.machine.reconfiguration import Reconfiguration
from paintmq.config import Config
from paintmq.errors import ConfigError
from paintmq.settings.differences import Difference, applied, differences
from paintmq.settings.queue_changes import Changes, from_text, in_state, to_text, with_changes

logger = logging.getLogger(__name__)


@frozen(kw_only=True)
class Plan:
    """What other settings would come to."""

    file: Config
    changes: Changes
    running: Config
    """What would be in use from now on."""
    differences: tuple[Difference, ...]


@define
class LiveSettings:
    """Used by the broker's thread alone."""

    file: Config
    """Without what operators changed."""
    changes: Changes = field(factory=dict, init=False)
    running: Config = field(init=False)
    """In use: what only works at the next start is here as it was at this one."""

    def __attrs_post_init__(self) -> None:
        self.running = self.file

    def recover(self, text: str) -> None:
        """Lay over the file what the journal kept of an earlier broker's changes."""
        try:
            changes = from_text(text)
            self.running = with_changes(self.file, changes)
        except ConfigError as error:
            logger.warning(
                "what operators changed in queues does not go with the settings any more and is "
                "left out, until the next change: %s",
                error,
            )
        else:
            self.changes = changes

    def plan(self, file: Config, changes: Changes) -> Plan:
        """Return what these settings would come to.

        Raises:
            ConfigError: the file and the changes do not go together.
        """
        wanted = with_changes(file, changes)
        return Plan(
            file=file,
            changes=changes,
            running=applied(self.running, wanted),
            differences=tuple(differences(self.running, wanted)),
        )

    def take(self, plan: Plan) -> Reconfiguration:
        """Use what was planned from now on; return what the machine must know of it."""
        is_new = plan.changes != self.changes
        self.file, self.changes, self.running = plan.file, plan.changes, plan.running
        return self.reconfiguration(kept=to_text(plan.changes) if is_new else None)

    def reconfiguration(self, *, kept: str | None = None) -> Reconfiguration:
        return Reconfiguration(
            queues=self.running.queues,
            timers=self.running.timers,
            limits=self.running.limits,
            admission=self.running.broker.admission,
            paused=in_state(self.changes, "paused"),
            closed=in_state(self.changes, "draining"),
            kept=kept,
        )
