"""Chunks of a temporal decoder: as in the release on request, without seams by default."""

from __future__ import annotations

import pytest
import torch
from diffusers import AutoencoderKLTemporalDecoder
from torch import Tensor

from animator.builders import animator_config, build_autoencoder
from animator.decoding import decode_stream
from animator.model_config import AutoencoderConfig
from animator.models.autoencoder import decode_latents
from tests.animator.tiny import shake


@pytest.fixture(scope="module")
def temporal() -> AutoencoderKLTemporalDecoder:
    torch.manual_seed(0)
    vae = build_autoencoder(AutoencoderConfig(temporal=True, block_out_channels=[32], layers_per_block=1))
    shake(vae)
    return vae


def latents_of(frames: int) -> Tensor:
    return torch.randn(frames, 4, 4, 4, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def decoded(vae: AutoencoderKLTemporalDecoder, latents: Tensor) -> Tensor:
    return vae.decode(latents / vae.config.scaling_factor, num_frames=len(latents)).sample.clamp(-1, 1)


@pytest.mark.parametrize("pieces", [[57], [20, 20, 17], [1] * 57])
@torch.no_grad()
def test_without_overlap_chunks_are_consecutive_and_the_last_may_be_short(
    temporal: AutoencoderKLTemporalDecoder, pieces: list[int]
) -> None:
    latents = latents_of(57)
    ours = list(decode_stream(temporal, iter(latents.split(pieces)), 25))
    assert [len(part) for part in ours] == [25, 25, 7]
    expected = torch.cat([decoded(temporal, part) for part in (latents[:25], latents[25:50], latents[50:])])
    torch.testing.assert_close(torch.cat(ours), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("pieces", [[20], [3, 9, 8], [1] * 20])
@torch.no_grad()
def test_overlapping_chunks_fade_into_each_other(temporal: AutoencoderKLTemporalDecoder, pieces: list[int]) -> None:
    latents = latents_of(20)
    ours = list(decode_stream(temporal, iter(latents.split(pieces)), 10, overlap=2))
    first, second, third = (decoded(temporal, part) for part in (latents[:10], latents[8:18], latents[16:]))
    expected = torch.cat(
        [
            first[:8],
            (2 * first[8:9] + second[0:1]) / 3,
            (first[9:] + 2 * second[1:2]) / 3,
            second[2:8],
            (2 * second[8:9] + third[0:1]) / 3,
            (second[9:] + 2 * third[1:2]) / 3,
            third[2:],
        ]
    )
    assert all(len(part) <= 10 for part in ours)
    torch.testing.assert_close(torch.cat(ours), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_clip_of_one_chunk_is_decoded_once_and_whole(temporal: AutoencoderKLTemporalDecoder) -> None:
    latents = latents_of(25)
    (ours,) = decode_stream(temporal, iter(latents.split(5)), 25, overlap=4)
    torch.testing.assert_close(ours, decoded(temporal, latents), atol=1e-5, rtol=1e-5)
    assert list(decode_stream(temporal, iter(()), 25, overlap=4)) == []


@torch.no_grad()
def test_overlap_is_at_most_half_a_chunk(temporal: AutoencoderKLTemporalDecoder) -> None:
    latents = latents_of(7)
    ours = list(decode_stream(temporal, iter([latents]), 2, overlap=4))
    assert sum(map(len, ours)) == 7
    single = list(decode_stream(temporal, iter([latents]), 1, overlap=4))
    torch.testing.assert_close(single[3], decoded(temporal, latents[3:4]), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_frames_that_do_not_see_each_other_need_no_overlap() -> None:
    vae = build_autoencoder(animator_config("tiny").vae).eval()
    latents = latents_of(20)
    ours = list(decode_stream(vae, iter([latents]), None, overlap=4))
    assert [len(part) for part in ours] == [8, 8, 4]
    torch.testing.assert_close(torch.cat(ours), decode_latents(vae, latents), atol=1e-5, rtol=1e-5)
