"""Two users at once, by each client's API: neither sees, stops or finds the other's work."""

import base64
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import socketio
from tests.harness.api_site import ApiSite, file_of

from paintmq.testing.example_inputs import make_picture

pytestmark = pytest.mark.slow

PICTURE = make_picture((60, 80), seed=5)
MASK = np.zeros((60, 80, 3), np.uint8)
MASK[20:30, 20:40] = 255
UNFINISHED = ("queued", "leased", "loading", "running")


@pytest.fixture(scope="module")
def anna(site: ApiSite) -> ApiSite:
    return site.user("anna")


@pytest.fixture(scope="module")
def bert(site: ApiSite) -> ApiSite:
    return site.user("bert")


def text_of(pixels: Any) -> str:
    return base64.b64encode(file_of(pixels)).decode()


def slow_work(user: ApiSite) -> Any:
    """Have 500 steps painted; returns when they are, or were interrupted."""
    asked = {
        "init_images": [text_of(PICTURE)],
        "mask": text_of(MASK),
        "steps": 500,
        "override_settings": {"sd_model_checkpoint": "slow-words"},
    }
    return user.ask("POST", "/sdapi/v1/img2img", asked)


def job_count(user: ApiSite) -> int:
    return int(user.ask("GET", "/sdapi/v1/progress").json["state"]["job_count"])


@contextmanager
def at_work(user: ApiSite) -> Iterator[Any]:
    """Run slow work meanwhile; it is interrupted at the end."""
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(slow_work, user)
        while not (job_count(user) and unfinished(user)):
            assert not running.done(), running.result().body
        yield running
        while not running.done():
            user.ask("POST", "/sdapi/v1/interrupt", {})


def unfinished(user: ApiSite) -> list[str]:
    rows = user.ask("GET", "/v1/tasks").json["tasks"]
    return [each["id"] for each in rows if each["state"] in UNFINISHED]


def test_progress_and_interrupt_are_ones_own_and_ids_of_others_lead_nowhere(
    anna: ApiSite, bert: ApiSite
) -> None:
    with at_work(anna) as running:
        [task] = unfinished(anna)

        assert job_count(bert) == 0
        told = bert.ask("GET", "/sdapi/v1/progress").json
        assert (told["progress"], told["current_image"]) == (0, None)
        for route in ("interrupt", "skip"):
            assert bert.ask("POST", f"/sdapi/v1/{route}", {}).status == 200
        assert unfinished(bert) == []
        for path in ("", "/result", "/result?wait=1", "/preview", "/why", "/ws"):
            for guess in (task, task.upper(), f" {task}", f"{task}%00", f"../tasks/{task}"):
                answer = bert.ask("GET", f"/v1/tasks/{guess.replace(' ', '%20')}{path}")
                assert answer.status in (404, 426), (path, guess, answer.body)
                assert b"slow-words" not in answer.body
        assert bert.ask("DELETE", f"/v1/tasks/{task}").status == 404
        assert bert.ask("GET", f"/v1/events?task={task}").status == 404

        assert not running.done(), "nothing of this has ended it"
        assert job_count(anna) == 1
    assert running.result().status == 200


def test_an_interrupt_of_one_leaves_the_other_at_work(anna: ApiSite, bert: ApiSite) -> None:
    with at_work(anna) as annas, ThreadPoolExecutor(1) as pool:
        berts = pool.submit(slow_work, bert)
        while not job_count(bert):
            assert not berts.done()

        while not berts.done():
            bert.ask("POST", "/sdapi/v1/interrupt", {})

        assert not annas.done()
        assert job_count(anna) == 1


def test_the_current_model_and_options_are_ones_own_in_both_apis(
    anna: ApiSite, bert: ApiSite
) -> None:
    for user, name in ((anna, "words"), (bert, "opencv")):
        asked = {"sd_model_checkpoint": name}
        assert user.ask("POST", "/sdapi/v1/options", asked).status == 200
    assert anna.ask("POST", "/api/v1/model", {"name": "slow-words"}).status == 200

    assert anna.ask("GET", "/sdapi/v1/options").json["sd_model_checkpoint"] == "words"
    assert bert.ask("GET", "/sdapi/v1/options").json["sd_model_checkpoint"] == "opencv"
    assert anna.ask("GET", "/api/v1/model").json["name"] == "slow-words"
    assert bert.ask("GET", "/api/v1/model").json["name"] != "slow-words"


def test_a_socket_hears_of_its_own_users_work_alone(anna: ApiSite, bert: ApiSite) -> None:
    pytest.importorskip("requests", reason="socket.io's client needs it (group clients)")
    heard: dict[str, list[str]] = {"anna": [], "bert": []}
    finished = threading.Event()
    clients = []
    for name, user in (("anna", anna), ("bert", bert)):
        client = socketio.Client()
        client.on("diffusion_progress", lambda told, name=name: heard[name].append("step"))
        client.on("diffusion_finish", lambda name=name: heard[name].append("finish"))
        if name == "anna":
            client.on("diffusion_finish", finished.set)
        headers = {"authorization": f"Bearer {user.token}"}
        client.connect(user.address, headers=headers, transports=["polling"], wait_timeout=50)
        clients.append(client)
    try:
        # To a room of hers by any name she might guess: the server takes no events of pages.
        for guess in ("anna", anna.token, "diffusion_progress"):
            clients[1].emit("join", guess)
            clients[1].emit("enter_room", {"room": guess})
        anna.ask("POST", "/api/v1/model", {"name": "words"})
        asked = {"image": text_of(PICTURE), "mask": text_of(MASK), "sd_seed": 1, "sd_steps": 20}
        assert anna.ask("POST", "/api/v1/inpaint", asked).status == 200
        assert finished.wait(50)
        # What is his comes after what would have been hers, on the same connection.
        bert.ask("POST", "/api/v1/model", {"name": "cv2"})
        assert bert.ask("POST", "/api/v1/inpaint", asked).status == 200
        while "finish" not in heard["bert"]:
            clients[1].sleep(0.01)
    finally:
        for client in clients:
            client.disconnect()
    assert heard["bert"] == ["finish"], "his own, and nothing of hers"


def test_saved_results_are_ones_own(anna: ApiSite, bert: ApiSite) -> None:
    form = b'--x\r\nContent-Disposition: form-data; name="file"; filename="hers.png"\r\n\r\n'
    saved = anna.ask(
        "POST", "/api/v1/save_image", form + file_of(PICTURE) + b"\r\n--x--\r\n",
        content_type="multipart/form-data; boundary=x",
    )  # fmt: skip
    assert saved.status == 200

    assert "hers.png" in [each["name"] for each in anna.ask("GET", medias("output")).json]
    assert "hers.png" not in [each["name"] for each in bert.ask("GET", medias("output")).json]
    for guess in ("hers.png", "anna/hers.png", "../anna/hers.png", "..%2Fanna%2Fhers.png"):
        for tab in ("output", "input", "output/../anna", "anna"):
            path = f"/api/v1/media_file?tab={tab}&filename={guess}"
            assert bert.ask("GET", path).status == 404
            thumb = path.replace("media_file", "media_thumbnail_file")
            assert bert.ask("GET", f"{thumb}&width=9&height=9").status == 404


def medias(tab: str) -> str:
    return f"/api/v1/medias?tab={tab}"


def test_an_address_of_a_result_cannot_be_guessed_and_another_users_list_is_empty_of_it(
    anna: ApiSite, bert: ApiSite
) -> None:
    asked = {"model": "words", "prompt": "red", "size": "64x64", "response_format": "url"}
    made = anna.ask("POST", "/openai/v1/images/generations", asked)
    assert made.status == 200, made.body
    path = made.json["data"][0]["url"].partition(f":{anna.port}")[2]

    assert bert.ask("GET", path, authorization="").status == 200, "whoever was given it"
    name = path.rpartition("/")[2]
    for guess in (name[:-5] + "a.png", name[1:], name.swapcase(), name[:-4], "*.png", ""):
        assert bert.ask("GET", path.replace(name, guess)).status == 404
    newest = anna.ask("GET", "/v1/tasks?limit=1").json["tasks"][0]["id"]
    assert newest not in bert.ask("GET", "/v1/tasks").body.decode()
