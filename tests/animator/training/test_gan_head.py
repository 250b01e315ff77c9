"""The GAN head before any training, and its convolution against the textbook form."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from animator.builders import animator_config
from animator.models.flow import similarity_flow, warp
from animator.models.gan_head import GanHead, ModulatedConv, SynthesisBlock
from tests.animator.tiny import shake

BOXES = torch.tensor([[0.1, -0.1, 0.9], [0.0, 0.0, 1.0]])
STILL = torch.tensor([[0.0, 0.0, 1.0]]).repeat(2, 1)


def noise(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def build(warping: bool) -> GanHead:
    torch.manual_seed(0)
    config = dataclasses.asdict(animator_config("tiny").gan_head)
    return GanHead(**config | {"warp": warping}).eval()


@pytest.fixture(scope="module")
def head() -> GanHead:
    return build(warping=True)


@pytest.fixture
def inputs() -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Reference, its face's box, tokens of the driver, tokens of the reference, f_rts of a head that stays."""
    smooth = F.interpolate(noise(1, 2, 3, 8, 8), size=(64, 64), mode="bilinear").clamp(-1, 1)
    return smooth, BOXES, noise(2, 2, 32, 16), noise(3, 2, 32, 16), STILL


@torch.no_grad()
def test_an_untrained_head_that_warps_shows_the_reference(head: GanHead, inputs: tuple[Tensor, ...]) -> None:
    output = head(*inputs)
    assert output.flow is not None and output.mask is not None
    assert output.flow.abs().max() < 1e-6
    assert torch.allclose(output.mask, torch.tensor(0.95), atol=0.01)
    assert (output.image - inputs[0]).abs().mean() < 0.1


@torch.no_grad()
def test_growing_changes_nothing_at_the_start(head: GanHead, inputs: tuple[Tensor, ...]) -> None:
    full = head(*inputs)
    for levels in range(1, len(head.generator.blocks)):
        coarse = head(*inputs, levels)
        assert coarse.flow is not None and coarse.flow.shape[-1] == 8 * 2 ** (levels - 1)
        # What is left is enlarging in one step instead of several; a level that paints would make ten times as much.
        assert (coarse.image - full.image).abs().mean() < 0.003


def test_levels_that_add_nothing_are_not_computed_where_nothing_learns(inputs: tuple[Tensor, ...]) -> None:
    head = build(warping=True)
    *coarse, finest = [block for block in head.generator.blocks if isinstance(block, SynthesisBlock)]
    for block in coarse:
        shake(block)
    computed: list[bool] = []
    finest.conv1.register_forward_hook(lambda *_: computed.append(torch.is_grad_enabled()))
    learning = head(*inputs)
    with torch.no_grad():
        drawn = head(*inputs)
        assert computed == [True]
        assert drawn.flow is not None and learning.flow is not None
        assert torch.equal(drawn.image, learning.image) and torch.equal(drawn.flow, learning.flow)
        finest.to_rgb.bias.fill_(0.1)
        head(*inputs)
    assert computed == [True, False]


@torch.no_grad()
def test_the_plain_generator_draws_from_a_constant(inputs: tuple[Tensor, ...]) -> None:
    plain = build(warping=False)
    reference, boxes, tokens, own, rts = inputs
    output = plain(*inputs)
    assert output.image.shape == reference.shape
    assert output.flow is None and output.mask is None
    shake(plain)
    image = plain(*inputs).image
    assert not torch.allclose(image, plain(reference, boxes, own, own, rts).image)
    assert torch.equal(image, plain(reference, boxes, tokens, tokens, rts + 0.1).image)


@pytest.mark.parametrize("demodulate", [True, False])
def test_modulated_convolution_equals_modulated_weights(demodulate: bool) -> None:
    torch.manual_seed(0)
    conv = shake(ModulatedConv(5, 7, 3, 4, demodulate))
    assert isinstance(conv, ModulatedConv)
    x, style = noise(4, 3, 5, 6, 6), noise(5, 3, 4)
    # StyleGAN2 section 2.2: w' = s w per sample and input channel, w'' = w' / sqrt(sum w'^2) per output channel.
    weights = conv.weight[None] * conv.style(style)[:, None, :, None, None]
    if demodulate:
        weights = weights * torch.rsqrt(weights.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8)
    # One group per sample: (3, 5, 6, 6) -> (1, 15, 6, 6), weights (3, 7, 5, 3, 3) -> (21, 5, 3, 3).
    expected = F.conv2d(x.reshape(1, 15, 6, 6), weights.reshape(21, 5, 3, 3), padding=1, groups=3)
    expected = expected.reshape(3, 7, 6, 6) + conv.bias[:, None, None]
    assert torch.allclose(conv(x, style), expected, atol=1e-5)


@torch.no_grad()
def test_one_portrait_for_many_frames_equals_a_batch_of_portraits(inputs: tuple[Tensor, ...]) -> None:
    head = build(warping=True)
    shake(head)
    reference, tokens, own = inputs[0][:1], noise(6, 4, 32, 16), inputs[3][:1].expand(4, -1, -1)
    rts = torch.tensor([0.0, 0.0, 1.0]) + 0.1 * noise(8, 4, 3)
    once = head.generate(head.appearance(reference, BOXES[:1]).expand(4), tokens, own, rts)
    batch = head(reference.expand(4, -1, -1, -1).contiguous(), BOXES[:1].expand(4, -1), tokens, own, rts)
    assert torch.allclose(once.image, batch.image, atol=1e-5)
    assert once.flow is not None and once.flow.abs().max() > 0


def test_warping_follows_the_flow() -> None:
    image = noise(7, 1, 3, 16, 16)
    right = torch.tensor([2 / 16 * 3, 0.0])[None, :, None, None].expand(1, 2, 4, 4)  # three pixels, in [-1, 1]
    assert torch.allclose(warp(image, right)[..., :-3], image[..., 3:], atol=1e-5)
    assert torch.allclose(warp(image, torch.zeros(1, 2, 4, 4)), image, atol=1e-5)


def test_the_similarity_flow_takes_the_face_where_f_rts_says() -> None:
    box = torch.tensor([[0.2, -0.1, 0.5]])
    rts = torch.tensor([[0.4, -0.2, 1.5]])
    flow = similarity_flow(box, rts, 200)[0]

    def source(x: float, y: float) -> Tensor:
        column, row = round((x + 1) * 100 - 0.5), round((y + 1) * 100 - 0.5)
        return torch.tensor([(column + 0.5) / 100 - 1, (row + 0.5) / 100 - 1]) + flow[:, row, column]

    # The face's centre has gone 0.4 and -0.2 sides of 0.5, and everything about it is 1.5 times as far apart.
    assert torch.allclose(source(0.4, -0.2), torch.tensor([0.2, -0.1]), atol=0.01)
    assert torch.allclose(source(0.4 + 0.3, -0.2 - 0.15), torch.tensor([0.4, -0.2]), atol=0.01)
    assert flow[:, -1, 0].abs().max() == 0  # far from the face nothing moves
    assert similarity_flow(box, torch.tensor([[0.0, 0.0, 1.0]]), 16).abs().max() < 1e-6


@torch.no_grad()
def test_an_untrained_head_moves_the_face_by_f_rts(head: GanHead, inputs: tuple[Tensor, ...]) -> None:
    reference, boxes, tokens, own, _ = inputs
    rts = torch.tensor([[0.1, 0.0, 1.0], [0.0, 0.2, 0.8]])
    output = head(reference, boxes, tokens, own, rts)
    assert output.flow is not None
    assert torch.allclose(output.flow, similarity_flow(boxes, rts, output.flow.shape[-1]))
