"""Pictures from words alone, by models that fill masks: an empty canvas, all of which is masked."""

from typing import TYPE_CHECKING

from paintmq.gateway.apis.cards import ModelCard
from paintmq.task import Json

if TYPE_CHECKING:
    from paintmq.client.task import Input

_GREY = 127
"""Of the canvas; a model that repaints all of it does not see it."""


def canvas(card: ModelCard, width: int, height: int) -> "tuple[dict[str, Input], dict[str, Json]]":
    """Return the inputs and options with which the model paints a picture of that size."""
    import numpy as np

    if card.takes_mask:
        return {
            "image": np.full((height, width, 3), _GREY, np.uint8),
            "mask": np.full((height, width), 255, np.uint8),
        }, {}
    size: dict[str, Json] = {"width": width, "height": height}
    return {}, {name: value for name, value in size.items() if name in card.options}
