"""The gfpgan model: faces found by a detector, restored by spandrel's network, and put back."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from paintmq.image import to_8_bits
from paintmq.model import Device, Model, Outputs, Request, RunContext
from paintmq_plugins.gfpgan import FaceOptions
from paintmq_plugins.imaging.faces import FaceDetector, YuNet, aligned, eye_distance, put_back
from paintmq_plugins.imaging.pasting import Pixels
from paintmq_plugins.torch_erasing import to_tensor
from paintmq_plugins.torch_weights import load_by_spandrel, set_up_torch


class FaceRestoration(Model):
    """Restores each face by itself; what is no face stays, pixel by pixel."""

    detector: FaceDetector | None = None
    """Set another one here; by default OpenCV's YuNet is loaded when a task names no faces."""

    _device: torch.device
    _network: torch.nn.Module

    def load(self, device: Device) -> None:
        self._device = set_up_torch(device)
        descriptor = load_by_spandrel(self.weights, self.spec.weights[0], purpose="FaceSR")
        self._network = descriptor.model.eval().to(self._device)

    def run(self, batch: Sequence[Request], context: RunContext) -> Sequence[Outputs]:
        with torch.inference_mode():
            return [self._restore(request, context) for request in batch]

    def _restore(self, request: Request, context: RunContext) -> Outputs:
        image: Pixels = request.inputs["image"]
        options: FaceOptions = request.options
        rgb = np.ascontiguousarray(to_8_bits(image)[:, :, :3])
        found = self._faces(rgb, options)
        faces = [face for face in found if eye_distance(face) >= options.smallest]
        picture = rgb.astype(np.float64)
        torch.manual_seed(options.seed)
        for done, landmarks in enumerate(faces):
            context.raise_if_cancelled()
            context.progress(done, len(faces))
            square = aligned(rgb, landmarks)
            if square is not None:
                face, matrix = square
                picture = put_back(picture, self.restored(face), matrix, options.strength)
        context.progress(len(faces), len(faces))
        note = _told(len(faces), len(found) - len(faces))
        return {"image": _with_colours(image, rgb, picture), "note": note.encode()}

    def restored(self, face: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a face of 512 x 512 restored.

        The network takes and gives -1 to 1: spandrel's own call of it leaves that out.
        """
        result = self._network(to_tensor(face, self._device) * 2 - 1, return_rgb=False)[0]
        # In the order of operations of the reference, which decides some halves.
        levels = ((result[0].clamp(-1, 1) + 1) / 2 * 255).round().to(torch.uint8)
        picture: NDArray[np.uint8] = levels.permute(1, 2, 0).cpu().numpy()
        return np.ascontiguousarray(picture)

    def _faces(self, rgb: NDArray[np.uint8], options: FaceOptions) -> list[NDArray[np.float64]]:
        if options.faces:
            return [np.array(face, np.float64).reshape(5, 2) for face in options.faces]
        if self.detector is None:
            self.detector = YuNet(self.weights.path(self.spec.weights[1].name))
        return self.detector.detect(rgb, options.confidence)


def _told(restored: int, too_small: int) -> str:
    """Return what became of the faces, in words."""
    left = f"; {too_small} smaller than the option 'smallest' left alone" if too_small else ""
    if not restored:
        return f"no face restored{left}" if too_small else "no face found: nothing was changed"
    return f"{restored} face{'s' * (restored > 1)} restored{left}"


def _with_colours(image: Pixels, before: NDArray[np.uint8], after: NDArray[np.float64]) -> Pixels:
    """Return a copy of the image with the colours that changed, in its own depth."""
    result = image.copy()
    levels = 257 if image.dtype == np.uint16 else 1
    changed = (np.rint(after) != before).any(axis=2)
    result[changed, :3] = np.rint(np.clip(after[changed], 0, 255) * levels)
    return result
