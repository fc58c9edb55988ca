"""Previews of unfinished pictures as files, for ``paintmq run --previews``."""

from pathlib import Path
from typing import TYPE_CHECKING

from attrs import define, field

from paintmq.cli.failures import CommandError
from paintmq.cli.picture_files import STANDARD_STREAM
from paintmq.cli.result_files import write_whole
from paintmq.cli.shown_names import shortened, shown

if TYPE_CHECKING:
    from paintmq.client import TaskHandle


@define
class PreviewFolder:
    """Writes previews as they arrive: ``NAME-STEP.png``. Some may be missing: delivery is lossy."""

    folder: Path
    _steps: dict[str, int] = field(factory=dict[str, int], init=False)
    """Task id to the step that was written last."""
    _names: dict[str, Path] = field(factory=dict[str, Path], init=False)
    """Names of previews to the results they are of."""
    _names_again: dict[Path, str] = field(factory=dict[Path, str], init=False)
    """Results of other folders whose names were taken."""

    def prepare(self) -> None:
        """Make the folder.

        Raises:
            CommandError: it cannot be made.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CommandError(f"{shown(self.folder)}: cannot be made: {error.strerror}") from error

    def look(self, handle: "TaskHandle", result: Path) -> None:
        """Write the task's newest preview, named after its result, unless it was written already.

        Raises:
            CommandError: the disk is full, or the folder gone.
        """
        progress = handle.progress()
        if progress.preview is None or self._steps.get(handle.id) == progress.step:
            return
        from paintmq.image.files import encode_image

        self._steps[handle.id] = progress.step
        path = self.folder / f"{self._name(result)}-{progress.step:04d}.png"
        write_whole(path, encode_image(progress.preview, ".png"))

    def _name(self, result: Path) -> str:
        """Return a name that no other result has, and that leaves room for the step."""
        stem = shortened("result" if result == STANDARD_STREAM else result.stem)
        owner = self._names.setdefault(stem, result)
        if owner == result:
            return stem
        return self._names_again.setdefault(result, f"{stem}-{len(self._names_again) + 2}")
