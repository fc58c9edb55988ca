"""Model weights on this machine: where they are looked for, and whether they are the right ones.

Rule 1: nothing here fetches anything; a missing file is an error that names the command which does
(``weights/download.py``).
Rule 2: a file that is code once loaded (TorchScript) is used only if its checksum is the one its
model's spec names, or one that the operator trusts.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeAlias

from attrs import evolve, field, frozen

from paintmq.config import WeightsConfig
from paintmq.errors import ConfigError, ModelError, WeightsMissingError
from paintmq.model import ModelSpec, WeightFile
from paintmq.user_folders import data_folder
from paintmq.weights.checksums import Progress, checksums
from paintmq.weights.first_look import weight_objection
from paintmq.weights.manifest import manifest_problem, read_manifest

WeightState: TypeAlias = Literal["present", "missing", "verified", "unverifiable", "wrong"]
"""``present``: there, checksum not looked at; ``unverifiable``: there, and no checksum is known."""


@frozen(kw_only=True)
class WeightStatus:
    """One weight file of a model, as it is found here."""

    file: WeightFile
    path: Path | None
    """Where it lies; None when it is missing."""
    searched: tuple[Path, ...]
    """Where it was looked for, in order."""
    state: WeightState
    problem: str = ""
    """What is wrong with it; empty if nothing."""


@frozen
class WeightFolder:
    """Finds weight files by the settings ``[weights]``: explicit paths first, then the folder."""

    config: WeightsConfig = field(factory=WeightsConfig)
    _spec: ModelSpec | None = None

    def for_model(self, spec: ModelSpec) -> "WeightFolder":
        """Return a folder whose errors name the model, and all of its files that are missing."""
        return evolve(self, spec=spec)

    @property
    def folder(self) -> Path:
        """The models folder; it need not exist."""
        if self.config.folder:
            return Path(self.config.folder).expanduser()
        return data_folder("models", instead="weights.folder (PAINTMQ_WEIGHTS__FOLDER=PATH)")

    def places(self, name: str) -> tuple[Path, ...]:
        """Return where a file of this name is looked for, in order."""
        if not name or name != Path(name).name:
            raise ConfigError(f"{name!r} is no name of a weight file")
        given = self.config.paths.get(name)
        explicit = Path(given).expanduser() if given else None
        # A path may name the file, or a folder it lies in.
        first = () if explicit is None else (explicit, explicit / name)
        try:
            return (*first, self.folder / name)
        except ConfigError:  # a user without a home folder has no weights there
            return first

    def path(self, name: str) -> Path:
        """Return where the file, or the folder of that name, lies.

        Raises:
            WeightsMissingError: with the command that fetches it.
            ModelError: what is there cannot be weights: a pointer, a web page, half a download.
        """
        found = self._find(name)
        if found is None:
            raise self._missing(name)
        if problem := self._objection(name, found):
            raise ModelError(f"the file {found} {problem}", code="weights_unreadable")
        return found

    def _objection(self, name: str, path: Path) -> str:
        """Return why the file cannot be the weights, unless it is exactly as long as they are."""
        known = {file.name: file for file in self._spec.weights} if self._spec else {}
        is_right = name in known and _has_size(path, known[name])
        return "" if is_right else weight_objection(path)

    def _missing(self, name: str) -> WeightsMissingError:
        names, model = [name], name
        if self._spec is not None and any(file.name == name for file in self._spec.weights):
            model = self._spec.name
            others = [file.name for file in self._spec.weights if file.name != name]
            names += [other for other in others if self._find(other) is None]
        one = len(names) == 1
        try:
            folder = str(self.folder)
        except ConfigError:
            folder = "a folder that weights.folder names"
        return WeightsMissingError(
            f"the weights {', '.join(names)} are not on this machine: run `paintmq models download"
            f" {model}`, or put the file{'' if one else 's'} into {folder}, or name"
            f" {'its place' if one else 'their places'} in [weights.paths]"
        )

    def trusts(self, sha256: str) -> bool:
        """Return whether the operator trusts a file with this checksum to be run as code."""
        return sha256.lower() in {known.lower() for known in self.config.trusted_torchscript}

    def status(self, file: WeightFile) -> WeightStatus:
        """Say whether a file is there, by its size and its first bytes; the rest is not read."""
        path = self._find(file.name)
        problem = ""
        if path is not None:
            problem = "" if _has_size(path, file) else weight_objection(path)
            if not problem and not _stands_in(path, file):
                problem = _size_problem(path, file)
        state: WeightState = "wrong" if problem else "present" if path else "missing"
        return WeightStatus(
            file=file, path=path, searched=self.places(file.name), state=state, problem=problem
        )

    def verify(self, file: WeightFile, progress: Progress | None = None) -> WeightStatus:
        """Say whether a file or folder is there and is the right one, by sizes and checksums."""
        status = self.status(file)
        if status.path is None or status.state == "wrong":
            return status
        if status.path.is_dir():
            return _verified_folder(status, status.path, progress)
        if _stands_in(status.path, file):
            problem = f"another file in place of {file.name}, by [weights.paths]"
            return evolve(status, state="unverifiable", problem=problem)
        if not (file.sha256 or file.md5):
            return evolve(status, state="unverifiable", problem="no checksum is known")
        problem = weight_problem(status.path, file, progress)
        return evolve(status, state="wrong" if problem else "verified", problem=problem)

    def _find(self, name: str) -> Path | None:
        places = self.places(name)
        # A file first: an explicit place may be the folder that the file lies in.
        return next((p for p in places if p.is_file()), None) or next(
            (p for p in places if p.is_dir()), None
        )


def weight_status(spec: ModelSpec, folder: WeightFolder) -> list[WeightStatus]:
    """Return how each weight file of a model is found here."""
    return [folder.status(file) for file in spec.weights]


def check_runnable_weights(path: Path, file: WeightFile, trusts: Callable[[str], bool]) -> None:
    """Check that a TorchScript file may be loaded: rule 2.

    Raises:
        ModelError: its checksum is neither the model's nor trusted by the operator.
    """
    sha256, md5 = checksums(path)
    # MD5 does not resist an attacker who makes two files at once; but no one can make a second
    # file with the MD5 of a given one, and some upstreams publish nothing else.
    known = (file.sha256 and sha256 == file.sha256) or (file.md5 and md5 == file.md5)
    if known or trusts(sha256):
        return
    raise ModelError(
        f"the weights {file.name} are TorchScript, which is code, and their checksum is unknown;"
        f" if you trust them, add '{sha256}' to trusted_torchscript in [weights]",
        code="weights_untrusted",
    )


def weight_problem(path: Path, file: WeightFile, progress: Progress | None = None) -> str:
    """Describe how a file differs from what its model expects; empty if it does not."""
    problem = _size_problem(path, file)
    if problem or not (file.sha256 or file.md5):
        return problem
    sha256, md5 = checksums(path, progress)
    kind, expected, found = (
        ("SHA-256", file.sha256, sha256) if file.sha256 else ("MD5", file.md5, md5)
    )
    return "" if found == expected else f"{path.name} has the {kind} {found}, not {expected}"


def _has_size(path: Path, file: WeightFile) -> bool:
    """Return whether it is as long as its model says it is."""
    return file.size > 0 and path.is_file() and path.stat().st_size == file.size


def _size_problem(path: Path, file: WeightFile) -> str:
    if path.is_dir() or not file.size or path.stat().st_size == file.size:
        return ""
    return f"{path.name} has {path.stat().st_size:,} bytes, not {file.size:,}"


def _stands_in(path: Path, file: WeightFile) -> bool:
    """Return whether the operator put another file in this one's place: its form may differ too."""
    return path.is_file() and path.name != file.name


def _verified_folder(status: WeightStatus, folder: Path, progress: Progress | None) -> WeightStatus:
    manifest = read_manifest(folder)
    if manifest is None:
        problem = "no checksums were recorded: it was not fetched by `paintmq models download`"
        return evolve(status, state="unverifiable", problem=problem)
    problem = manifest_problem(folder, manifest, progress)
    return evolve(status, state="wrong" if problem else "verified", problem=problem)
