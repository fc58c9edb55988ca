"""Fetching weight files: resumed after an interruption, checked, and put in place in one step.

A download goes to ``<name>.part`` beside its place and is renamed once its size and checksum are
right, so that a file under its own name is always whole. What is left of an interrupted download
is continued, if the server still has the same file (its validator is kept beside the part).
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path
from typing import IO, cast
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from paintmq.errors import ModelError, WeightsMissingError
from paintmq.model import WeightFile
from paintmq.transport.addresses import is_loopback
from paintmq.weights.checksums import Progress
from paintmq.weights.folder import WeightFolder, weight_problem
from paintmq.weights.hub import fetch_repository

_CHUNK = 256 * 1024
_SILENCE = 60.0
"""Seconds without a byte after which a download counts as broken off."""
_CONTINUATIONS = 5
"""How often a broken download is resumed automatically, as long as more arrives each time."""


def download(file: WeightFile, folder: WeightFolder, progress: Progress | None = None) -> Path:
    """Fetch a weight file or folder into the models folder, unless it is there; return its path.

    Raises:
        WeightsMissingError: it is missing and downloads are switched off, or it has no address.
        ModelError: the transfer failed (retryable: what has arrived is kept and continued), or
            what arrived is not the right file.
    """
    status = folder.status(file)
    if status.path is not None and status.state != "wrong":
        return status.path
    if folder.config.offline:
        raise WeightsMissingError(
            f"the weights {file.name} are not on this machine and downloads are switched off"
            " (offline in [weights])"
        )
    target = folder.folder / file.name
    part = target.with_name(target.name + ".part")
    if file.repository:
        with _alone(part):
            return fetch_repository(file, target, progress)
    if not file.url:
        raise WeightsMissingError(
            f"the weights {file.name} cannot be downloaded: {file.source or 'no address is known'};"
            f" put the file into {folder.folder}"
        )
    _check_address(file, file.url)
    with _alone(part):
        _fetch_all(file, part, progress)
        _check_arrived(file, part)
        part.replace(target)
        _validator_of(part).unlink(missing_ok=True)
    return target


@contextmanager
def _alone(part: Path) -> Iterator[None]:
    """Keep other processes from writing the same part.

    Raises:
        ModelError: one is at it.
    """
    lock = part.with_name(part.name + ".lock")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise ModelError(
            f"{part.parent}: cannot be written to: {error.strerror}", code="download_failed"
        ) from error
    if not _takes(descriptor, lock):
        raise ModelError(
            f"another process is downloading {part.stem}: wait for it", code="download_busy"
        )
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        _let_go(descriptor)


def _takes(descriptor: int, lock: Path) -> bool:
    """Return whether no other process has it; its last owner may just have removed it under us.

    Where it is not taken, its file is closed.
    """
    try:
        from paintmq.process import file_lock
    except ImportError:  # Windows, where two cannot write one file anyway
        return True
    try:
        file_lock.lock(descriptor)  # which a child that is forked meanwhile does not share
    except OSError:
        os.close(descriptor)
        return False
    try:
        if lock.stat().st_ino == os.fstat(descriptor).st_ino:
            return True
    except OSError:
        pass
    file_lock.unlock(descriptor)
    return False


def _let_go(descriptor: int) -> None:
    try:
        from paintmq.process import file_lock
    except ImportError:
        os.close(descriptor)
    else:
        file_lock.unlock(descriptor)


def _check_address(file: WeightFile, url: str) -> None:
    """Allow HTTPS; plain HTTP only to this machine, where a mirror may stand."""
    address = urlsplit(url)
    local = address.scheme == "http" and is_loopback(address.hostname or "")
    if address.scheme != "https" and not local:
        raise ModelError(
            f"the weights {file.name} have an address that is not https", code="download_refused"
        )


class _SafeRedirects(HTTPRedirectHandler):
    """Follows a server's redirects, but never from HTTPS to something less."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        if urlsplit(req.full_url).scheme == "https" and urlsplit(newurl).scheme != "https":
            raise URLError("the server redirects to an address that is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _fetch_all(file: WeightFile, part: Path, progress: Progress | None) -> None:
    """Fetch, and take up again what breaks off, as long as each time more has arrived."""
    for attempt in range(_CONTINUATIONS + 1):
        before = _size(part)
        try:
            _fetch(file, part, progress)
        except (URLError, HTTPException, OSError) as error:
            if _size(part) > before and attempt < _CONTINUATIONS:
                continue
            raise ModelError(
                f"downloading {file.name} failed: {_reason(error)}; the same command continues it",
                code="download_failed",
                retryable=True,
            ) from error
        return


def _fetch(file: WeightFile, part: Path, progress: Progress | None) -> None:
    start = _size(part)
    request = Request(file.url, headers=_headers(part, start))
    try:
        opened = build_opener(_SafeRedirects).open(request, timeout=_SILENCE)
        response = cast("HTTPResponse", opened)
    except HTTPError as error:
        error.close()
        # There is nothing behind what we have: it is whole, or the checksum will say.
        if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and start:
            return
        raise
    with response:
        # Anything but "206 Partial Content" (RFC 9110 15.3.7) starts from the beginning.
        if response.status != HTTPStatus.PARTIAL_CONTENT:
            start = 0
        _remember_validator(response, part)
        length = int(response.headers.get("Content-Length") or 0)
        _check_room(part, length)
        _write(response, part, start, start + length if length else 0, progress)


def _check_room(part: Path, length: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if length > free:
        raise OSError(f"{length:,} bytes more are needed, and the disk has {free:,} free")


def _write(
    response: HTTPResponse, part: Path, start: int, total: int, progress: Progress | None
) -> None:
    done = start
    with part.open("r+b" if start else "wb") as stream:
        stream.seek(start)
        while chunk := response.read(_CHUNK):
            stream.write(chunk)
            done += len(chunk)
            if progress:
                progress(done, total)
        stream.flush()
        os.fsync(stream.fileno())
    # http.client reports an early end to none but those who read everything at once.
    if total and done < total:
        raise OSError(f"the connection broke off after {done:,} of {total:,} bytes")


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _headers(part: Path, start: int) -> dict[str, str]:
    """Return the headers that continue a part, if its server has not changed the file since."""
    headers = {"User-Agent": "paintmq", "Accept-Encoding": "identity"}
    validator = _validator_of(part)
    if start and validator.exists():
        headers["Range"] = f"bytes={start}-"
        # "If the validator does not match, the server should ignore the Range header field"
        # -- RFC 9110 13.1.5
        headers["If-Range"] = validator.read_text()
    return headers


def _remember_validator(response: HTTPResponse, part: Path) -> None:
    tag = response.headers.get("ETag", "")
    # "A client MUST NOT generate an If-Range header field containing an entity tag that is
    # marked as weak." -- RFC 9110 13.1.5
    validator = tag if tag and not tag.startswith("W/") else ""
    validator = validator or response.headers.get("Last-Modified", "")
    if validator:
        _validator_of(part).write_text(validator)
    else:
        _validator_of(part).unlink(missing_ok=True)


def _validator_of(part: Path) -> Path:
    return part.with_name(part.name + ".validator")


def _check_arrived(file: WeightFile, part: Path) -> None:
    """Check what arrived; what is wrong is removed, so that the next try starts afresh."""
    problem = weight_problem(part, file)
    if problem:
        part.unlink(missing_ok=True)
        _validator_of(part).unlink(missing_ok=True)
        raise ModelError(
            f"what arrived as {file.name} is not the right file: {problem}",
            code="download_damaged",
            retryable=True,
        )


def _reason(error: Exception) -> str:
    """Return what went wrong without the address, which may hold a key."""
    if isinstance(error, HTTPError):
        return f"the server answered {error.code} {error.reason}"
    cause = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, TimeoutError):
        return f"the server sent nothing for {_SILENCE:g} seconds"
    return str(cause) or type(cause).__name__
