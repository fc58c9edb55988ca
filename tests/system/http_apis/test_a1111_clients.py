"""AUTOMATIC1111's API: two PyPI clients of it, and what they would not send."""

import base64
import threading
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.harness.api_site import ApiSite, file_of, pixels_in
from tests.harness.words_model import colour_of

from paintmq.testing.example_inputs import make_picture

pytestmark = pytest.mark.slow

BASE = "/sdapi/v1"
PICTURE = make_picture((60, 80), seed=4)
MASK = np.zeros((60, 80, 3), np.uint8)
MASK[20:30, 20:40] = 255
HOLE = MASK[:, :, 0] == 255


def text_of(pixels: Any) -> str:
    return base64.b64encode(file_of(pixels)).decode()


def painted(site: ApiSite, **fields: Any) -> Any:
    asked = {"init_images": [text_of(PICTURE)], "mask": text_of(MASK), "mask_blur": 4}
    return site.ask("POST", f"{BASE}/img2img", asked | fields)


def with_model(name: str) -> dict[str, Any]:
    return {"override_settings": {"sd_model_checkpoint": name}}


def test_webuiapi_finds_models_and_erases(site: ApiSite) -> None:
    webuiapi = pytest.importorskip("webuiapi", reason="needs webuiapi (group clients)")
    api = webuiapi.WebUIApi(host="localhost", port=site.port)
    api.set_auth("anybody", site.token)

    api.util_set_model("opencv", find_closest=False)
    result = api.img2img(
        images=[Image.fromarray(PICTURE)], mask_image=Image.fromarray(MASK), prompt=""
    )

    assert api.util_get_current_model() == "opencv"
    assert {"opencv", "words"} <= set(api.util_get_model_names())
    made = np.array(result.image)
    assert np.array_equal(made[~HOLE], PICTURE[~HOLE])
    assert not np.array_equal(made[HOLE], PICTURE[HOLE])
    assert api.get_progress()["state"]["job_count"] == 0
    api.util_wait_for_ready(check_interval=0.1)
    words = api.txt2img(
        prompt="red", seed=9, width=64, height=32, batch_size=2,
        override_settings={"sd_model_checkpoint": "words"},
    )  # fmt: skip
    colours = [tuple(np.array(each)[0, 0]) for each in words.images]
    assert colours == [colour_of(9), colour_of(10)]
    assert api.util_get_current_model() == "opencv"
    with pytest.raises(RuntimeError, match="nothing from words"):
        api.txt2img(prompt="red")


def test_sd_backend_client_takes_it_for_a_webui_and_believes_its_answers(site: ApiSite) -> None:
    client = pytest.importorskip("sd_backend_client", reason="needs it (group clients)")
    found = client.connect_to_backend(
        site.address, credentials_provider=lambda: ("anybody", site.token)
    )

    assert isinstance(found, client.A1111Webservice)
    assert "words" in {model.model_name for model in found.get_models()}
    found.set_config({"sd_model_checkpoint": "opencv"})
    result = found.img2img(Image.fromarray(PICTURE), Image.fromarray(MASK))
    made = np.array(result["images"][0].convert("RGB"))
    assert np.array_equal(made[~HOLE], PICTURE[~HOLE])
    found.disconnect()


@pytest.mark.parametrize(
    "route",
    [
        "sd-models", "samplers", "schedulers", "upscalers", "options", "progress", "scripts",
        "loras", "sd-vae", "hypernetworks", "prompt-styles", "face-restorers",
        "realesrgan-models", "latent-upscale-modes", "script-info", "embeddings", "cmd-flags",
        "memory",
    ],
)  # fmt: skip
def test_every_list_is_there_as_json(site: ApiSite, route: str) -> None:
    answer = site.ask("GET", f"{BASE}/{route}")

    assert answer.status == 200
    assert isinstance(answer.json, list | dict)


@pytest.mark.parametrize("route", ["interrupt", "skip", "refresh-checkpoints", "options"])
def test_routes_with_nothing_to_say_answer_null(site: ApiSite, route: str) -> None:
    answer = site.ask("POST", f"{BASE}/{route}", {"unknown_setting": 1})

    assert (answer.status, answer.json) == (200, None)


def test_the_info_has_every_key_and_the_seed_that_was_drawn(site: ApiSite) -> None:
    import json

    answer = painted(site, seed=-1, batch_size=2, **with_model("words")).json

    info = json.loads(answer["info"])
    assert {
        "prompt", "all_prompts", "negative_prompt", "all_negative_prompts", "seed", "all_seeds",
        "subseed", "all_subseeds", "subseed_strength", "width", "height", "sampler_name",
        "cfg_scale", "batch_size", "restore_faces", "sd_model_name", "sd_model_hash",
        "sd_vae_name", "sd_vae_hash", "seed_resize_from_w", "seed_resize_from_h",
        "denoising_strength", "extra_generation_params", "index_of_first_image", "infotexts",
        "styles", "job_timestamp", "clip_skip", "is_using_inpainting_conditioning", "version",
    } <= set(info)  # fmt: skip
    assert info["all_seeds"] == [info["seed"], info["seed"] + 1]
    assert info["seed"] >= 0
    assert len(answer["images"]) == 2
    assert set(answer["parameters"]).isdisjoint({"mask", "init_images"})


@pytest.mark.parametrize("invert", [0, 1])
def test_a_transparent_mask_counts_by_its_alpha_and_may_be_turned_round(
    site: ApiSite, invert: int
) -> None:
    mask = np.zeros((60, 80, 4), np.uint8)
    mask[20:30, 20:40, 3] = 255

    answer = painted(
        site, mask=text_of(mask), inpainting_mask_invert=invert, **with_model("opencv")
    )

    made = pixels_in(base64.b64decode(answer.json["images"][0]))
    changed = (made != PICTURE).any(axis=2)
    assert changed.any()
    assert not changed[~HOLE if invert == 0 else HOLE].any()


def test_an_empty_mask_and_unwanted_pictures_are_no_errors(site: ApiSite) -> None:
    same = painted(site, mask=text_of(MASK * 0), **with_model("opencv")).json
    none = painted(site, send_images=False, **with_model("opencv")).json

    assert np.array_equal(pixels_in(base64.b64decode(same["images"][0])), PICTURE)
    assert none["images"] == []


def test_pictures_are_resized_without_an_upscaler_to_exactly_what_is_asked(site: ApiSite) -> None:
    one = site.ask(
        "POST",
        f"{BASE}/extra-single-image",
        {
            "image": text_of(PICTURE), "upscaler_1": "None", "resize_mode": 1,
            "upscaling_resize_w": 101, "upscaling_resize_h": 99,
        },
    )  # fmt: skip
    many = site.ask(
        "POST",
        f"{BASE}/extra-batch-images",
        {"imageList": [{"data": text_of(PICTURE), "name": "a"}] * 2, "upscaling_resize": 1.5},
    )

    assert pixels_in(base64.b64decode(one.json["image"])).shape == (99, 101, 3)
    shapes = [pixels_in(base64.b64decode(each)).shape for each in many.json["images"]]
    assert shapes == [(90, 120, 3)] * 2


def test_running_work_is_seen_and_interrupted_and_the_next_request_is_not_touched(
    site: ApiSite,
) -> None:
    answers: list[Any] = []
    slow = with_model("slow-words") | {"steps": 400}
    assert site.ask("POST", f"{BASE}/interrupt", {}).status == 200
    running = threading.Thread(target=lambda: answers.append(painted(site, **slow)))
    running.start()
    seen: dict[str, Any] = {"progress": 0}
    while not seen["progress"]:
        seen = site.ask("GET", f"{BASE}/progress").json
    assert 0 < seen["progress"] < 1
    assert (seen["state"]["job_count"], seen["state"]["sampling_steps"]) == (1, 400)

    site.ask("POST", f"{BASE}/interrupt", {})
    running.join()

    assert answers[0].status == 200
    assert len(answers[0].json["images"]) == 1, "what there was"
    after = site.ask("GET", f"{BASE}/progress").json
    assert (after["progress"], after["state"]["job_count"]) == (0, 0)
    assert painted(site, **with_model("words")).status == 200


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        (with_model("nope"), 404, "nope"),
        (with_model("words") | {"sampler_name": "nope"}, 400, "Sampler not found"),
        ({"init_images": []}, 404, "Init image"),
        ({"init_images": ["%%"]}, 400, "base64"),
        ({"init_images": [base64.b64encode(b"x").decode()]}, 400, "init_images"),
        ({"steps": "many"}, 422, "steps"),
        ({"batch_size": 100}, 422, "batch_size"),
        ({"width": 10**9}, 422, "width"),
        (with_model("opencv") | {"mask": None}, 422, "mask"),
    ],
    ids=range(9),
)
def test_what_is_wrong_is_told_as_json(
    site: ApiSite, fields: dict[str, Any], status: int, words: str
) -> None:
    answer = painted(site, **fields)

    assert (answer.status, words in answer.json["detail"]) == (status, True), answer.body
    assert answer.json["errors"] == answer.json["detail"]


def test_what_a_sampler_is_called_means_nothing_to_a_model_without_one(site: ApiSite) -> None:
    assert painted(site, sampler_name="nope", **with_model("opencv")).status == 200


def test_an_unknown_model_is_refused_and_the_current_one_kept(site: ApiSite) -> None:
    chosen = site.ask("POST", f"{BASE}/options", {"sd_model_checkpoint": "opencv"})
    refused = site.ask("POST", f"{BASE}/options", {"sd_model_checkpoint": "nope"})

    assert (chosen.status, refused.status) == (200, 404)
    assert site.ask("GET", f"{BASE}/options").json["sd_model_checkpoint"] == "opencv"


def test_what_is_not_there_and_who_is_not_let_in_are_told_as_json(site: ApiSite) -> None:
    missing = site.ask("GET", "/controlnet/model_list")
    stranger = site.ask("GET", f"{BASE}/options", authorization="Bearer wrong")

    assert (missing.status, stranger.status) == (404, 401)
    assert missing.json
    assert stranger.json["detail"]
    assert stranger.headers["www-authenticate"].startswith("Basic")
