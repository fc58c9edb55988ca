"""The folders that the operator has opened to the page: pictures to choose, results that are saved.

Rule: a name is one of a file directly in the folder. It is never joined to a path unchecked, and a
link that leads out of the folder is not followed.
"""

import os
from pathlib import Path
from typing import Any

from attrs import frozen

from paintmq.errors import ConfigError
from paintmq.gateway.apis.faults import wrong
from paintmq.gateway.apis.pictures import pixels_of
from paintmq.image import encode_image, format_of, size_of_file, to_8_bits
from paintmq.task import Json

MOST_BYTES = 64 * 1024 * 1024
"""Of a file that is shown."""
_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif"}
_HEAD = 64 * 1024


@frozen
class PictureFolder:
    """One of the folders."""

    root: Path

    def of_user(self, name: str) -> "PictureFolder":
        """Return the folder in this one of the token of this name; it may not be there yet.

        A token's name is a plain one: letters, digits, ``.``, ``_`` and ``-``, no dot first.
        """
        return PictureFolder(self.root / name)

    def listed(self, most: int) -> list[Json]:
        """Return the pictures, the newest first."""
        found: list[tuple[float, str, os.stat_result]] = []
        if not self.root.is_dir():
            return []
        with os.scandir(self.root) as entries:
            for entry in entries:
                if Path(entry.name).suffix.lower() in _SUFFIXES and entry.is_file(
                    follow_symlinks=False
                ):
                    status = entry.stat(follow_symlinks=False)
                    found.append((status.st_mtime, entry.name, status))
        found.sort(reverse=True)
        described = (self._described(name, status) for _, name, status in found[:most])
        return [each for each in described if each is not None]

    def read(self, name: str) -> bytes:
        """Return the bytes of a file.

        Raises:
            ApiError: there is no such picture.
        """
        path = self._path(name)
        if path.is_symlink() or not path.is_file() or path.stat().st_size > MOST_BYTES:
            raise wrong(f"there is no picture {name[:80]!r}", "filename", status=404)
        return path.read_bytes()

    def thumbnail(self, name: str, width: int, height: int) -> bytes:
        """Return a small JPEG that fits into a box, as large as it can be.

        Raises:
            ApiError: there is no such picture, or it is damaged.
        """
        import cv2

        pixels = to_8_bits(pixels_of(self.read(name), "filename"))
        factor = min(1.0, width / pixels.shape[1], height / pixels.shape[0])
        size = max(1, round(pixels.shape[1] * factor)), max(1, round(pixels.shape[0] * factor))
        small: Any = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        return encode_image(small, "jpeg", quality=80)

    def save(self, name: str, data: bytes) -> None:
        """Write a picture, under a name that is not taken yet.

        Raises:
            ApiError: it is no picture, or its name will not do.
        """
        path = self._path(name)
        if format_of(data) is None:
            raise wrong("file: this is no picture", "file")
        self.root.mkdir(exist_ok=True)
        for number in range(1, 10_000):
            try:
                with path.open("xb") as out:
                    out.write(data)
            except FileExistsError:
                path = self.root / f"{Path(name).stem}_{number}{Path(name).suffix}"
            else:
                return
        raise wrong(f"too many files are called {name[:80]!r}", "file")

    def _path(self, name: str) -> Path:
        is_plain = (
            0 < len(name.encode("utf-8", "replace")) <= 200
            and name.isprintable()
            and not name.startswith(".")
            and not set(name) & set('/\\:*?"<>|')
        )
        if not is_plain or Path(name).suffix.lower() not in _SUFFIXES:
            raise wrong(f"{name[:80]!r} is no name of a picture", "filename", status=404)
        return self.root / name

    def _described(self, name: str, status: os.stat_result) -> Json:
        """Return what the page lists; None: the file has gone, or may not be read."""
        try:
            with (self.root / name).open("rb") as file:
                width, height = size_of_file(file.read(_HEAD))
        except OSError:
            return None
        return {
            "name": name,
            "width": width,
            "height": height,
            "ctime": status.st_ctime,
            "mtime": status.st_mtime,
        }


def opened(where: str, setting: str) -> PictureFolder | None:
    """Return the folder of a setting; None where there is none.

    Raises:
        ConfigError: it is no folder.
    """
    if not where:
        return None
    path = Path(where).expanduser()
    if not path.is_dir():
        raise ConfigError(f"http.options.iopaint.{setting} = {where!r} is no folder")
    return PictureFolder(path.resolve())
