"""Tokens of a gateway without a file, for tests of what stands behind them."""

from pathlib import Path

from attrs import define, evolve, field

from paintmq.gateway.callers import Callers
from paintmq.gateway.origins import Origins
from paintmq.gateway.token_file import TokenFile, TokenTable
from paintmq.gateway.tokens import Token, hash_of

SECRET = b"a secret of some length"


@define
class FixedTokens(TokenFile):
    """The tokens a test says."""

    path: Path = field(default=Path("/nonexistent"), init=False)
    fixed: TokenTable = field(factory=lambda: TokenTable(SECRET, {}))

    def table(self) -> TokenTable:
        return self.fixed


def callers_of(operator_token: str, **tokens: Token) -> Callers:
    """Return callers who know the operator's token and these, by the token itself."""
    hashed = {
        token.name: evolve(token, hash=hash_of(secret.encode())) for secret, token in tokens.items()
    }
    return Callers(FixedTokens(TokenTable(SECRET, hashed)), operator_token)


def origins_of(*hosts: str) -> Origins:
    return Origins(hosts=frozenset(hosts))
