"""The typed settings of the animator's commands: one dataclass for each file in `configs/`, every key documented.

`xnemo VERB --help` prints the texts below. The values that a user starts from are in the YAML files; the defaults here
are what a key falls back to when a file does not name it. Architectures are in `animator.model_config`.
"""

from __future__ import annotations

from dataclasses import dataclass

from animator.config_loader import key, register_group, register_root
from animator.provenance.config import MarksConfig
from animator.sampler import SamplerConfig

DEVICES = ("auto", "cpu", "cuda", "mps")
DTYPES = ("auto", "float32", "bfloat16", "float16")


@dataclass
class FaceConfig:
    """How faces are found and followed."""

    select: str = key("largest", "which face of the clip: 'largest', or an index counted from the left, from 0")
    min_score: float = key(0.5, "detections below this confidence are ignored, 0 to 1", minimum=0, maximum=1)
    max_gap: int = key(12, "longest time without a face that is bridged, in frames at 25 a second", minimum=0)
    preprocessing: str = key(
        "tracked",
        "tracked: one face is followed through whole frames; release: boxes and crops of the published inference code, "
        "which sees the left square of the first 500 frames",
        choices=("tracked", "release"),
    )


@dataclass
class RuntimeConfig:
    """Which weights run, and where."""

    weights: str | None = key(
        None, "folder with weights, as xnemo writes them, or the name of packaged ones; null: lite"
    )
    device: str = key("auto", "where to compute; auto takes CUDA, then Apple's GPU, then the CPU", choices=DEVICES)
    dtype: str = key("auto", "number format; auto is bfloat16 on CUDA and float32 elsewhere", choices=DTYPES)
    offload: str = key(
        "none",
        "for small GPUs. model: each network is on the GPU only while it is needed; group: the two UNets' weights "
        "visit it layer by layer, which takes least memory and most time; none: everything is on the device",
        choices=("none", "model", "group"),
    )
    compile: bool = key(
        False,
        "compile the UNets' transformer blocks by torch.compile: the first steps take longer, the others less; worth "
        "it for long clips",
    )
    tiny_vae: str | None = key(
        None, "folder with a tiny decoder (diffusers' AutoencoderTiny) for sampler.decoder=tiny; null: the weights' own"
    )
    reader: str = key("auto", "video reader; auto is decord with PyAV behind it", choices=("auto", "decord", "pyav"))


@dataclass
class RenderConfig(RuntimeConfig):
    """How motion becomes a video; the commands that draw have these."""

    renderer: str = key(
        "auto",
        "diffusion: the full model; gan: the instant preview; auto: what the weights recommend",
        choices=("auto", "diffusion", "gan"),
    )
    seed: int = key(0, "the same seed, weights and input give the same video", minimum=0)
    sampler: SamplerConfig = key(SamplerConfig, "how a clip is sampled (diffusion only)")
    steps: int | None = key(None, "denoising steps; null: the sampler's (diffusion only)", minimum=1, maximum=1000)
    guidance_scale: float | None = key(
        None,
        "classifier-free guidance in diffusers' sense; the paper's w = guidance_scale - 1, so 4.5 is its 3.5; "
        "1 switches guidance off and halves the time; null: the sampler's (diffusion only)",
        minimum=1,
    )
    window: int | None = key(None, "frames denoised together; null: the sampler's (diffusion only)", minimum=1)
    overlap: int | None = key(
        None, "frames that neighbouring windows share; null: the sampler's (diffusion only)", minimum=0
    )
    portrait_face: str = key("largest", "which face of the portrait: 'largest', or an index from the left, from 0")
    crf: int = key(18, "H.264 quality, 0 (lossless) to 51 (smallest)", minimum=0, maximum=51)
    face: FaceConfig = key(FaceConfig, "faces")
    marks: MarksConfig = key(MarksConfig, "marks of synthetic media")


@dataclass
class AnimateConfig(RenderConfig):
    """Settings of `xnemo animate`."""

    start: float = key(0.0, "where in the driving clip to start, in seconds; the sound is mono if not 0", minimum=0)
    seconds: float | None = key(None, "how much of the driving clip to use; null: all of it", minimum=0.04)
    model_fps: float | None = key(
        None,
        "render at this rate and repeat or leave out frames to keep the clip's own; null: render every frame; the "
        "models are trained at 25",
        minimum=1,
        maximum=240,
    )
    output_fps: float | None = key(
        None,
        "write the frames at this rate, as many as there are; the sound, which no longer fits, is left out; null: the "
        "driving clip's rate",
        minimum=1,
        maximum=240,
    )
    sound: bool = key(True, "keep the driving clip's sound")
    animator: str | None = key(
        None,
        "insist that the weights are of this architecture, a file of configs/animator/; where weights is null, the "
        "packaged ones of this name are taken; null: take any",
    )
    best_frame: int | None = key(
        None,
        "weights driven by pictures: frame, from 0 at start, in which the driving head has the portrait's pose; null: "
        "found by landmarks",
        minimum=0,
    )


@dataclass
class EngineConfig:
    """Who extracts a motion dataset, or prepares training clips."""

    kind: str = key("local", "local: processes of this machine; ray: actors on a Ray cluster", choices=("local", "ray"))
    workers: int | None = key(
        None,
        "local: processes that read clips while this one encodes (or, of xnemo prepare, writes), null is one for each "
        "core up to 8; ray: actors, null is as many as there is room for",
        minimum=1,
    )
    address: str | None = key(
        None, "ray: of the cluster, such as auto or ray://HOST:10001; null starts one on this machine"
    )
    cpus: float = key(1.0, "ray: processors that each actor takes", minimum=0)
    gpus: float = key(0.0, "ray: GPUs that each actor takes; a half lets two share one", minimum=0)


@dataclass
class ExtractConfig(RuntimeConfig):
    """Settings of `xnemo extract`; all below `face` are for motion datasets alone."""

    face: FaceConfig = key(FaceConfig, "faces")
    engine: EngineConfig = key(EngineConfig, "datasets: who does the work")
    fps: float = key(25.0, "datasets: frames a second; motion of other rates is interpolated", minimum=1, maximum=240)
    mirror: bool = key(False, "datasets: add each clip flipped left to right, as a further row for training")
    audio: bool = key(False, "datasets: keep the sound, as wav of 16 kHz and one channel")
    validation_share: float = key(
        0.1, "datasets: share of the people held out, where the source does not say who is", minimum=0, maximum=1
    )
    split_seed: int = key(0, "datasets: another one holds other people out", minimum=0)


@dataclass
class DemoConfig(AnimateConfig):
    """Settings of `xnemo demo`."""

    portrait: str | None = key(None, "a portrait of your own; null: the astronaut that comes with scikit-image")
    driving: str | None = key(
        None,
        "a driving clip of your own; null: a clip fetched once from the package index, and of it the 8 seconds from "
        "9.8 s on, unless start or seconds say otherwise",
    )
    output: str = key("outputs/demo", "folder for the videos and the contact sheet")


@dataclass
class DoctorConfig(RuntimeConfig):
    """Settings of `xnemo doctor`."""


def register() -> None:
    """Make this module's types known to the loader; calling it again changes nothing."""
    register_group("face", FaceConfig)
    register_group("engine", EngineConfig)
    register_root("animate", AnimateConfig)
    register_root("extract", ExtractConfig)
    register_root("demo", DemoConfig)
    register_root("doctor", DoctorConfig)


register()
