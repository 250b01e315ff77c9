"""The typed settings of `xnemo train all`."""

from __future__ import annotations

from dataclasses import dataclass

from animator.config_loader import key, register_root


@dataclass
class SharesConfig:
    """How the minutes are shared out: parts of their sum."""

    autoencoder: float = key(0.0, "the autoencoder of the diffusion model; 0: none is trained", minimum=0)
    animator: float = key(6.0, "all stages of the animator, each as much", minimum=0)
    tokenizer: float = key(2.0, "the motion tokenizer", minimum=0)
    gpt: float = key(2.0, "the motion generator", minimum=0)


@dataclass
class StepSettingsConfig:
    """What the commands of the chain are told beside what it tells them itself, key=value each."""

    prepare: list[str] = key([], "for `xnemo prepare`, such as settings.prepare=['landmarker=FILE']")
    autoencoder: list[str] = key([], "for `xnemo train autoencoder`")
    animator: list[str] = key([], "for every stage of `xnemo train animator`")
    extract: list[str] = key(["mirror=true"], "for `xnemo extract`")
    tokenizer: list[str] = key([], "for `xnemo train tokenizer`")
    gpt: list[str] = key([], "for `xnemo train gpt`")
    gate: list[str] = key([], "for `xnemo evaluate gate`")


@dataclass
class TrainAllConfig:
    """Settings of `xnemo train all`."""

    minutes: float = key(60.0, "training time of all networks together", minimum=0)
    shares: SharesConfig = key(SharesConfig, "of the minutes")
    animator: str = key("lite", "size of the animator, a file of configs/animator/")
    stages: list[str] = key(
        ["laptop"],
        "files of configs/train/, one after the other, each from the weights of the one before; settings of its own "
        "may stand behind a name, such as 'image cached_latents=true'",
    )
    start_from: str | None = key(None, "folder with weights that the first stage goes on from; null: fresh ones")
    until: str = key(
        "gpt",
        "animator: leave tokenizer and generator out, as where there are face crops alone and no videos",
        choices=("animator", "gpt"),
    )
    tokenizer_steps_a_minute: float = key(
        240.0, "turns its share into steps, which its learning rate follows; 240 on one core at size lite", minimum=1
    )
    gpt_steps_a_minute: float = key(70.0, "the same for the generator; 70 on one core at size lite", minimum=1)
    settings: StepSettingsConfig = key(StepSettingsConfig, "of single commands")
    gate: bool = key(True, "compare the result with the packaged weights by `xnemo evaluate gate`")


def register() -> None:
    """Make this module's types known to the loader."""
    register_root("train_all", TrainAllConfig)


register()
