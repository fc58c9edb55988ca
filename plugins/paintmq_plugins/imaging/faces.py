"""Faces: found, turned into the square that a network knows, and put back.

The template and the way of blending are facexlib's, with its square mask; a face is described by
five landmarks, shape (5, 2): the eye on the picture's left, the eye on its right, the nose, the
mouth's left and right corner.
"""

from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from attrs import define, field
from numpy.typing import NDArray

from paintmq.errors import ModelError

FACE_SIZE = 512
# Mean landmarks of FFHQ's faces at 512 x 512, as facexlib has them.
_TEMPLATE = np.array(
    [
        [192.98138, 239.94708],
        [318.90277, 240.1936],
        [256.63416, 314.01935],
        [201.26117, 371.41043],
        [313.08905, 371.15118],
    ]
)
_GREY = (132, 133, 135)  # what lies outside the picture
_DETECTION_SIDE = 1280


class FaceDetector(Protocol):
    """Finds faces; whatever does may be put in its place."""

    def detect(self, rgb: NDArray[np.uint8], confidence: float) -> list[NDArray[np.float64]]:
        """Return the landmarks of each face, in pixels, the surest first."""
        ...


@define
class YuNet:
    """OpenCV's own face detector; its weights are 0.2 MB."""

    _path: Path
    _detector: cv2.FaceDetectorYN | None = field(default=None, init=False)

    def detect(self, rgb: NDArray[np.uint8], confidence: float) -> list[NDArray[np.float64]]:
        height, width = rgb.shape[:2]
        ratio = min(1.0, _DETECTION_SIDE / max(height, width))
        size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
        small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
        detector = self._loaded()
        detector.setInputSize(size)
        detector.setScoreThreshold(confidence)
        _, found = detector.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
        # Each row: box (4), five landmarks (10), score. There are no rows where OpenCV gives None.
        table = np.array(found if _is_matrix(found) else [], np.float64).reshape(-1, 15)
        rows = sorted(table, key=lambda row: -row[14])
        return [row[4:14].reshape(5, 2) / ratio for row in rows]

    def _loaded(self) -> cv2.FaceDetectorYN:
        if self._detector is None:
            # It would warn that it knows no targets, though none is asked for.
            level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
            try:
                self._detector = cv2.FaceDetectorYN.create(str(self._path), "", (320, 320))
            except cv2.error as error:
                raise ModelError(
                    f"the face detector's weights {self._path.name} cannot be read",
                    code="weights_unreadable",
                ) from error
            finally:
                cv2.utils.logging.setLogLevel(level)
        return self._detector


def eye_distance(landmarks: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(landmarks[0] - landmarks[1]))


def aligned(
    rgb: NDArray[np.uint8], landmarks: NDArray[np.float64]
) -> tuple[NDArray[np.uint8], NDArray[np.float64]] | None:
    """Return the face upright in a square, and the matrix that put it there; None if none can."""
    matrix, _ = cv2.estimateAffinePartial2D(landmarks, _TEMPLATE, method=cv2.LMEDS)
    if not _is_matrix(matrix):
        return None
    face = cv2.warpAffine(
        rgb,
        matrix,
        (FACE_SIZE, FACE_SIZE),
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=_GREY,
    )
    return face.astype(np.uint8), matrix.astype(np.float64)


def put_back(
    picture: NDArray[np.float64],
    face: NDArray[np.uint8],
    matrix: NDArray[np.float64],
    strength: float,
) -> NDArray[np.float64]:
    """Return the picture with the face laid over its place, faded at the edge of its square."""
    height, width = picture.shape[:2]
    inverse = cv2.invertAffineTransform(matrix)
    laid = cv2.warpAffine(face, inverse, (width, height)).astype(np.float64)
    square = np.ones((FACE_SIZE, FACE_SIZE), np.float32)
    covered = cv2.erode(cv2.warpAffine(square, inverse, (width, height)), _block(2))
    edge = int(float(covered.sum()) ** 0.5) // 20
    if edge == 0:
        return picture
    centre = cv2.erode(covered, _block(edge * 2))
    soft = cv2.GaussianBlur(centre, (edge * 2 + 1, edge * 2 + 1), 0).astype(np.float64)
    weight = soft[:, :, None] * strength
    mixed: NDArray[np.float64] = weight * (covered[:, :, None] * laid) + (1 - weight) * picture
    return mixed


def _is_matrix(matrix: object) -> bool:
    """OpenCV gives None where no transform fits; its types leave that out."""
    return isinstance(matrix, np.ndarray) and bool(np.isfinite(matrix).all())


def _block(side: int) -> NDArray[np.uint8]:
    return np.ones((side, side), np.uint8)
