"""What a weight file is by its first and last bytes."""

import io
import json
import struct
import zipfile
from pathlib import Path

import pytest

from paintmq.config import WeightsConfig
from paintmq.errors import ModelError
from paintmq.model import ModelSpec, WeightFile
from paintmq.weights import WeightFolder, kind_of, weight_objection


def safetensors(tensors: int = 1, *, cut: int = 0) -> bytes:
    header = {
        f"t{number}": {"dtype": "U8", "shape": [4], "data_offsets": [4 * number, 4 * number + 4]}
        for number in range(tensors)
    }
    text = json.dumps(header).encode()
    whole = struct.pack("<Q", len(text)) + text + bytes(4 * tensors)
    return whole[: len(whole) - cut]


def archive(*, cut: int = 0) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr("data.pkl", bytes(300))
    return stream.getvalue()[: len(stream.getvalue()) - cut]


BAD = [
    (b"", "is empty"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "is a git-lfs pointer"),
    (b"\n  <!DOCTYPE html><html>", "is a web page"),
    (b"<html>", "is a web page, not the file itself"),
    (struct.pack("<Q", 2**60) + b"{" + bytes(100), "its header has an impossible length"),
    (struct.pack("<Q", 5000) + b"{" + bytes(100), "fewer than its header alone"),
    (struct.pack("<Q", 9) + b"{broken}}" + bytes(9), "its header cannot be read"),
    (safetensors(2, cut=3), "bytes that its header announces"),
    (safetensors(0), "holds no tensors"),
    (archive(cut=80), "is cut short: its end is missing"),
]


@pytest.mark.parametrize(("data", "text"), BAD, ids=[text for _, text in BAD])
def test_what_cannot_be_weights_is_told_in_its_own_words(
    tmp_path: Path, data: bytes, text: str
) -> None:
    file = tmp_path / "w.pth"
    file.write_bytes(data)

    assert text in weight_objection(file)


@pytest.mark.parametrize(
    ("data", "kind"),
    [(safetensors(3), "safetensors"), (archive(), "zip"), (b"7767517\n75 83\n", "other")],
)
def test_what_may_be_weights_is_let_pass_whatever_its_name(
    tmp_path: Path, data: bytes, kind: str
) -> None:
    file = tmp_path / "w.pth"
    file.write_bytes(data)

    assert weight_objection(file) == ""
    assert kind_of(file) == kind


def test_a_folder_and_a_file_that_is_not_there_are_not_judged(tmp_path: Path) -> None:
    assert weight_objection(tmp_path) == ""
    assert weight_objection(tmp_path / "gone").startswith("cannot be read")
    assert kind_of(tmp_path / "gone") == "other"


FILE = WeightFile(name="w.pth")
SPEC = ModelSpec(name="m", implementation="m:M", weights=(FILE,))


def test_status_verify_and_loading_all_say_it(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(b"<html>not found</html>")
    folder = WeightFolder(WeightsConfig(folder=str(tmp_path)))

    assert folder.status(FILE).state == "wrong"
    assert "is a web page" in folder.status(FILE).problem
    assert folder.verify(FILE).state == "wrong"
    with pytest.raises(ModelError, match="is a web page") as caught:
        folder.for_model(SPEC).path("w.pth")
    assert caught.value.code == "weights_unreadable"


def test_a_file_named_in_the_settings_is_looked_at_too(tmp_path: Path) -> None:
    mine = tmp_path / "mine.pth"
    mine.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    folder = WeightFolder(WeightsConfig(folder=str(tmp_path), paths={"w.pth": str(mine)}))

    assert "git-lfs pointer" in folder.status(FILE).problem


def test_a_file_of_exactly_the_known_size_is_left_to_its_checksum(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(b"<html>")
    sized = WeightFile(name="w.pth", size=6)
    spec = ModelSpec(name="m", implementation="m:M", weights=(sized,))
    folder = WeightFolder(WeightsConfig(folder=str(tmp_path)))

    assert folder.status(sized).state == "present"
    assert folder.for_model(spec).path("w.pth") == tmp_path / "w.pth"
