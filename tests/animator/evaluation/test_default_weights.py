"""The packaged weights do their job: a portrait's mouth, eyes and head follow; their latent holds motion, not heads."""

from __future__ import annotations

from pathlib import Path

import pytest

from animator.builders import load_pipeline
from animator.config_loader import load_config
from animator.evaluation.config import LatentConfig
from animator.evaluation.following import follow
from animator.evaluation.landmarks import FaceMeasures
from animator.evaluation.latent import evaluate_latent
from animator.evaluation.networks import find_network
from animator.evaluation.observer import Observer
from animator.evaluation.protocols import read_driver
from animator.portrait import portrait_pictures

FRAMES = 64


@pytest.mark.parametrize(
    ("clip", "portrait", "signals"),
    [
        ("MEAD_M003_happy_02", "fluxm_0001", ("mouth", "jaw_open", "smile", "pitch")),
        ("vasa_3_01", "kd_WDA_BenCardin1_000", ("mouth", "blink", "smile", "yaw")),
    ],
)
def test_another_persons_portrait_follows(
    clip: str, portrait: str, signals: tuple[str, ...], shared_data: Path, observer: Observer
) -> None:
    pipeline = load_pipeline(load_config("animate", ["device=cpu"]))
    pipeline.set_progress_bar_config(disable=True)
    driver = read_driver(pipeline, shared_data / "clips" / f"{clip}.mp4", observer, frames=FRAMES)
    side, face_side = pipeline.config.image_size, pipeline.motion_encoder.config.image_size
    pictures = portrait_pictures(shared_data / "portraits" / f"{portrait}.jpg", (side, side), face_side)
    faces = FaceMeasures.joined(
        [observer.networks.landmarker.measure(chunk) for chunk in pipeline.stream_preview(pictures, driver.motion)]
    )
    assert faces.missing == 0
    following = follow(driver.seen.face, faces)
    found = {name: following[name].correlation for name in signals}
    assert all(following[name].moves for name in signals)
    assert all(value > 0.5 for value in found.values()), found


def test_one_motion_on_two_heads_lies_closer_than_two_on_one(models: Path, tmp_path: Path) -> None:
    settings = ["device=cpu", "heads=4", "motions=6", "own=4", "side=128", "workers=1"]
    config: LatentConfig = load_config("evaluate_latent", settings)
    latent, pixels = evaluate_latent(config, find_network("head", [models]), tmp_path)["ordering"]
    assert latent["closer"] > 0.85 and latent["nearest"] > 0.7
    assert pixels["closer"] < 0.5  # which is why it is worth asking
