"""Which addresses only this machine reaches: what guards a broker and a gateway without keys."""

import pytest

from paintmq.broker.connections.endpoints import check_exposure
from paintmq.config import BrokerConfig, Config, HttpConfig
from paintmq.errors import ConfigError
from paintmq.settings.conflicts import conflicts
from paintmq.transport.addresses import is_loopback

OURS = ("127.0.0.1", "127.255.0.9", "::1", "[::1]", "localhost")
OTHERS = (
    "127.0.0.1.example.com",  # the guard once looked at the first characters alone
    "127.example.com",
    "localhost.example.com",
    "0.0.0.0",
    "::",
    "*",
    "",
    "10.0.0.1",
    "[127.0.0.1",
    "2130706433",
)


@pytest.mark.parametrize("host", OURS)
def test_only_this_machine_reaches_a_loopback_address(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", OTHERS)
def test_whatever_else_may_be_reached_by_others(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize("host", OTHERS)
def test_neither_broker_nor_gateway_listens_there_without_keys_or_a_proxy(host: str) -> None:
    found = conflicts(Config(broker=BrokerConfig(host=host), http=HttpConfig(host=host)))

    assert [line for line in found if line.startswith("broker.host")]
    assert [line for line in found if line.startswith("http.host")]
    with pytest.raises(ConfigError, match="keys init"):
        check_exposure(BrokerConfig(host=host))
