"""Where a task stands, its cancelling, and lists of tasks."""

import pytest

from paintmq.errors import (
    RejectedError,
    TaskFailedError,
    TaskUnknownError,
)
from paintmq.task import TaskState

pytest.importorskip("starlette", reason="needs paintmq[http]")

from tests.harness.scripted_gateway import (
    ID,
    ScriptedClient,
    Site,
    row,
)


def test_a_task_somebody_else_handed_in_is_asked_for_once(
    site: Site, client: ScriptedClient
) -> None:
    for _ in range(2):
        assert site.ask("GET", f"/v1/tasks/{ID}")[0] == 200

    assert client.fetched == [ID]


def test_a_task_nobody_knows_is_not_found(site: Site, client: ScriptedClient) -> None:
    client.handle.outcome = TaskUnknownError(ID, None, "unknown", "never heard of it")
    client.answers["dead_show"] = RejectedError("invalid_question", "no task: never accepted")

    for path in ("", "/result", "/preview"):
        assert site.ask("GET", f"/v1/tasks/{ID}{path}")[0] == 404


@pytest.mark.parametrize(("answer", "status"), [("cancelled", 200), ("unknown", 404)])
def test_cancelling_tells_what_became_of_it(
    site: Site, client: ScriptedClient, answer: str, status: int
) -> None:
    client.answer = answer

    assert site.ask("DELETE", f"/v1/tasks/{ID}") == (status, {"answer": answer})


def test_a_broker_that_does_not_answer_is_a_timeout(site: Site) -> None:
    assert site.ask("GET", "/v1/health")[0] == 504
    assert site.ask("GET", "/v1/models") == (200, {"subject": "models"})
    assert site.ask("GET", "/v1/statistics") == (200, {"subject": "statistics"})


def test_a_task_that_waits_tells_its_place_in_line(site: Site, client: ScriptedClient) -> None:
    workers = [
        {"verdict": "busy", "free_in": 2.0},
        {"verdict": "busy", "free_in": 4.0},
        {"verdict": "unfit", "free_in": 0.0},
    ]
    explanation = {"position": 3, "backlog": 7, "workers": workers}
    client.answers["why"] = {"explanation": explanation, "waiting_for": "a worker"}

    _, told = site.ask("GET", f"/v1/tasks/{ID}")

    assert (told["position"], told["backlog"], told["waiting_for"]) == (3, 7, "a worker")
    assert told["starts_in"] == 5.0, "one round of all workers, then the first that is free"
    client.answers["why"] = {"explanation": {**explanation, "workers": workers[2:]}}
    assert site.ask("GET", f"/v1/tasks/{ID}")[1]["starts_in"] is None


def test_how_a_task_ended_is_told_without_its_result(site: Site, client: ScriptedClient) -> None:
    error = {"code": "model_error", "message": "no", "retryable": False}
    client.answers["dead_show"] = row(state="failed", error=error)

    status, told = site.ask("GET", f"/v1/tasks/{ID}")

    assert (status, told["state"]) == (200, "failed")
    assert told["error"] == {"code": "model_error", "message": "no"}
    assert client.fetched == []


def test_a_followed_task_tells_its_error_too(site: Site, client: ScriptedClient) -> None:
    site.ask("POST", "/v1/tasks", b'{"model": "x"}')
    assert site.ask("GET", f"/v1/tasks/{ID}")[1]["error"] is None

    client.handle.outcome = TaskFailedError(ID, TaskState.FAILED, "model_error", "no")

    (task_id,) = site.followed._handles
    told = site.ask("GET", f"/v1/tasks/{task_id}")[1]
    assert told["error"] == {"code": "model_error", "message": "no"}


def test_tasks_are_listed_page_by_page_newest_first(site: Site, client: ScriptedClient) -> None:
    rows = [row(id=f"{number:032x}") for number in range(5)]
    client.answers["tasks"] = {"tasks": rows, "more": 0}

    _, first = site.ask("GET", "/v1/tasks?limit=2&state=queued&model=toy")
    _, second = site.ask("GET", f"/v1/tasks?limit=2&before={first['next']}")
    _, third = site.ask("GET", f"/v1/tasks?limit=2&before={second['next']}")

    seen = [each["id"] for each in (*first["tasks"], *second["tasks"], *third["tasks"])]
    assert seen == [each["id"] for each in reversed(rows)]
    assert third["next"] is None
    assert "owner" not in first["tasks"][0], "the gateway's own key"
    subject, asked = client.asked[0]
    assert (subject, asked["state"], asked["model"]) == ("tasks", "queued", "toy")


@pytest.mark.parametrize("query", ["state=odd", "limit=0", "limit=x", "limit=1001", "colour=red"])
def test_a_list_that_cannot_be_had_is_refused(
    site: Site, client: ScriptedClient, query: str
) -> None:
    client.answers["tasks"] = {"tasks": [], "more": 0}

    assert site.ask("GET", f"/v1/tasks?{query}")[0] == 400
