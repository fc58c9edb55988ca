"""Whether the network in a weight file is one that a model can use: seen when it is loaded.

A file of another scale or family loads without a word, and its pictures would be wrong, or fail
one by one.
"""

from typing import Any, Literal, TypeAlias

from paintmq.errors import ModelError

Purpose: TypeAlias = Literal["SR", "FaceSR", "Inpainting", "Restoration"]

_IN_WORDS: dict[str, str] = {
    "SR": "enlarges pictures",
    "FaceSR": "restores faces",
    "Inpainting": "fills masks",
    "Restoration": "cleans pictures and does not enlarge them",
}


def check_network(
    network: Any, file: str, *, purpose: Purpose | None = None, scale: int | None = None
) -> None:
    """Refuse a network that does something else than its model.

    Args:
        network: what spandrel made of the file.
        file: the file's name.
        purpose: what the model does; None: anything.
        scale: how much it enlarges; None: however much.

    Raises:
        ModelError: it is of another family, scale or number of channels; the text says of which.
    """
    family, does = network.architecture.name, network.purpose
    if purpose is not None and does != purpose:
        raise _unsuitable(
            file,
            f"is of the family {family}, which {_IN_WORDS.get(does, does)}, and this model needs"
            f" one that {_IN_WORDS[purpose]}",
        )
    if scale is not None and network.scale != scale:
        raise _unsuitable(
            file,
            f"enlarges {network.scale} times ({family}), and this model needs one that enlarges"
            f" {scale} times; the option `scale` sets the size of the result",
        )
    channels = network.input_channels, network.output_channels
    if scale is not None and channels != (3, 3):
        raise _unsuitable(
            file,
            f"takes {channels[0]} and gives {channels[1]} channels ({family}), and this model"
            " needs 3 of each: colour",
        )


def _unsuitable(file: str, what: str) -> ModelError:
    return ModelError(
        f"the weights {file} hold a network that {what}: put the right file in its place"
        " (weights.paths), or download it with `paintmq models download`",
        code="weights_unsuitable",
    )
