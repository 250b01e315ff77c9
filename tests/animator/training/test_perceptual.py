"""VGG features for Eq. 4 and 5: the layers that are meant, from either layout of file, and files that are none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from animator.errors import XNeMoError
from animator.training.checks import check_settings
from animator.training.losses import perceptual_loss
from animator.training.perceptual import CHANNELS, IMAGENET, VGG16, VGG19, VGGFACE, VggFeatures
from animator.training.ranks import Ranks
from tests.animator.training.runs import settings


def torchvision_vgg(blocks: tuple[int, ...]) -> nn.Sequential:
    """The published layout: convolutions and activations in turn, a pooling behind each block."""
    layers: list[nn.Module] = []
    entering = 3
    for count, width in zip(blocks, CHANNELS, strict=True):
        for _ in range(count):
            layers += [nn.Conv2d(entering, width, 3, padding=1), nn.ReLU()]
            entering = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


@torch.no_grad()
def activations(vgg: nn.Sequential, x: Tensor, numbers: tuple[int, ...]) -> list[Tensor]:
    found = []
    for number, layer in enumerate(vgg):
        x = layer(x)
        if number in numbers:
            found.append(x)
    return found


@pytest.mark.parametrize(
    ("blocks", "numbers", "normalisation"),
    [(VGG19, (1, 6, 11, 20, 29), IMAGENET), (VGG16, (1, 6, 11, 18, 25), VGGFACE)],
)
def test_the_five_activations_are_those_of_the_published_network(
    blocks: tuple[int, ...], numbers: tuple[int, ...], normalisation: tuple, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    vgg = torchvision_vgg(blocks)
    images = torch.rand(1, 3, 32, 32) * 2 - 1
    mean, deviation = (torch.tensor(x)[:, None, None] for x in normalisation)
    expected = activations(vgg, ((images + 1) / 2 - mean) / deviation, numbers)
    state = {f"features.{name}": value for name, value in vgg.state_dict().items()}
    if blocks == VGG16:  # the layout of VGGFace's file, as PyTorch saves it
        numbered = [f"conv{block}_{n}" for block, count in enumerate(blocks, 1) for n in range(1, count + 1)]
        convs = [layer for layer in vgg if isinstance(layer, nn.Conv2d)]
        state = {f"{name}.{part}": getattr(conv, part) for name, conv in zip(numbered, convs, strict=True)
                 for part in ("weight", "bias")}  # fmt: skip
        torch.save({name: value.detach() for name, value in state.items()}, path := tmp_path / "vgg.pth")
    else:
        save_file(state, path := tmp_path / "vgg.safetensors")
    found = VggFeatures(path, blocks, normalisation)(images)
    assert [x.shape[-1] for x in found] == [32, 16, 8, 4, 2]
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert perceptual_loss(found, found) == 0
    assert perceptual_loss(found, [x + 0.25 for x in found]).item() == pytest.approx(5 * 0.25)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(XNeMoError, match="no such file"):
        VggFeatures(tmp_path / "absent.pth")
    save_file({"features.0.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "half.safetensors")
    with pytest.raises(XNeMoError, match=r"it has neither features\.0 nor conv1_1"):
        VggFeatures(tmp_path / "half.safetensors")
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(XNeMoError, match="not weights of a VGG"):
        VggFeatures(tmp_path / "text.pth")


@pytest.mark.parametrize(("term", "file"), [("vgg", "vgg19-dcbb9e9d.pth"), ("vggface", "vgg_face_dag.pth")])
def test_a_term_without_its_file_names_the_file_and_the_ways_out(term: str, file: str, tmp_path: Path) -> None:
    config = settings("motion", tmp_path, tmp_path, 1, f"losses.{term}=0.03")
    with pytest.raises(XNeMoError, match=rf"{file}.*losses\.{term}=0"):
        check_settings(config, Ranks())
