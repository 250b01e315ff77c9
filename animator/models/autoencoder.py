"""The autoencoders behind one small interface: images <-> latents that the denoiser works on.

`AutoencoderKL` treats frames one by one (size `tiny`, and Stable Diffusion's own), and so does `PatchAutoencoder` (size
`lite`); `AutoencoderKLTemporalDecoder` decodes neighbouring frames together (Stable Video Diffusion's, used by the
release in both directions). Latents are shifted and scaled as the autoencoder's configuration says. Of
`AutoencoderTiny` only the decoder is used, which makes rougher pictures of the same latents in less time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import TypeAlias

import torch
from diffusers import AutoencoderKL, AutoencoderKLTemporalDecoder, AutoencoderTiny
from torch import Tensor

from animator.models.patch_autoencoder import PatchAutoencoder

Autoencoder: TypeAlias = AutoencoderKL | AutoencoderKLTemporalDecoder | PatchAutoencoder
Decoder: TypeAlias = Autoencoder | AutoencoderTiny


def downsampling(vae: Decoder) -> int:
    """Pixels per latent pixel along each side."""
    if isinstance(vae, PatchAutoencoder):
        return int(vae.config.patch_size)
    return 2 ** (len(vae.config.block_out_channels) - 1)


def autoencoder_id(vae: Autoencoder) -> str:
    """Identify what makes latents: the encoder's weights, the shift and the scale.

    Weights enter rounded to float16, so that an autoencoder keeps its id where it is saved in half precision.

    Returns:
        The first 16 hexadecimal digits of a SHA-256.
    """
    digest = hashlib.sha256(json.dumps([type(vae).__name__, _shift(vae), vae.config.scaling_factor]).encode())
    for name, value in sorted(vae.state_dict().items()):
        if name.startswith(("encoder.", "quant_conv.")):
            digest.update(name.encode())
            digest.update(value.detach().to("cpu", torch.float16).contiguous().numpy().data)
    return digest.hexdigest()[:16]


def chunk_frames(temporal: bool) -> int:
    """Frames decoded at once: 25 for the temporal decoder, as in the release; 8 where frames do not see each other."""
    return 25 if temporal else 8


def default_chunk(vae: Decoder) -> int:
    """`chunk_frames` of an autoencoder."""
    return chunk_frames(isinstance(vae, AutoencoderKLTemporalDecoder))


def encode_images(vae: Autoencoder, images: Tensor, chunk: int = 8) -> Tensor:
    """Encode images to the mean of their posterior, so that the same image always gives the same latents.

    Args:
        images: (N, 3, H, W) in [-1, 1], sides divisible by `downsampling(vae)`.
        chunk: images encoded at once; limits memory only.
    Returns:
        Scaled latents, (N, channels, h, w).
    """
    means = [vae.encode(part).latent_dist.mean for part in images.to(vae.dtype).split(chunk)]
    return (torch.cat(means) - _shift(vae)) * vae.config.scaling_factor


def decode_latents(vae: Decoder, latents: Tensor, chunk: int = 8) -> Tensor:
    """Decode all latents; see `decode_chunks`.

    Args:
        latents: scaled latents of consecutive frames, (N, channels, h, w).
    Returns:
        Images, (N, 3, H, W), in [-1, 1].
    """
    return torch.cat(list(decode_chunks(vae, latents, chunk)))


def decode_chunks(vae: Decoder, latents: Tensor, chunk: int = 8) -> Iterator[Tensor]:
    """Decode latents (N, channels, h, w) piece by piece to images (<= chunk, 3, H, W) in [-1, 1].

    Args:
        chunk: frames decoded at once. Limits memory with `AutoencoderKL`; with the temporal decoder it is also how
            many frames see each other (the release takes 25).
    """
    for part in (latents.to(vae.dtype) / vae.config.scaling_factor + _shift(vae)).split(chunk):
        together = {"num_frames": len(part)} if isinstance(vae, AutoencoderKLTemporalDecoder) else {}
        yield vae.decode(part, **together).sample.clamp(-1, 1)


def _shift(vae: Decoder) -> float:
    return getattr(vae.config, "shift_factor", None) or 0.0
