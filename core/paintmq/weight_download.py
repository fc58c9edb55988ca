"""Fetching weight files: resumed after an interruption, checked, and put in place in one step.

A download goes to ``<name>.part`` beside its place and is renamed once its size and checksum are
right, so that a file under its own name is always whole. What is left of an interrupted download
is continued, if the server still has the same file (its validator is kept beside the part).
"""

import os
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import cast
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from paintmq.errors import ModelError, WeightsMissingError
from paintmq.model import WeightFile
from paintmq.weights import Progress, WeightFolder, weight_problem

_CHUNK = 256 * 1024
_SILENCE = 60.0
"""Seconds a server may send nothing before the download counts as broken off."""


def download(file: WeightFile, folder: WeightFolder, progress: Progress | None = None) -> Path:
    """Fetch a weight file into the models folder, unless it is there already; return its path.

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
    if not file.url:
        raise WeightsMissingError(
            f"the weights {file.name} cannot be downloaded: {file.source or 'no address is known'};"
            f" put the file into {folder.folder}"
        )
    _check_address(file)
    folder.folder.mkdir(parents=True, exist_ok=True)
    target = folder.folder / file.name
    part = target.with_name(target.name + ".part")
    try:
        _fetch(file, part, progress)
    except (URLError, HTTPException, OSError) as error:
        raise ModelError(
            f"downloading {file.name} failed: {_reason(error)}; the same command continues it",
            code="download_failed",
            retryable=True,
        ) from error
    _check_arrived(file, part)
    part.replace(target)
    _validator_of(part).unlink(missing_ok=True)
    return target


def _check_address(file: WeightFile) -> None:
    """Allow HTTPS; plain HTTP only to this machine, where a mirror may stand."""
    address = urlsplit(file.url)
    local = address.hostname in ("127.0.0.1", "::1", "localhost")
    if address.scheme != "https" and not (address.scheme == "http" and local):
        raise ModelError(
            f"the weights {file.name} have an address that is not https", code="download_refused"
        )


def _fetch(file: WeightFile, part: Path, progress: Progress | None) -> None:
    start = part.stat().st_size if part.exists() else 0
    request = Request(file.url, headers=_headers(part, start))
    try:
        response = cast("HTTPResponse", urlopen(request, timeout=_SILENCE))
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
        _write(response, part, start, start + length if length else 0, progress)


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
    if isinstance(error, URLError):
        return str(error.reason)
    return str(error) or type(error).__name__
