"""One installation with every API, for all tests of them."""

from collections.abc import Iterator

import pytest
from tests.harness.api_site import ApiSite, api_site

from paintmq.image import encode_image
from paintmq.testing.example_inputs import make_picture

pytest.importorskip("starlette", reason="needs paintmq[http]")
pytest.importorskip("uvicorn", reason="needs paintmq[http]")
pytest.importorskip("socketio", reason="needs paintmq[iopaint-ui]")


@pytest.fixture(scope="package")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiSite]:
    folder = tmp_path_factory.mktemp("apis")
    for name in ("in", "out"):
        (folder / name).mkdir()
    (folder / "in" / "photo.png").write_bytes(encode_image(make_picture((60, 80), seed=6)))
    (folder / "in" / "secret.png").symlink_to("/etc/hostname")
    options = f"""
        [http.options.iopaint]
        input_folder = "{folder / "in"}"
        output_folder = "{folder / "out"}"
        plugins = {{ RemoveBG = ["seeker"] }}
    """
    with api_site(folder, ["iopaint", "v1", "openai", "a1111"], options) as started:
        yield started
