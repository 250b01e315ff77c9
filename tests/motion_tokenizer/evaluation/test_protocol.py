"""The whole evaluation on a small dataset: one table, a report that others can read, and no mixing of encoders."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from animator.builders import animator_config, build_pipeline
from animator.config_loader import load_config
from animator.dataset import MotionDataset, MotionRecord, write_dataset
from animator.errors import XNeMoError
from animator.pipeline import XNeMoPipeline
from apps.cli import main
from motion_tokenizer.evaluation.config import EvaluateTokenizerConfig, PixelConfig
from motion_tokenizer.evaluation.pixels import pixel_report
from motion_tokenizer.evaluation.protocol import TOKENS, evaluate_tokenizer
from motion_tokenizer.evaluation.reconstruction import errors
from motion_tokenizer.tokenizer import MotionTokenizer
from tests.motion_tokenizer.synthetic import synthetic_motion

QUICK = [
    "tokenizer=tiny", "tokenizer.codes=32", "window=32", "batch=8", "unquantised_steps=0", "schedule.steps=6",
    "schedule.validate_steps=2",
]  # fmt: skip


def train(dataset: Path, output: Path, *words: str) -> Path:
    assert main(["train", "tokenizer", str(dataset), f"output={output}", *QUICK, *words]) == 0
    return output / "weights"


@pytest.fixture(scope="module")
def weights(dataset_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(dataset_folder, tmp_path_factory.mktemp("ema"))


def settings(*words: str) -> EvaluateTokenizerConfig:
    return load_config("evaluate_tokenizer", words)


def test_one_table_holds_the_tokenizer_and_what_it_has_to_beat(
    dataset_folder: Path, weights: Path, tmp_path: Path
) -> None:
    free = train(dataset_folder, tmp_path / "free", "tokenizer.quantizer.kind=none")
    evaluation = evaluate_tokenizer(settings(f"tokenizer_weights={weights}", f"baselines=[{free}]"), dataset_folder)
    methods = evaluation.report["ways"]
    assert list(methods) == [TOKENS, "free", "pca8_hold", "pca8_block", "every_4th_linear"]
    assert methods["free"]["bits_per_second"] is None and methods[TOKENS]["bits_per_second"] == pytest.approx(31.25)
    # The made-up motion has 4 dimensions and is smooth: 8 numbers a token lose next to nothing of it.
    assert methods["pca8_block"]["normalised"]["latents"]["r2"] > 0.98
    assert methods["pca8_hold"]["normalised"]["latents"]["r2"] > methods[TOKENS]["normalised"]["latents"]["r2"]
    tokenizer = MotionTokenizer.from_pretrained(weights)
    motions = [record.motion for record in MotionDataset.open(dataset_folder).records("validation")]
    ours = errors([m.latents for m in motions], [tokenizer.reconstruct(m).latents for m in motions])
    assert methods[TOKENS]["raw"]["latents"]["r2"] == pytest.approx(ours["r2"], abs=1e-4)
    usage = evaluation.report["usage"][0]
    assert usage["tokens"] == sum(len(tokenizer.encode(motion)) for motion in motions) == int(evaluation.counts.sum())
    assert 0 <= evaluation.report["training"]["reset_rate_last_quarter"] < 1


def test_the_command_writes_json_tables_and_a_figure(
    dataset_folder: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "evaluate",
        "tokenizer",
        str(dataset_folder),
        f"tokenizer_weights={weights}",
        "-o",
        str(tmp_path / "report"),
    ]
    assert main([*words, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert printed["report"] == report
    assert report["data"]["validation"]["identities"] == 3 and report["pixels"] is None
    text = (tmp_path / "report" / "report.md").read_text()
    assert "| tokens | 8 |" in text and "used if every code were as likely" in text
    with Image.open(tmp_path / "report" / "report.png") as picture:
        assert picture.width > 1000


def test_latents_of_another_encoder_are_refused(weights: Path, tmp_path: Path) -> None:
    other = [
        MotionRecord(f"c{n}", f"p{n}", None, None, split, None, synthetic_motion(40, n, encoder_id="encoder-b"))
        for n, split in enumerate(("train", "validation"))
    ]
    write_dataset(tmp_path / "other", other)
    with pytest.raises(XNeMoError, match=r"latents of motion encoder encoder-b, but .* was trained for encoder-a"):
        evaluate_tokenizer(settings(f"tokenizer_weights={weights}"), tmp_path / "other")


def test_what_is_no_tokenizer_and_what_is_no_dataset_are_named(
    dataset_folder: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "tokenizer", str(tmp_path), f"tokenizer_weights={weights}"]) == 1
    assert "_dataset.json not found" in capsys.readouterr().err
    assert main(["evaluate", "tokenizer", str(dataset_folder), f"tokenizer_weights={tmp_path}"]) == 1
    assert "no tokenizer here" in capsys.readouterr().err
    assert main(["evaluate", "tokenizer"]) == 2


@pytest.fixture(scope="module")
def pipeline() -> XNeMoPipeline:
    """A tiny animator with random weights."""
    pipeline = build_pipeline(animator_config("tiny"))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def test_pictures_of_the_same_motion_are_the_same(pipeline: XNeMoPipeline, portrait: Path) -> None:
    motion = synthetic_motion(12, 0, encoder_id=pipeline.encoder_id)
    config = PixelConfig(portraits=[str(portrait)], clips=1, seconds=0.3, steps=1)
    report = pixel_report(config, pipeline, [motion], lambda clip: clip)
    assert set(report) == {"gan", "diffusion"}
    for drawn in report.values():
        assert drawn["frames"] == 8 and drawn["pairs"] == [{"clip": "clip_0.mp4", "portrait": portrait.name}]
        assert drawn["tokens"]["l1"] == 0
        assert drawn["tokens"]["lpips"] is None and drawn["tokens"]["following"] is None
    config = replace(config, diffusion=False)
    other = pixel_report(config, pipeline, [motion], lambda clip: synthetic_motion(12, 5, clip.encoder_id))
    assert set(other) == {"gan"} and other["gan"]["tokens"]["l1"] > 0


def test_a_portrait_that_is_not_there_is_named(pipeline: XNeMoPipeline) -> None:
    config = PixelConfig(portraits=["absent.png"])
    with pytest.raises(XNeMoError, match=r"absent.png: no such picture"):
        pixel_report(config, pipeline, [synthetic_motion(8, 0)], lambda clip: clip)
