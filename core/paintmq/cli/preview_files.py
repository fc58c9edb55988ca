"""Previews of unfinished pictures as files, for ``paintmq run --previews``."""

from pathlib import Path
from typing import TYPE_CHECKING

from attrs import define, field

from paintmq.cli.failures import CommandError
from paintmq.cli.result_files import write_whole

if TYPE_CHECKING:
    from paintmq.client import TaskHandle


@define
class PreviewFolder:
    """Writes previews as they arrive: ``NAME-STEP.png``. Some may be missing: delivery is lossy."""

    folder: Path
    _steps: dict[str, int] = field(factory=dict[str, int], init=False)
    """Task id to the step that was written last."""

    def prepare(self) -> None:
        """Make the folder.

        Raises:
            CommandError: it cannot be made.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CommandError(f"{self.folder}: cannot be made: {error.strerror}") from error

    def look(self, handle: "TaskHandle", name: str) -> None:
        """Write the task's newest preview unless it was written already.

        Raises:
            CommandError: the disk is full, or the folder gone.
        """
        progress = handle.progress()
        if progress.preview is None or self._steps.get(handle.id) == progress.step:
            return
        from paintmq.image.files import encode_image

        self._steps[handle.id] = progress.step
        path = self.folder / f"{name}-{progress.step:04d}.png"
        write_whole(path, encode_image(progress.preview, ".png"))
