"""Options of the models that fill a mask from what is around it."""

from typing import Literal

from attrs import field, frozen, validators

from paintmq.model import InputSpec, Job

ERASE_INPUTS = (
    InputSpec(name="image", summary="the picture, 8 or 16 bits, with or without alpha"),
    InputSpec(
        name="mask",
        kind="mask",
        summary="white where the picture is to be filled, but not all of it",
        needs_surroundings=True,
    ),
)


@frozen(kw_only=True)
class FeatherOptions:
    """How what was filled is put into the picture."""

    feather: int = field(
        default=0,
        validator=[validators.ge(0), validators.le(256)],
        metadata={"help": "pixels inwards from the mask's edge over which the fill fades in"},
    )


@frozen(kw_only=True)
class EraseOptions(FeatherOptions):
    """How a picture that is large for the network is dealt with."""

    strategy: Literal["crop", "resize", "original"] = field(
        default="crop",
        metadata={
            "help": "of large pictures: crop runs on the surroundings of each masked region,"
            " resize on a smaller copy, original on the whole, whatever memory that takes"
        },
    )
    crop_trigger: int = field(
        default=800,
        validator=[validators.ge(1)],
        metadata={"help": "crop where the longer side has more pixels"},
    )
    crop_margin: int = field(
        default=128,
        validator=[validators.ge(0), validators.le(4096)],
        metadata={"help": "pixels around a masked region that the network sees"},
    )
    resize_limit: int = field(
        default=1280,
        validator=[validators.ge(64)],
        metadata={
            "help": "resize where the longer side has more pixels, to so many; so is a crop that"
            " large"
        },
    )


def size_at_once(job: Job) -> tuple[int, int]:
    """Return the longer and the shorter side of the largest piece that a network may be given.

    Its memory depends on that. Zeros where the size of the picture is not known.
    """
    options: EraseOptions = job.options
    sides = [(max(i.width, i.height), min(i.width, i.height)) for i in job.inputs]
    longer, shorter = max(sides, default=(0, 0))
    whole = options.strategy == "original" or (
        options.strategy == "crop" and longer <= options.crop_trigger
    )
    if whole or longer <= options.resize_limit:
        return longer, shorter
    if options.strategy == "resize":
        return options.resize_limit, -(-shorter * options.resize_limit // longer)
    # A crop may have any shape within the picture.
    return options.resize_limit, min(shorter, options.resize_limit)
