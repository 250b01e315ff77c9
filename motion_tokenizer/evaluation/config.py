"""Settings of `xnemo evaluate tokenizer`."""

from __future__ import annotations

from dataclasses import dataclass

from animator.config import RuntimeConfig
from animator.config_loader import key, register_root


@dataclass
class PixelConfig:
    """Original and reconstructed motion on portraits, as pictures."""

    portraits: list[str] = key(
        [],
        "pictures, or folders of pictures, [A,B]; held-out clips take them in turn; with none nothing is rendered",
    )
    clips: int = key(8, "at most so many held-out clips, evenly spaced in the dataset", minimum=1)
    seconds: float = key(4.0, "how much of each clip's beginning is rendered", minimum=0.2)
    diffusion: bool = key(True, "render with the diffusion model as well, where the weights have one")
    diffusion_clips: int = key(1, "at most so many clips with the diffusion model, which is slow", minimum=1)
    steps: int | None = key(None, "denoising steps of the diffusion model; null: the paper's", minimum=1, maximum=1000)
    lpips_weights: str | None = key(None, "file with LPIPS-AlexNet weights; null: no LPIPS")
    landmarker: str | None = key(
        None, "MediaPipe's face_landmarker.task; null: no correlations of mouth, yaw and the like"
    )


@dataclass
class EvaluateTokenizerConfig(RuntimeConfig):
    """Settings of `xnemo evaluate tokenizer`; `weights` are the animator's, which renders."""

    tokenizer_weights: str | None = key(None, "folder with the motion tokenizer; null: the packaged one")
    baselines: list[str] = key(
        [], "folders of further trained tokenizers for the same table, [A,B], for example without a quantiser"
    )
    pixels: PixelConfig = key(PixelConfig, "pictures")


def register() -> None:
    """Make this module's types known to the loader."""
    register_root("evaluate_tokenizer", EvaluateTokenizerConfig)


register()
