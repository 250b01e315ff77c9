"""How much memory a run took, and about how much one will take."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import psutil
import torch

from animator.builders import animator_config, build_animator, build_image_encoder
from animator.models.autoencoder import chunk_frames
from animator.models.patch_autoencoder import REPAIRED_AT

MEGABYTE = 2**20

# Feature maps, in units of (frames x height x width x channels of the finest level), that are alive at once at the
# peak of a denoiser pass. Measured: 48 frames at 256 x 256 with 64 channels, float32 on a CPU, took 890 MiB beside the
# weights and the libraries.
LIVE_MAPS = 74
# The same for the autoencoder's decoder at full resolution, per frame decoded at once; counted, not measured.
DECODER_MAPS = 6
# Python, torch and the face detector by themselves, measured on Linux with a CPU build.
BASE_MB = 700


def peak_memory_mb() -> float:
    """Most resident memory that this process has had, in MiB."""
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset / MEGABYTE
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / MEGABYTE if sys.platform == "darwin" else peak / 1024


def peak_gpu_memory_mb() -> float | None:
    """Most memory that torch has held of the CUDA device, in MiB; None where this process has not used one.

    The driver's own share (some hundred MiB for each process) comes on top.
    """
    if not torch.cuda.is_initialized():
        return None
    return torch.cuda.max_memory_reserved() / MEGABYTE


@dataclass(frozen=True)
class Estimate:
    """Memory that rendering will take, in MiB; an estimate from sizes, checked at one of them only.

    Attributes:
        weights: of the networks.
        denoising: one window with guidance.
        decoding: one batch of frames through the autoencoder.
    """

    weights: float
    denoising: float
    decoding: float

    @property
    def total(self) -> float:
        """Peak: the denoiser and the decoder work one after the other."""
        return self.weights + max(self.denoising, self.decoding)


def estimate_of_size(size: str, dtype: torch.dtype, window: int = 24) -> Estimate:
    """Estimate what rendering takes with one of the sizes.

    Args:
        size: name of a file in `configs/animator/`.
        dtype: number format.
        window: frames denoised together.
    """
    config = animator_config(size)
    # Counting needs shapes only, so no memory is taken.
    with torch.device("meta"):
        models = build_animator(config)
        image_encoder = build_image_encoder() if config.image_encoder else None
    motion = (models.motion_encoder, models.gan_head) if models.control is None else (models.control,)
    parts = (*motion, models.reference_net, models.unet, models.vae, image_encoder)
    parameters = sum(p.numel() for part in parts if part is not None for p in part.parameters())
    bytes_each = torch.finfo(dtype).bits // 8
    finest = config.unet.sample_size**2 * config.unet.block_out_channels[0]
    denoising = 2 * window * finest * LIVE_MAPS  # twice: with and without the condition
    together = chunk_frames(config.vae.temporal)
    side = config.image_size if config.vae.patch_size is None else config.image_size // REPAIRED_AT
    decoding = together * side**2 * config.vae.block_out_channels[0] * DECODER_MAPS
    return Estimate(*(number * bytes_each / MEGABYTE for number in (parameters, denoising, decoding)))


def available_memory_mb(device: torch.device) -> float:
    """Memory that is free on a device now, in MiB."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] / MEGABYTE
    return psutil.virtual_memory().available / MEGABYTE
