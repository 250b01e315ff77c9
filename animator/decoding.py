"""Latents of consecutive frames -> images, in chunks, with no seam between chunks.

A temporal decoder (`AutoencoderKLTemporalDecoder`) lets the frames of a chunk see each other, so that the same frame
looks slightly different in another chunk, and chunks laid end to end show a jump, as in videos of the published code.
Chunks that share some frames and fade from one into the other there show none.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from diffusers import AutoencoderKLTemporalDecoder, AutoencoderTiny
from torch import Tensor

from animator.errors import XNeMoError
from animator.models.autoencoder import Autoencoder, Decoder, decode_latents, default_chunk, downsampling
from animator.windows import regroup


def choose_decoder(vae: Autoencoder, tiny: AutoencoderTiny | None, which: str) -> Decoder:
    """What makes pictures of latents.

    Args:
        vae: the autoencoder that the denoiser was trained with.
        tiny: a small decoder of the same latents, if there is one.
        which: "full" or "tiny".
    Raises:
        XNeMoError: the tiny one is asked for, but there is none, or one for other latents.
    """
    if which == "full":
        return vae
    if tiny is None:
        raise XNeMoError(
            "sampler.decoder=tiny: there is no tiny decoder beside these weights; name a folder that holds one with "
            "tiny_vae=FOLDER (diffusers' AutoencoderTiny), or take sampler.decoder=full"
        )
    ours, theirs = ((net.config.latent_channels, downsampling(net)) for net in (vae, tiny))
    if ours != theirs:
        raise XNeMoError(
            f"sampler.decoder=tiny: the tiny decoder is for latents of {theirs[0]} channels and {theirs[1]} pixels a "
            f"side, these weights have {ours[0]} channels and {ours[1]} pixels"
        )
    return tiny


def decode_stream(
    vae: Decoder, pieces: Iterator[Tensor], chunk: int | None = None, overlap: int = 0
) -> Iterator[Tensor]:
    """Decode a clip as its latents come.

    Args:
        vae: the decoder.
        pieces: scaled latents of consecutive frames, (n, channels, h, w) each.
        chunk: frames decoded at once; default: see `default_chunk`.
        overlap: frames that neighbouring chunks share, at most half of a chunk; nothing is shared where the decoder
            treats frames one by one.
    Yields:
        Images of consecutive frames, (n, 3, H, W), in [-1, 1], n <= chunk.
    """
    size = chunk or default_chunk(vae)
    shared = min(overlap, size // 2) if isinstance(vae, AutoencoderKLTemporalDecoder) else 0
    if shared == 0:
        for group in regroup(pieces, size):
            yield decode_latents(vae, group, size)
        return
    waiting: Tensor | None = None  # latents from the next chunk's first frame on
    shown: Tensor | None = None  # what the last chunk makes of the frames that the next one shares with it
    for piece in pieces:
        waiting = piece if waiting is None else torch.cat([waiting, piece])
        while len(waiting) > size:
            images = _faded(shown, decode_latents(vae, waiting[:size], size))
            yield images[:-shared]
            waiting, shown = waiting[size - shared :], images[-shared:]
    if waiting is not None:
        yield _faded(shown, decode_latents(vae, waiting, size))


def _faded(shown: Tensor | None, images: Tensor) -> Tensor:
    """A chunk whose first frames come out of the last one's images of them, each further away from those."""
    if shown is None:
        return images
    weight = torch.arange(1, len(shown) + 1, device=images.device, dtype=images.dtype) / (len(shown) + 1)
    mixed = torch.lerp(shown, images[: len(shown)], weight[:, None, None, None])
    return torch.cat([mixed, images[len(shown) :]])
