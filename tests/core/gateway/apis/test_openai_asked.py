"""What a request of OpenAI's images API asks for."""

import asyncio
import base64
import json
from typing import Any

import numpy as np
import pytest

pytest.importorskip("starlette", reason="needs paintmq[http]")

from starlette.requests import Request

from paintmq.gateway.apis.cards import ModelCard
from paintmq.gateway.apis.faults import ApiError
from paintmq.gateway.apis.openai.asked import Asked, asked_of, read_request
from paintmq.gateway.apis.openai.plan import plan_edit, plan_generation, plan_variation
from paintmq.image import encode_image

PICTURE = encode_image(np.full((20, 30, 3), 9, np.uint8))
INPUTS: dict[str, dict[str, Any]] = {
    "image": {"kind": "image", "required": True},
    "mask": {"kind": "mask", "required": True},
}
ERASER = ModelCard(name="eraser", inputs=INPUTS, options={"radius": {}})
PAINTER = ModelCard(
    name="painter",
    inputs=INPUTS,
    options={
        "prompt": {},
        "seed": {},
        "strength": {},
        "steps": {"default": 50},
        "preview_every": {},
    },
)
ENLARGER = ModelCard(
    name="enlarger", inputs={"image": INPUTS["image"]}, options={"scale": {"default": 2.0}}
)
MAKER = ModelCard(name="maker", options={"prompt": {}, "width": {}, "height": {}})


def sent(body: bytes, kind: str) -> Asked:
    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    scope = {"type": "http", "method": "POST", "headers": [(b"content-type", kind.encode())]}
    return asyncio.run(read_request(Request(scope, receive)))


def form(*parts: tuple[str, bytes]) -> tuple[bytes, str]:
    """Return a multipart body of (headers after the disposition, content)."""
    body = b"".join(
        b"--x\r\nContent-Disposition: form-data; " + head.encode() + b"\r\n\r\n" + data + b"\r\n"
        for head, data in parts
    )
    return body + b"--x--\r\n", "multipart/form-data; boundary=x"


def test_a_form_is_read_in_any_order_by_its_bytes() -> None:
    asked = sent(
        *form(
            ('name="mask"; filename="upload"\r\nContent-Type: application/octet-stream', PICTURE),
            ('name="n"', b"2"),
            ('name="image[]"; filename="upload"\r\nContent-Type: image/jpeg', PICTURE),
            ('name="stream"', b"true"),
            ('name="radius"', b"5"),
            ('name="size"', b"auto"),
            ('name="quality"', b"high"),
        )
    )

    assert (asked.images, asked.mask) == ((PICTURE,), PICTURE)
    assert (asked.n, asked.stream, asked.size) == (2, True, None)
    assert asked.options == {"radius": 5}


@pytest.mark.parametrize("key", ["image", "images", "image[]"])
def test_json_holds_pictures_in_base64(key: str) -> None:
    text = base64.b64encode(PICTURE).decode()
    body = {key: [{"image_url": f"data:image/png;base64,{text}"}], "mask": text, "n": None}

    asked = sent(json.dumps(body).encode(), "application/json")

    assert (asked.images, asked.mask, asked.n) == ((PICTURE,), PICTURE, 1)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"[" * 100_000, None),
        (b"[]", None),
        (b'{"image": "http://example.org/a.png"}', "image"),
        (b'{"image": {"image_url": 5}}', "image"),
        (b'{"n": true}', "n"),
        (b'{"n": 2.5}', "n"),
        (b'{"n": "' + b"9" * 5000 + b'"}', "n"),
        (b'{"size": "99999999999999999999x1"}', "size"),
        (b'{"size": "-1x5"}', "size"),
        (b'{"size": 5}', "size"),
        (b'{"prompt": ["x"]}', "prompt"),
        (b'{"stream": "perhaps"}', "stream"),
        (b'{"partial_images": 9}', "partial_images"),
        (b'{"response_format": "file"}', "response_format"),
    ],
    ids=range(14),
)
def test_what_is_wrong_is_named(body: bytes, param: str | None) -> None:
    with pytest.raises(ApiError) as error:
        sent(body, "application/json")

    assert (error.value.status, error.value.param) == (400, param)


def test_a_picture_that_is_no_file_and_files_of_other_names_are_refused() -> None:
    for head in ('name="image"', 'name="photo"; filename="a.png"'):
        with pytest.raises(ApiError):
            sent(*form((head, PICTURE)))
    with pytest.raises(ApiError, match="multipart"):
        sent(PICTURE, "image/png")


# ---- what is to be done --------------------------------------------------------------------------


def holes(*, filled: bool = True) -> bytes:
    pixels = np.full((20, 30, 4), 255, np.uint8)
    pixels[5:9, 5:9, 3] = 0 if filled else 1
    return encode_image(pixels)


def test_a_model_without_seeds_runs_once_however_many_are_asked_for() -> None:
    asked = Asked(n=4, images=(PICTURE,), mask=holes(), options={"radius": 3})

    plan = plan_edit(ERASER, asked)

    assert (len(plan.tasks), plan.copies, plan.size) == (1, 4, (30, 20))
    assert plan.tasks[0].options == {"radius": 3}
    assert np.count_nonzero(np.asarray(plan.tasks[0].inputs["mask"])) == 16


def test_seeds_count_up_from_one_that_is_drawn() -> None:
    asked = Asked(n=3, images=(PICTURE,), mask=holes(), prompt="red", options={"seed": -1})

    seeds = [task.options["seed"] for task in plan_edit(PAINTER, asked).tasks]

    assert isinstance(seeds[0], int)
    assert seeds[0] >= 0
    assert seeds == [seeds[0], seeds[0] + 1, seeds[0] + 2]


def test_previews_are_spread_over_the_steps_of_a_stream() -> None:
    asked = Asked(images=(PICTURE,), mask=holes(), stream=True, partial_images=3)

    assert plan_edit(PAINTER, asked).tasks[0].options["preview_every"] == 12


def test_the_size_of_an_enlarger_says_how_large() -> None:
    plan = plan_edit(ENLARGER, Asked(images=(PICTURE,), size=(90, 60)))

    assert plan.tasks[0].options == {"scale": 3.0}
    assert plan.size == (90, 60)
    assert plan_edit(ENLARGER, Asked(images=(PICTURE,))).size == (60, 40)
    for size in ((90, 90), (15, 10), (300, 200)):
        with pytest.raises(ApiError, match="size"):
            plan_edit(ENLARGER, Asked(images=(PICTURE,), size=size))


def test_words_alone_are_painted_on_an_empty_canvas_or_by_a_model_that_needs_none() -> None:
    on_canvas = plan_generation(PAINTER, Asked(prompt="red"), (64, 32)).tasks[0]
    alone = plan_generation(MAKER, Asked(prompt="red", size=(96, 48)), (64, 32)).tasks[0]

    assert np.asarray(on_canvas.inputs["image"]).shape == (32, 64, 3)
    assert np.asarray(on_canvas.inputs["mask"]).min() == 255
    assert alone.options == {"prompt": "red", "width": 96, "height": 48}
    assert alone.inputs == {}


def test_a_variation_repaints_part_of_the_whole_picture() -> None:
    task = plan_variation(PAINTER, Asked(images=(PICTURE,))).tasks[0]

    assert task.options["strength"] == 0.6
    assert np.asarray(task.inputs["mask"]).min() == 255


@pytest.mark.parametrize(
    ("make", "param"),
    [
        (lambda: plan_edit(ERASER, Asked()), "image"),
        (lambda: plan_edit(ERASER, Asked(images=(PICTURE,))), "mask"),
        (lambda: plan_edit(ERASER, Asked(images=(PICTURE,), mask=holes(filled=False))), "mask"),
        (lambda: plan_edit(ENLARGER, Asked(images=(PICTURE,), mask=holes())), "mask"),
        (lambda: plan_edit(MAKER, Asked(images=(PICTURE,))), "model"),
        (lambda: plan_generation(ERASER, Asked(prompt="red"), (64, 64)), "model"),
        (lambda: plan_generation(PAINTER, Asked(), (64, 64)), "prompt"),
        (lambda: plan_variation(ERASER, Asked(images=(PICTURE,))), "model"),
        (lambda: plan_variation(PAINTER, Asked(images=(PICTURE,), size=(9, 9))), "size"),
    ],
    ids=range(9),
)
def test_what_a_model_cannot_do_is_refused_before_anything_runs(make: Any, param: str) -> None:
    with pytest.raises(ApiError) as error:
        make()

    assert error.value.param == param


def test_parameters_are_read_as_numbers_whether_they_come_as_texts_or_not() -> None:
    assert asked_of({"n": "3", "output_compression": 0}).n == 3
    assert asked_of({"output_compression": 0}).quality == 1
