"""The file of the tokens: written in one step, read again whenever it changes.

Rule 1: a file that everybody can read, or others can write, is refused.
Rule 2: several gateways may share it; its secret signs what any of them must recognise.
Rule 3: a file that cannot be read while a gateway runs changes nothing: what it last said holds.
One that was removed holds no tokens.
"""

import base64
import json
import logging
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import define, evolve, field, frozen

from paintmq.errors import ConfigError
from paintmq.gateway.tokens import Token, hash_of, new_secret, token_from_json

logger = logging.getLogger(__name__)

_TOO_OPEN = 0o027
"""Permission bits that a file with a secret must not have. A group may read it: that is how
container platforms hand secrets to a process that is not root."""


@frozen
class TokenTable:
    """What the file says."""

    secret: bytes = field(repr=False)
    """Signs cookies, and makes the ids of tasks with idempotency keys."""
    tokens: Mapping[str, Token]
    """By name."""
    by_hash: Mapping[str, Token] = field(init=False)

    @by_hash.default
    def _index(self) -> Mapping[str, Token]:
        return {token.hash: token for token in self.tokens.values()}


@define
class TokenFile:
    """The tokens as the file has them now."""

    path: Path
    _seen: tuple[int, int, int] | None = field(default=None, init=False)
    _table: TokenTable | None = field(default=None, init=False)

    def table(self) -> TokenTable:
        """Return the tokens; look whether the file has changed since.

        Raises:
            ConfigError: it cannot be read now, and never was.
        """
        seen = self._look()
        if self._table is None:
            self._table = self._read()
        elif seen != self._seen:
            try:
                self._table = self._read() if seen else evolve(self._table, tokens={})
            except ConfigError as error:
                logger.error("the tokens stay as they were: %s", error)  # noqa: TRY400
        self._seen = seen
        return self._table

    def make(self) -> None:
        """Make the file, without a token, unless there is one.

        Raises:
            ConfigError: it cannot be made.
        """
        if not self.path.exists():
            self._write(TokenTable(secrets.token_bytes(32), {}))

    def add(self, token: Token) -> str:
        """Add a token; its ``hash`` is replaced. Return the token itself, which is kept nowhere.

        Raises:
            ConfigError: there is one of that name, or the file cannot be used.
        """
        self.make()
        table = self._read()
        if token.name in table.tokens:
            raise ConfigError(
                f"there is a token {token.name!r} already: revoke it first, and give its user the"
                " new one, which has the same tasks"
            )
        secret = new_secret()
        hashed = evolve(token, hash=hash_of(secret.encode()))
        self._write(evolve(table, tokens={**table.tokens, token.name: hashed}))
        return secret

    def revoke(self, name: str) -> None:
        """Remove a token.

        Raises:
            ConfigError: there is none of that name, or the file cannot be used.
        """
        table = self._read()
        if name not in table.tokens:
            known = ", ".join(table.tokens) or "none"
            raise ConfigError(f"there is no token {name!r} in {self.path}; there are {known}")
        left = {key: value for key, value in table.tokens.items() if key != name}
        self._write(evolve(table, tokens=left))

    def _look(self) -> tuple[int, int, int] | None:
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size

    def _read(self) -> TokenTable:
        text = read_secret_file(self.path)
        try:
            return _table(json.loads(text))
        except (ValueError, RecursionError, ConfigError) as error:
            raise ConfigError(f"{self.path}: {error}") from error

    def _write(self, table: TokenTable) -> None:
        data: dict[str, Any] = {
            "version": 1,
            "secret": base64.b64encode(table.secret).decode(),
            "tokens": [token.to_json() for token in table.tokens.values()],
        }
        new = self.path.with_name(f"{self.path.name}.{os.getpid()}.new")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            mode = (self.path.stat().st_mode & 0o640) if self.path.exists() else 0o600
            new.unlink(missing_ok=True)
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as out:
                os.fchmod(out.fileno(), mode)
                json.dump(data, out, indent=2)
                out.write("\n")
                out.flush()
                os.fsync(out.fileno())
            new.replace(self.path)
        except OSError as error:
            raise ConfigError(f"{self.path} cannot be written: {error.strerror}") from error


def _table(data: object) -> TokenTable:
    match data:
        case {"version": 1, "secret": str(encoded), "tokens": list(entries)}:
            secret = base64.b64decode(encoded, validate=True)
        case {"version": int(version)} if version != 1:
            raise ConfigError(f"it is of version {version}, which a newer paintmq wrote")
        case _:
            raise ConfigError("it is no file of tokens")
    if len(secret) < 16:
        raise ConfigError("its secret is too short")
    tokens = [token_from_json(entry) for entry in entries]
    return TokenTable(secret, {token.name: token for token in tokens})


def read_secret_file(path: Path) -> str:
    """Return the text of a file that others must not read; a group may.

    Raises:
        ConfigError: it cannot be read, or by too many.
    """
    try:
        with path.open(encoding="utf-8") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
            if mode & _TOO_OPEN:
                raise ConfigError(
                    f"{path}: others can read or change it (mode {mode:o}): chmod 600 {path},"
                    " or 640 if its group is meant to read it"
                )
            return file.read(4 * 1024 * 1024)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is no text") from error
