"""Downloads: continued, checked, put in place in one step; against a real server on loopback."""

import hashlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from attrs import define, evolve, field

from paintmq.config import WeightsConfig
from paintmq.errors import ModelError, WeightsMissingError
from paintmq.model import WeightFile
from paintmq.weight_download import download
from paintmq.weights import WeightFolder

BYTES = bytes(range(256)) * 4096


@define
class Mirror:
    """A file server that can break off, change its file, and remembers what was asked."""

    url: str = ""
    content: bytes = BYTES
    tag: str = '"one"'
    break_after: int | None = None
    ranges: list[str | None] = field(factory=list[str | None])

    @property
    def file(self) -> WeightFile:
        return WeightFile(
            name="net.pt",
            url=f"{self.url}/net.pt?key=hidden",
            sha256=hashlib.sha256(BYTES).hexdigest(),
            size=len(BYTES),
        )


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    state = Mirror()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            state.ranges.append(asked)
            start = 0
            if asked and self.headers.get("If-Range") == state.tag:
                start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start and start >= len(state.content):
                self.send_error(416)
                return
            body = state.content[start:]
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", state.tag)
            self.end_headers()
            self.wfile.write(body[: state.break_after])

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


@pytest.fixture
def folder(tmp_path: Path) -> WeightFolder:
    return WeightFolder(WeightsConfig(folder=str(tmp_path / "models")))


def test_a_download_lies_in_the_models_folder_and_nothing_else_does(
    mirror: Mirror, folder: WeightFolder
) -> None:
    seen: list[tuple[int, int]] = []

    path = download(mirror.file, folder, lambda done, total: seen.append((done, total)))

    assert path.read_bytes() == BYTES
    assert [entry.name for entry in folder.folder.iterdir()] == ["net.pt"]
    assert seen[-1] == (len(BYTES), len(BYTES))
    assert seen == sorted(seen)


def test_what_is_there_is_not_fetched_again(mirror: Mirror, folder: WeightFolder) -> None:
    download(mirror.file, folder)
    download(mirror.file, folder)

    assert mirror.ranges == [None]


def test_a_download_that_broke_off_is_continued_where_it_was(
    mirror: Mirror, folder: WeightFolder
) -> None:
    mirror.break_after = 300_000
    with pytest.raises(ModelError, match="the same command continues it") as caught:
        download(mirror.file, folder)
    assert caught.value.retryable
    assert not (folder.folder / "net.pt").exists()

    mirror.break_after = None
    path = download(mirror.file, folder)

    assert path.read_bytes() == BYTES
    assert mirror.ranges == [None, "bytes=300000-"]


def test_a_part_of_a_file_that_changed_since_is_fetched_afresh(
    mirror: Mirror, folder: WeightFolder
) -> None:
    mirror.content, mirror.tag, mirror.break_after = b"old" * 500_000, '"old"', 300_000
    with pytest.raises(ModelError):
        download(mirror.file, folder)

    mirror.content, mirror.tag, mirror.break_after = BYTES, '"new"', None

    assert download(mirror.file, folder).read_bytes() == BYTES


def test_a_whole_part_is_only_checked_and_renamed(mirror: Mirror, folder: WeightFolder) -> None:
    folder.folder.mkdir()
    (folder.folder / "net.pt.part").write_bytes(BYTES)
    (folder.folder / "net.pt.part.validator").write_text(mirror.tag)

    assert download(mirror.file, folder).read_bytes() == BYTES


def test_a_wrong_file_is_refused_and_not_kept(mirror: Mirror, folder: WeightFolder) -> None:
    mirror.content = BYTES[::-1]

    with pytest.raises(ModelError, match=r"not the right file: .*SHA-256"):
        download(mirror.file, folder)

    assert list(folder.folder.iterdir()) == []


def test_a_file_of_the_wrong_size_is_replaced(mirror: Mirror, folder: WeightFolder) -> None:
    folder.folder.mkdir()
    (folder.folder / "net.pt").write_bytes(b"half")

    assert download(mirror.file, folder).read_bytes() == BYTES


def test_offline_nothing_is_fetched(mirror: Mirror, tmp_path: Path) -> None:
    folder = WeightFolder(WeightsConfig(folder=str(tmp_path), offline=True))

    with pytest.raises(WeightsMissingError, match="offline in"):
        download(mirror.file, folder)

    assert mirror.ranges == []


def test_a_file_without_an_address_says_where_it_comes_from(folder: WeightFolder) -> None:
    file = WeightFile(name="net.pt", source="ask its authors")

    with pytest.raises(WeightsMissingError, match="ask its authors"):
        download(file, folder)


@pytest.mark.parametrize("url", ["http://example.org/net.pt", "file:///etc/passwd", "ftp://x/y"])
def test_only_https_is_fetched(folder: WeightFolder, url: str) -> None:
    with pytest.raises(ModelError, match="not https"):
        download(WeightFile(name="net.pt", url=url), folder)


def test_errors_do_not_show_the_address(mirror: Mirror, folder: WeightFolder) -> None:
    gone = evolve(mirror.file, url="http://127.0.0.1:1/net.pt?key=hidden")

    with pytest.raises(ModelError) as caught:
        download(gone, folder)

    assert "hidden" not in str(caught.value)
    assert "refused" in str(caught.value)
