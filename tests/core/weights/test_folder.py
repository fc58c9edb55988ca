"""Finding weights, and telling the right ones from the wrong."""

import hashlib
from pathlib import Path

import pytest

from paintmq.config import WeightsConfig
from paintmq.errors import ConfigError, ModelError, WeightsMissingError
from paintmq.model import ModelSpec, WeightFile
from paintmq.weights import WeightFolder, check_runnable_weights, weight_status

BYTES = b"these are weights"
FILE = WeightFile(
    name="net.pt",
    sha256=hashlib.sha256(BYTES).hexdigest(),
    md5=hashlib.md5(BYTES, usedforsecurity=False).hexdigest(),
    size=len(BYTES),
)


def folder_with(place: Path, content: bytes | None = BYTES, **settings: object) -> WeightFolder:
    place.mkdir(parents=True, exist_ok=True)
    if content is not None:
        (place / FILE.name).write_bytes(content)
    return WeightFolder(WeightsConfig(folder=str(place), **settings))  # type: ignore[arg-type]  # settings by name


def test_missing_weights_give_one_line_with_the_command_that_fetches_them(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissingError) as caught:
        folder_with(tmp_path, None).path("net.pt")

    assert "`paintmq models download net.pt`" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.code == "weights_missing"


def test_a_models_missing_weights_are_named_together_with_one_command(tmp_path: Path) -> None:
    names = ("net.pt", "second.pt", "third.pt")
    spec = ModelSpec(
        name="net", implementation="x:Y", weights=tuple(WeightFile(name=name) for name in names)
    )
    folder = folder_with(tmp_path).for_model(spec)
    (tmp_path / "second.pt").touch()

    with pytest.raises(WeightsMissingError) as one:
        folder.path("third.pt")
    (tmp_path / "net.pt").unlink()
    with pytest.raises(WeightsMissingError) as both:
        folder.path("third.pt")

    assert "weights third.pt are not" in str(one.value)
    assert "weights third.pt, net.pt are not" in str(both.value)
    assert "`paintmq models download net`" in str(both.value)


def test_an_explicit_path_comes_before_the_models_folder(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.pt"
    elsewhere.write_bytes(BYTES)

    folder = folder_with(tmp_path / "models", paths={"net.pt": str(elsewhere)})

    assert folder.path("net.pt") == elsewhere


def test_an_explicit_path_may_be_the_folder_the_file_lies_in(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "net.pt").write_bytes(BYTES)

    folder = folder_with(tmp_path / "models", None, paths={"net.pt": str(tmp_path / "shared")})

    assert folder.path("net.pt") == tmp_path / "shared" / "net.pt"


def test_weights_may_be_a_folder(tmp_path: Path) -> None:
    (tmp_path / "models" / "pipeline").mkdir(parents=True)

    assert folder_with(tmp_path / "models", None).path("pipeline").is_dir()


@pytest.mark.parametrize("name", ["../net.pt", "/etc/passwd", "a/b", ""])
def test_a_name_is_no_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="no name of a weight file"):
        folder_with(tmp_path).path(name)


@pytest.mark.parametrize(
    ("content", "state", "words"),
    [
        (BYTES, "verified", ""),
        (b"these are weightz", "wrong", "SHA-256"),
        (b"short", "wrong", "5 bytes, not 17"),
        (None, "missing", ""),
    ],
    ids=["right", "changed", "short", "missing"],
)
def test_verify_tells_the_right_file_from_a_wrong_one(
    tmp_path: Path, content: bytes | None, state: str, words: str
) -> None:
    status = folder_with(tmp_path, content).verify(FILE)

    assert status.state == state
    assert words in status.problem


def test_without_a_known_checksum_a_file_is_unverifiable(tmp_path: Path) -> None:
    assert folder_with(tmp_path).verify(WeightFile(name="net.pt")).state == "unverifiable"


def test_a_file_put_in_anothers_place_is_present_and_unverifiable(tmp_path: Path) -> None:
    (tmp_path / "other.safetensors").write_bytes(b"other")
    paths = {"net.pt": str(tmp_path / "other.safetensors")}
    folder = folder_with(tmp_path / "models", paths=paths)

    assert folder.status(FILE).state == "present"
    status = folder.verify(FILE)
    assert (status.state, status.path) == ("unverifiable", tmp_path / "other.safetensors")
    assert "another file in place of net.pt" in status.problem


def test_md5_serves_where_upstream_publishes_nothing_better(tmp_path: Path) -> None:
    only_md5 = WeightFile(name="net.pt", md5=FILE.md5)

    assert folder_with(tmp_path).verify(only_md5).state == "verified"
    assert folder_with(tmp_path, b"x").verify(only_md5).state == "wrong"


def test_verify_reports_its_progress(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []

    folder_with(tmp_path).verify(FILE, lambda done, total: seen.append((done, total)))

    assert seen[-1] == (17, 17)


def test_a_models_files_are_listed_with_the_places_searched(tmp_path: Path) -> None:
    spec = ModelSpec(name="net", implementation="x:Y", weights=(FILE, WeightFile(name="b.pt")))

    first, second = weight_status(spec, folder_with(tmp_path))

    assert (first.state, first.path) == ("present", tmp_path / "net.pt")
    assert (second.state, second.searched) == ("missing", (tmp_path / "b.pt",))


def test_code_is_loaded_only_with_a_known_or_trusted_checksum(tmp_path: Path) -> None:
    folder = folder_with(tmp_path)
    path = folder.path("net.pt")
    unknown = WeightFile(name="net.pt")

    check_runnable_weights(path, FILE, folder.trusts)
    with pytest.raises(ModelError, match=f"add '{FILE.sha256}'") as caught:
        check_runnable_weights(path, unknown, folder.trusts)
    assert caught.value.code == "weights_untrusted"
    trusting = folder_with(tmp_path, trusted_torchscript=(FILE.sha256.upper(),))
    check_runnable_weights(path, unknown, trusting.trusts)
