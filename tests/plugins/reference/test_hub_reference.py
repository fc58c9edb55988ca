"""A folder by `paintmq models download` and the hub's own library, from a hub of our own."""

import hashlib
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit

import pytest
from attrs import define, field
from tests.harness.command_process import private_environment, run_command

from paintmq.weights.manifest import read_manifest

pytest.importorskip("huggingface_hub", reason="needs paintmq[diffusion]")

pytestmark = [pytest.mark.reference, pytest.mark.slow, pytest.mark.timeout(600)]

REPOSITORY = "stable-diffusion-v1-5/stable-diffusion-inpainting"
COMMIT = "c0ffee" + "0" * 34
NETWORK = bytes(range(256)) * 8192
FILES = {
    "model_index.json": b'{"_class_name": "StableDiffusionInpaintPipeline"}',
    "unet/config.json": b"{}",
    "unet/diffusion_pytorch_model.safetensors": NETWORK,
    "unet/diffusion_pytorch_model.fp16.safetensors": NETWORK[:1000],
    "unet/diffusion_pytorch_model.bin": b"a pickle",
    "safety_checker/model.safetensors": b"left out",
    "sd-v1-5-inpainting.ckpt": b"a pickle",
}


@define
class Hub:
    url: str = ""
    break_after: int | None = None
    sent: list[tuple[str, str | None]] = field(factory=list[tuple[str, "str | None"]])


def large(name: str) -> bool:
    return name.endswith((".safetensors", ".bin", ".ckpt"))


@pytest.fixture
def hub() -> Iterator[Hub]:
    state = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, *, body: bool) -> None:
            path = unquote(urlsplit(self.path).path)
            if path.startswith(f"/api/models/{REPOSITORY}"):
                self.send(json.dumps(listing()).encode(), {"Content-Type": "application/json"})
                return
            _, _, name = path.partition(f"/resolve/{COMMIT}/")
            if name not in FILES:
                self.send_error(404)
                return
            content, asked = FILES[name], self.headers.get("Range")
            start = int(asked.removeprefix("bytes=").split("-")[0]) if asked else 0
            if body:
                state.sent.append((name, asked))
            digest = hashlib.sha256(content).hexdigest()
            headers = {"ETag": f'"{digest}"', "X-Repo-Commit": COMMIT}
            if large(name):
                headers |= {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(content))}
            if start:
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.send(content[start:], headers, status=206 if start else 200, body=body)

        def send(
            self, content: bytes, headers: dict[str, str], status: int = 200, body: bool = True
        ) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if body:
                self.wfile.write(content[: state.break_after])
                if state.break_after is not None and state.break_after < len(content):
                    self.close_connection = True

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


def listing() -> dict[str, object]:
    siblings = []
    for name, content in FILES.items():
        entry: dict[str, object] = {"rfilename": name, "size": len(content), "blobId": "0" * 40}
        if large(name):
            digest = hashlib.sha256(content).hexdigest()
            entry["lfs"] = {"size": len(content), "sha256": digest, "pointerSize": 130}
        siblings.append(entry)
    return {"id": REPOSITORY, "modelId": REPOSITORY, "sha": COMMIT, "siblings": siblings}


@pytest.fixture
def environment(hub: Hub, tmp_path: Path) -> dict[str, str]:
    return private_environment(
        tmp_path,
        HF_ENDPOINT=hub.url,
        HF_HOME=str(tmp_path / "hf"),
        HF_HUB_DISABLE_XET="1",
        HF_HUB_DOWNLOAD_TIMEOUT="2",
        PAINTMQ_WEIGHTS__FOLDER=str(tmp_path / "models"),
    )


def test_a_pipeline_is_fetched_continued_and_verified(
    hub: Hub, environment: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "models" / "sd15-inpainting"
    # Every answer breaks off: the library gives up when nothing more arrives.
    hub.break_after = 0
    first = run_command("models", "download", "sd15", environment=environment)
    hub.break_after = None

    second = run_command("models", "download", "sd15", environment=environment)
    verified = run_command("models", "verify", "sd15", environment=environment)

    assert first.returncode != 0
    assert "the transfer broke off" in first.stderr
    assert hub.url not in first.stderr
    assert (second.returncode, second.stdout) == (0, "")
    found = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    assert found == [
        "model_index.json",
        "paintmq-weights.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
    ]
    assert (folder / "unet/diffusion_pytorch_model.safetensors").read_bytes() == NETWORK
    manifest = read_manifest(folder)
    assert manifest is not None
    assert manifest.revision == COMMIT
    assert verified.stdout.startswith("sd15-inpainting: verified")


def test_an_unknown_repository_is_told_in_one_line(environment: dict[str, str]) -> None:
    done = run_command("models", "download", "sdxl", environment=environment)

    assert done.returncode != 0
    (line,) = done.stderr.strip().splitlines()
    assert "the hub has no such repository" in line or "the hub answered 404" in line
