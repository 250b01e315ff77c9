"""VGG networks for the perceptual losses of the GAN head, Eq. 4 and 5, from files that the user has.

The layers are those of Burkov et al. 2020, which the paper follows: the first activation of each of the five blocks.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from animator.errors import XNeMoError
from animator.evaluation.lpips import Lpips
from animator.training.config import TrainAnimatorConfig

CHANNELS = (64, 128, 256, 512, 512)
VGG19, VGG16 = (2, 2, 4, 4, 4), (2, 2, 3, 3, 3)  # convolutions of each block
# Mean and deviation of the inputs that the weights were trained on, on the scale of [0, 1].
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
VGGFACE = ((0.506613, 0.410833, 0.367427), (1 / 255, 1 / 255, 1 / 255))  # 129.186, 104.762, 93.594 of 255, undivided


class VggFeatures(nn.Module):
    """Activations of a VGG; frozen, differentiable in its input.

    Args:
        weights: torchvision's layout (`features.N.weight`) or the one of VGGFace (`conv1_1.weight`), as safetensors or
            as a state dict of PyTorch.
        blocks: convolutions of each block.
        normalisation: mean and deviation of the inputs.
    Raises:
        XNeMoError: the file is not there, or not such weights.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        weights: Path,
        blocks: tuple[int, ...] = VGG19,
        normalisation: tuple[tuple[float, ...], tuple[float, ...]] = IMAGENET,
    ) -> None:
        super().__init__()
        self.blocks = blocks
        state = _read(weights)
        self.convs = nn.ModuleList()
        entering, index = 3, 0
        for block, (count, width) in enumerate(zip(blocks, CHANNELS, strict=True)):
            # Nothing behind the first activation of the last block is looked at.
            for layer in range(count if block + 1 < len(blocks) else 1):
                conv = nn.Conv2d(entering, width, 3, padding=1)
                names = (f"features.{index + 2 * layer}", f"conv{block + 1}_{layer + 1}")
                _fill(conv, state, names, weights)
                self.convs.append(conv)
                entering = width
            index += 2 * count + 1  # a convolution and its activation each, then the pooling
        self.register_buffer("mean", torch.tensor(normalisation[0])[:, None, None])
        self.register_buffer("deviation", torch.tensor(normalisation[1])[:, None, None])
        self.requires_grad_(False).eval()

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images (B, 3, H, W) in [-1, 1] -> the five activations, at 1, 1/2, 1/4, 1/8 and 1/16 of the size."""
        x = ((images + 1) / 2 - self.mean) / self.deviation
        maps, convs = [], iter(self.convs)
        for block, count in enumerate(self.blocks):
            if block:
                x = F.max_pool2d(x, 2)
            x = F.relu(next(convs)(x))
            maps.append(x)
            if block + 1 < len(self.blocks):
                for _ in range(count - 1):
                    x = F.relu(next(convs)(x))
        return maps


@dataclass(frozen=True)
class PerceptualNetworks:
    """The networks of the GAN head's perceptual losses; None where a term is off.

    Attributes:
        vgg: VGG-19 of ImageNet, for Eq. 4.
        vggface: VGG-16 of faces, for Eq. 5.
        lpips: LPIPS with AlexNet, in place of Eq. 4, and for validations.
    """

    vgg: VggFeatures | None = None
    vggface: VggFeatures | None = None
    lpips: Lpips | None = None

    @classmethod
    def load(cls, config: TrainAnimatorConfig) -> PerceptualNetworks:
        """Load what the settings name.

        Raises:
            XNeMoError: a file is not there, or not what it should be.
        """
        weights, heads = config.losses, config.train_gan and config.stage == "motion"
        vgg, vggface = config.vgg_weights, config.vggface_weights
        return cls(
            vgg=VggFeatures(Path(vgg)) if heads and weights.vgg and vgg is not None else None,
            vggface=VggFeatures(Path(vggface), VGG16, VGGFACE) if heads and weights.vggface and vggface else None,
            lpips=None if config.perceptual_weights is None else Lpips(Path(config.perceptual_weights)),
        )

    def to(self, device: torch.device | str) -> PerceptualNetworks:
        """Move all of them to a device; returns itself."""
        for network in vars(self).values():
            if network is not None:
                network.to(device)
        return self


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise XNeMoError(f"{path}: no such file; docs/training.md says where the perceptual networks come from")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, SafetensorError, pickle.UnpicklingError) as error:
        # What torch says of bytes that are no file of its own helps nobody.
        raise XNeMoError(f"{path}: not weights of a VGG (it cannot be read: {type(error).__name__})") from error


def _fill(conv: nn.Conv2d, state: dict[str, Tensor], names: tuple[str, ...], path: Path) -> None:
    name = next((name for name in names if f"{name}.weight" in state), None)
    wanted = tuple(conv.weight.shape)
    if name is None or f"{name}.bias" not in state:
        raise XNeMoError(f"{path}: not weights of this VGG: it has neither {' nor '.join(names)}")
    if tuple(state[f"{name}.weight"].shape) != wanted:
        shape = tuple(state[f"{name}.weight"].shape)
        raise XNeMoError(f"{path}: not weights of this VGG: {name} is {shape}, and should be {wanted}")
    assert conv.bias is not None
    conv.weight.data.copy_(state[f"{name}.weight"])
    conv.bias.data.copy_(state[f"{name}.bias"])
