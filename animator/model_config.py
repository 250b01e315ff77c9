"""The typed architecture of an animator: one dataclass for each network, key by key what its constructor takes.

A size (`animator=xnemo|lite|tiny`) is a file in `configs/animator/`; the defaults here are the paper's size.
"""

from __future__ import annotations

from dataclasses import dataclass

from animator.config_loader import key, register_group, register_root


@dataclass
class MotionEncoderConfig:
    """`animator.models.motion_encoder.MotionEncoder`."""

    image_size: int = key(224, "side of the face crop in pixels, a multiple of 8", minimum=8)
    channels: list[int] = key([64, 128, 256], "channels of the stem, of the first block and of the hourglass")
    hourglass_depth: int = key(4, "halvings inside the hourglass", minimum=1)
    landmark_channels: int = key(68, "heat maps", minimum=1)
    squeeze_channels: int = key(1, "channels that they are reduced to; one as released", minimum=1)
    attention_dim: int = key(1024, "token width of the patch attentions", minimum=1)
    attention_heads: int = key(8, "heads of the patch attentions", minimum=1)
    norm_groups: int = key(32, "groups of the normalisation before each patch attention", minimum=1)
    latent_dim: int = key(512, "length of the motion latent f_mot", minimum=1)
    motion_tokens: int = key(32, "tokens that the fused latent is cut into", minimum=1)
    box_dim: int = key(64, "width of the MLP over f_rts", minimum=1)


@dataclass
class ReferenceNetConfig:
    """`animator.models.reference_net.ReferenceNet`, a Stable Diffusion UNet without its output layers."""

    sample_size: int = key(64, "latent height and width that the net is made for", minimum=1)
    in_channels: int = key(4, "latent channels", minimum=1)
    down_block_types: list[str] = key(
        ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
        "diffusers' block classes on the way down, finest level first",
    )
    up_block_types: list[str] = key(
        ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
        "diffusers' block classes on the way up, coarsest level first",
    )
    block_out_channels: list[int] = key([320, 640, 1280, 1280], "width of each level, finest first")
    layers_per_block: int = key(2, "resnets in each level", minimum=1)
    norm_num_groups: int = key(32, "groups of every group normalisation", minimum=1)
    cross_attention_dim: int = key(768, "width of the image token", minimum=1)
    attention_head_dim: int = key(8, "number of attention heads (in spite of its name)", minimum=1)


@dataclass
class MotionUNetConfig:
    """`animator.models.motion_unet.MotionUNet`."""

    sample_size: int = key(64, "latent height and width that the net is made for", minimum=1)
    in_channels: int = key(4, "latent channels", minimum=1)
    out_channels: int = key(4, "latent channels", minimum=1)
    down_block_types: list[str] = key(
        ["CrossAttnDownBlockMotion", "CrossAttnDownBlockMotion", "CrossAttnDownBlockMotion", "DownBlockMotion"],
        "diffusers' block classes on the way down, finest level first",
    )
    up_block_types: list[str] = key(
        ["UpBlockMotion", "CrossAttnUpBlockMotion", "CrossAttnUpBlockMotion", "CrossAttnUpBlockMotion"],
        "diffusers' block classes on the way up, coarsest level first",
    )
    block_out_channels: list[int] = key([320, 640, 1280, 1280], "width of each level, finest first")
    layers_per_block: int = key(2, "resnets in each level", minimum=1)
    norm_num_groups: int = key(32, "groups of every group normalisation", minimum=1)
    cross_attention_dim: int = key(768, "width of the image token", minimum=1)
    num_attention_heads: int = key(8, "heads of the spatial transformers", minimum=1)
    motion_num_attention_heads: int = key(8, "heads of the motion and temporal attention", minimum=1)
    motion_token_dim: int = key(16, "width of a motion token", minimum=1)
    max_frames: int = key(32, "longest window that can be denoised at once", minimum=1)
    motion_control: str = key(
        "attention",
        "how motion enters: by cross-attention, or (ablation) by maps that are added to the features; none: the "
        "denoiser reads no motion tokens, as with animator.control=control_nets",
        choices=("attention", "additive", "none"),
    )
    motion_tokens: int = key(
        32, "motion tokens of a frame; only motion_control=additive and motion_norm have to know", minimum=1
    )
    middle_slot: bool = key(True, "frames see each other in the middle block too; not so in X-Portrait")
    slots_after_upsampling: bool = key(
        False, "a level's last slot on the way up works at the next level's resolution, as in X-Portrait"
    )
    reference_latents: bool = key(
        False,
        "latents are counted from the portrait's, which enter beside them, and not by attention alone as in the paper",
    )
    motion_norm: bool = key(
        False, "motion tokens are normalised first, for encoders that were trained without the denoiser"
    )


@dataclass
class AutoencoderConfig:
    """diffusers' `AutoencoderKL`, its `AutoencoderKLTemporalDecoder`, or the suite's own `PatchAutoencoder`."""

    temporal: bool = key(False, "use the decoder that sees neighbouring frames (Stable Video Diffusion's)")
    patch_size: int | None = key(
        None, "code patches of so many pixels a side by their principal components; null: an autoencoder of diffusers'"
    )
    block_out_channels: list[int] = key(
        [128, 256, 512, 512],
        "width of each level; each level after the first halves (with patch_size one width, of what repairs the seams)",
    )
    layers_per_block: int = key(2, "resnets in each level", minimum=1)
    latent_channels: int = key(4, "channels of a latent pixel", minimum=1)
    norm_num_groups: int = key(32, "groups of every group normalisation (not with temporal, which has 32)", minimum=1)
    sample_size: int = key(512, "picture side that the autoencoder is made for, in pixels", minimum=1)
    scaling_factor: float = key(0.18215, "latents are multiplied by this, to have a variance near 1")
    mid_block_add_attention: bool = key(True, "attention at the coarsest level (not with temporal, which has it)")

    @property
    def downsampling(self) -> int:
        """Pixels per latent pixel along each side."""
        return self.patch_size or 2 ** (len(self.block_out_channels) - 1)


@dataclass
class GanHeadConfig:
    """`animator.models.gan_head.GanHead`."""

    appearance_size: int = key(256, "side to which the reference is reduced for the ResNet, in pixels", minimum=32)
    resnet_embedding: int = key(64, "channels of the ResNet's stem", minimum=1)
    resnet_widths: list[int] = key([256, 512, 1024, 2048], "channels of its four stages")
    resnet_depths: list[int] = key([3, 4, 6, 3], "blocks of its four stages; 3, 4, 6, 3 is ResNet-50")
    resnet_layer: str = key("bottleneck", "kind of its blocks", choices=("bottleneck", "basic"))
    appearance_dim: int = key(512, "length of the appearance code f_app", minimum=1)
    motion_dim: int = key(512, "flat length of a frame's motion tokens", minimum=1)
    style_dim: int = key(512, "length of the style code", minimum=1)
    mapping_layers: int = key(4, "layers of the mapping network", minimum=1)
    generator_base: int = key(4, "side of the generator's coarsest resolution in pixels", minimum=1)
    generator_channels: list[int] = key(
        [512, 512, 512, 512, 256, 128, 64], "the generator's widths, coarse to fine; each doubles the resolution"
    )
    warp: bool = key(False, "anchor the picture to the reference by a flow, as LIA does (not in the paper)")


@dataclass
class DiscriminatorConfig:
    """`animator.models.discriminator.Discriminator`."""

    image_size: int = key(256, "side of its pictures in pixels, 4 * 2 ** (number of channels - 1)", minimum=4)
    channels: list[int] = key([64, 128, 256, 512, 512, 512, 512], "widths from the full resolution down to 4 x 4")


@dataclass
class SchedulerConfig:
    """diffusers' `DDIMScheduler`."""

    num_train_timesteps: int = key(1000, "noise levels in training", minimum=1)
    beta_start: float = key(0.00085, "first beta", minimum=0, maximum=1)
    beta_end: float = key(0.012, "last beta", minimum=0, maximum=1)
    beta_schedule: str = key("scaled_linear", "how beta grows", choices=("linear", "scaled_linear"))
    prediction_type: str = key("epsilon", "what the denoiser predicts", choices=("epsilon", "v_prediction", "sample"))
    clip_sample: bool = key(False, "clip predicted latents to [-1, 1]")
    steps_offset: int = key(1, "added to every inference timestep", minimum=0)
    rescale_betas_zero_snr: bool = key(False, "rescale the betas so that the last level is pure noise")
    timestep_spacing: str = key("leading", "how steps are spread", choices=("leading", "trailing", "linspace"))


@dataclass
class AnimatorConfig:
    """A whole animator at one size."""

    image_size: int = key(512, "side of the portrait and of the result in pixels", minimum=8)
    renderer: str = key("diffusion", "renderer that these weights recommend", choices=("diffusion", "gan"))
    control: str = key(
        "motion_attention", "how the driving motion reaches the denoiser: a module of animator/controls/"
    )
    image_encoder: bool = key(False, "feed CLIP's image token of the portrait to both UNets (zeros without)")
    motion_encoder: MotionEncoderConfig = key(MotionEncoderConfig, "motion encoder")
    reference_net: ReferenceNetConfig = key(ReferenceNetConfig, "reference net")
    unet: MotionUNetConfig = key(MotionUNetConfig, "denoiser")
    vae: AutoencoderConfig = key(AutoencoderConfig, "autoencoder")
    gan_head: GanHeadConfig = key(GanHeadConfig, "GAN head")
    discriminator: DiscriminatorConfig = key(DiscriminatorConfig, "discriminator")
    scheduler: SchedulerConfig = key(SchedulerConfig, "noise schedule")


@dataclass
class ArchitectureConfig:
    """An architecture by itself, without a command around it."""

    animator: AnimatorConfig = key(AnimatorConfig, "architecture")


register_group("animator", AnimatorConfig)
register_root("architecture", ArchitectureConfig)
