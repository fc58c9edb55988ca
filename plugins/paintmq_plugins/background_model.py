"""The background models: an ONNX Runtime session, and what is made of its mask.

The mask is, level by level, that of rembg 2.0.86 (``only_mask=True``), without its dependencies.
"""

from collections.abc import Sequence

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image

from paintmq.errors import ModelError
from paintmq.image import to_8_bits
from paintmq.model import Device, Model, Outputs, Request, RunContext
from paintmq_plugins.background import PREPARATIONS, BackgroundOptions, Preparation
from paintmq_plugins.imaging.pasting import Pixels


class BackgroundRemoval(Model):
    """Tells what is in front, and gives a mask, a cut-out or a picture on a colour."""

    _session: onnxruntime.InferenceSession

    def load(self, device: Device) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = max(1, device.threads)
        providers: list[object] = ["CPUExecutionProvider"]
        if device.kind == "cuda":
            providers.insert(0, ("CUDAExecutionProvider", {"device_id": device.index}))
        file = self.spec.weights[0]
        path = self.weights.path(file.name)
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        # ONNX Runtime's exceptions are made at run time and have no public base.
        except Exception as error:
            raise ModelError(
                f"the weights {file.name} cannot be read as ONNX", code="weights_unreadable"
            ) from error

    def run(self, batch: Sequence[Request], context: RunContext) -> Sequence[Outputs]:
        outputs: list[Outputs] = []
        for done, request in enumerate(batch):
            context.raise_if_cancelled()
            outputs.append({"image": self._remove(request, context)})
            context.progress(done + 1, len(batch))
        return outputs

    def _remove(self, request: Request, context: RunContext) -> Pixels:
        image: Pixels = request.inputs["image"]
        options: BackgroundOptions = request.options
        rgb = np.ascontiguousarray(to_8_bits(image)[:, :, :3])
        mask = self.mask_of(rgb)
        if options.output == "mask":
            return mask
        colours: Pixels = image[:, :, :3]
        if options.alpha_matting:
            context.raise_if_cancelled()
            mask, colours = _matted(rgb, mask, options)
        return _laid_out(colours, mask, _own_alpha(image), options.background)

    def mask_of(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return how surely each pixel is in front: uint8, shape (H, W), 0 to 255."""
        height, width = rgb.shape[:2]
        tensor = _prepared(rgb, PREPARATIONS[self.spec.name])
        name = self._session.get_inputs()[0].name
        found = self._session.run(None, {name: tensor})[0][0, 0]
        low, high = found.min(), found.max()
        # A network that says the same of every pixel has found nothing.
        level = (found - low) / (high - low) if high > low else np.zeros_like(found)
        small = Image.fromarray((level.clip(0, 1) * 255).astype(np.uint8))
        return np.asarray(small.resize((width, height), Image.Resampling.LANCZOS))


def _prepared(rgb: NDArray[np.uint8], how: Preparation) -> NDArray[np.float32]:
    """Return the picture as (1, 3, side, side): stretched, brightest value to 1, normalised."""
    square = Image.fromarray(rgb).resize((how.side, how.side), Image.Resampling.LANCZOS)
    numbers = np.asarray(square)
    numbers = numbers / max(np.max(numbers), 1e-6)
    normalised = (numbers - np.array(how.mean)) / np.array(how.spread)
    return np.ascontiguousarray(normalised.transpose(2, 0, 1)[None]).astype(np.float32)


def _matted(
    rgb: NDArray[np.uint8], mask: NDArray[np.uint8], options: BackgroundOptions
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return a soft mask, and the colours in front without what shone through from behind."""
    try:
        from pymatting import estimate_alpha_cf, estimate_foreground_ml
    except ImportError as error:
        raise ModelError(
            "alpha matting needs pymatting: install paintmq[matting]", code="model_unavailable"
        ) from error
    from scipy.ndimage import binary_erosion

    element = np.ones((options.erode,) * 2, dtype=bool) if options.erode else None
    front = mask > options.foreground_threshold
    behind = mask < options.background_threshold
    if element is not None:
        front = binary_erosion(front, structure=element)
        behind = binary_erosion(behind, structure=element, border_value=1)
    if not front.any() or not behind.any():
        return mask, rgb
    trimap = np.where(front, 1.0, np.where(behind, 0.0, 0.5))
    colours = rgb / 255.0
    alpha = estimate_alpha_cf(colours, trimap)
    foreground = estimate_foreground_ml(colours, alpha)
    return (
        np.clip(alpha * 255, 0, 255).astype(np.uint8),
        np.clip(foreground * 255, 0, 255).astype(np.uint8),
    )


def _own_alpha(image: Pixels) -> NDArray[np.float64] | None:
    if image.shape[2] == 3:
        return None
    opaque = 65535.0 if image.dtype == np.uint16 else 255.0
    return image[:, :, 3] / opaque


def _laid_out(
    colours: Pixels, mask: NDArray[np.uint8], alpha: NDArray[np.float64] | None, background: str
) -> Pixels:
    """Return RGBA, or RGB on a colour; what was transparent before stays so."""
    opaque = 65535 if colours.dtype == np.uint16 else 255
    weight = mask / 255 if alpha is None else mask / 255 * alpha
    if not background:
        cut = np.rint(weight * opaque).astype(colours.dtype)
        return np.dstack([colours, cut]).astype(colours.dtype)
    colour = np.array([int(background[at : at + 2], 16) for at in (1, 3, 5)]) * (opaque // 255)
    mixed = colours * weight[:, :, None] + colour * (1 - weight[:, :, None])
    return np.rint(mixed).astype(colours.dtype)
