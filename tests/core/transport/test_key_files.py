"""Key files."""

import json
from pathlib import Path

import pytest

from paintmq.config import BrokerConfig
from paintmq.errors import ConfigError
from paintmq.transport.key_files import (
    LOCAL_ADMIN,
    LOCAL_WORKER,
    Allowed,
    KeyPair,
    PeerKey,
    add_key,
    init_keys,
    list_keys,
    load_broker_keys,
    load_peer_key,
    own_key,
    revoke_key,
)
from paintmq.transport.key_terms import NO_TERMS, KeyTerms


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "keys"
    init_keys(folder)
    return folder


def test_new_keys_let_in_this_machine_s_worker_and_admin(folder: Path) -> None:
    assert [(entry.name, entry.role) for entry in list_keys(folder)] == [
        (LOCAL_WORKER, "worker"),
        (LOCAL_ADMIN, "admin"),
    ]


def test_nobody_else_can_read_any_key(folder: Path) -> None:
    add_key(folder, "laptop", "client")

    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def test_a_key_file_holds_what_its_owner_needs(folder: Path) -> None:
    key = load_peer_key(add_key(folder, "laptop", "client"))

    assert (key.name, key.role, key.broker) == ("laptop", "client", load_broker_keys(folder).public)
    assert key.keys.public in {entry.public for entry in list_keys(folder)}


def test_a_secret_is_not_printed(folder: Path) -> None:
    assert load_broker_keys(folder).secret not in repr(load_broker_keys(folder))


def test_a_revoked_key_is_gone(folder: Path) -> None:
    path = add_key(folder, "laptop", "client")

    revoke_key(folder, "laptop")

    assert "laptop" not in {entry.name for entry in list_keys(folder)}
    assert not path.exists()


def test_keys_are_not_overwritten(folder: Path) -> None:
    with pytest.raises(ConfigError, match="exists already"):
        init_keys(folder)


def test_a_name_can_be_used_once(folder: Path) -> None:
    add_key(folder, "laptop", "client")

    with pytest.raises(ConfigError, match="a key named 'laptop' already"):
        add_key(folder, "laptop", "worker")


@pytest.mark.parametrize("name", ["", "../up", "a/b", "broker", ".hidden", "x" * 65, "a\nb"])
def test_a_name_that_is_no_file_name_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="is no name for a key"):
        add_key(folder, name, "client")


def test_a_role_that_does_not_exist_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="'root' is no role: use client, worker, admin"):
        add_key(folder, "laptop", "root")  # type: ignore[arg-type]


def test_revoking_a_key_that_does_not_exist_names_those_that_do(folder: Path) -> None:
    with pytest.raises(ConfigError, match="known: local-worker, local-admin"):
        revoke_key(folder, "laptop")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_file_that_others_may_read_is_refused(folder: Path, mode: int) -> None:
    path = add_key(folder, "laptop", "client")
    path.chmod(mode)

    with pytest.raises(ConfigError, match=f"mode {mode:o}.*chmod 600"):
        load_peer_key(path)


def test_a_folder_without_keys_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="paintmq keys init"):
        load_broker_keys(tmp_path)


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigError, match="cannot be used for keys"):
        init_keys(tmp_path / "file" / "keys")


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", "not json", '{"name": "a", "role": "client", "broker": "short"}']
)
def test_a_file_that_is_no_key_file_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "odd.key"
    path.write_text(content)
    path.chmod(0o600)

    with pytest.raises(ConfigError, match="is no key file"):
        load_peer_key(path)


def test_a_file_that_is_missing_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load_peer_key(tmp_path / "none.key")


@pytest.mark.parametrize("damage", [{"allowed": 5}, {"allowed": [{"name": "a"}]}])
def test_a_damaged_list_lets_nobody_in(folder: Path, damage: dict[str, object]) -> None:
    (folder / "allowed.json").write_text(json.dumps(damage))

    with pytest.raises(ConfigError, match=r"allowed\.json"):
        list_keys(folder)


@pytest.mark.parametrize("change", ["secret", "published"])
def test_a_broker_key_that_is_none_is_refused(folder: Path, change: str) -> None:
    path = folder / "broker.key"
    data = json.loads(path.read_text())
    data["secret"] = "" if change == "secret" else "JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6"
    path.write_text(json.dumps(data))

    with pytest.raises(ConfigError, match=r"no key file|everybody knows"):
        load_broker_keys(folder)


def test_terms_of_a_key_are_in_its_file_and_in_the_list(folder: Path) -> None:
    terms = KeyTerms(not_after=1_900_000_000.0, queues=("gpu-low", "cpu-light"))

    key = load_peer_key(add_key(folder, "laptop", "client", terms))
    add_key(folder, "other", "client")

    assert key.terms == terms
    assert [each.terms for each in list_keys(folder)[2:]] == [terms, NO_TERMS]


def test_files_without_terms_are_of_keys_without_limits(tmp_path: Path) -> None:
    """Those written before there were terms, word for word."""
    public, secret = "a" * 40, "b" * 40
    files = {
        "allowed.json": {"allowed": [{"name": "alice", "role": "client", "public": public}]},
        "alice.key": {
            "name": "alice",
            "role": "client",
            "public": public,
            "secret": secret,
            "broker": public,
        },
    }
    for name, content in files.items():
        (tmp_path / name).touch(mode=0o600)
        (tmp_path / name).write_text(json.dumps(content, indent=2))

    assert list_keys(tmp_path) == [Allowed(name="alice", role="client", public=public)]
    assert load_peer_key(tmp_path / "alice.key") == PeerKey(
        "alice", "client", KeyPair(public, secret), public
    )


def test_queues_do_not_limit_an_admin(folder: Path) -> None:
    with pytest.raises(ConfigError, match="an admin may do everything"):
        add_key(folder, "root", "admin", KeyTerms(queues=("gpu-low",)))


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        ({"hosts": ["10.0.0.1"]}, r"terms that this PaintMQ does not know \(hosts\)"),
        ({"not_after": 5}, "is damaged: not_after = 5 is no time"),
        ({"queues": []}, r"is damaged: queues = \[\] is no list of names"),
    ],
)
def test_a_key_whose_terms_are_not_understood_is_not_let_in(
    folder: Path, terms: dict[str, object], words: str
) -> None:
    path = folder / "allowed.json"
    data = json.loads(path.read_text())
    data["allowed"][0] |= terms
    path.write_text(json.dumps(data))

    with pytest.raises(ConfigError, match=words):
        list_keys(folder)


def test_the_key_shown_is_the_configured_one_or_this_machine_s_own(folder: Path) -> None:
    laptop = add_key(folder, "laptop", "worker")

    shown = [
        own_key(BrokerConfig(), LOCAL_WORKER),
        own_key(BrokerConfig(keys=str(folder)), LOCAL_WORKER),
        own_key(BrokerConfig(keys=str(folder), key=str(laptop)), LOCAL_WORKER),
    ]

    assert [key.name if key else None for key in shown] == [None, LOCAL_WORKER, "laptop"]
