"""IOPaint's own page, unmodified, in a browser: what people do with it, on a broker's models."""

import os
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.harness.api_site import ApiSite, api_site, file_of, pixels_in
from tests.harness.words_model import colour_of

from paintmq.testing.example_inputs import make_picture

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (group clients)")
pytest.importorskip("socketio", reason="needs paintmq[iopaint-ui]")
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="needs chromium"),
    pytest.mark.skipif(
        find_spec("iopaint") is None, reason="needs the page: pip install --no-deps iopaint"
    ),
]

PICTURE = make_picture((300, 400), seed=8)
PATIENCE = 60_000.0
"""Milliseconds; a browser on a busy machine takes some."""


@pytest.fixture
def iopaint(tmp_path: Path) -> Iterator[ApiSite]:
    for name in ("in", "out"):
        (tmp_path / name).mkdir()
    (tmp_path / "in" / "other.png").write_bytes(file_of(make_picture((60, 80), seed=6)))
    options = f"""
        [http.options.iopaint]
        input_folder = "{tmp_path / "in"}"
        output_folder = "{tmp_path / "out"}"
        plugins = {{ RemoveBG = ["seeker"], AnimeSeg = ["seeker"] }}
    """
    with api_site(tmp_path, ["iopaint", "v1"], options) as started:
        yield started


@pytest.fixture
def page(iopaint: ApiSite, tmp_path: Path) -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(PATIENCE)
        yield page
        if folder := os.environ.get("SCREENSHOTS"):  # to be looked at by people
            page.screenshot(path=str(Path(folder) / "iopaint.png"))
        browser.close()


def icon(page: Any, name: str) -> Any:
    return page.locator(f"button:has(svg.lucide-{name})").first


def answered(page: Any, route: str, act: Any) -> Any:
    """Return the answer to the POST that an act leads to."""
    with page.expect_response(
        lambda answer: route in answer.url and answer.request.method == "POST"
    ) as got:
        act()
    assert got.value.status == 200, got.value.text()
    return got.value


def stroke(page: Any, fall: int = 0) -> None:
    box = page.locator("canvas").first.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2 + fall
    page.mouse.move(x - 60, y)
    page.mouse.down()
    page.mouse.move(x + 60, y, steps=8)
    page.mouse.up()


def saved(page: Any, folder: Path) -> Any:
    """Save, and return the newest picture of the folder."""
    icon(page, "download").and_(page.locator(":enabled")).wait_for()
    answered(page, "/save_image", icon(page, "download").click)
    newest = max(folder.iterdir(), key=lambda each: each.stat().st_mtime_ns)
    return pixels_in(newest.read_bytes())[:, :, :3]


def choose_plugin(page: Any, label: str, entry: str) -> None:
    page.locator("button[aria-haspopup=menu]").first.click()
    page.locator(f"[role=menuitem]:has-text('{label}')").first.hover()
    page.keyboard.press("ArrowRight")
    item = page.locator(f"[role=menuitem]:has-text('{entry}')")
    item.first.wait_for()
    answered(page, "/run_plugin_gen_", item.first.click)


def choose_model(page: Any, name: str) -> None:
    icon(page, "settings").click()
    dialog = page.get_by_role("dialog", name="Settings")
    dialog.wait_for()
    for tab in dialog.locator("[role=tab]").all():
        tab.click()
        found = dialog.get_by_text(name, exact=True)
        if found.count():
            found.last.click()
            break
    answered(page, "/api/v1/model", dialog.get_by_role("button", name="Ok").click)
    dialog.wait_for(state="hidden")


def test_a_person_paints_undoes_cuts_out_switches_the_model_and_saves(
    page: Any, iopaint: ApiSite, tmp_path: Path
) -> None:
    results = tmp_path / "out" / "operator"
    (tmp_path / "photo.png").write_bytes(file_of(PICTURE))
    page.goto(f"{iopaint.address}/")
    page.fill("#token", iopaint.token)
    page.click("button")
    page.wait_for_selector("input[type=file]", state="attached")
    page.set_input_files("input[type=file] >> nth=0", tmp_path / "photo.png")
    page.get_by_text("cv2", exact=True).first.wait_for()
    page.wait_for_selector("canvas")

    # Erased as soon as the button is released, and nothing beside the stroke.
    answered(page, "/inpaint", lambda: stroke(page))
    erased = saved(page, results)
    changed = (erased != PICTURE).any(axis=2)
    assert 0 < changed.sum() < changed.size / 10
    assert changed[140:160].sum() > 0.5 * changed.sum()

    # Undo and redo are the page's own; what is undone is the picture before.
    icon(page, "undo").click()
    icon(page, "redo").and_(page.locator(":enabled")).wait_for()
    icon(page, "redo").click()
    icon(page, "undo").and_(page.locator(":enabled")).wait_for()

    # Plugins: the right half is cut out.
    choose_plugin(page, "RemoveBG", "Remove Background")
    choose_plugin(page, "Anime Segmentation", "Remove Background")

    # Another model, with words; painted where the mask is.
    choose_model(page, "words")
    page.set_input_files("input[type=file] >> nth=0", tmp_path / "photo.png")
    page.wait_for_selector("canvas")
    stroke(page, fall=40)
    paint = page.get_by_role("button", name="Paint", exact=True)
    seed = int(answered(page, "/inpaint", paint.click).headers["x-seed"])
    painted = saved(page, results)
    assert tuple(painted[190, 200]) == colour_of(seed)
    assert np.array_equal(painted[:100], PICTURE[:100])

    # The file manager shows the folders that the operator has opened.
    icon(page, "folder-closed").click()
    page.locator("img[src*='media_thumbnail_file'][src*='other.png']").first.click()
    page.get_by_text("80x60").wait_for()
