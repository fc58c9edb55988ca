"""Upkeep of a journal: checkpoints, pruning, compaction, sweeping, and the ballast.

Rule: nothing here has to be done now. What finds no space, or no file to open, is put off until
there is some; only a commit may use up the ballast, and only a commit waits.
"""

import logging
from collections.abc import Callable, Sequence
from functools import partial

from attrs import define, field

from paintmq.broker.stores.blobs import BlobFolder
from paintmq.broker.stores.database import Database
from paintmq.broker.stores.exhaustion import Shortage
from paintmq.broker.stores.folder import StoreFolder
from paintmq.broker.stores.spare_files import KEPT_SECONDS
from paintmq.units import MIB

logger = logging.getLogger(__name__)

WAL_CHECKPOINT_BYTES = 32 * MIB
WAL_TRUNCATE_BYTES = 128 * MIB
LOG_KEPT_SECONDS = 7 * 86_400.0
LOG_KEPT_RECORDS = 1_000_000
"""Some 800 MB: a broker that does a hundred tasks a second would fill a disk in its week."""
_STEP = 1000
"""Records that are pruned, and pages that are given back, between two looks for real work."""


@define
class Upkeep:
    """What keeps a journal small and quick. Used by the writer's thread alone."""

    _database: Database
    _blobs: BlobFolder
    _folder: StoreFolder
    _shortage: Shortage
    _sync: bool
    _durable: int
    due: bool = field(default=True, init=False)
    """There may be something to do in an idle moment."""
    _swept: bool = field(default=False, init=False)
    _log_time: float = field(default=0.0, init=False)
    _freed: list[str] = field(factory=list[str], init=False)
    """Files that no row names any more, as far as is known."""

    def prune_within_commit(self, *, records: int, at: float) -> None:
        """Prune as many records as the commit adds, and as many again.

        A broker that is never idle would otherwise never prune its log.
        """
        self._log_time = at
        self._prune_log(at_most=2 * records)

    def committed(self, sequence: int) -> None:
        """Record the number of the last record that is durable."""
        self._durable = sequence
        self.due = True
        # The file may lag behind the database but must never be ahead of it.
        write = partial(self._folder.write_sequence, sequence, sync=False)
        self._shortage.unless_short(write)

    def clean_up(self, freed: Sequence[str], *, may_remove: bool) -> None:
        """Remove freed files and check the size of the write-ahead log after a commit."""
        self._freed += freed
        if may_remove:
            self._remove_freed()
        if self._database.wal_bytes() > WAL_CHECKPOINT_BYTES:
            self._shortage.unless_short(self._checkpoint)

    def do_one(self, *, may_remove: bool) -> None:
        """Do one piece of upkeep in an idle moment; put it off where space or files are lacking."""
        pieces: list[Callable[[], bool]] = [
            self._checkpoint_if_needed,
            lambda: self._prune_log(at_most=_STEP) > 0,
            lambda: self._database.give_back_pages(_STEP) > 0,
            self._sweep,
        ]
        self.due = any(self._did(piece) for piece in pieces)
        if self.due:
            return
        if may_remove:
            self._remove_freed()
        if not self._shortage.disk_full:
            self._folder.fill_ballast()

    def drop_spare(self) -> None:
        """Remove files that wait to be written again, if they do for a while."""
        self._blobs.drop_spare(older_than=KEPT_SECONDS)

    def make_room(self) -> None:
        """Let the write-ahead log be used again from its start, so that commits need no space."""
        self._shortage.unless_short(self._checkpoint)

    def finish(self) -> None:
        """Leave a small database behind. All is durable already, so a full disk is no failure."""
        self._blobs.drop_spare()
        self._shortage.unless_short(partial(self._database.checkpoint, truncate=True))
        write = partial(self._folder.write_sequence, self._durable, sync=self._sync)
        self._shortage.unless_short(write)

    def _did(self, piece: Callable[[], bool]) -> bool:
        """Return whether there was something to do, and it was done."""
        done: list[bool] = []
        return self._shortage.unless_short(lambda: done.append(piece())) and done[0]

    def _checkpoint_if_needed(self) -> bool:
        if not self._database.uncheckpointed:
            return False
        self._checkpoint()
        return True

    def _checkpoint(self) -> None:
        self._database.checkpoint(truncate=self._database.wal_bytes() > WAL_TRUNCATE_BYTES)
        self._folder.write_sequence(self._durable, sync=self._sync)

    def _prune_log(self, *, at_most: int) -> int:
        before = self._log_time - LOG_KEPT_SECONDS
        return self._database.prune_log(before=before, keep=LOG_KEPT_RECORDS, at_most=at_most)

    def _sweep(self) -> bool:
        if self._swept:
            return False
        self._swept = True
        removed = self._blobs.sweep(is_named=self._database.names_file)
        if removed:
            logger.info("removed %d payload files that belonged to no task", removed)
        return True

    def _remove_freed(self) -> None:
        freed, self._freed = self._freed, []
        self._blobs.remove(freed, is_named=self._database.names_file)
