"""What ``paintmq models`` tells, and what it does with weights."""

import hashlib
import json
from pathlib import Path

import pytest
from tests.harness.written_distribution import write_distribution

from paintmq.cli.app import run_command_line
from paintmq.errors import ModelError
from paintmq.model import WeightFile

WEIGHTS = b"not very heavy"


@pytest.fixture(autouse=True)
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install a model with weights at a file URL, and settings with a models folder."""
    origin = tmp_path / "origin" / "brush.safetensors"
    origin.parent.mkdir()
    origin.write_bytes(WEIGHTS)
    write_distribution(
        tmp_path / "site",
        "paintmq-brush",
        entry_points={"brush": "brush_of_models_test:Plugin"},
        files={
            "brush_of_models_test.py": f"""
            from attrs import field, frozen, validators
            from paintmq.model import ModelSpec, WeightFile

            @frozen
            class Options:
                size: int = field(
                    default=3, validator=validators.ge(1), metadata={{"help": "width"}}
                )

            class Plugin:
                def paintmq_register_models(self, register):
                    register(ModelSpec(
                        name="brush", implementation="brush:Brush", summary="Brushes",
                        licence="MIT", options=Options, requires=("no_such_library",),
                        extra="paintmq-brush[gpu]",
                        weight_problem=lambda file, path: (
                            "holds a comb" if path.read_bytes() == b"comb" else ""
                        ),
                        weights=(WeightFile(
                            name="brush.safetensors", licence="MIT", size={len(WEIGHTS)},
                            sha256="{hashlib.sha256(WEIGHTS).hexdigest()}",
                        ),),
                    ))
            """
        },
    )
    monkeypatch.syspath_prepend(tmp_path / "site")
    file = tmp_path / "paintmq.toml"
    file.write_text(
        f'[weights]\nfolder = "{tmp_path / "models"}"\n[plugins]\nallow = ["brush"]\n',
        encoding="utf-8",
    )
    return file


def place_weights(folder: Path, data: bytes = WEIGHTS) -> None:
    (folder / "models").mkdir()
    (folder / "models" / "brush.safetensors").write_bytes(data)


def test_the_list_says_what_a_model_still_needs(
    capsys: pytest.CaptureFixture[str], settings: Path
) -> None:
    assert run_command_line(["models", "list", "--config", str(settings)]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[1].split()[:5] == ["brush", "inpaint", "cpu", "needs", "paintmq-brush[gpu]"]


def test_showing_a_model_tells_options_inputs_and_where_weights_were_looked_for(
    capsys: pytest.CaptureFixture[str], settings: Path, tmp_path: Path
) -> None:
    assert run_command_line(["models", "show", "brush", "--config", str(settings)]) == 0

    out = capsys.readouterr().out
    assert "brush: Brushes" in out
    assert "on cpu  256 MB and about 1 s for a megapixel" in out
    assert "no_such_library: pip install 'paintmq-brush[gpu]'" in out
    (size,) = [line for line in out.splitlines() if line.startswith("size ")]
    assert size.split(maxsplit=1)[1].split("  ")[0] == "a whole number, at least 1"
    assert size.split()[-2:] == ["3", "width"]
    # A long path is wrapped to the width of the terminal.
    place = f"missing (looked for at {tmp_path / 'models' / 'brush.safetensors'})"
    assert "".join(place.split()) in "".join(out.split())


def test_weights_are_shown_with_size_and_checksum(
    capsys: pytest.CaptureFixture[str], settings: Path
) -> None:
    assert run_command_line(["models", "show", "brush", "--config", str(settings)]) == 0

    (line,) = [x for x in capsys.readouterr().out.splitlines() if x.startswith("brush.safetensors")]
    digest = hashlib.sha256(WEIGHTS).hexdigest()
    assert line.split()[1:6] == ["0.0", "MB", "SHA-256", f"{digest[:8]}…", "MIT"]


def test_an_unknown_model_is_refused_with_those_there_are(
    capsys: pytest.CaptureFixture[str], settings: Path
) -> None:
    assert run_command_line(["models", "show", "brusch", "--config", str(settings)]) == 2

    assert "did you mean 'brush'?" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["list"], ["show", "brush"]])
def test_programs_get_json(
    capsys: pytest.CaptureFixture[str], settings: Path, command: list[str]
) -> None:
    assert run_command_line(["models", *command, "--json", "--config", str(settings)]) == 0

    answer = json.loads(capsys.readouterr().out)
    model = answer[0] if isinstance(answer, list) else answer
    assert model["name"] == "brush"
    assert model["missing_modules"] == ["no_such_library"]
    assert model["options"][0]["limits"] == "at least 1"
    assert model["weights"][0]["state"] == "missing"


def test_verifying_compares_checksums(
    capsys: pytest.CaptureFixture[str], settings: Path, tmp_path: Path
) -> None:
    place_weights(tmp_path)

    assert run_command_line(["models", "verify", "--config", str(settings)]) == 0

    assert "brush.safetensors: verified" in capsys.readouterr().out


def test_wrong_weights_fail_the_verification(
    capsys: pytest.CaptureFixture[str], settings: Path, tmp_path: Path
) -> None:
    place_weights(tmp_path, WEIGHTS[::-1])

    assert run_command_line(["models", "verify", "brush", "--config", str(settings)]) == 1

    assert "brush.safetensors: wrong: brush.safetensors has the SHA-256" in capsys.readouterr().out


def test_missing_weights_fail_only_where_they_were_asked_for(settings: Path) -> None:
    assert run_command_line(["models", "verify", "--config", str(settings)]) == 0
    assert run_command_line(["models", "verify", "brush", "--config", str(settings)]) == 1


def test_downloading_leaves_alone_what_is_there(
    capsys: pytest.CaptureFixture[str], settings: Path, tmp_path: Path
) -> None:
    place_weights(tmp_path)

    assert run_command_line(["models", "download", "brush", "--config", str(settings)]) == 0

    assert str(tmp_path / "models" / "brush.safetensors") in capsys.readouterr().err


def test_weights_without_an_address_cannot_be_downloaded(
    capsys: pytest.CaptureFixture[str], settings: Path
) -> None:
    arguments = ["models", "download", "brush.safetensors", "--config", str(settings)]

    assert run_command_line(arguments) == 2

    assert "brush.safetensors" in capsys.readouterr().err


def test_downloading_nothing_is_a_mistake(
    capsys: pytest.CaptureFixture[str], settings: Path
) -> None:
    assert run_command_line(["models", "download", "--config", str(settings)]) == 2

    assert "say what to download" in capsys.readouterr().err


def test_a_file_that_cannot_be_had_stops_no_other(
    settings: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fetched: list[str] = []

    def fetch(file: WeightFile, folder: object, progress: object) -> Path:
        if file.name == "one":
            raise ModelError("one: the server does not answer", code="download_failed")
        fetched.append(file.name)
        return tmp_path / file.name

    monkeypatch.setattr("paintmq.weights.download.download", fetch)
    monkeypatch.setattr(
        "paintmq.cli.models_command._files",
        lambda *_: [WeightFile(name=name) for name in ("one", "two", "three")],
    )

    assert run_command_line(["models", "download", "x", "--config", str(settings)]) == 1

    assert fetched == ["two", "three"]
    said = capsys.readouterr().err
    assert "error: one: the server does not answer" in said
    assert "2 of 3 files are here" in said


def test_list_and_verify_tell_what_a_plugin_sees_in_a_file(
    settings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for content, state in ((b"comb", "wrong: holds a comb"), (b"hair", "unverifiable: another")):
        other = tmp_path / "other.safetensors"
        other.write_bytes(content)
        with settings.open("a", encoding="utf-8") as file:
            file.write(f'[weights.paths]\n"brush.safetensors" = "{other}"\n' * (content == b"comb"))

        status = run_command_line(["models", "verify", "brush", "-c", str(settings)])
        assert status == (content == b"comb")
        assert f"brush.safetensors: {state}" in capsys.readouterr().out
        run_command_line(["models", "list", "-c", str(settings), "--json"])
        (told,) = json.loads(capsys.readouterr().out)
        assert told["weights"][0]["state"] == ("wrong" if content == b"comb" else "present")
