"""Faces: found by OpenCV's detector on a network that finds white squares, turned, and put back."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from paintmq.errors import ModelError
from paintmq_plugins.imaging.faces import FACE_SIZE, YuNet, aligned, eye_distance, put_back

STAND_IN = Path(__file__).parents[2] / "data" / "face-stand-in.onnx"
# What the stand-in says of a white square of 32 pixels, from its corner: eyes, nose, mouth.
LANDMARKS = np.array([(-16, 0), (48, 0), (16, 24), (-8, 48), (40, 48)], np.float64)
UPRIGHT = LANDMARKS * 2 + np.array((200, 180))


def found_at(left: int, top: int) -> NDArray[np.float64]:
    moved: NDArray[np.float64] = LANDMARKS + np.array((left, top))
    return moved


def squares(*corners: tuple[int, int], height: int = 300, width: int = 400) -> NDArray[np.uint8]:
    picture = np.zeros((height, width, 3), np.uint8)
    for level, (top, left) in enumerate(corners):
        picture[top : top + 32, left : left + 32] = 255 - level
    return picture


def test_every_face_is_found_with_its_landmarks() -> None:
    found = YuNet(STAND_IN).detect(squares((64, 96), (192, 288)), 0.8)

    assert len(found) == 2
    for landmarks, (top, left) in zip(found, [(64, 96), (192, 288)], strict=True):
        assert np.allclose(landmarks, found_at(left, top), atol=0.01)


def test_the_surest_comes_first() -> None:
    picture = squares((64, 96), (192, 288))
    picture[64:96, 96:128] = 232  # barely white

    (first, second) = YuNet(STAND_IN).detect(picture, 0.5)

    assert first[0, 0] > second[0, 0]


def test_no_face_is_found_where_there_is_none() -> None:
    assert YuNet(STAND_IN).detect(squares(), 0.8) == []


def test_a_large_picture_is_searched_small_and_answered_in_its_own_pixels() -> None:
    large = np.kron(squares((64, 96), height=640, width=1280), np.ones((2, 2, 1), np.uint8))

    (found,) = YuNet(STAND_IN).detect(large, 0.8)

    assert np.allclose(found, found_at(96, 64) * 2, atol=0.02)


def test_a_detector_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "faces.onnx").write_bytes(b"no network")

    with pytest.raises(ModelError, match=r"faces\.onnx cannot be read") as caught:
        YuNet(tmp_path / "faces.onnx").detect(squares(), 0.8)

    assert caught.value.code == "weights_unreadable"


@pytest.mark.parametrize("angle", [0, 25, 180])
def test_a_face_is_turned_upright_into_the_middle_of_its_square(angle: int) -> None:
    turn = cv2.getRotationMatrix2D((232.0, 220.0), angle, 1.0)
    landmarks = UPRIGHT @ turn[:, :2].T + turn[:, 2]
    picture = np.zeros((480, 480, 3), np.uint8)
    eye = landmarks[0].round().astype(int)
    cv2.circle(picture, (int(eye[0]), int(eye[1])), 6, (0, 0, 255), -1)

    square = aligned(picture, landmarks)

    assert square is not None
    face, _ = square
    assert face.shape == (FACE_SIZE, FACE_SIZE, 3)
    rows, columns = np.nonzero(face[:, :, 2] > 200)
    # Where FFHQ's faces have it, more or less: these landmarks are not quite a face's.
    assert abs(rows.mean() - 240) < 40
    assert abs(columns.mean() - 193) < 40


def test_landmarks_all_in_one_place_are_no_face() -> None:
    assert aligned(squares(), np.zeros((5, 2))) is None


def test_a_face_put_back_changes_its_place_alone_and_fades_at_its_edge() -> None:
    picture = np.full((800, 800, 3), 100.0)
    square = aligned(picture.astype(np.uint8), UPRIGHT + np.array((150, 150)))
    assert square is not None
    white = np.full((FACE_SIZE, FACE_SIZE, 3), 255, np.uint8)

    result = put_back(picture, white, square[1], strength=1.0)
    half = put_back(picture, white, square[1], strength=0.5)

    assert np.allclose(result[400, 400], 255)
    assert np.allclose(half[400, 400], (100 + 255) / 2)
    assert (result[0] == 100).all()
    between = (result > 101) & (result < 254)
    assert between.any()
    assert np.array_equal(put_back(picture, white, square[1], strength=0.0), picture)


def test_the_distance_of_the_eyes_tells_the_size() -> None:
    assert eye_distance(LANDMARKS) == 64
