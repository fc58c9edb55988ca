"""What the broker counts around its machine is in the statistics that everybody asks for."""

from typing import Any

from attrs import fields
from tests.harness.toy_broker import toy_client, toy_config, toy_plugins
from tests.harness.wire_peer import WirePeer

from paintmq.broker.shell.server import BrokerServer
from paintmq.cli.status_command import shell_counts
from paintmq.statistics import ShellStatistics
from paintmq.wire.messages import Answer, Ask, WhoAreYou


def statistics_of(server: BrokerServer) -> Any:
    with toy_client(server) as client:
        client.say(Ask(request_id=1, subject="statistics"))
        return client.hear(Answer).value


def test_what_the_shell_counts_is_part_of_the_statistics() -> None:
    with BrokerServer(toy_config(), toy_plugins()) as server:
        quiet = statistics_of(server)
        with WirePeer(server.client_endpoint) as stranger:
            stranger.say_raw(b"no message of ours")
            stranger.hear(WhoAreYou)
        afterwards = statistics_of(server)

    assert quiet["shell"] == {field.name: 0 for field in fields(ShellStatistics)}
    assert afterwards["shell"] == {**quiet["shell"], "wire_errors": 1}
    assert afterwards["uptime"] >= quiet["uptime"] >= 0
    assert (afterwards["clients"] >= 1, afterwards["accepted"]) == (True, 0)


def test_status_names_what_was_counted_and_nothing_else() -> None:
    counted = {"shell": {"wire_errors": 2, "connections_cut": 0, "events_dropped": 7}}

    assert shell_counts(counted) == "2 wire errors, 7 events dropped"
    assert shell_counts({}) == "", "a broker of an earlier version tells of none"
