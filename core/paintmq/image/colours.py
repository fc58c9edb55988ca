"""Colours of other spaces to sRGB: CMYK, CIELAB, and grey with a profile of its own."""

import struct
from io import BytesIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

# ICC.1:2022 table 17: bytes 16 to 19 of the header are the colour space of the data.
_SPACE = slice(16, 20)
_PARAMETERS = {0: 1, 1: 3, 2: 4, 3: 5, 4: 7}
"""Numbers of a parametric curve, by type (ICC.1:2022, 10.18)."""


def rgb_profile(profile: bytes | None) -> bytes | None:
    """Return the profile if it describes RGB, as our pixels are."""
    return profile if profile is not None and profile[_SPACE] == b"RGB " else None


def grey_levels(profile: bytes | None) -> "NDArray[Any] | None":
    """Return the sRGB level, 0 to 1, of each of 65,536 levels of grey; None: as they are."""
    if profile is None or profile[_SPACE] != b"GRAY":
        return None
    import numpy as np

    try:
        light = np.clip(_curve(profile, np.linspace(0.0, 1.0, 65536)), 0.0, 1.0)
    except (struct.error, ValueError, IndexError):
        return None
    if not np.isfinite(light).all():
        return None
    # IEC 61966-2-1, the transfer of sRGB
    steep = 1.055 * light ** (1 / 2.4) - 0.055
    levels: NDArray[Any] = np.where(light <= 0.0031308, 12.92 * light, steep)
    return levels


def cmyk_to_rgb(image: "Image.Image", profile: bytes | None) -> "Image.Image":
    """Convert by the file's own profile, where it has a usable one."""
    from PIL import ImageCms

    if profile is not None and profile[_SPACE] == b"CMYK":
        try:
            converted = ImageCms.profileToProfile(
                image,
                ImageCms.ImageCmsProfile(BytesIO(profile)),
                ImageCms.createProfile("sRGB"),
                outputMode="RGB",
            )
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            converted = None
        if converted is not None:
            return converted
    return image.convert("RGB")


def _curve(profile: bytes, levels: "NDArray[Any]") -> "NDArray[Any]":
    """Return the light of each level by the profile's grey tone curve (ICC.1:2022, 9.2.28)."""
    import numpy as np

    (count,) = struct.unpack_from(">I", profile, 128)
    for number in range(min(count, 100)):
        tag, place, size = struct.unpack_from(">4sII", profile, 132 + 12 * number)
        if tag == b"kTRC":
            body = profile[place : place + size]
            break
    else:
        raise ValueError("no grey tone curve")
    if body[:4] == b"curv":
        (points,) = struct.unpack_from(">I", body, 8)
        if points == 0:
            return levels
        table: NDArray[Any] = np.array(struct.unpack_from(f">{points}H", body, 12), np.float64)
        if points == 1:
            power: NDArray[Any] = np.power(levels, table[0] / 256.0)
            return power
        light: NDArray[Any] = np.interp(levels, np.linspace(0.0, 1.0, points), table / 65535.0)
        return light
    if body[:4] != b"para":
        raise ValueError("an unknown kind of curve")
    (kind,) = struct.unpack_from(">H", body, 8)
    if kind not in _PARAMETERS:
        raise ValueError("an unknown kind of curve")
    numbers = struct.unpack_from(f">{_PARAMETERS[kind]}i", body, 12)
    return _parametric(kind, [each / 65536.0 for each in numbers], levels)


def _parametric(kind: int, numbers: list[float], levels: "NDArray[Any]") -> "NDArray[Any]":
    import numpy as np

    g, a, b, c, d, e, f = [*numbers, *[0.0] * (7 - len(numbers))]
    if kind == 0:
        a = 1.0
    if a == 0.0:
        raise ValueError("a curve that is flat")
    power: NDArray[Any] = np.power(np.maximum(a * levels + b, 0.0), g)
    below: NDArray[Any] | float
    match kind:
        case 0:
            return power
        case 1 | 2:  # the numbers are g a b c; type 1 has no c
            start, power, below = -b / a, power + c, c
        case 3:
            start, below = d, c * levels
        case _:
            start, power, below = d, power + e, c * levels + f
    light: NDArray[Any] = np.where(levels >= start, power, below)
    return light
