"""``paintmq http tokens``: made, listed, revoked, and shown once."""

import json
from pathlib import Path

import pytest

from paintmq.cli.app import run_command_line
from paintmq.gateway.callers import Callers
from paintmq.gateway.token_file import TokenFile


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TokenFile:
    path = tmp_path / "tokens.json"
    monkeypatch.setenv("PAINTMQ_HTTP__TOKENS_FILE", str(path))
    monkeypatch.chdir(tmp_path)
    return TokenFile(path)


def tokens(*arguments: str) -> int:
    return run_command_line(["http", "tokens", *arguments])


def test_a_token_is_printed_alone_so_that_a_script_can_take_it(
    file: TokenFile, capsys: pytest.CaptureFixture[str]
) -> None:
    terms = ["--tenant", "studio", "--queues", "gpu-low, cpu-light", "--rate", "2", "--quota", "9"]
    assert tokens("add", "anna", *terms, "--expires", "2099-12-31") == 0

    said = capsys.readouterr()
    secret = said.out.strip()
    caller = Callers(file).of({"authorization": f"Bearer {secret}".encode()})
    assert caller is not None
    assert (caller.name, caller.tenant, caller.quota) == ("anna", "studio", 9)
    assert caller.queues == ("gpu-low", "cpu-light")
    assert secret not in said.err

    assert tokens("list") == 0
    line = capsys.readouterr().out
    assert line.startswith("anna ")
    assert "expires on 2100-01-01 00:00 UTC" in line
    assert tokens("list", "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["name"], row["expired"], "hash" in row) == ("anna", False, False)


def test_a_revoked_token_is_gone(file: TokenFile, capsys: pytest.CaptureFixture[str]) -> None:
    tokens("add", "anna")

    assert tokens("revoke", "anna") == 0
    assert file.table().tokens == {}
    assert tokens("revoke", "anna") != 0
    assert "no token 'anna'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["an na"], "is no name"),
        (["operator"], "http.token_file"),
        (["anna", "--role", "king"], "user, admin, metrics"),
        (["anna", "--expires", "2001-01-01"], "past"),
        (["anna", "--rate", "0"], "rate"),
        (["anna", "--quota", "0"], "quota"),
        (["anna", "--queues", "a,,b"], "queues"),
    ],
)
def test_what_makes_no_sense_is_refused_and_nothing_is_made(
    file: TokenFile, capsys: pytest.CaptureFixture[str], wrong: list[str], said: str
) -> None:
    assert tokens("add", *wrong) != 0

    assert said in capsys.readouterr().err
    assert not file.path.exists()


def test_a_link_is_for_a_token_there_is(
    file: TokenFile, capsys: pytest.CaptureFixture[str]
) -> None:
    tokens("add", "anna")
    capsys.readouterr()

    assert run_command_line(["http", "link", "anna", "--address", "https://x.example/"]) == 0
    assert capsys.readouterr().out.startswith("https://x.example/login?ticket=")
    assert run_command_line(["http", "link", "bert"]) != 0
    assert "no token 'bert'" in capsys.readouterr().err
