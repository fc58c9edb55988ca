"""``paintmq keys``: who may connect, until when and for what."""

import json
import time
from pathlib import Path

import pytest

from paintmq.cli.app import run_command_line
from paintmq.transport.key_files import add_key, list_keys, load_peer_key
from paintmq.transport.key_terms import KeyTerms


@pytest.fixture
def folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    folder = tmp_path / "keys"
    assert run_command_line(["keys", "init", str(folder)]) == 0
    capsys.readouterr()
    return folder


def keys(command: str, folder: Path, *arguments: str) -> int:
    return run_command_line(["keys", command, str(folder), *arguments])


def lines(folder: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """Return what ``keys list`` says, by name."""
    capsys.readouterr()
    assert keys("list", folder) == 0
    return {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}


def now() -> float:
    return time.time_ns() / 1e9


def test_a_key_is_made_for_a_time_and_for_some_queues(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    terms = ["--expires", "2099-12-31", "--queues", "gpu-low, cpu-light"]

    assert keys("add", folder, "alice", *terms) == 0

    assert "it expires on 2100-01-01 00:00:00 UTC" in capsys.readouterr().out
    assert load_peer_key(folder / "alice.key").terms.queues == ("gpu-low", "cpu-light")
    assert lines(folder, capsys)["alice"].endswith(
        "expires on 2100-01-01 00:00:00 UTC, for gpu-low, cpu-light alone"
    )


def test_a_key_without_terms_is_for_ever_and_for_all(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert keys("add", folder, "alice") == 0

    assert list_keys(folder)[-1].terms == KeyTerms()
    assert lines(folder, capsys)["alice"].endswith(list_keys(folder)[-1].public)


def test_the_list_warns_of_keys_that_end_soon_or_have_ended(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_key(folder, "old", "client", KeyTerms(not_after=1_000_000_000.0))
    add_key(folder, "soon", "worker", KeyTerms(not_after=now() + 2.5 * 86_400))
    add_key(folder, "late", "worker", KeyTerms(not_after=now() + 90 * 86_400))

    said = lines(folder, capsys)

    assert said["old"].endswith("EXPIRED on 2001-09-09 01:46:40 UTC")
    assert "EXPIRES SOON, on 2" in said["soon"]
    assert ", in 2 d " in said["soon"]
    assert "expires on 2" in said["late"]


def test_programs_are_given_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_key(folder, "old", "client", KeyTerms(not_after=1_000_000_000.0, queues=("a",)))
    assert keys("list", folder, "--json") == 0

    rows = json.loads(capsys.readouterr().out)

    old = {key: value for key, value in rows[-1].items() if key != "public"}
    assert old == {
        "name": "old",
        "role": "client",
        "not_after": "2001-09-09T01:46:40+00:00",
        "queues": ["a"],
        "tenant": None,
        "max_priority": None,
        "quota": None,
        "expired": True,
    }
    assert (rows[0]["not_after"], rows[0]["queues"], rows[0]["expired"]) == (None, None, False)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--expires", "soon"], "--expires: 'soon' is no time: use 90d"),
        (["--expires", "2001-01-01"], "--expires: 2001-01-01 is past"),
        (["--queues", "a,,b"], "--queues 'a,,b': name them as gpu-low,cpu-light"),
        (["--queues", ""], "--queues '': name them as gpu-low,cpu-light"),
        (["--role", "root"], "--role root: use one of client, worker, admin"),
        (["--role", "admin", "--queues", "a"], "an admin may do everything"),
    ],
)
def test_terms_that_make_no_sense_make_no_key(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert keys("add", folder, "alice", *arguments) == 2

    assert words in capsys.readouterr().err
    assert "alice" not in {key.name for key in list_keys(folder)}
    assert not (folder / "alice.key").exists()


def test_a_revoked_key_is_listed_no_more(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys("add", folder, "alice")
    assert keys("revoke", folder, "alice") == 0

    assert "paintmq reload" in capsys.readouterr().out
    assert "alice" not in lines(folder, capsys)


def test_a_key_limits_what_the_tasks_of_its_client_claim(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert keys("add", folder, "web", "--tenant=acme", "--max-priority=3", "--quota=500") == 0

    terms = KeyTerms(tenant="acme", max_priority=3, quota=500)
    assert list_keys(folder)[-1].terms == load_peer_key(folder / "web.key").terms == terms
    said = lines(folder, capsys)["web"]
    assert said.endswith("  tenant acme, priority up to 3, unfinished tasks up to 500")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--max-priority=10"], "--max-priority: max_priority = 10 is no number from 0 to 9"),
        (["--quota=0"], "--quota: quota = 0 is no number from 1"),
        (["--tenant="], "--tenant: tenant = '' is no name"),
        (["--tenant", "x" * 201], "of at most 200 characters"),
        (["--quota=5", "--role=worker"], "limit what clients submit: a key for workers has none"),
        (["--tenant=a", "--role=admin"], "limit what clients submit: a key for admins has none"),
    ],
)
def test_terms_that_a_key_cannot_have_are_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], reason: str
) -> None:
    assert keys("add", folder, "web", *arguments) == 2

    assert reason in capsys.readouterr().err
    assert not (folder / "web.key").exists()
