"""Our own page in a browser: each thing a person does with it."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.harness.api_site import ApiSite, api_site, file_of, pixels_in
from tests.harness.words_model import colour_of

from paintmq.testing.example_inputs import make_picture

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (group clients)")
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="needs chromium"),
]

PICTURE = make_picture((300, 400), seed=8)


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiSite]:
    with api_site(tmp_path_factory.mktemp("studio"), ["v1", "studio"]) as started:
        yield started


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        launched = started.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def page(browser: Any, studio: ApiSite, tmp_path: Path) -> Iterator[Any]:
    """Return the page, signed in; whatever its console says fails the test."""
    said: list[str] = []
    context = browser.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    page = context.new_page()
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("console", lambda told: said.append(told.text) if told.type == "error" else None)
    page.goto(studio.address)
    page.fill("#token", studio.token)
    page.click("button")
    page.wait_for_url("**/studio/")
    page.wait_for_selector("#model option:checked", state="attached")
    yield page
    if folder := os.environ.get("SCREENSHOTS"):  # to be looked at by people
        page.screenshot(path=str(Path(folder) / f"{tmp_path.name}.png"))
    context.close()
    assert said == []


def choose(page: Any, tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(file_of(PICTURE))
    page.set_input_files("#file", tmp_path / "photo.png")
    page.wait_for_selector("#view:visible")


def stroke(page: Any, fall: int = 0) -> None:
    """Draw a line through the middle of the picture."""
    box = page.locator("#view").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2 + fall
    page.mouse.move(x - 80, y)
    page.mouse.down()
    page.mouse.move(x + 80, y, steps=6)
    page.mouse.up()


def downloaded(page: Any) -> Any:
    with page.expect_download() as started:
        page.click("#download")
    return pixels_in(Path(started.value.path()).read_bytes())


def test_a_picture_is_masked_and_erased_and_the_result_goes_on(page: Any, tmp_path: Path) -> None:
    choose(page, tmp_path)
    assert page.is_disabled("#run"), "nothing is masked yet"
    stroke(page)
    page.click("#run")
    page.wait_for_selector("#result:visible")
    first = downloaded(page)
    changed = (first != PICTURE).any(axis=2)
    assert 0 < changed.sum() < changed.size / 10
    assert page.locator("#history img").count() == 1

    page.click("#use")
    stroke(page, fall=120)
    page.click("#run")
    page.wait_for_selector("#result:visible")

    second = downloaded(page)
    assert np.array_equal(second[changed], first[changed])
    assert not np.array_equal(second, first)


def test_undo_eraser_and_invert_change_what_is_masked(page: Any, tmp_path: Path) -> None:
    choose(page, tmp_path)
    stroke(page)
    page.keyboard.press("Control+z")
    assert page.is_disabled("#run")
    page.keyboard.press("i")
    page.keyboard.press("e")
    stroke(page)
    page.select_option("#model", "words")
    page.click("#run")
    page.wait_for_selector("#result:visible")

    made = downloaded(page)
    assert tuple(made[0, 0]) == colour_of(42), "everything but the line"
    assert np.array_equal(made[150, 200], PICTURE[150, 200])


def test_running_work_shows_steps_and_the_picture_so_far_and_is_cancelled(
    page: Any, tmp_path: Path
) -> None:
    choose(page, tmp_path)
    stroke(page)
    page.select_option("#model", "slow-words")
    page.fill("#option-steps", "500")
    page.click("#run")
    page.wait_for_selector("#preview:visible")
    assert "of 500" in page.inner_text("#status")

    page.click("#cancel")

    page.wait_for_selector("#run:visible")
    assert page.is_hidden("#error")
    assert page.is_visible("#view")


def test_a_refusal_is_told_in_words_and_the_next_run_works(page: Any, tmp_path: Path) -> None:
    choose(page, tmp_path)
    stroke(page)
    page.fill("#option-radius", "1000")
    page.click("#run")
    assert page.evaluate("document.activeElement.id") == "option-radius", "it does not validate"
    page.fill("#option-radius", "5")
    page.click("#run")

    page.wait_for_selector("#result:visible")


def test_earlier_results_are_there_after_a_reload(page: Any, tmp_path: Path) -> None:
    choose(page, tmp_path)
    stroke(page)
    page.click("#run")
    page.wait_for_selector("#result:visible")
    page.reload()
    page.locator("#history button:enabled").first.click()

    page.wait_for_selector("#result:visible")
    assert downloaded(page).shape == PICTURE.shape


def test_an_admin_sees_the_service_and_a_small_screen_shows_all_of_it(
    page: Any, studio: ApiSite
) -> None:
    page.click("#to-service")
    page.wait_for_selector("#workers tr")

    assert "cpu-light" in page.inner_text("#queues")
    assert page.locator("#workers button", has_text="Drain").count() == 1
    page.set_viewport_size({"width": 390, "height": 800})
    for link in ("#to-service", "#to-studio"):
        page.click(link)
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 390, "nothing sticks out at the side"


def test_an_admin_pauses_and_opens_a_queue_and_cordons_a_node(page: Any) -> None:
    page.click("#to-service")

    page.click('button[aria-label="Pause queue cpu-light"]')
    page.click('button[aria-label="Resume queue cpu-light"]')
    page.wait_for_selector('button[aria-label="Pause queue cpu-light"]')
    page.click('#nodes button[aria-label^="Cordon node"]')
    page.click('#nodes button[aria-label^="Uncordon node"]')
    page.wait_for_selector('#nodes button[aria-label^="Cordon node"]')

    assert "protocol" in page.inner_text("#versions")
    assert page.is_hidden("#trouble")


def test_a_run_is_heard_of_by_websocket_and_asked_for_only_where_there_is_none(
    page: Any, tmp_path: Path
) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    choose(page, tmp_path)
    stroke(page)
    page.select_option("#model", "slow-words")
    page.fill("#option-steps", "60")
    with page.expect_websocket(lambda socket: socket.url.endswith("/v1/ws")):
        page.click("#run")
    page.wait_for_selector("#result:visible")
    polls = [each for each in asked if "/v1/tasks/" in each and not each.endswith("/result")]
    assert len(polls) <= 3, "before the socket was open, and while it waited in line"

    # Whoever's proxy lets no WebSocket through gets the same, a little later.
    page.add_init_script("window.WebSocket = class { constructor() { throw new Error(); } }")
    page.reload()
    choose(page, tmp_path)
    stroke(page)
    page.click("#run")
    page.wait_for_selector("#result:visible")


def test_strangers_get_the_files_that_hold_nothing_and_no_page(studio: ApiSite) -> None:
    page = studio.ask("GET", "/studio/", authorization="", accept="text/html")
    script = studio.ask("GET", "/studio/static/main.js", authorization="")

    assert (page.status, page.headers["location"]) == (303, "/login?next=%2Fstudio%2F")
    assert script.headers["content-type"].startswith("text/javascript")
    assert studio.ask("GET", "/studio/models", authorization="").status == 401
    assert studio.ask("GET", "/studio/static/..%2Fapi.py").status == 404
    unchanged = studio.ask(
        "GET", "/studio/", if_none_match=studio.ask("GET", "/studio/").headers["etag"]
    )
    assert unchanged.status == 304
