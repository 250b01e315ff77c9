"""The three stages, one after the other: each trains what the paper says and leaves the rest as it was."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from diffusers import ModelMixin
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from animator.builders import animator_config, build_animator
from animator.errors import XNeMoError
from animator.models.gan_head import GanHead
from animator.models.motion_encoder import MotionEncoder
from animator.models.motion_unet import MotionUNet
from animator.models.reference_net import ReferenceNet
from animator.pipeline import XNeMoPipeline
from animator.training.recipe import train_animator
from animator.training.stages.stage import image_layers, motion_layers, temporal_layers
from tests.animator.training.runs import logged, settings, stage_of

NETWORKS: dict[str, type[ModelMixin]] = {
    "motion_encoder": MotionEncoder,
    "gan_head": GanHead,
    "reference_net": ReferenceNet,
    "unet": MotionUNet,
}


@dataclass(frozen=True)
class Chain:
    """Folders of finished weights: what stage 1 begins with, and what each stage has made."""

    image: Path
    motion: Path
    temporal: Path


@pytest.fixture(scope="module", autouse=True)
def _validates_little(small_validations: None) -> None:
    """Here the training is what counts."""


@pytest.fixture(scope="module")
def autoencoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("autoencoder")
    vae = build_animator(animator_config("tiny")).vae
    assert vae is not None
    vae.save_pretrained(folder / "vae")
    return folder


@pytest.fixture(scope="module")
def chain(crops_folder: Path, autoencoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Chain:
    output = tmp_path_factory.mktemp("chain")
    start, made = autoencoder, []
    for stage in ("image", "motion", "temporal"):
        words = [f"start_from={start}", "schedule.log_steps=1"]
        start = train_animator(settings(stage, crops_folder, output / stage, 2, *words))
        made.append(start)
    return Chain(*made)


def weights(folder: Path, name: str) -> dict[str, Tensor]:
    return NETWORKS[name].from_pretrained(folder / name).state_dict()


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    """Which entries differ; what is saved is in half precision."""
    return {name for name, value in after.items() if not torch.equal(value.half(), before[name].half())}


def test_the_image_stage_trains_the_image_unets(chain: Chain) -> None:
    fresh = build_animator(animator_config("tiny"), 0)
    assert not (chain.image / "motion_encoder").exists()
    moved = changed(fresh.unet.state_dict(), weights(chain.image, "unet"))
    assert moved and moved <= image_layers(fresh.unet)
    assert changed(fresh.reference_net.state_dict(), weights(chain.image, "reference_net"))


def test_the_motion_stage_trains_encoder_head_and_motion_attention(chain: Chain) -> None:
    fresh = build_animator(animator_config("tiny"), 0)
    assert not changed(weights(chain.image, "reference_net"), weights(chain.motion, "reference_net"))
    moved = changed(weights(chain.image, "unet"), weights(chain.motion, "unet"))
    assert moved and moved <= motion_layers(fresh.unet)
    for name in ("motion_encoder", "gan_head"):
        assert changed(getattr(fresh, name).state_dict(), weights(chain.motion, name)), name


def test_the_temporal_stage_trains_the_temporal_modules_alone(chain: Chain) -> None:
    fresh = build_animator(animator_config("tiny"), 0)
    for name in ("motion_encoder", "gan_head", "reference_net"):
        assert not changed(weights(chain.motion, name), weights(chain.temporal, name)), name
    moved = changed(weights(chain.motion, "unet"), weights(chain.temporal, "unet"))
    assert moved and moved <= temporal_layers(fresh.unet)
    pipeline = XNeMoPipeline.from_pretrained(chain.temporal)
    assert pipeline.unet is not None and pipeline.vae is not None and pipeline.gan_head is not None


def test_the_log_has_losses_rates_gradients_pictures_and_the_latent(chain: Chain) -> None:
    found = logged(chain.motion.parent)
    terms = {"diffusion", "l1", "adversarial", "discriminator", "r1"}
    wanted = {f"loss/{term}" for term in terms} | {"rate/model", "gradient/model", "gradient/discriminator"}
    wanted |= {"validation/diffusion", "validation/l1_gan", "validation/latent_effective_rank"}
    assert wanted <= set(found)
    assert set(found["loss/diffusion"]) == {1, 2}
    assert all(found["gradient/model"][step] > 0 for step in (1, 2))
    clips = logged(chain.temporal.parent)
    assert {"validation/flicker", "validation/flicker_true", "loss/diffusion"} <= set(clips)


def test_a_stage_without_what_it_builds_on_says_where_that_comes_from(
    crops_folder: Path, autoencoder: Path, tmp_path: Path
) -> None:
    for stage, missing in (
        ("image", "stage=image needs a trained autoencoder, and start_from names no folder; `xnemo train autoencoder`"),
        ("temporal", "stage=temporal needs a trained motion_encoder, and start_from names no folder; train=motion"),
    ):
        with pytest.raises(XNeMoError, match=missing):
            train_animator(settings(stage, crops_folder, tmp_path / "run", 1))
    with pytest.raises(XNeMoError, match="needs a trained reference_net, and .* has none; train=image trains it"):
        train_animator(settings("motion", crops_folder, tmp_path / "run", 1, f"start_from={autoencoder}"))
    with pytest.raises(XNeMoError, match="frames=13: no clip of the split 'train' has so many stored frames"):
        train = stage_of(settings("temporal", crops_folder, tmp_path, 1, "frames=13"))
        from animator.training.crops import FaceCrops

        next(train.stream(FaceCrops.open(crops_folder), 0, []))
    assert not (tmp_path / "run" / "checkpoint.pt").exists()


def test_clips_image_token_is_used_where_the_architecture_reads_it(
    crops_folder: Path, autoencoder: Path, tmp_path: Path
) -> None:
    """A small CLIP beside the autoencoder: the tokens of its pictures reach both UNets, and it is in the weights."""
    from animator.training.image_token import ImageTokens, load_image_encoder

    torch.manual_seed(0)
    small = CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14,
        projection_dim=8,
    )  # fmt: skip
    CLIPVisionModelWithProjection(small).save_pretrained(tmp_path / "start" / "image_encoder")
    build_animator(animator_config("tiny")).vae.save_pretrained(tmp_path / "start" / "vae")
    tokens = ImageTokens(8, load_image_encoder(tmp_path / "start" / "image_encoder"))
    pictures = torch.rand(2, 3, 64, 64) * 2 - 1
    assert tokens(pictures).shape == (2, 1, 8) and not torch.allclose(*tokens(pictures))
    words = ["animator.image_encoder=true", f"start_from={tmp_path / 'start'}"]
    made = train_animator(settings("image", crops_folder, tmp_path / "run", 1, *words))
    assert (made / "image_encoder" / "config.json").is_file()
    with pytest.raises(XNeMoError, match="CLIP's vision tower is not there"):
        words = ["animator.image_encoder=true", f"start_from={autoencoder}"]
        train_animator(settings("image", crops_folder, tmp_path / "other", 1, *words))
