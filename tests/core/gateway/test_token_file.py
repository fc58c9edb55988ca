"""Tokens on disk: hashed, private, and read again when they change."""

import json
import os
from pathlib import Path

import pytest

from paintmq.errors import ConfigError
from paintmq.gateway.callers import Callers
from paintmq.gateway.token_file import TokenFile, read_secret_file
from paintmq.gateway.tokens import Token

OPERATOR = "the-operators-own-token"


def bearer(secret: str) -> dict[str, bytes]:
    return {"authorization": f"Bearer {secret}".encode()}


@pytest.fixture
def file(tmp_path: Path) -> TokenFile:
    file = TokenFile(tmp_path / "deep" / "tokens.json")
    file.make()
    return file


def test_a_token_stands_for_its_user_and_is_kept_as_a_hash(file: TokenFile) -> None:
    token = Token(name="anna", hash="", tenant="studio", queues=("cpu-light",), quota=3, rate=2.5)

    secret = file.add(token)

    caller = Callers(file, OPERATOR).of(bearer(secret))
    assert caller is not None
    assert (caller.name, caller.role, caller.tenant) == ("anna", "user", "studio")
    assert (caller.queues, caller.quota, caller.rate) == (("cpu-light",), 3, 2.5)
    assert secret not in file.path.read_text()
    assert file.path.stat().st_mode & 0o777 == 0o600


def test_a_running_gateway_heeds_what_is_added_and_revoked(file: TokenFile) -> None:
    running, command = Callers(file, OPERATOR), TokenFile(file.path)
    assert running.of(bearer("no such token")) is None

    secret = command.add(Token(name="anna", hash=""))
    assert running.of(bearer(secret)) is not None

    command.revoke("anna")
    assert running.of(bearer(secret)) is None


def test_what_was_removed_holds_no_tokens(file: TokenFile) -> None:
    running = Callers(file, OPERATOR)
    secret = file.add(Token(name="anna", hash=""))
    assert running.of(bearer(secret)) is not None

    file.path.unlink()

    assert running.of(bearer(secret)) is None
    assert running.of(bearer(OPERATOR)) is not None


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"version": 9}', "[" * 5_000])
def test_a_file_that_is_damaged_later_changes_nothing(
    file: TokenFile, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    running = Callers(file, OPERATOR)
    secret = file.add(Token(name="anna", hash=""))
    assert running.of(bearer(secret)) is not None

    file.path.write_text(damage)

    assert running.of(bearer(secret)) is not None
    assert "the tokens stay as they were" in caplog.text
    with pytest.raises(ConfigError, match=r"tokens\.json"):
        TokenFile(file.path).table()


@pytest.mark.parametrize(
    "entry",
    [
        {},
        3,
        {"name": "anna", "hash": "short"},
        {"name": "an na", "hash": "0" * 64},
        {"name": "operator", "hash": "0" * 64},
        {"name": "anna", "hash": "0" * 64, "role": "king"},
        {"name": "anna", "hash": "0" * 64, "queues": "cpu"},
        {"name": "anna", "hash": "0" * 64, "queues": [3]},
        {"name": "anna", "hash": "0" * 64, "rate": "fast"},
        {"name": "anna", "hash": "0" * 64, "rate": 0},
        {"name": "anna", "hash": "0" * 64, "quota": 1.5},
        {"name": "anna", "hash": "0" * 64, "quota": True},
        {"name": "anna", "hash": "0" * 64, "expires_at": "soon"},
        {"name": "anna", "hash": "0" * 64, "tenant": "x" * 300},
    ],
)
def test_an_entry_that_makes_no_sense_is_refused(file: TokenFile, entry: object) -> None:
    data = json.loads(file.path.read_text())
    file.path.write_text(json.dumps({**data, "tokens": [entry]}))

    with pytest.raises(ConfigError, match=r"tokens\.json"):
        TokenFile(file.path).table()


def test_an_expired_token_is_none(file: TokenFile) -> None:
    secret = file.add(Token(name="anna", hash="", expires_at=1_000.0))

    assert Callers(file, clock=lambda: 999.0).of(bearer(secret)) is not None
    assert Callers(file, clock=lambda: 1_000.0).of(bearer(secret)) is None


def test_two_tokens_of_one_name_are_refused(file: TokenFile) -> None:
    file.add(Token(name="anna", hash=""))

    with pytest.raises(ConfigError, match="revoke it first"):
        file.add(Token(name="anna", hash=""))
    with pytest.raises(ConfigError, match="there are anna"):
        file.revoke("bert")


@pytest.mark.parametrize(("mode", "is_fine"), [(0o600, True), (0o440, True), (0o640, True)])
def test_a_group_may_read_a_mounted_secret(tmp_path: Path, mode: int, is_fine: bool) -> None:
    file = tmp_path / "secret"
    file.write_text("x")
    file.chmod(mode)

    assert (read_secret_file(file) == "x") is is_fine


@pytest.mark.parametrize("mode", [0o604, 0o620, 0o644, 0o660, 0o606])
def test_what_everybody_can_read_or_a_group_can_write_is_refused(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "secret"
    file.write_text("x")
    os.chmod(file, mode)  # noqa: PTH101 -- whatever the umask is

    with pytest.raises(ConfigError, match=f"mode {mode:o}"):
        read_secret_file(file)
