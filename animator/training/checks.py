"""Settings that do not go together, found before anything is built."""

from __future__ import annotations

from accelerate.tracking import LOGGER_TYPE_TO_CLASS

from animator.errors import XNeMoError
from animator.models.autoencoder import Autoencoder, autoencoder_id
from animator.training.config import TrainAnimatorConfig
from animator.training.crops import FaceCrops
from animator.training.ranks import Ranks

# Loss term -> the setting that names its file, and what that file is.
_FILES = {
    "vgg": (
        "vgg_weights",
        "VGG-19 trained on ImageNet, vgg19-dcbb9e9d.pth of download.pytorch.org/models; or take LPIPS instead "
        "(losses.vgg=0 losses.perceptual=1 perceptual_weights=FILE), or leave the term out (losses.vgg=0)",
    ),
    "vggface": (
        "vggface_weights",
        "VGG-16 trained on faces, vgg_face_dag.pth of robots.ox.ac.uk/~albanie/pytorch-models.html; or leave the term "
        "out (losses.vggface=0)",
    ),
    "perceptual": ("perceptual_weights", "LPIPS with AlexNet; name one or set it to 0"),
    "perceptual_parts": ("perceptual_weights", "LPIPS with AlexNet; name one or set it to 0"),
}


def check_settings(config: TrainAnimatorConfig, ranks: Ranks) -> None:
    """Refuse settings that cannot be trained with.

    Raises:
        XNeMoError: the first pair of settings that do not go together, and the way out.
    """
    heads = config.stage == "motion" and config.train_gan
    if heads:
        for term, (setting, what) in _FILES.items():
            if getattr(config.losses, term) and getattr(config, setting) is None:
                raise XNeMoError(f"losses.{term} is on but {setting} names no file: it wants {what}")
    if config.stage == "motion":
        _check_motion(config)
    if config.stage.endswith("temporal") and config.frames > config.animator.unet.max_frames:
        raise XNeMoError(
            f"frames={config.frames}: this architecture's windows have at most animator.unet.max_frames="
            f"{config.animator.unet.max_frames}"
        )
    judged = config.animator.discriminator.image_size
    if heads and config.losses.adversarial and judged > config.picture_size:
        raise XNeMoError(
            f"image_size={config.picture_size}, but animator.discriminator.image_size={judged}, which is larger; make "
            "them equal"
        )
    _check_latent(config)
    _check_shares(config, ranks)
    unknown = [name for name in config.trackers if name not in LOGGER_TYPE_TO_CLASS]
    if unknown:
        raise XNeMoError(f"trackers=[{unknown[0]}]: accelerate has {', '.join(sorted(LOGGER_TYPE_TO_CLASS))}")


def check_latents(config: TrainAnimatorConfig, crops: FaceCrops) -> None:
    """Refuse to take latents from crops that hold none, or of pictures of another size.

    Raises:
        XNeMoError: with the way out.
    """
    if not config.cached_latents:
        return
    if config.stage == "motion" and not config.train_diffusion:
        raise XNeMoError("cached_latents=true, but train_diffusion=false reads no latents; leave one of the two out")
    if crops.latents is None:
        raise XNeMoError(
            f"cached_latents=true, but {config.crops} holds no latents of its pictures; `xnemo prepare -o "
            f"{config.crops} autoencoder=FOLDER` keeps them"
        )
    side = crops.frames.shape[1]
    if config.picture_size != side:
        raise XNeMoError(
            f"cached_latents=true: {config.crops} holds latents of pictures {side} px wide, and training is to see "
            f"{config.picture_size} px; set image_size={side}, or prepare with image_size={config.picture_size}"
        )


def check_autoencoder(config: TrainAnimatorConfig, crops: FaceCrops, vae: Autoencoder | None) -> None:
    """Refuse latents that another autoencoder made.

    Raises:
        XNeMoError: with both ids.
    """
    if not config.cached_latents or vae is None or autoencoder_id(vae) == crops.autoencoder_id:
        return
    raise XNeMoError(
        f"cached_latents=true: the latents in {config.crops} are of the autoencoder {crops.autoencoder_id}, that of "
        f"start_from is {autoencoder_id(vae)}; `xnemo prepare -o {config.crops} autoencoder={config.start_from}` makes "
        "them anew"
    )


def check_start(config: TrainAnimatorConfig, needs: tuple[str, ...], trained: set[str]) -> None:
    """Refuse to build on networks that nobody has trained.

    Raises:
        XNeMoError: `start_from` lacks one that the stage needs.
    """
    missing = [name for name in dict.fromkeys(needs) if name not in trained]
    if not missing:
        return
    where = "start_from names no folder" if config.start_from is None else f"{config.start_from} has none"
    hints = {
        "vae": "`xnemo train autoencoder` makes one, `xnemo convert base` brings Stable Diffusion's",
        "motion_encoder": "train=motion trains one",
        "control": "train=pictures trains one",
    }
    hint = hints.get(missing[0], "train=image trains it, `xnemo convert base` brings Stable Diffusion's")
    what = {"vae": "autoencoder"}.get(missing[0], missing[0])
    raise XNeMoError(f"stage={config.stage} needs a trained {what}, and {where}; {hint}: name its folder")


def _check_motion(config: TrainAnimatorConfig) -> None:
    if not (config.train_gan or config.train_diffusion):
        raise XNeMoError("nothing to train: train_gan and train_diffusion are both off")
    if config.schedule.label_warm_up_steps and not config.losses.label:
        raise XNeMoError("losses.label=0 leaves nothing to learn in the warm-up; set schedule.label_warm_up_steps=0")
    if not config.end_to_end and not (config.train_gan and config.train_diffusion and config.train_encoder):
        raise XNeMoError(
            "end_to_end=false trains encoder and GAN head first and the diffusion model then; switch train_encoder, "
            "train_gan and train_diffusion on, or end_to_end"
        )
    if not config.end_to_end and not config.schedule.head_steps:
        raise XNeMoError("end_to_end=false: schedule.head_steps says how long encoder and head learn alone; set it")


def _check_latent(config: TrainAnimatorConfig) -> None:
    """Three networks must agree on the length of the motion latent."""
    encoder, size = config.animator.motion_encoder, config.animator
    if encoder.latent_dim % encoder.motion_tokens:
        raise XNeMoError(
            f"animator.motion_encoder.latent_dim={encoder.latent_dim} cannot be cut into {encoder.motion_tokens} tokens"
        )
    width = encoder.latent_dim // encoder.motion_tokens
    for name, found, wanted in (
        ("animator.unet.motion_token_dim", size.unet.motion_token_dim, width),
        ("animator.unet.motion_tokens", size.unet.motion_tokens, encoder.motion_tokens),
        ("animator.gan_head.motion_dim", size.gan_head.motion_dim, encoder.latent_dim),
    ):
        if found != wanted:
            raise XNeMoError(
                f"{name}={found}, but a latent of {encoder.latent_dim} numbers in {encoder.motion_tokens} tokens wants "
                f"{wanted}"
            )


def _check_shares(config: TrainAnimatorConfig, ranks: Ranks) -> None:
    """Every process, and every part of its step, gets as much as any other."""
    parts = ranks.count * config.accumulate
    names = ("clips",) if config.stage.endswith("temporal") else ("pairs", "diffusion_pairs")
    for name in names:
        if getattr(config, name) % parts:
            raise XNeMoError(
                f"{name}={getattr(config, name)} cannot be divided among {ranks.count} processes x "
                f"accumulate={config.accumulate}; make it a multiple of {parts}"
            )
