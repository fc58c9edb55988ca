"""Downloads: continued, checked, put in place in one step; against a real server on loopback."""

import hashlib
from collections.abc import Iterator
from http.client import HTTPMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from threading import Event, Thread
from typing import NamedTuple
from urllib.error import URLError
from urllib.request import Request

import pytest
from attrs import define, evolve, field
from tests.harness.forked_child import forked_child

from paintmq.config import WeightsConfig
from paintmq.errors import ModelError, WeightsMissingError
from paintmq.model import WeightFile
from paintmq.weights import WeightFolder
from paintmq.weights.download import _alone, _SafeRedirects, download

BYTES = bytes(range(256)) * 4096


class DiskUsage(NamedTuple):
    total: int
    used: int
    free: int


@define
class Mirror:
    """A file server that can break off, change its file, and remembers what was asked."""

    url: str = ""
    content: bytes = BYTES
    tag: str = '"one"'
    break_after: int | None = None
    """Bytes of each answer."""
    ignores_ranges: bool = False
    tells_length: bool = True
    redirects: str = ""
    """Where every request is sent on to."""
    stalls: Event = field(factory=Event)
    """While it is not set, an answer that breaks off stays open instead."""
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
    state.stalls.set()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if state.redirects:
                self.send_response(302)
                self.send_header("Location", state.redirects)
                self.end_headers()
                state.redirects = ""
                return
            asked = self.headers.get("Range")
            state.ranges.append(asked)
            if state.ignores_ranges:
                asked = None
            start = 0
            if asked and self.headers.get("If-Range") == state.tag:
                start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start and start >= len(state.content):
                self.send_error(416)
                return
            body = state.content[start:]
            self.send_response(206 if start else 200)
            if state.tells_length:
                self.send_header("Content-Length", str(len(body)))
            if state.tag:
                self.send_header("ETag", state.tag)
            self.end_headers()
            self.wfile.write(body[: state.break_after])
            self.wfile.flush()
            state.stalls.wait()

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    yield state
    state.stalls.set()
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


def test_a_download_that_breaks_off_is_continued_where_it_was(
    mirror: Mirror, folder: WeightFolder
) -> None:
    mirror.break_after = 300_000

    path = download(mirror.file, folder)

    assert path.read_bytes() == BYTES
    assert mirror.ranges == [None, "bytes=300000-", "bytes=600000-", "bytes=900000-"]


def test_a_later_run_continues_what_an_earlier_one_left(
    mirror: Mirror, folder: WeightFolder
) -> None:
    mirror.break_after = 100_000
    with pytest.raises(ModelError, match="the same command continues it") as caught:
        download(mirror.file, folder)
    assert caught.value.retryable
    assert not (folder.folder / "net.pt").exists()

    mirror.break_after = None
    path = download(mirror.file, folder)

    assert path.read_bytes() == BYTES
    assert mirror.ranges == [None, *(f"bytes={done}00000-" for done in range(1, 7))]


def test_a_server_that_sends_nothing_more_is_asked_again_once(
    mirror: Mirror, folder: WeightFolder
) -> None:
    mirror.break_after = 0

    with pytest.raises(ModelError, match="broke off after 0 of 1,048,576 bytes"):
        download(mirror.file, folder)

    assert mirror.ranges == [None]


def test_a_server_that_stalls_is_given_up_on_and_continued_later(
    mirror: Mirror, folder: WeightFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paintmq.weights.download._SILENCE", 0.05)
    monkeypatch.setattr("paintmq.weights.download._CONTINUATIONS", 0)
    mirror.break_after = 300_000
    mirror.stalls.clear()
    with pytest.raises(ModelError, match=r"the server sent nothing for 0\.05 seconds"):
        download(mirror.file, folder)
    mirror.stalls.set()
    monkeypatch.undo()

    mirror.break_after = None

    assert download(mirror.file, folder).read_bytes() == BYTES
    assert len(mirror.ranges) == 2
    assert mirror.ranges[1] is not None


@pytest.mark.parametrize("tag", ['"one"', ""], ids=["with a validator", "without"])
def test_a_server_without_ranges_sends_it_all_again(
    mirror: Mirror, folder: WeightFolder, tag: str
) -> None:
    mirror.ignores_ranges, mirror.tag, mirror.break_after = True, tag, 300_000
    with pytest.raises(ModelError):
        download(mirror.file, folder)

    mirror.break_after = None

    assert download(mirror.file, folder).read_bytes() == BYTES


def test_a_server_that_does_not_tell_the_length_is_held_to_the_checksum(
    mirror: Mirror, folder: WeightFolder
) -> None:
    mirror.tells_length, mirror.break_after = False, 300_000

    with pytest.raises(ModelError, match="300,000 bytes, not 1,048,576"):
        download(mirror.file, folder)

    mirror.break_after = None
    assert download(mirror.file, folder).read_bytes() == BYTES


def test_redirects_are_followed(mirror: Mirror, folder: WeightFolder) -> None:
    mirror.redirects = f"{mirror.url}/elsewhere?key=hidden"

    assert download(mirror.file, folder).read_bytes() == BYTES


def test_a_redirect_from_https_to_less_is_refused() -> None:
    handler = _SafeRedirects()
    request = Request("https://example.org/net.pt")

    with pytest.raises(URLError, match="not https"):
        handler.redirect_request(
            request, BytesIO(), 302, "Found", HTTPMessage(), "http://127.0.0.1/net.pt"
        )
    onwards = handler.redirect_request(
        request, BytesIO(), 302, "Found", HTTPMessage(), "https://example.com/net.pt"
    )

    assert onwards is not None


def test_two_processes_do_not_write_one_file(mirror: Mirror, folder: WeightFolder) -> None:
    folder.folder.mkdir()
    with _alone(folder.folder / "net.pt.part"), pytest.raises(ModelError, match="wait for it"):
        download(mirror.file, folder)

    assert mirror.ranges == []
    assert download(mirror.file, folder).read_bytes() == BYTES


def test_a_file_that_does_not_fit_the_disk_is_not_begun(
    mirror: Mirror, folder: WeightFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "shutil.disk_usage", lambda path: DiskUsage(2_000_000, 1_000_000, 1_000_000)
    )

    with pytest.raises(ModelError, match="1,048,576 bytes more are needed"):
        download(mirror.file, folder)


def test_a_part_of_a_file_that_changed_since_is_fetched_afresh(
    mirror: Mirror, folder: WeightFolder
) -> None:
    mirror.content, mirror.tag, mirror.break_after = b"old" * 2_000_000, '"old"', 300_000
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


def test_a_download_that_ended_leaves_no_lock_to_a_child_that_was_forked_meanwhile(
    tmp_path: Path,
) -> None:
    """The child of a program's own worker pool would keep the weights from being fetched again."""
    part = tmp_path / "net.pt.part"
    lock = part.with_name("net.pt.part.lock")
    with _alone(part):
        child = forked_child()
        child.__enter__()
        with pytest.raises(ModelError, match="another process is downloading"), _alone(part):
            pass
    try:
        lock.touch()
        with _alone(part):
            pass
    finally:
        child.__exit__(None, None, None)
    assert not lock.exists()
