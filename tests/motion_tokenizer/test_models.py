"""The networks: what depends on what, which sizes there are, and that the layout of tensors changes no number."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from animator.errors import XNeMoError
from motion_tokenizer.builders import build_model, tokenizer_config
from motion_tokenizer.models.blocks import StreamState, TemporalConv
from tests.motion_tokenizer import tiny

FRAMES = 64


def reached(gradient: Tensor) -> list[int]:
    """Positions in time, of (1, n, channels), that have an influence."""
    return gradient.abs().sum(dim=(0, 2)).nonzero().flatten().tolist()


@pytest.mark.parametrize("step", [0, 7, 15])
def test_a_token_depends_on_its_own_frames_and_earlier_ones_only(step: int) -> None:
    data = tiny.features(1, FRAMES).requires_grad_()
    tiny.model().encode_continuous(data)[0, step].sum().backward()
    assert data.grad is not None
    frames = reached(data.grad)
    assert max(frames) == 4 * step + 3
    assert min(frames) < max(4 * step, 1)


@pytest.mark.parametrize("frame", [0, 1, 30, 63])
def test_a_frame_depends_on_its_own_token_and_earlier_ones_only(frame: int) -> None:
    vectors = torch.randn(1, FRAMES // 4, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    tiny.model().decode_continuous(vectors)[0, frame].sum().backward()
    assert vectors.grad is not None
    assert max(reached(vectors.grad)) == frame // 4


def test_the_papers_form_looks_to_both_sides() -> None:
    model = tiny.model("tokenizer.causal=false")
    data = tiny.features(1, 160).requires_grad_()
    model.encode_continuous(data)[0, 20].sum().backward()
    assert data.grad is not None
    frames = reached(data.grad)
    before, after = 80 - min(frames), max(frames) - 83
    assert before > 10 and abs(before - after) <= 1, "to both sides alike"
    with pytest.raises(ValueError, match="cannot be streamed"):
        model.encode_continuous(data.detach(), StreamState())


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(3, 1, 1), (3, 1, 9), (4, 2, 1), (1, 1, 1)])
def test_a_temporal_convolution_is_conv1d_in_another_layout(
    kernel: int, stride: int, dilation: int, causal: bool
) -> None:
    generator = torch.Generator().manual_seed(0)
    layer = TemporalConv(5, 6, kernel, causal, stride, dilation)
    data = torch.randn(2, 24, 5, generator=generator)
    total = (kernel - 1) * dilation + 1 - stride
    left = total if causal else total // 2
    padded = F.pad(data.transpose(1, 2), (left, total - left))
    expected = F.conv1d(padded, layer.weight.transpose(1, 2), layer.bias, stride, 0, dilation).transpose(1, 2)
    torch.testing.assert_close(layer(data), expected)
    assert layer(data).is_contiguous()


def test_relu_before_a_convolution_leaves_the_input_alone() -> None:
    data = torch.randn(1, 8, 4, generator=torch.Generator().manual_seed(0))
    for kernel in (1, 3):
        layer = TemporalConv(4, 4, kernel, causal=True, activate=True)
        plain = TemporalConv(4, 4, kernel, causal=True)
        plain.load_state_dict(layer.state_dict())
        before = data.clone()
        torch.testing.assert_close(layer(data), plain(data.relu()))
        assert torch.equal(data, before)


def test_sizes_are_what_they_are_said_to_be() -> None:
    def parameters(size: str) -> int:
        return sum(parameter.numel() for parameter in build_model(tokenizer_config(size)).parameters())

    # T2M-GPT's VQ-VAE with 512 features in place of 515 has 18.65 million.
    assert parameters("paper") == pytest.approx(18.66e6, rel=1e-3)
    assert parameters("lite") < 2e6
    assert parameters("tiny") < 1e5


def test_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    first, again, other = (build_model(tokenizer_config("tiny"), seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["encoder.leave.weight"], other["encoder.leave.weight"])


def test_features_come_back_in_their_own_units() -> None:
    model = tiny.model("tokenizer.quantizer.kind=none")
    data = tiny.features(2, 16) * 3 + 7
    torch.testing.assert_close(model.denormalise(model.normalise(data)), data)
    output = model(data)
    assert output.reconstruction.shape == data.shape and output.tokens.shape == (2, 4, 0)
    torch.testing.assert_close(model.normalise(output.reconstruction), output.normalised, atol=1e-4, rtol=1e-4)


def test_what_does_not_fit_is_refused() -> None:
    model = tiny.model()
    with pytest.raises(ValueError, match="no multiple of the stride 4"):
        model(tiny.features(1, 10))
    with pytest.raises(ValueError, match=r"must be \(515,\)"):
        model.set_statistics(torch.zeros(512), torch.ones(512))
    with pytest.raises(ValueError, match="above 0"):
        model.set_statistics(torch.zeros(515), torch.zeros(515))
    with pytest.raises(ValueError, match="finite"):
        model.set_statistics(torch.full((515,), torch.nan), torch.ones(515))
    with pytest.raises(XNeMoError, match="stride must be 2, 4, 8"):
        build_model(tokenizer_config("tiny", "tokenizer.stride=6"))
