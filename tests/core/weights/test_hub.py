"""Folders from the hub: only what is needed, checked, recorded, and put in place in one step.

The hub is scripted here; the library that talks to the real one is tried against a server of its
kind in ``tests/plugins/reference/test_hub_reference.py``.
"""

import hashlib
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest
from attrs import define, field

from paintmq.config import WeightsConfig
from paintmq.errors import ModelError, WeightsMissingError
from paintmq.model import WeightFile
from paintmq.weights import WeightFolder
from paintmq.weights.download import download
from paintmq.weights.hub import Listing, fetch_repository
from paintmq.weights.manifest import MANIFEST, read_manifest

FILES = {
    "model_index.json": b"{}",
    "unet/net.safetensors": b"numbers" * 1000,
    "unet/net.fp16.safetensors": b"half" * 1000,
    "unet/net.bin": b"pickle",
}
FILE = WeightFile(
    name="pipeline",
    repository="painters/pipeline",
    parts=("*.json", "*/*.safetensors", "!*.fp16.*"),
)
WANTED = ["model_index.json", "unet/net.safetensors"]


@define
class ScriptedHub:
    """A hub that can break off, and send something else than it announced."""

    fails_at: str = ""
    sends: dict[str, bytes] = field(factory=lambda: dict(FILES))
    fetched: list[str] = field(factory=list[str])

    def look_up(self, repository: str) -> Listing:
        assert repository == "painters/pipeline"
        return Listing(
            revision="c0ffee",
            sizes={name: len(content) for name, content in FILES.items()},
            digests={
                name: hashlib.sha256(content).hexdigest()
                for name, content in FILES.items()
                if name.endswith(".safetensors")
            },
        )

    def fetch(
        self,
        repository: str,
        revision: str,
        names: Sequence[str],
        into: Path,
        done: Callable[[int], None],
    ) -> None:
        assert revision == "c0ffee"
        (into / ".cache").mkdir(exist_ok=True)
        for name in names:
            if name == self.fails_at:
                raise ModelError("broke off", retryable=True)
            if not (into / name).is_file():
                self.fetched.append(name)
                (into / name).parent.mkdir(exist_ok=True)
                (into / name).write_bytes(self.sends[name])
            done(len(self.sends[name]))


def files_in(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_a_repository_lies_in_the_models_folder_with_what_is_needed_of_it(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []

    path = fetch_repository(
        FILE, tmp_path / "pipeline", lambda done, total: seen.append((done, total)), ScriptedHub()
    )

    assert files_in(tmp_path) == sorted(f"pipeline/{name}" for name in [*WANTED, MANIFEST])
    assert (path / "unet/net.safetensors").read_bytes() == FILES["unet/net.safetensors"]
    assert seen == [(2, 7002), (7002, 7002)]
    manifest = read_manifest(path)
    assert manifest is not None
    assert (manifest.repository, manifest.revision) == ("painters/pipeline", "c0ffee")
    assert sorted(manifest.files) == WANTED


def test_a_fetched_folder_is_verified_by_what_was_recorded(tmp_path: Path) -> None:
    folder = WeightFolder(WeightsConfig(folder=str(tmp_path)))
    fetch_repository(FILE, tmp_path / "pipeline", hub=ScriptedHub())
    network = tmp_path / "pipeline" / "unet" / "net.safetensors"
    seen: list[tuple[int, int]] = []

    assert folder.verify(FILE, lambda done, total: seen.append((done, total))).state == "verified"
    assert seen[-1] == (7002, 7002)

    network.write_bytes(b"changed")
    assert folder.verify(FILE).state == "wrong"
    assert "unet/net.safetensors has the SHA-256" in folder.verify(FILE).problem
    network.unlink()
    assert folder.verify(FILE).problem == "pipeline has no unet/net.safetensors"


@pytest.mark.parametrize("manifest", [None, "", "[]", '{"repository": "a/b"}'])
def test_a_folder_without_a_record_is_unverifiable(tmp_path: Path, manifest: str | None) -> None:
    (tmp_path / "pipeline").mkdir()
    if manifest is not None:
        (tmp_path / "pipeline" / MANIFEST).write_text(manifest)

    status = WeightFolder(WeightsConfig(folder=str(tmp_path))).verify(FILE)

    assert status.state == "unverifiable"
    assert "not fetched by `paintmq models download`" in status.problem


def test_what_broke_off_is_continued_and_not_in_place_before(tmp_path: Path) -> None:
    target = tmp_path / "pipeline"
    with pytest.raises(ModelError, match="broke off"):
        fetch_repository(FILE, target, hub=ScriptedHub(fails_at="unet/net.safetensors"))
    assert not target.exists()

    later = ScriptedHub()
    fetch_repository(FILE, target, hub=later)

    assert later.fetched == ["unet/net.safetensors"]
    assert files_in(target) == sorted([*WANTED, MANIFEST])


@pytest.mark.parametrize("wrong", [b"NUMBERS" * 1000, b"short"])
def test_what_the_hub_did_not_announce_is_refused_and_fetched_afresh(
    tmp_path: Path, wrong: bytes
) -> None:
    target = tmp_path / "pipeline"
    bad = ScriptedHub(sends={**FILES, "unet/net.safetensors": wrong})

    with pytest.raises(ModelError, match=r"unet/net\.safetensors is not the right file") as caught:
        fetch_repository(FILE, target, hub=bad)

    assert caught.value.retryable
    assert not target.exists()
    assert fetch_repository(FILE, target, hub=ScriptedHub()) == target


def test_a_repository_without_the_parts_is_refused(tmp_path: Path) -> None:
    file = WeightFile(name="pipeline", repository="painters/pipeline", parts=("*.onnx",))

    with pytest.raises(ModelError, match="none of the files needed"):
        fetch_repository(file, tmp_path / "pipeline", hub=ScriptedHub())


@pytest.mark.skipif(find_spec("huggingface_hub") is not None, reason="its library is installed")
def test_without_the_hubs_library_the_command_that_installs_it_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissingError, match=r"pip install 'paintmq\[diffusion\]'"):
        download(FILE, WeightFolder(WeightsConfig(folder=str(tmp_path))))


def test_offline_no_repository_is_fetched(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissingError, match="offline in"):
        download(FILE, WeightFolder(WeightsConfig(folder=str(tmp_path), offline=True)))
