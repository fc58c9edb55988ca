"""Networks that stand in for those whose architecture cannot be had, to be saved as TorchScript.

They take and give what the real ones do, and do nothing useful with it: with them the whole path
around ZITS and FcF runs, and can be compared with others' code.
"""

import torch
from torch.nn.functional import interpolate


class WireframeStandIn(torch.nn.Module):
    """Finds the same three lines in every picture, a little longer in bright ones."""

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        level = torch.sigmoid(x.mean())
        lines = torch.tensor([[0.1, 0.2, 0.9, 0.8], [0.5, 0.0, 0.4, 0.99], [0.2, 0.2, 0.3, 0.9]])
        return {
            "num_proposals": torch.tensor([3]),
            "lines_pred": lines * (0.8 + 0.2 * level),
            "lines_score": torch.tensor([0.95, 0.86, 0.3]),
        }


class EdgeLineStandIn(torch.nn.Module):
    """Continues edges and lines by one convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(6, 2, 5, padding=2)

    def forward(
        self, img: torch.Tensor, edge: torch.Tensor, line: torch.Tensor, masks: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        both = self.conv(torch.cat([img, edge, line, masks], dim=1)) * 3
        return both[:, :1], both[:, 1:]


class UpsampleStandIn(torch.nn.Module):
    """Doubles a structure pixel by pixel."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return interpolate(x, scale_factor=2.0, mode="nearest") * 4 - 3


class InpaintStandIn(torch.nn.Module):
    """ZITS's last network: mixes all that it is given by one convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3 + 1 + 2 + 5, 3, 7, padding=3)

    def forward(
        self,
        images: torch.Tensor,
        masks: torch.Tensor,
        edge: torch.Tensor,
        line: torch.Tensor,
        rel_pos: torch.Tensor,
        direct: torch.Tensor,
    ) -> torch.Tensor:
        where = torch.cat([rel_pos[:, None].float() / 128, direct.permute(0, 3, 1, 2).float()], 1)
        seen = torch.cat([images * (1 - masks), masks, edge, line, where], 1)
        return torch.sigmoid(self.conv(seen) * 3)


class FcfStandIn(torch.nn.Module):
    """FcF's generator: takes the mask and the erased picture, gives colours from -1 to 1."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(4, 3, 31, padding=15)

    def forward(self, erased: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.conv(erased) * 3)
