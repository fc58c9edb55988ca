"""IOPaint's API as its page uses it, and socket.io as its page and as programs do."""

import base64
import threading
from typing import Any

import numpy as np
import pytest
import socketio
from PIL import Image, PngImagePlugin
from tests.harness.api_site import ApiSite, file_of, pixels_in

from paintmq.gateway.apis.pictures import BRUSH
from paintmq.testing.example_inputs import make_picture

pytestmark = pytest.mark.slow

BASE = "/api/v1"
PICTURE = make_picture((60, 80), seed=5)
MASK = np.zeros((60, 80, 4), np.uint8)
MASK[20:30, 20:40] = BRUSH
HOLE = MASK[:, :, 3] > 0


def address_of(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def painted(site: ApiSite, **fields: Any) -> Any:
    asked = {"image": address_of(file_of(PICTURE)), "mask": address_of(file_of(MASK))}
    return site.ask("POST", f"{BASE}/inpaint", asked | {"sd_seed": -1} | fields)


@pytest.fixture(autouse=True)
def _eraser(site: ApiSite) -> None:
    assert site.ask("POST", f"{BASE}/model", {"name": "cv2"}).status == 200


def test_the_page_is_told_models_and_only_plugins_that_it_knows(site: ApiSite) -> None:
    told = site.ask("GET", f"{BASE}/server-config").json

    models = {each["name"]: each for each in told["modelInfos"]}
    assert {"cv2", "words"} <= set(models)
    assert (models["cv2"]["model_type"], models["cv2"]["need_prompt"]) == ("inpaint", False)
    assert models["words"]["need_prompt"]
    assert {each["name"] for each in told["plugins"]} == {"RemoveBG"}
    assert (told["removeBGModel"], told["removeBGModels"]) == ("seeker", ["seeker"])
    assert told["realesrganModels"] == []
    assert "DPM++ 2M" in told["samplers"]
    assert (told["enableFileManager"], told["disableModelSwitch"]) == (True, False)


def test_a_model_is_switched_and_an_unknown_one_refused_while_the_old_one_stays(
    site: ApiSite,
) -> None:
    switched = site.ask("POST", f"{BASE}/model", {"name": "words"})
    refused = site.ask("POST", f"{BASE}/model", {"name": "nope"})

    assert switched.json["name"] == "words"
    assert (refused.status, "nope" in refused.json["errors"]) == (404, True)
    assert site.ask("GET", f"{BASE}/model").json["name"] == "words"


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_the_answer_has_the_format_of_the_bytes_whatever_type_is_declared(
    site: ApiSite, format: str
) -> None:
    data = file_of(PICTURE, format)

    answer = painted(site, image=address_of(data, "application/octet-stream"))

    assert (answer.status, answer.headers["content-type"]) == (200, f"image/{format.lower()}")
    assert int(answer.headers["x-seed"]) >= 0
    assert pixels_in(answer.body).shape == PICTURE.shape


def test_nothing_outside_the_mask_changes_and_alpha_stays(site: ApiSite) -> None:
    alpha = np.full((60, 80), 77, np.uint8)

    answer = painted(site, image=address_of(file_of(np.dstack([PICTURE, alpha]))), cv2_radius=3)

    made = pixels_in(answer.body)
    assert np.array_equal(made[~HOLE][:, :3], PICTURE[~HOLE])
    assert not np.array_equal(made[HOLE][:, :3], PICTURE[HOLE])
    assert np.array_equal(made[:, :, 3], alpha)


def test_a_turned_picture_comes_back_upright(site: ApiSite, tmp_path: Any) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(PICTURE)).save(tmp_path / "turned.png", exif=exif)

    answer = painted(site, image=address_of((tmp_path / "turned.png").read_bytes()))

    assert np.array_equal(pixels_in(answer.body)[~HOLE], PICTURE[~HOLE])


def test_an_empty_mask_gives_the_picture_back_and_its_words_stay_with_it(
    site: ApiSite, tmp_path: Any
) -> None:
    words = PngImagePlugin.PngInfo()
    words.add_text("parameters", "a cat\nNegative prompt: dogs\nSteps: 5")
    Image.fromarray(PICTURE).save(tmp_path / "words.png", pnginfo=words)
    data = (tmp_path / "words.png").read_bytes()

    answer = painted(site, image=address_of(data), mask=address_of(file_of(MASK * 0)))
    form = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
    told = site.ask(
        "POST", f"{BASE}/gen-info", form + answer.body + b"\r\n--x--\r\n",
        content_type="multipart/form-data; boundary=x",
    )  # fmt: skip

    assert np.array_equal(pixels_in(answer.body), PICTURE)
    assert told.json == {"prompt": "a cat", "negative_prompt": "dogs"}


def test_the_cropper_limits_what_is_painted_to_its_box(site: ApiSite) -> None:
    site.ask("POST", f"{BASE}/model", {"name": "words"})
    box = {"croper_x": -5, "croper_y": 0, "croper_width": 35, "croper_height": 60}

    inside = pixels_in(painted(site, use_croper=True, **box).body)
    ignored = pixels_in(painted(site, use_croper=False, **box).body)

    assert np.array_equal(inside[:, 30:], PICTURE[:, 30:])
    assert not np.array_equal(inside[20:30, 20:30], PICTURE[20:30, 20:30])
    assert not np.array_equal(ignored[20:30, 30:40], PICTURE[20:30, 30:40])


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"image": "%%"}, 400, "base64"),
        ({"image": address_of(b"no picture")}, 400, "image"),
        ({"mask": address_of(file_of(MASK[:10]))}, 400, "80 x 10"),
        ({"mask": None}, 422, "mask"),
        ({"cv2_radius": "wide"}, 422, "cv2_radius"),
        ({"cv2_radius": -1}, 400, "radius"),
    ],
    ids=range(6),
)
def test_the_page_is_told_in_words_what_is_wrong(
    site: ApiSite, fields: dict[str, Any], status: int, words: str
) -> None:
    answer = painted(site, **fields)

    assert (answer.status, words in answer.json["errors"]) == (status, True), answer.body
    assert painted(site).status == 200


def test_plugins_cut_out_and_mark_what_is_in_front(site: ApiSite) -> None:
    asked = {"name": "RemoveBG", "image": address_of(file_of(PICTURE)), "scale": 1, "clicks": []}

    cut = site.ask("POST", f"{BASE}/run_plugin_gen_image", asked)
    mask = site.ask("POST", f"{BASE}/run_plugin_gen_mask", asked)
    unknown = site.ask("POST", f"{BASE}/run_plugin_gen_image", asked | {"name": "Nope"})
    switched = site.ask(
        "POST", f"{BASE}/switch_plugin_model", {"plugin_name": "RemoveBG", "model_name": "seeker"}
    )

    assert pixels_in(cut.body).shape == (60, 80, 4)
    marked = pixels_in(mask.body)
    assert (marked[:, :44] == BRUSH).all(), "4 pixels wider than the left half"
    assert not marked[:, 44:].any()
    assert (unknown.status, bool(unknown.json["errors"])) == (422, True)
    assert (switched.status, switched.json) == (200, None)


@pytest.mark.parametrize(("operate", "area"), [("expand", 14 * 24), ("shrink", 6 * 16)])
def test_masks_are_made_wider_and_narrower(site: ApiSite, operate: str, area: int) -> None:
    asked = {"mask": address_of(file_of(MASK)), "operate": operate, "kernel_size": 2}

    answer = site.ask("POST", f"{BASE}/adjust_mask", asked)

    marked = pixels_in(answer.body)[:, :, 3] > 0
    assert abs(int(marked.sum()) - area) <= 8, "an ellipse leaves out corners"


def test_files_are_listed_shown_and_saved_in_the_opened_folders_alone(site: ApiSite) -> None:
    listed = site.ask("GET", f"{BASE}/medias?tab=input").json
    whole = site.ask("GET", f"{BASE}/media_file?tab=input&filename=photo.png")
    small = site.ask(
        "GET", f"{BASE}/media_thumbnail_file?tab=input&filename=photo.png&width=20&height=20"
    )

    assert [(each["name"], each["width"], each["height"]) for each in listed] == [
        ("photo.png", 80, 60)
    ], "a link is no file of the folder"
    assert whole.headers["content-type"] == "image/png"
    assert pixels_in(small.body).shape == (15, 20, 3)
    form = b'--x\r\nContent-Disposition: form-data; name="file"; filename="%s"\r\n\r\n'
    for name, status in ((b"a.png", 200), (b"a.png", 200), (b"../b.png", 404), (b"c.sh", 404)):
        saved = site.ask(
            "POST", f"{BASE}/save_image", form % name + whole.body + b"\r\n--x--\r\n",
            content_type="multipart/form-data; boundary=x",
        )  # fmt: skip
        assert saved.status == status, saved.body
    names = {each["name"] for each in site.ask("GET", f"{BASE}/medias?tab=output").json}
    assert names == {"a.png", "a_1.png"}


@pytest.mark.parametrize(
    "name", ["..%2F..%2Fetc%2Fpasswd", "secret.png", "%2Fetc%2Fpasswd", ".png", "", "a%00.png"]
)
def test_no_name_leads_out_of_the_folder(site: ApiSite, name: str) -> None:
    answer = site.ask("GET", f"{BASE}/media_file?tab=input&filename={name}")

    assert (answer.status, bool(answer.json["errors"])) == (404, True)


@pytest.mark.parametrize("transports", [["polling"], ["websocket"], None])
def test_a_socket_hears_how_far_its_callers_work_is(
    site: ApiSite, transports: list[str] | None
) -> None:
    pytest.importorskip("requests", reason="socket.io's client needs it (group clients)")
    if transports != ["polling"]:
        pytest.importorskip("websocket", reason="socket.io's client needs websocket-client")
    site.ask("POST", f"{BASE}/model", {"name": "words"})
    steps: list[int] = []
    finished = threading.Event()
    client = socketio.Client()
    client.on("diffusion_progress", lambda told: steps.append(told["step"]))
    client.on("diffusion_finish", finished.set)
    headers = {"authorization": f"Bearer {site.token}"}
    client.connect(site.address, headers=headers, transports=transports, wait_timeout=30)
    try:
        assert painted(site, sd_steps=20).status == 200
        assert finished.wait(30)
    finally:
        client.disconnect()
    assert steps == sorted(steps)
    assert max(steps, default=19) == 19, "the page's bar is full at the end"


def test_a_socket_without_a_token_is_refused(site: ApiSite) -> None:
    for query in ("", "&sid=guessed", "&sid="):
        path = f"/socket.io/?EIO=4&transport=polling{query}"
        assert site.ask("GET", path, authorization="").status == 401


def test_without_its_wheel_the_page_says_how_to_get_it_and_strangers_sign_in_first(
    site: ApiSite,
) -> None:
    page = site.ask("GET", "/")
    stranger = site.ask("GET", "/", authorization="", accept="text/html")

    assert page.headers["content-type"].startswith("text/html")
    assert "blob:" in page.headers["content-security-policy"]
    assert (stranger.status, stranger.headers["location"]) == (303, "/login?next=%2F")
    for name in ("..%2Fapi.py", "x.js", ".env"):
        assert site.ask("GET", f"/assets/{name}").status == 404
