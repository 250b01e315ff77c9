"""Promises of the reference net and the motion UNet, at a size that runs in seconds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderKLTemporalDecoder
from diffusers.models.unets.unet_motion_model import AnimateDiffTransformer3D
from torch import Tensor

from animator.models.attention import Conditions, MotionSlot, PerFrameGroupNorm, ReferenceFeatures, Shared
from animator.models.autoencoder import decode_latents, encode_images
from animator.models.flow import warp
from animator.models.motion_unet import MotionUNet
from animator.models.reference_net import ReferenceNet
from tests.animator import tiny


@pytest.fixture(scope="module")
def reference_net() -> ReferenceNet:
    return tiny.reference_net()


@pytest.fixture(scope="module", params=[False, True], ids=["by attention alone", "reference latents"])
def unet(request: pytest.FixtureRequest) -> MotionUNet:
    return tiny.motion_unet(reference_latents=request.param)


def noise(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def features(reference_net: ReferenceNet) -> ReferenceFeatures:
    with torch.no_grad():
        return reference_net(noise(0, 2, 4, 8, 8), noise(1, 2, 1, 8))


def predict(unet: MotionUNet, batch: int = 2, frames: int = 3, **changes: object) -> Tensor:
    arguments = {
        "sample": noise(2, batch, 4, frames, 8, 8),
        "timestep": 500,
        "image_embeds": noise(3, batch, 1, 8),
        "motion_tokens": noise(4, batch, frames, 32, 16),
    }
    with torch.no_grad():
        return unet(**(arguments | changes))


def test_reference_layers_are_the_denoisers_spatial_layers(features: ReferenceFeatures, unet: MotionUNet) -> None:
    self_attention = {name for name in unet.attn_processors if ".attentions." in name and ".attn1." in name}
    assert {f"{name}.attn1.processor" for name in features.layers} == self_attention


def test_cached_keys_and_values_equal_projecting_features(unet: MotionUNet, features: ReferenceFeatures) -> None:
    cached = unet.project_reference(features)
    torch.testing.assert_close(predict(unet, reference=cached), predict(unet, reference=features))


def test_unconditional_items_ignore_the_reference(unet: MotionUNet, features: ReferenceFeatures) -> None:
    second = ReferenceFeatures({name: x[1:] for name, x in features.layers.items()}, features.latents[1:])
    guided = predict(unet, reference=second, unconditional=1)
    torch.testing.assert_close(guided[0], predict(unet)[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(guided[1], predict(unet, reference=features)[1], atol=1e-5, rtol=1e-4)
    assert (guided[1] - predict(unet)[1]).abs().max() > 1e-3


def test_one_portrait_serves_all_conditional_items(unet: MotionUNet, features: ReferenceFeatures) -> None:
    one = ReferenceFeatures({name: x[:1] for name, x in features.layers.items()}, features.latents[:1])
    twice = ReferenceFeatures({name: x[[0, 0]] for name, x in features.layers.items()}, features.latents[[0, 0]])
    torch.testing.assert_close(predict(unet, reference=one), predict(unet, reference=twice))


def test_reference_latents_reach_what_is_at_their_place(features: ReferenceFeatures) -> None:
    unet = tiny.motion_unet(reference_latents=True)
    changed = replace(features, latents=features.latents.clone())
    changed.latents[1] += 1
    difference = predict(unet, reference=changed) - predict(unet, reference=features)
    assert difference[0].abs().max() == 0 < difference[1].abs().min(dim=1).values.max()
    plain = tiny.motion_unet()
    assert torch.equal(predict(plain, reference=changed), predict(plain, reference=features))


def test_normalised_motion_tokens_may_be_of_any_size() -> None:
    torch.manual_seed(0)
    norm = tiny.motion_unet(motion_norm=True)
    tokens = noise(4, 2, 3, 32, 16)
    torch.testing.assert_close(
        predict(norm, motion_tokens=100 * tokens), predict(norm, motion_tokens=tokens), atol=1e-3, rtol=1e-3
    )
    assert (predict(norm, motion_tokens=tokens.flip(3)) - predict(norm, motion_tokens=tokens)).abs().max() > 1e-3


def test_each_frame_reads_its_own_motion_tokens(unet: MotionUNet) -> None:
    tokens = noise(4, 2, 3, 32, 16)
    changed = tokens.clone()
    changed[:, 1] += 1
    difference = predict(unet, motion_tokens=tokens, temporal=False) - predict(
        unet, motion_tokens=changed, temporal=False
    )
    assert difference[:, :, 1].abs().max() > 1e-3
    torch.testing.assert_close(difference[:, :, [0, 2]], torch.zeros_like(difference[:, :, [0, 2]]), atol=1e-5, rtol=0)


def test_frames_meet_only_in_the_temporal_part(unet: MotionUNet) -> None:
    together = predict(unet, frames=3, temporal=False)
    sample, tokens = noise(2, 2, 4, 3, 8, 8), noise(4, 2, 3, 32, 16)
    alone = predict(unet, sample=sample[:, :, 1:2], motion_tokens=tokens[:, 1:2], temporal=False)
    torch.testing.assert_close(together[:, :, 1:2], alone, atol=1e-5, rtol=1e-4)
    with_temporal = predict(unet, sample=sample[:, :, 1:2], motion_tokens=tokens[:, 1:2])
    assert (predict(unet, frames=3)[:, :, 1:2] - with_temporal).abs().max() > 1e-3


def test_temporal_modules_normalise_each_frame_alone(unet: MotionUNet) -> None:
    slot = unet.down_blocks[0].motion_modules[0]
    assert isinstance(slot, MotionSlot)
    assert isinstance(slot.norm, PerFrameGroupNorm)
    frames = noise(5, 1, 16, 3, 4, 4) * torch.tensor([1.0, 10.0, 0.1])[None, None, :, None, None]
    for index in range(3):
        alone = torch.nn.functional.group_norm(frames[:, :, index], 8, slot.norm.weight, slot.norm.bias, 1e-6)
        torch.testing.assert_close(slot.norm(frames)[:, :, index], alone)
    stock = AnimateDiffTransformer3D(4, 4, 16, norm_num_groups=8)
    assert (stock.norm(frames)[:, :, 1] - torch.nn.functional.group_norm(frames[:, :, 1], 8)).abs().max() > 0.1


def test_new_slots_leave_a_pretrained_image_unet_as_it_is() -> None:
    fresh = MotionSlot(AnimateDiffTransformer3D(4, 4, 16, norm_num_groups=8), 8, 16, 32, shared := Shared())
    x = noise(6, 3, 16, 4, 4)
    with shared.holding(Conditions(3, noise(7, 3, 32, 16), None, 0, True)), torch.no_grad():
        torch.testing.assert_close(fresh(x, num_frames=3), x)


def test_one_image_token_equals_the_general_attention(unet: MotionUNet) -> None:
    """Two equal tokens share the softmax evenly, so they must act as one."""
    token = noise(3, 2, 1, 8)
    torch.testing.assert_close(
        predict(unet, image_embeds=token.expand(-1, 2, -1)), predict(unet, image_embeds=token), atol=1e-5, rtol=1e-4
    )


def test_masking_drops_the_share_and_repeats_with_the_seed(features: ReferenceFeatures, unet: MotionUNet) -> None:
    masked = features.masked(0.3, torch.Generator().manual_seed(1))
    again = features.masked(0.3, torch.Generator().manual_seed(1))
    other = features.masked(0.3, torch.Generator().manual_seed(2))
    for name, full in features.layers.items():
        tokens = full.shape[1]
        assert masked.layers[name].shape[1] == tokens - round(0.3 * tokens)
        assert torch.equal(masked.layers[name], again.layers[name])
        assert not torch.equal(masked.layers[name], other.layers[name])
        # Every kept token is one of the full map, and none is kept twice.
        matches = (masked.layers[name][:, :, None] == full[:, None]).all(-1)
        assert (matches.sum(2) >= 1).all()
        assert (matches.sum(1) <= 1).all()
    assert predict(unet, reference=masked).isfinite().all()
    assert torch.equal(features.masked(0.0).layers[name].sort(1)[0], full.sort(1)[0])
    with pytest.raises(ValueError, match="ratio"):
        features.masked(1.0)


def test_features_rounded_to_half_keep_their_type(features: ReferenceFeatures) -> None:
    for name, x in features.rounded(torch.float16).layers.items():
        assert x.dtype == torch.float32
        assert torch.equal(x, features.layers[name].half().float())


def gradients(checkpointing: bool) -> dict[str, Tensor]:
    """Gradients of the portrait, the motion tokens and one early weight of each net, under one fixed loss."""
    reference_net, unet = tiny.reference_net().train(), tiny.motion_unet().train()
    if checkpointing:
        reference_net.enable_gradient_checkpointing()
        unet.enable_gradient_checkpointing()
    portrait = noise(0, 2, 4, 8, 8).requires_grad_()
    tokens = noise(4, 2, 3, 32, 16).requires_grad_()
    features = reference_net(portrait, noise(1, 2, 1, 8)).masked(0.3, torch.Generator().manual_seed(0))
    prediction = unet(noise(2, 2, 4, 3, 8, 8), torch.tensor([10, 700]), noise(3, 2, 1, 8), tokens, features)
    prediction.square().mean().backward()
    leaves = {"portrait": portrait, "motion tokens": tokens}
    leaves |= {f"{type(net).__name__}.conv_in": net.conv_in.weight for net in (reference_net, unet)}
    found = {name: leaf.grad for name, leaf in leaves.items()}
    return {name: gradient for name, gradient in found.items() if gradient is not None}


def test_gradients_reach_portrait_and_motion() -> None:
    found = gradients(checkpointing=False)
    assert set(found) == {"portrait", "motion tokens", "ReferenceNet.conv_in", "MotionUNet.conv_in"}
    assert all(gradient.abs().max() > 0 for gradient in found.values())


def test_gradient_checkpointing_changes_no_gradient() -> None:
    """Its backward pass runs when the conditions of the forward pass are gone."""
    plain, recomputed = gradients(checkpointing=False), gradients(checkpointing=True)
    assert set(plain) == set(recomputed)
    for name, gradient in plain.items():
        torch.testing.assert_close(recomputed[name], gradient)


def test_latents_of_uneven_size_come_back_in_their_size(unet: MotionUNet) -> None:
    assert predict(unet, sample=noise(2, 2, 4, 3, 7, 9)).shape == (2, 4, 3, 7, 9)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"motion_tokens": noise(4, 2, 4, 32, 16)}, "motion tokens"),
        ({"image_embeds": noise(3, 1, 1, 8)}, "image tokens"),
        ({"unconditional": 3}, "unconditional"),
        ({"sample": noise(2, 2, 4, 33, 8, 8), "motion_tokens": noise(4, 2, 33, 32, 16)}, "at most 32"),
    ],
)
def test_parts_that_do_not_fit_are_named(unet: MotionUNet, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        predict(unet, **changes)


def test_three_portraits_for_two_items_are_refused(unet: MotionUNet, features: ReferenceFeatures) -> None:
    three = replace(features, layers={name: x[[0, 1, 1]] for name, x in features.layers.items()})
    with pytest.raises(ValueError, match="3 portraits for 2"):
        predict(unet, reference=three)


def test_saved_nets_come_back(tmp_path: Path, unet: MotionUNet, reference_net: ReferenceNet) -> None:
    unet.save_pretrained(tmp_path / "unet")
    reference_net.save_pretrained(tmp_path / "reference")
    loaded = MotionUNet.from_pretrained(tmp_path / "unet")
    portraits = ReferenceNet.from_pretrained(tmp_path / "reference")
    with torch.no_grad():
        features = portraits(noise(0, 1, 4, 8, 8), noise(1, 1, 1, 8))
        expected = reference_net(noise(0, 1, 4, 8, 8), noise(1, 1, 1, 8))
    assert torch.equal(predict(loaded, reference=features), predict(unet, reference=expected))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_warp_in_half_precision_hits_the_pixels(dtype: torch.dtype) -> None:
    picture = noise(0, 1, 3, 256, 256).to(dtype)
    still, moved = torch.zeros(1, 2, 64, 64, dtype=dtype), torch.zeros(1, 2, 256, 256, dtype=dtype)
    moved[:, 0] = 2 * 4 / 256
    torch.testing.assert_close(warp(picture, still), picture, atol=1e-2, rtol=1e-2)
    torch.testing.assert_close(warp(picture, moved)[..., :-4], picture[..., 4:], atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("kind", [AutoencoderKL, AutoencoderKLTemporalDecoder])
def test_autoencoders_share_one_interface(kind: type) -> None:
    torch.manual_seed(0)
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "block_out_channels": (32, 32), "layers_per_block": 1}
    if kind is AutoencoderKL:
        blocks["up_block_types"] = ("UpDecoderBlock2D",) * 2
    vae = kind(**blocks, latent_channels=4).eval()
    images = noise(0, 5, 3, 16, 16).clamp(-1, 1)
    with torch.no_grad():
        latents = encode_images(vae, images, chunk=2)
        decoded = decode_latents(vae, latents, chunk=2)
        whole = vae.encode(images).latent_dist.mean * vae.config.scaling_factor
    torch.testing.assert_close(latents, whole, atol=1e-5, rtol=1e-4)
    assert latents.shape == (5, 4, 8, 8)
    assert decoded.shape == images.shape
    assert decoded.abs().max() <= 1
