"""OpenAI's own Python package against our gateway."""

import base64
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tests.harness.api_site import ApiSite, file_of, pixels_in
from tests.harness.words_model import colour_of

from paintmq.testing.example_inputs import make_picture

openai = pytest.importorskip("openai", reason="needs the package openai (group clients)")

pytestmark = pytest.mark.slow

PICTURE = make_picture((60, 80), seed=3)
MASK = np.zeros((60, 80, 4), np.uint8)
MASK[:, :, 3] = 255
MASK[20:30, 20:40, 3] = 0
HOLE = MASK[:, :, 3] == 0


@pytest.fixture
def client(site: ApiSite) -> Iterator[Any]:
    with openai.OpenAI(base_url=f"{site.address}/openai/v1", api_key=site.token) as client:
        yield client


def edited(client: Any, **parameters: Any) -> Any:
    asked = {"image": file_of(PICTURE), "mask": file_of(MASK), "prompt": "", "model": "opencv"}
    return client.images.edit(**(asked | parameters))


def picture_in(answer: Any, number: int = 0) -> Any:
    return pixels_in(base64.b64decode(answer.data[number].b64_json))


def test_models_are_listed_and_found(client: Any) -> None:
    names = [model.id for model in client.models.list()]

    assert {"opencv", "words"} <= set(names)
    assert client.models.retrieve("opencv").id == "opencv"
    with pytest.raises(openai.NotFoundError) as error:
        client.models.retrieve("gpt-image-1")
    assert error.value.code == "model_not_found"


@pytest.mark.parametrize("under", [0, 255], ids=["black beneath", "white beneath"])
def test_a_picture_changes_where_its_mask_is_transparent_and_nowhere_else(
    client: Any, under: int
) -> None:
    mask = MASK.copy()
    mask[:, :, :3] = under

    answer = edited(client, mask=file_of(mask), extra_body={"radius": 5})

    result = picture_in(answer)
    assert np.array_equal(result[~HOLE], PICTURE[~HOLE])
    assert not np.array_equal(result[HOLE], PICTURE[HOLE])
    assert answer.size == "80x60"


def test_without_a_mask_the_holes_of_the_picture_itself_are_filled(client: Any) -> None:
    pierced = np.dstack([PICTURE, MASK[:, :, 3]])

    result = picture_in(client.images.edit(image=[file_of(pierced)], prompt="", model="opencv"))

    assert np.array_equal(result[~HOLE], PICTURE[~HOLE])
    assert result.shape == PICTURE.shape, "what was a hole is opaque"


def test_several_pictures_have_several_seeds(client: Any) -> None:
    answer = edited(client, model="words", prompt="red", n=3, extra_body={"seed": 7})

    colours = [tuple(picture_in(answer, number)[25, 30]) for number in range(3)]
    assert colours == [colour_of(7), colour_of(8), colour_of(9)]


def test_a_picture_is_painted_from_words_alone_in_the_size_asked_for(client: Any) -> None:
    answer = client.images.generate(
        prompt="red", model="words", size="96x64", output_format="jpeg", quality="high"
    )

    data = base64.b64decode(answer.data[0].b64_json)
    assert data.startswith(b"\xff\xd8\xff")
    assert pixels_in(data).shape == (64, 96, 3)


def test_an_address_can_be_read_without_the_key(client: Any, site: ApiSite) -> None:
    answer = edited(client, response_format="url", output_format="webp")

    path = answer.data[0].url.removeprefix(site.address)
    picture = site.ask("GET", path, authorization="")
    assert (picture.status, picture.headers["content-type"]) == (200, "image/webp")
    assert pixels_in(picture.body).shape == PICTURE.shape
    assert site.ask("GET", path[:-9] + "nope.webp", authorization="").status == 404


def test_a_stream_shows_pictures_on_the_way_and_ends_with_the_picture(client: Any) -> None:
    events = [
        *edited(
            client,
            model="words",
            stream=True,
            partial_images=2,
            extra_body={"steps": 6, "step_seconds": 0.2, "seed": 5},
        )
    ]

    kinds = [event.type for event in events]
    assert kinds[-1] == "image_edit.completed"
    assert set(kinds[:-1]) == {"image_edit.partial_image"}, "a preview was shown"
    assert [event.partial_image_index for event in events[:-1]] == [*range(len(events) - 1)]
    result = pixels_in(base64.b64decode(events[-1].b64_json))
    assert tuple(result[25, 30]) == colour_of(5)


def test_an_error_in_the_middle_of_a_stream_is_raised(client: Any) -> None:
    events = edited(client, model="opencv", stream=True, extra_body={"radius": -3})

    with pytest.raises(openai.APIError, match="radius"):
        list(events)


@pytest.mark.parametrize(
    ("parameters", "error", "param"),
    [
        ({"model": "gpt-image-1"}, "NotFoundError", "model"),
        ({"size": "32x32"}, "BadRequestError", "size"),
        ({"size": "huge"}, "BadRequestError", "size"),
        ({"n": 0}, "BadRequestError", "n"),
        ({"n": 11}, "BadRequestError", "n"),
        ({"image": b"no picture"}, "BadRequestError", "image"),
        ({"image": file_of(PICTURE)[:900]}, "BadRequestError", "image"),
        ({"image": [file_of(PICTURE), file_of(PICTURE)]}, "BadRequestError", "image"),
        ({"mask": file_of(MASK[:10])}, "BadRequestError", "mask"),
        ({"mask": file_of(PICTURE)}, "BadRequestError", "mask"),
        ({"extra_body": {"radios": 3}}, "BadRequestError", "radios"),
        ({"extra_body": {"radius": -3}}, "BadRequestError", None),
        ({"output_format": "gif"}, "BadRequestError", "output_format"),
        ({"background": "transparent"}, "BadRequestError", "background"),
    ],
)
def test_what_is_wrong_is_named_and_not_tried_again(
    client: Any, parameters: dict[str, Any], error: str, param: str | None
) -> None:
    with pytest.raises(getattr(openai, error)) as raised:
        edited(client, **parameters)

    assert raised.value.param == param
    assert raised.value.message


def test_a_wrong_key_is_an_authentication_error(site: ApiSite) -> None:
    with (
        openai.OpenAI(base_url=f"{site.address}/openai/v1", api_key="wrong") as client,
        pytest.raises(openai.AuthenticationError) as error,
    ):
        client.models.list()
    assert error.value.code == "invalid_api_key"


def test_a_client_that_gives_up_has_its_task_cancelled(client: Any, site: ApiSite) -> None:
    slow = {"steps": 400, "step_seconds": 0.1}
    before = cancelled(site)

    with pytest.raises(openai.APITimeoutError):
        edited(client.with_options(timeout=2.0, max_retries=0), model="words", extra_body=slow)

    while cancelled(site) == before:
        pass


def cancelled(site: ApiSite) -> int:
    queues = site.ask("GET", "/v1/statistics").json["queues"].values()
    return sum(queue["cancelled"] for queue in queues)
