"""Settings of `xnemo prepare` and `xnemo train animator|autoencoder`."""

from __future__ import annotations

from dataclasses import dataclass

from animator.config import DEVICES, EngineConfig, FaceConfig
from animator.config_loader import key, register_group, register_root
from animator.model_config import AnimatorConfig
from animator.training.augment import AugmentConfig
from animator.training.filters import FilterConfig
from animator.training.layouts import LAYOUTS


@dataclass
class LossConfig:
    """Weights of the losses; 0 switches a term off."""

    diffusion: float = key(1.0, "denoising loss, Eq. 1", minimum=0)
    reconstruction: float = key(1.0, "lambda_r, L1 of the GAN head, Eq. 3", minimum=0)
    vgg: float = key(0.0, "lambda_vgg, L1 of VGG-19's features, Eq. 4; needs vgg_weights", minimum=0)
    vggface: float = key(0.0, "lambda_vggf, L1 of VGGFace's features, Eq. 5; needs vggface_weights", minimum=0)
    perceptual: float = key(0.0, "LPIPS of the GAN head in place of Eq. 4; needs perceptual_weights", minimum=0)
    perceptual_parts: float = key(0.0, "LPIPS of mouth and eyes, enlarged; needs perceptual_weights", minimum=0)
    adversarial: float = key(0.0, "adversarial loss of the GAN head, in Eq. 7", minimum=0)
    feature_matching: float = key(10.0, "lambda_fm, Eq. 6, as part of the adversarial term", minimum=0)
    gradient_penalty: float = key(1.0, "R1 of the discriminator", minimum=0)
    label: float = key(0.0, "regression of blendshapes and head rotation from f_mot; not in the paper", minimum=0)
    label_floor: float = key(0.0, "what the label weight fades to", minimum=0)
    landmark_flow: float = key(0.0, "landmarks under the warp branch's flow; not in the paper", minimum=0)
    landmark_shape: float = key(0.0, "the same within mouth, eyes and brows, without their place", minimum=0)
    smoothness: float = key(0.0, "smoothness of the warp branch's flow", minimum=0)
    painted_mouth: float = key(0.0, "L1 of what the warp branch would paint in the mouth", minimum=0)
    painting: float = key(0.0, "share of the picture, but for the mouth, that is painted instead of warped", minimum=0)
    background: float = key(1.0, "relative weight of background pixels in Eq. 3", minimum=0)
    face: float = key(1.0, "relative weight of face pixels in Eq. 3", minimum=0)
    eyes: float = key(1.0, "relative weight of the eyes in Eq. 3", minimum=0)
    mouth: float = key(1.0, "relative weight of the mouth in Eq. 3", minimum=0)
    diffusion_regions: bool = key(False, "background, face, eyes and mouth weigh so in Eq. 1 as well; not in the paper")


@dataclass
class ScheduleConfig:
    """How long and in which order."""

    max_minutes: float | None = key(
        60.0, "stop after so many minutes, all runs on one output together; null: no such limit", minimum=0
    )
    max_steps: int | None = key(None, "stop after this many steps; null: no such limit", minimum=0)
    label_warm_up_steps: int = key(0, "first steps, in which the motion encoder learns from labels alone", minimum=0)
    label_fade_steps: int = key(10000, "steps over which the label weight then falls to label_floor", minimum=1)
    head_steps: int = key(
        0,
        "with end_to_end=false: first steps, which train encoder and GAN head alone; then these are frozen",
        minimum=0,
    )
    rise_steps: int = key(100, "first steps, in which the learning rate rises from 0", minimum=0)
    decay_minutes: float = key(5.0, "last minutes, in which the learning rate falls to a tenth", minimum=0)
    decay_steps: int | None = key(
        None,
        "last steps, in which it falls so, of max_steps; in place of decay_minutes, and exact on resume",
        minimum=0,
    )
    checkpoint_minutes: float = key(5.0, "time between checkpoints", minimum=0)
    validate_minutes: float = key(10.0, "time between validations", minimum=0)
    log_steps: int = key(50, "steps between log lines", minimum=1)


@dataclass
class StepScheduleConfig:
    """How long and in which order, counted in steps, so that every run of the same settings takes the same course."""

    steps: int = key(20000, "stop after this many steps", minimum=1)
    warm_up_steps: int = key(1000, "first steps, in which the learning rate rises from 0", minimum=0)
    final_rate: float = key(0.05, "what the rate falls to, along half a cosine; 1: it stays", minimum=0, maximum=1)
    validate_steps: int = key(500, "steps between validations", minimum=1)
    patience: int = key(10, "stop after so many validations without a smaller error; 0: never", minimum=0)
    checkpoint_minutes: float = key(5.0, "time between checkpoints", minimum=0)
    log_steps: int = key(50, "steps between log lines", minimum=1)


@dataclass
class PrepareConfig:
    """Settings of `xnemo prepare`."""

    landmarker: str | None = key(
        None,
        "MediaPipe's face_landmarker.task, fetched by hand from ai.google.dev/edge/mediapipe (Face Landmarker, "
        "Models); needed wherever there are videos to prepare",
    )
    image_size: int = key(256, "side of the stored pictures in pixels, even", minimum=32, maximum=1024)
    stride: int = key(2, "keep every so manyth frame of the clip at 25 fps", minimum=1)
    max_frames: int = key(300, "keep at most so many frames of a clip, evenly spaced", minimum=2)
    crf: int = key(16, "H.264 quality of the stored clips, 0 (lossless) to 51 (smallest)", minimum=0, maximum=51)
    reader: str = key("auto", "video reader; auto is decord with PyAV behind it", choices=("auto", "decord", "pyav"))
    layout: str = key(
        "auto",
        "of folders; plain: the first sub-folder is the person; auto: what the names look like",
        choices=LAYOUTS,
    )
    cameras: list[str] = key(
        [], "MEAD and NeRSemble: views that are taken, such as [front,top]; []: MEAD's front, all of NeRSemble"
    )
    pictures_fps: float = key(
        25.0, "frames a second of clips that are folders of pictures (VFHQ)", minimum=1, maximum=240
    )
    autoencoder: str | None = key(
        None,
        "folder with an autoencoder, or with weights that have one: keep the latents of all pictures and of their "
        "mirror images, in latents.npy, for cached_latents=true of `xnemo train animator`; null: do not",
    )
    device: str = key(
        "auto", "where latents are computed; auto takes CUDA, then Apple's GPU, then the CPU", choices=DEVICES
    )
    mixed_precision: str = key(
        "no", "format of large matrix products where latents are computed", choices=("no", "bf16")
    )
    face: FaceConfig = key(FaceConfig, "faces")
    filters: FilterConfig = key(FilterConfig, "which clips are rejected")
    engine: EngineConfig = key(EngineConfig, "who does the work")


@dataclass
class TrainAutoencoderConfig:
    """Settings of `xnemo train autoencoder`."""

    animator: AnimatorConfig = key(AnimatorConfig, "architecture; its autoencoder is trained")
    crops: str = key("outputs/crops", "folder of face crops, as `xnemo prepare` writes it")
    output: str = key("outputs/autoencoder", "folder for checkpoints, logs, pictures and the finished weights")
    start_from: str | None = key(None, "folder whose autoencoder a new run starts from; null: fresh weights")
    seed: int = key(0, "the same seed and data give the same run", minimum=0)
    batch: int = key(16, "pictures per step", minimum=1)
    patch_size: int = key(128, "side of the random patches that are trained on, in pixels", minimum=32)
    learning_rate: float = key(1e-4, "of AdamW", minimum=0)
    gradient_clip: float = key(1.0, "largest norm of the gradient", minimum=0)
    ema_decay: float = key(0.999, "of the averaged weights that are kept", minimum=0, maximum=1)
    divergence: float = key(1e-6, "weight of the divergence from N(0, 1)", minimum=0)
    perceptual: float = key(0.0, "weight of LPIPS; needs perceptual_weights", minimum=0)
    perceptual_weights: str | None = key(None, "file with LPIPS-AlexNet weights; null where perceptual is 0")
    mixed_precision: str = key("no", "format of large matrix products; bf16 for GPUs", choices=("no", "bf16"))
    schedule: ScheduleConfig = key(ScheduleConfig, "schedule")


@dataclass
class TrainAnimatorConfig:
    """Settings of one training run."""

    animator: AnimatorConfig = key(AnimatorConfig, "architecture")
    stage: str = key(
        "motion",
        "what is trained: the paper's stages 1 to 3 (section 3.3), or X-Portrait's control by pictures and then "
        "its temporal modules",
        choices=("image", "motion", "temporal", "pictures", "pictures_temporal"),
    )
    crops: str = key("outputs/crops", "folder of face crops, as `xnemo prepare` writes it")
    output: str = key("outputs/train", "folder for checkpoints, logs, pictures and the finished weights")
    start_from: str | None = key(None, "folder whose networks a new run starts from, any of them; null: fresh weights")
    seed: int = key(0, "the same seed and data give the same run", minimum=0)
    pairs: int = key(16, "pairs of frames per step, over all processes; each gives two samples", minimum=1)
    clips: int = key(16, "clips per step of the temporal stage, over all processes", minimum=1)
    frames: int = key(24, "frames of such a clip, one after the other", minimum=2)
    accumulate: int = key(1, "compute a step in so many parts, which takes less memory", minimum=1)
    image_size: int | None = key(128, "side of the training pictures in pixels; null: the animator's", minimum=32)
    cached_latents: bool = key(
        False,
        "take the latents that `xnemo prepare autoencoder=FOLDER` kept, in place of encoding pictures at every step; "
        "image_size must be that of the crops",
    )
    augmented: bool = key(True, "augment the driving crops, and mirror pairs (not in the temporal stage)")
    generator_levels: int | None = key(None, "use only this many levels of the generator (grow later); null: all")
    optimizer: str = key(
        "adamw", "adamw8bit keeps its moments in 8 bits, and needs bitsandbytes", choices=("adamw", "adamw8bit")
    )
    learning_rate: float = key(1e-5, "of AdamW", minimum=0)
    weight_decay: float = key(0.01, "of AdamW", minimum=0)
    beta2: float = key(0.99, "of AdamW, the memory of its second moment", minimum=0, maximum=1)
    gradient_clip: float = key(1.0, "largest norm of the gradient", minimum=0)
    gradient_checkpointing: bool = key(False, "compute layers of the UNets twice instead of keeping what they made")
    ema_decay: float = key(0.999, "of the averaged weights that are kept", minimum=0, maximum=1)
    train_gan: bool = key(True, "motion stage: train the GAN head")
    train_diffusion: bool = key(True, "motion stage: train by the diffusion loss")
    train_backbone: bool = key(True, "motion stage: train reference net and image layers of the UNet as well")
    train_encoder: bool = key(True, "motion stage: train the motion encoder")
    end_to_end: bool = key(
        True, "motion stage: false first trains encoder and head, then the rest: schedule.head_steps"
    )
    diffusion_pairs: int = key(16, "pairs per step that the diffusion loss sees, at most `pairs`", minimum=1)
    reference_masking: float = key(0.3, "masked share of the reference features (section 3.3)", minimum=0, maximum=0.99)
    condition_dropout: float = key(0.1, "share of samples with Eq. 2's negative condition", minimum=0, maximum=1)
    drivers: str = key(
        "strangers",
        "pictures stage: who drives: somebody else, drawn by driver_weights, or the target itself, which shows the "
        "answer",
        choices=("strangers", "themselves"),
    )
    driver_weights: str | None = key(None, "folder whose GAN head draws the drivers; null: the packaged weights")
    driver_scaling: float = key(0.3, "pictures stages: how far drivers are scaled", minimum=0, maximum=0.9)
    control_dropout: float = key(
        0.1,
        "pictures stages: share of samples without the whole face, and of those without its parts",
        minimum=0,
        maximum=1,
    )
    vgg_weights: str | None = key(
        None, "VGG-19 of ImageNet for losses.vgg: torchvision's vgg19-dcbb9e9d.pth, or the same as safetensors"
    )
    vggface_weights: str | None = key(
        None, "VGG-16 of faces for losses.vggface: vgg_face_dag.pth, or the same as safetensors"
    )
    perceptual_weights: str | None = key(None, "file with LPIPS-AlexNet weights; null where losses.perceptual is 0")
    mixed_precision: str = key("no", "format of large matrix products; bf16 for GPUs", choices=("no", "bf16"))
    compile: str = key(
        "no",
        "compile UNet, reference net and GAN head by torch.compile, which takes minutes at the start; reduce-overhead: "
        "with CUDA graphs, for small networks on a GPU",
        choices=("no", "default", "reduce-overhead"),
    )
    plan: bool = key(True, "count parameters, memory and time before the first step, and refuse what will not fit")
    device_teraflops: float | None = key(
        None,
        "peak of the device in 10^12 operations a second, of which the log shows the share that is used (MFU); null: "
        "the maker's, of H100, H200 and A100",
        minimum=0.001,
    )
    trackers: list[str] = key([], "where figures go beside TensorBoard: names of accelerate's trackers, as [wandb]")
    losses: LossConfig = key(LossConfig, "losses")
    schedule: ScheduleConfig = key(ScheduleConfig, "schedule")
    augment: AugmentConfig = key(AugmentConfig, "augmentation")

    @property
    def picture_size(self) -> int:
        """Side of the training pictures in pixels."""
        return self.animator.image_size if self.image_size is None else self.image_size


def register() -> None:
    """Make this module's types known to the loader."""
    register_root("prepare", PrepareConfig)
    register_root("train_animator", TrainAnimatorConfig)
    register_group("train")
    register_group("ablation")
    register_root("train_autoencoder", TrainAutoencoderConfig)


register()
