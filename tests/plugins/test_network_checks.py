"""Weights of another scale or family are named when they are loaded, not by wrong pictures."""

from types import SimpleNamespace
from typing import Any

import pytest

from paintmq.errors import ModelError
from paintmq_plugins.network_checks import check_network


def network(**changes: Any) -> SimpleNamespace:
    """Return what spandrel makes of Real-ESRGAN's own file, but for these changes."""
    family = SimpleNamespace(name=changes.pop("family", "ESRGAN"))
    known = {"purpose": "SR", "scale": 4, "input_channels": 3, "output_channels": 3}
    return SimpleNamespace(architecture=family, **(known | changes))


def test_the_network_that_is_meant_is_taken() -> None:
    check_network(network(), "x4.pth", purpose="SR", scale=4)
    check_network(network(purpose="FaceSR", scale=8, family="GFPGAN"), "g.pth", purpose="FaceSR")


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (network(scale=2), "enlarges 2 times (ESRGAN), and this model needs one that enlarges 4"),
        (
            network(purpose="Restoration", scale=1, family="NAFNet"),
            "is of the family NAFNet, which cleans pictures and does not enlarge them, and this"
            " model needs one that enlarges pictures",
        ),
        (
            network(purpose="Inpainting", scale=1, family="LaMa"),
            "is of the family LaMa, which fills masks",
        ),
        (network(input_channels=1, output_channels=1), "takes 1 and gives 1 channels (ESRGAN)"),
    ],
)
def test_another_one_is_refused_with_what_it_is(found: SimpleNamespace, reason: str) -> None:
    with pytest.raises(ModelError) as refusal:
        check_network(found, "upscale.pth", purpose="SR", scale=4)

    assert f"the weights upscale.pth hold a network that {reason}" in str(refusal.value)
    assert "weights.paths" in str(refusal.value)
    assert refusal.value.code == "weights_unsuitable"
