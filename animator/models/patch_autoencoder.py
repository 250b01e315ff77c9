"""A small autoencoder for laptops: patches by their principal components, and a decoder that repairs the seams.

What a convolutional autoencoder of this size needs hours for, the covariance of some hundred pictures gives in seconds:
32 components of 16 x 16 patches hold a face crop at 34 dB. Only the repair of the decoded picture is trained.
"""

from __future__ import annotations

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.autoencoders.vae import DecoderOutput, DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn
from torch.nn import functional as F

REPAIRED_AT = 4  # pixels per cell of the repairing network


class PatchAutoencoder(ModelMixin, ConfigMixin):
    """Images <-> latents, one latent pixel for a patch; behind the interface of `diffusers.AutoencoderKL`.

    The encoder is linear and not trained: `fit` sets it. The decoder begins as its inverse.

    Args:
        patch_size: side of a patch in pixels, a multiple of 4.
        latent_channels: components kept of a patch.
        repair_channels: width of the network that repairs the decoded picture, at a quarter of its side.
        repair_layers: its residual blocks.
        norm_num_groups: groups of its group normalisations.
        sample_size: picture side that it is made for, in pixels; others work where patches fit in.
        scaling_factor: latents are multiplied by this, to have a variance near 1.
    """

    @register_to_config
    def __init__(
        self,
        patch_size: int = 16,
        latent_channels: int = 32,
        repair_channels: int = 64,
        repair_layers: int = 3,
        norm_num_groups: int = 16,
        sample_size: int = 256,
        scaling_factor: float = 1.0,
    ) -> None:
        super().__init__()
        self.encoder = nn.Conv2d(3, latent_channels, patch_size, stride=patch_size).requires_grad_(False)
        self.decoder = nn.ConvTranspose2d(latent_channels, 3, patch_size, stride=patch_size)
        values = 3 * REPAIRED_AT**2
        blocks = [
            ResnetBlock2D(in_channels=repair_channels, temb_channels=None, groups=norm_num_groups)
            for _ in range(repair_layers)
        ]
        self.repair = nn.Sequential(
            nn.Conv2d(values, repair_channels, 3, padding=1),
            *(_Alone(block) for block in blocks),
            nn.GroupNorm(norm_num_groups, repair_channels),
            nn.SiLU(),
            nn.Conv2d(repair_channels, values, 3, padding=1),
        )
        last = self.repair[-1]
        assert isinstance(last, nn.Conv2d) and last.bias is not None
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    @torch.no_grad()
    def fit(self, images: Tensor) -> None:
        """Take the principal components of the patches of pictures, (N, 3, H, W) in [-1, 1], all components if few.

        Each latent is divided by the root of its standard deviation: left as they are, the first ones would be all that
        a denoiser sees; of equal variance, noise of the finest ones would weigh as much as the picture's rough shape.
        """
        size = self.config.patch_size
        colour = images.mean(dim=(0, 2, 3))
        patches = F.pixel_unshuffle(images - colour[:, None, None], size).permute(0, 2, 3, 1).flatten(0, 2).double()
        variances, directions = torch.linalg.eigh(patches.T @ patches / len(patches))
        kept = self.config.latent_channels
        directions = directions.T[-kept:].flip(0).float().unflatten(1, (3, size, size))
        roots = variances[-kept:].flip(0).clamp_min(1e-12).float() ** 0.25
        roots = roots[:, None, None, None]
        self.encoder.weight.copy_(directions / roots)
        self.encoder.bias.copy_(-(self.encoder.weight * colour[:, None, None]).sum(dim=(1, 2, 3)))  # type: ignore[union-attr]
        self.decoder.weight.copy_(directions * roots)
        self.decoder.bias.copy_(colour)  # type: ignore[union-attr]

    def encode(self, x: Tensor) -> AutoencoderKLOutput:
        """Images (N, 3, H, W) in [-1, 1] -> a distribution without spread over latents (N, channels, h, w)."""
        mean = self.encoder(x)
        parameters = torch.cat([mean, torch.zeros_like(mean)], dim=1)
        return AutoencoderKLOutput(latent_dist=DiagonalGaussianDistribution(parameters, deterministic=True))

    def decode(self, z: Tensor) -> DecoderOutput:
        """Latents (N, channels, h, w) -> images (N, 3, H, W), about [-1, 1]."""
        rough = self.decoder(z)
        repaired = self.repair(F.pixel_unshuffle(rough, REPAIRED_AT))
        return DecoderOutput(sample=rough + F.pixel_shuffle(repaired, REPAIRED_AT))


class _Alone(nn.Module):
    """A residual block of diffusers' without a time embedding, as a layer of a sequence."""

    def __init__(self, block: ResnetBlock2D) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x, None)
