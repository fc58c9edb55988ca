"""Key files: who may talk to a broker, and in which role.

A folder holds the broker's own key pair (``broker.key``), the list of the peers it admits
(``allowed.json``: name, role, public key and terms) and, until they are handed over, the key files
made for them. Possession of a key file is proof of identity: every file is readable by its owner
alone, and a file that others can read is refused.
"""

import json
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import zmq
from attrs import asdict, frozen

from paintmq.config import BrokerConfig
from paintmq.errors import ConfigError
from paintmq.transport.key_terms import NO_TERMS, TERMS, KeyTerms
from paintmq.user_folders import refused

Role: TypeAlias = Literal["client", "worker", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)

LOCAL_WORKER, LOCAL_ADMIN = "local-worker", "local-admin"
"""Made together with the broker's keys, for the programs on its own machine."""

_SETTINGS = "broker.key or broker.keys"
_BROKER = "broker"
_ALLOWED = "allowed.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_KEY = re.compile(r"[!-~]{40}")
# Printed in the documentation of libzmq (zmq_curve) and used in its tests: public knowledge.
_PUBLISHED_SECRETS = frozenset(
    {
        "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs",
        "JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6",
    }
)


@frozen
class KeyPair:
    """Two keys of 40 characters (Z85)."""

    public: str
    secret: str

    def __repr__(self) -> str:
        return f"KeyPair({self.public!r}, ***)"


@frozen
class PeerKey:
    """What a client, worker or admin needs to reach a broker: its own keys and the broker's."""

    name: str
    role: Role
    keys: KeyPair
    broker: str
    """The broker's public key."""
    terms: KeyTerms = NO_TERMS
    """As they were when the file was made; the broker's own list is what counts."""


@frozen(kw_only=True)
class Allowed:
    """One peer that a broker admits."""

    name: str
    role: Role
    public: str
    terms: KeyTerms = NO_TERMS


def init_keys(folder: Path) -> Path:
    """Make a broker's keys, and keys for the worker and admin of its own machine.

    Returns:
        The broker's key file.

    Raises:
        ConfigError: there are keys already, or the folder cannot be written.
    """
    path = folder / f"{_BROKER}.key"
    if path.exists():
        raise ConfigError(f"{path} exists already: revoke single keys, or use another folder")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
    except OSError as error:
        raise ConfigError(
            f"{folder} cannot be used for keys: {refused(error, 'broker.keys')}"
        ) from error
    _write(path, asdict(_new_pair()))
    _write(folder / _ALLOWED, {"allowed": []})
    add_key(folder, LOCAL_WORKER, "worker")
    add_key(folder, LOCAL_ADMIN, "admin")
    return path


def add_key(folder: Path, name: str, role: Role, terms: KeyTerms = NO_TERMS) -> Path:
    """Admit a new peer, on these terms.

    Returns:
        Its key file: bring it to that peer over a safe channel, and delete it here.

    Raises:
        ConfigError: the name is taken or invalid, there are no broker keys in the folder, or the
            terms do not fit the role.
    """
    if not _NAME.fullmatch(name) or name == _BROKER:
        raise ConfigError(f"{name!r} is no name for a key: use letters, digits, - _ and .")
    if role not in ROLES:
        raise ConfigError(f"{role!r} is no role: use {', '.join(ROLES)}")
    if role == "admin" and terms.queues is not None:
        raise ConfigError("an admin may do everything: queues limit clients and workers")
    if role != "client" and terms.limits_tasks:
        raise ConfigError(
            f"tenant, priority and quota limit what clients submit: a key for {role}s has none"
        )
    broker = load_broker_keys(folder)
    allowed = list_keys(folder)
    if any(entry.name == name for entry in allowed):
        raise ConfigError(f"there is a key named {name!r} already: revoke it first")
    pair = _new_pair()
    path = folder / f"{name}.key"
    limits = terms.to_json()
    _write(path, {"name": name, "role": role, **asdict(pair), "broker": broker.public, **limits})
    new = Allowed(name=name, role=role, public=pair.public, terms=terms)
    _write_allowed(folder, [*allowed, new])
    return path


def revoke_key(folder: Path, name: str) -> None:
    """Stop admitting a peer. A running broker applies it at its next ``reload``.

    Raises:
        ConfigError: there is no such key.
    """
    allowed = list_keys(folder)
    kept = [entry for entry in allowed if entry.name != name]
    if len(kept) == len(allowed):
        names = ", ".join(entry.name for entry in allowed) or "none"
        raise ConfigError(f"there is no key named {name!r}; known: {names}")
    _write_allowed(folder, kept)
    (folder / f"{name}.key").unlink(missing_ok=True)


def list_keys(folder: Path) -> list[Allowed]:
    """Return the peers that the broker admits, in the order in which they were added.

    Raises:
        ConfigError: the list is missing or damaged.
    """
    path = folder / _ALLOWED
    entries = _read(path).get("allowed")
    if not isinstance(entries, list):
        raise ConfigError(f"{path} holds no list of keys")
    return [_allowed(path, entry) for entry in entries]


def load_broker_keys(folder: Path) -> KeyPair:
    """Return the broker's own keys.

    Raises:
        ConfigError: they are missing, damaged, or readable by others.
    """
    path = folder / f"{_BROKER}.key"
    if not path.exists():
        raise ConfigError(
            f"there are no keys in {folder} (broker.keys): make them with"
            f" `paintmq keys init {folder}`"
        )
    return _pair(path, _read(path))


def load_peer_key(path: Path) -> PeerKey:
    """Return what a key file holds.

    Raises:
        ConfigError: it is missing, damaged, or readable by others.
    """
    data = _read(path)
    name, role, broker = data.get("name"), data.get("role"), data.get("broker")
    if not (isinstance(name, str) and role in ROLES and _is_key(broker)):
        raise ConfigError(f"{path} is no key file of PaintMQ")
    return PeerKey(name, role, _pair(path, data), str(broker), _terms(path, data))


def _allowed(path: Path, entry: object) -> Allowed:
    match entry:
        case {"name": str(name), "role": str(role), "public": public, **more} if _is_key(public):
            limits = {str(field): value for field, value in more.items()}
            if unknown := limits.keys() - TERMS:
                # It may be a restriction: a program that does not know it must not admit the key.
                raise ConfigError(
                    f"{path}: the key {name!r} has terms that this PaintMQ does not know "
                    f"({', '.join(sorted(unknown))}): update PaintMQ, or take it out of the list"
                )
            for known in ROLES:
                if role == known:
                    terms = _terms(path, limits)
                    return Allowed(name=name, role=known, public=str(public), terms=terms)
    raise ConfigError(f"{path} is damaged: {entry!r} is no entry")


def _terms(path: Path, data: Mapping[str, object]) -> KeyTerms:
    try:
        return KeyTerms.from_json(data)
    except ValueError as error:
        raise ConfigError(f"{path} is damaged: {error}") from error


def _pair(path: Path, data: Mapping[str, object]) -> KeyPair:
    public, secret = data.get("public"), data.get("secret")
    if not (_is_key(public) and _is_key(secret)):
        raise ConfigError(f"{path} is no key file of PaintMQ")
    if secret in _PUBLISHED_SECRETS:
        raise ConfigError(f"{path} holds a key from a manual, which everybody knows")
    return KeyPair(str(public), str(secret))


def _is_key(value: object) -> bool:
    return isinstance(value, str) and _KEY.fullmatch(value) is not None


def _new_pair() -> KeyPair:
    public, secret = zmq.curve_keypair()
    return KeyPair(public.decode(), secret.decode())


def _write_allowed(folder: Path, allowed: list[Allowed]) -> None:
    entries = [
        {"name": each.name, "role": each.role, "public": each.public, **each.terms.to_json()}
        for each in allowed
    ]
    _write(folder / _ALLOWED, {"allowed": entries})


def _write(path: Path, data: Mapping[str, object]) -> None:
    """Replace the file in one step; at no moment can another user read it."""
    new = path.with_name(f"{path.name}.new")
    try:
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(data, file, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {refused(error, 'broker.keys')}") from error


def _read(path: Path) -> dict[str, object]:
    try:
        with path.open() as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise ConfigError(
                    f"{path} can be read by others (mode {mode:o}): make new keys if that "
                    f"matters, then `chmod 600 {path}`"
                )
            data = json.load(file)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {refused(error, _SETTINGS)}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is no key file of PaintMQ: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path} is no key file of PaintMQ")
    return data


def own_key(config: BrokerConfig, local: str) -> PeerKey | None:
    """Return the key to present to a broker: the configured one, or this machine's own.

    ``local`` is LOCAL_WORKER or LOCAL_ADMIN: which key to use beside a broker on this machine.

    Raises:
        ConfigError: the key file is missing, damaged, or readable by others.
    """
    if config.key:
        return load_peer_key(Path(config.key))
    if config.keys:
        return load_peer_key(Path(config.keys) / f"{local}.key")
    return None
