"""Matrix products by oneDNN: the same nets, the same results but for rounding."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from animator.models.linear import AVAILABLE, Linear, multiply_by_onednn
from animator.models.motion_encoder import MotionEncoder
from tests.animator.tiny import motion_unet, reference_net

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="oneDNN has no kernels for this processor")


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(48, 320), (3, 7, 320), (2, 0, 320)])
def test_products_are_those_of_torch(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    ours = nn.Sequential(nn.Linear(320, 96, bias=bias)).requires_grad_(False)
    x = torch.randn(shape)
    expected = ours(x)
    multiply_by_onednn(ours)
    assert isinstance(ours[0], Linear)
    torch.testing.assert_close(ours(x), expected, rtol=1e-5, atol=1e-5)


def test_parameters_stay_the_same_objects_under_the_same_names() -> None:
    net = nn.Sequential(nn.Linear(4, 8), nn.Sequential(nn.Linear(8, 2, bias=False)))
    before = dict(net.named_parameters())
    multiply_by_onednn(net)
    after = dict(net.named_parameters())
    assert list(after) == list(before)
    assert all(after[name] is before[name] for name in before)


def test_gradients_are_those_of_torch() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 5))
    x = torch.randn(3, 6, requires_grad=True)
    net(x).square().sum().backward()
    expected = x.grad, net[0].weight.grad
    net.zero_grad()
    x.grad = None
    multiply_by_onednn(net)
    net(x).square().sum().backward()
    assert expected[0] is not None and x.grad is not None
    torch.testing.assert_close((x.grad, net[0].weight.grad), expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_number_formats_are_left_to_torch(dtype: torch.dtype) -> None:
    net = nn.Sequential(nn.Linear(6, 5)).to(dtype).requires_grad_(False)
    x = torch.randn(3, 6, dtype=dtype)
    expected = net(x)
    multiply_by_onednn(net)
    assert torch.equal(net(x), expected)


def test_a_compiler_sees_a_plain_product_in_one_graph() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 5), nn.SiLU()).requires_grad_(False)
    multiply_by_onednn(net)
    x = torch.randn(3, 6)
    torch.testing.assert_close(torch.compile(net, backend="eager", fullgraph=True)(x), net(x))


def test_every_product_of_the_large_nets_is_onednn() -> None:
    encoder = MotionEncoder(image_size=32, channels=(8, 8, 16), hourglass_depth=1, attention_dim=64, norm_groups=8)
    for net in (encoder, reference_net(), motion_unet()):
        products = [layer for layer in net.modules() if isinstance(layer, nn.Linear)]
        assert products
        assert all(isinstance(layer, Linear) for layer in products)
