"""What lies in a folder of weights, written down when it was fetched.

The files of a repository have no checksums that a model's spec could name, as they change with
its revisions; so those that arrived are recorded beside them, and compared with that from then on.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from attrs import asdict, frozen

from paintmq.weights.checksums import Progress, checksums

MANIFEST = "paintmq-weights.json"
"""In the folder."""


@frozen(kw_only=True)
class Manifest:
    """Where a folder's files came from, and what they were."""

    repository: str
    revision: str
    files: Mapping[str, str]
    """The SHA-256 of each file, by its path below the folder with slashes."""

    def save(self, folder: Path) -> None:
        (folder / MANIFEST).write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> Manifest | None:
    """Return the folder's manifest; None where there is none that can be read."""
    try:
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return Manifest(
            repository=str(content["repository"]),
            revision=str(content["revision"]),
            files={str(name): str(digest) for name, digest in content["files"].items()},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def manifest_problem(folder: Path, manifest: Manifest, progress: Progress | None = None) -> str:
    """Describe how a folder differs from its manifest; empty if it does not."""
    total = sum(size for _, size in _sizes(folder, manifest))
    before = 0

    def within(done: int, _: int) -> None:
        if progress:
            progress(before + done, total)

    for name, size in _sizes(folder, manifest):
        path = folder / name
        if not path.is_file():
            return f"{folder.name} has no {name}"
        found, _ = checksums(path, within)
        if found != manifest.files[name]:
            return f"{folder.name}/{name} has the SHA-256 {found}, not {manifest.files[name]}"
        before += size
    return ""


def _sizes(folder: Path, manifest: Manifest) -> Iterator[tuple[str, int]]:
    for name in sorted(manifest.files):
        path = folder / name
        yield name, path.stat().st_size if path.is_file() else 0
