"""What each role may do, and the document that tells of all routes."""

import pytest

from paintmq.task import TaskState

pytest.importorskip("starlette", reason="needs paintmq[http]")

from tests.harness.scripted_gateway import (
    ID,
    ScriptedClient,
    Site,
    app_for,
    row,
)

from paintmq.errors import RejectedError
from paintmq.gateway.submission import TaskFields
from paintmq.http_api import Caller


@pytest.mark.parametrize(
    ("method", "path", "roles"),
    [
        ("GET", "/v1/models", {"user", "admin"}),
        ("GET", "/v1/statistics", {"metrics", "admin"}),
        ("GET", "/v1/workers", {"admin"}),
        ("POST", "/v1/workers/drain?name=x", {"admin"}),
        ("POST", "/v1/workers/cordon?name=x", {"admin"}),
        ("POST", "/v1/workers/uncordon?name=x", {"admin"}),
        ("GET", "/v1/queues", {"admin"}),
        ("POST", "/v1/queues/pause?name=q", {"admin"}),
        ("POST", "/v1/queues/drain?name=q", {"admin"}),
        ("POST", "/v1/queues/resume?name=q", {"admin"}),
        ("POST", "/v1/queues/purge?name=q", {"admin"}),
        ("GET", "/v1/webhooks/secret", {"user", "admin"}),
        ("POST", f"/v1/dead/{ID}/requeue", {"admin"}),
        ("DELETE", f"/v1/dead/{ID}", {"admin"}),
        ("POST", "/v1/tasks", {"user", "admin"}),
    ],
)
def test_each_role_may_do_its_own(
    site: Site, client: ScriptedClient, method: str, path: str, roles: set[str]
) -> None:
    client.answers |= {"dead_requeue": row(), "dead_drop": row(), "workers": []}
    client.answers |= {"queues": {"q": {"state": "open"}}}
    client.answers |= {"cancel_tasks": {"cancelled": 0, "more": 0}}
    for role in ("user", "admin", "metrics"):
        site.caller = Caller(name=role, role=role, owner=ID[:12])

        status, told = site.ask(method, path, b'{"model": "x"}')

        assert (status != 403) is (role in roles), (role, told)


def test_an_admin_changes_a_queue_and_is_told_its_state(site: Site, client: ScriptedClient) -> None:
    client.answers["queues"] = {"q": {"state": "paused"}}

    told = site.ask("POST", "/v1/queues/pause?name=q")

    assert told == (200, {"name": "q", "state": "paused"})
    assert client.asked[0] == ("change_queue", {"action": "pause", "name": "q"})


def test_a_purge_goes_on_until_nothing_is_left_but_not_for_ever(
    site: Site, client: ScriptedClient
) -> None:
    client.answers["cancel_tasks"] = {"cancelled": 2_000, "more": 5}

    status, told = site.ask("POST", "/v1/queues/purge?name=q")

    rounds = len(client.asked)
    assert (status, told) == (200, {"name": "q", "cancelled": rounds * 2_000, "more": 5})
    assert 1 < rounds <= 100


def test_what_the_broker_refuses_an_admin_is_told_in_its_words(
    site: Site, client: ScriptedClient
) -> None:
    client.answers["change_queue"] = RejectedError("bad_question", "there is no queue 'x'")

    status, told = site.ask("POST", "/v1/queues/pause?name=x")

    assert (status, told["code"]) == (409, "not_done")
    assert "there is no queue 'x'" in told["message"]


def test_versions_of_gateway_and_broker_are_told(site: Site, client: ScriptedClient) -> None:
    told = {"paintmq": "9.9", "protocol": 7, "incarnation": 1}
    client.answers["version"] = told

    assert site.ask("GET", "/v1/version")[1].items() >= {"broker": "9.9", "protocol": 7}.items()


def test_without_webhooks_a_task_that_names_one_is_refused(
    site: Site, client: ScriptedClient
) -> None:
    status, told = site.ask("POST", "/v1/tasks", b'{"model": "x", "webhook": "https://h.example"}')

    assert (status, told["code"], client.submitted) == (422, "webhook", [])
    assert site.ask("GET", "/v1/webhooks/secret")[0] == 404


def test_another_users_dead_letters_do_not_exist(site: Site, client: ScriptedClient) -> None:
    client.answers["tasks"] = {"tasks": [row(), row(id="b" * 32)], "more": 0}
    site.caller = Caller(name="bert", owner="b" * 12)

    assert [each["id"] for each in site.ask("GET", "/v1/dead")[1]["tasks"]] == ["b" * 32]
    assert client.asked[0][1]["mark"] == "b" * 12
    for path in (f"/v1/dead/{ID}", f"/v1/tasks/{ID}/why", f"/v1/tasks/{ID}/preview"):
        assert site.ask("GET", path)[0] == 404


def test_the_document_tells_of_every_route_and_no_other(site: Site) -> None:
    routes = {
        (route.path, method.lower())
        for route in app_for(site.client).routes
        for method in getattr(route, "methods", None) or ()
        if method != "HEAD" and is_v1(route.path)
    }
    status, told = site.ask("GET", "/v1/openapi.json")

    assert status == 200
    described = {(path, method) for path, each in told["paths"].items() for method in each}
    assert described - {("/v1/me", "get")} == routes
    states = told["components"]["schemas"]["Task"]["properties"]["state"]["enum"]
    assert states == [each.value for each in TaskState]
    fields = told["components"]["schemas"]["NewTask"]["properties"]
    assert set(fields) == set(TaskFields.__struct_fields__)
    assert b"/v1/tasks/{id}/why" in site.ask("GET", "/v1/docs")[1]


def is_v1(path: str) -> bool:
    return path.startswith("/v1/") and path not in ("/v1/openapi.json", "/v1/docs")
