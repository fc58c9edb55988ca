"""Fetching a folder of weights from the Hugging Face hub, by its own library.

The library continues what broke off, in a later run too. What arrives is compared with the hub's
checksums, and all of it is written down in a manifest, which ``paintmq models verify`` uses.
"""

import fnmatch
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from attrs import field, frozen

from paintmq.errors import ModelError, WeightsMissingError
from paintmq.model import WeightFile
from paintmq.weights.checksums import Progress, checksums
from paintmq.weights.manifest import Manifest


@frozen(kw_only=True)
class Listing:
    """One revision of a repository."""

    revision: str
    """The commit."""
    sizes: Mapping[str, int]
    """Bytes of each file, by its path."""
    digests: Mapping[str, str] = field(factory=dict[str, str])
    """The SHA-256 of those files the hub knows it of: the large ones."""


class Hub(Protocol):
    """Where repositories are."""

    def look_up(self, repository: str) -> Listing: ...

    def fetch(
        self,
        repository: str,
        revision: str,
        names: Sequence[str],
        into: Path,
        done: Callable[[int], None],
    ) -> None:
        """Fetch these files below a folder; ``done`` is called with every number of bytes more."""
        ...


def fetch_repository(
    file: WeightFile, target: Path, progress: Progress | None = None, hub: Hub | None = None
) -> Path:
    """Fetch the parts of a repository that are needed, and put them in place in one step.

    Raises:
        WeightsMissingError: the hub's library is not installed.
        ModelError: the transfer failed (what has arrived is kept and continued), or what arrived
            is not what the hub announced.
    """
    hub = hub or HuggingFaceHub()
    part = target.with_name(target.name + ".part")
    listing = hub.look_up(file.repository)
    names = [name for name in sorted(listing.sizes) if _is_needed(name, file.parts)]
    if not names:
        raise ModelError(
            f"the repository {file.repository} holds none of the files needed",
            code="download_damaged",
        )
    part.mkdir(parents=True, exist_ok=True)
    _check_room(file, part, sum(listing.sizes[name] for name in names))
    total, so_far = sum(listing.sizes[name] for name in names), 0

    def done(more: int) -> None:
        nonlocal so_far
        so_far = min(so_far + more, total)
        if progress:
            progress(so_far, total)

    hub.fetch(file.repository, listing.revision, names, part, done)
    digests = {name: _checked(part, name, listing) for name in names}
    shutil.rmtree(part / ".cache", ignore_errors=True)  # the library's notes for continuing
    Manifest(repository=file.repository, revision=listing.revision, files=digests).save(part)
    part.replace(target)
    return target


def _is_needed(name: str, parts: Sequence[str]) -> bool:
    """Return whether a file is one of the parts; patterns that start with ``!`` leave files out."""
    wanted = [pattern for pattern in parts if not pattern.startswith("!")]
    unwanted = [pattern[1:] for pattern in parts if pattern.startswith("!")]
    return (not wanted or any(fnmatch.fnmatchcase(name, each) for each in wanted)) and not any(
        fnmatch.fnmatchcase(name, each) for each in unwanted
    )


def _checked(part: Path, name: str, listing: Listing) -> str:
    """Return a file's SHA-256; what is not what the hub announced is removed."""
    path = part / name
    found = checksums(path)[0] if path.is_file() else "nothing"
    if path.is_file() and path.stat().st_size != listing.sizes[name]:
        found = f"{path.stat().st_size:,} bytes"
    elif found == listing.digests.get(name, found) and path.is_file():
        return found
    path.unlink(missing_ok=True)
    raise ModelError(
        f"what arrived as {name} is not the right file: {found}",
        code="download_damaged",
        retryable=True,
    )


def _check_room(file: WeightFile, part: Path, total: int) -> None:
    there = sum(path.stat().st_size for path in part.rglob("*") if path.is_file())
    free = shutil.disk_usage(part).free
    if total - there > free:
        raise ModelError(
            f"downloading {file.name} failed: {total - there:,} bytes more are needed, and the disk"
            f" has {free:,} free",
            code="download_failed",
        )


class HuggingFaceHub:
    """The hub, through ``huggingface_hub``, which reads HF_ENDPOINT and HF_TOKEN."""

    def look_up(self, repository: str) -> Listing:
        library = _library()
        with _readable_errors(repository):
            info = library.HfApi().model_info(repository, files_metadata=True)
        files = {each.rfilename: each for each in info.siblings or ()}
        return Listing(
            revision=info.sha,
            sizes={name: int(each.size or 0) for name, each in files.items()},
            digests={name: each.lfs.sha256 for name, each in files.items() if each.lfs},
        )

    def fetch(
        self,
        repository: str,
        revision: str,
        names: Sequence[str],
        into: Path,
        done: Callable[[int], None],
    ) -> None:
        library, bar = _library(), _counting_bar(done)
        for name in names:
            with _readable_errors(repository):
                library.hf_hub_download(
                    repository, name, revision=revision, local_dir=into, tqdm_class=bar
                )


def _library() -> Any:
    try:
        return import_module("huggingface_hub")
    except ImportError as error:
        raise WeightsMissingError(
            "fetching this folder needs huggingface_hub: pip install 'paintmq[diffusion]'"
        ) from error


def _counting_bar(done: Callable[[int], None]) -> Any:
    """Return the kind of bar the library wants, which shows nothing and counts."""
    tqdm: Any = import_module("tqdm").tqdm

    class CountingBar(tqdm):  # type: ignore[misc]  # its types are not installed
        def __init__(self, *arguments: object, **options: Any) -> None:
            options.pop("name", None)
            super().__init__(*arguments, **{**options, "disable": True})
            done(int(options.get("initial") or 0))

        def update(self, n: float | None = 1) -> None:
            done(int(n or 0))

    return CountingBar


@contextmanager
def _readable_errors(repository: str) -> Iterator[None]:
    """Turn the library's exceptions into one line without the address, which may hold a key."""
    try:
        yield
    # The library's errors, and those of what it uses, have no common base.
    except Exception as error:
        response = getattr(error, "response", None)
        match type(error).__name__:
            case "GatedRepoError":
                why = "its licence has to be accepted at huggingface.co first, and HF_TOKEN be set"
            case "RepositoryNotFoundError":
                why = "the hub has no such repository, or shows it only with HF_TOKEN"
            case name if response is not None:
                why = f"the hub answered {response.status_code} ({name})"
            case name:
                why = f"the transfer broke off ({name}); the same command continues it"
        raise ModelError(
            f"downloading {repository} failed: {why}",
            code="download_failed",
            retryable=True,
        ) from error
