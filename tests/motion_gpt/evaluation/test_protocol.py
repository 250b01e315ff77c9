"""`xnemo evaluate generation` as a whole, on toy motion with a tiny animator, tokenizer and generator."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import pytest
import torch

from animator.builders import animator_config, build_pipeline
from animator.config_loader import load_config
from animator.provenance.verify import verify
from apps.cli import main
from motion_gpt.decoder import Decoder
from motion_gpt.evaluation.emotion import generate_asked
from motion_gpt.evaluation.protocol import evaluate_generation
from motion_gpt.weights import load_gpt, save_gpt
from motion_tokenizer.tokenizer import MotionTokenizer
from tests.motion_gpt.talking import speaker_of
from tests.motion_gpt.toy import toy_dataset
from tests.motion_tokenizer.tiny import tokenizer

METHODS = {
    "real",
    "reconstruction",
    "generator",
    "repeat_last",
    "ping_pong",
    "nearest_clip",
    "var2",
    "unigram",
    "bigram",
    "copy_last",
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny animator, a dataset of its encoder, a tokenizer for it and a generator for that."""
    root = tmp_path_factory.mktemp("generation")
    pipeline = build_pipeline(animator_config("tiny"), seed=0)
    pipeline.save_pretrained(root / "weights")
    speaker: MotionTokenizer = tokenizer(encoder_id=pipeline.encoder_id)
    speaker.save_pretrained(root / "tokenizer")
    save_gpt(speaker_of(speaker), root / "gpt")
    toy_dataset(root / "dataset", frames=190, encoder_id=pipeline.encoder_id)
    return {name: root / name for name in ("weights", "tokenizer", "gpt", "dataset")}


def words(folders: dict[str, Path], *more: str) -> list[str]:
    return [
        "evaluate",
        "generation",
        str(folders["dataset"]),
        f"weights={folders['weights']}",
        f"tokenizer_weights={folders['tokenizer']}",
        f"gpt_weights={folders['gpt']}",
        *more,
    ]


def test_the_report_compares_the_generator_with_real_motion_and_every_baseline(
    folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = words(
        folders,
        "-o",
        str(tmp_path / "report"),
        "--limit",
        "4",
        "--json",
        f"shuffled_gpt={folders['gpt']}",
        "seconds=2",
        "samples=2",
        "stride_seconds=0.5",
        "dimensions=4",
        "splits=2",
        "rollout_seconds=33",
        "rollouts=2",
        "emotion.clips=1",
        "emotion.seconds=2.5",
        "emotion.window=1",
        "examples.clips=1",
        "examples.videos=1",
    )
    assert main(command) == 0
    result = json.loads(capsys.readouterr().out)
    report = result["report"]
    methods = report["ways"]
    assert methods.keys() == METHODS
    assert report["data"]["cases"] == 4
    # What holds whatever the weights are.
    assert methods["repeat_last"]["speed"] == pytest.approx(0, abs=1e-3)
    assert methods["repeat_last"]["still"] == pytest.approx(49 / 25)
    assert methods["repeat_last"]["multimodality"] == 0 < methods["generator"]["multimodality"]
    assert methods["real"]["speed"] == pytest.approx(1)
    assert methods["real"]["frechet"] < methods["repeat_last"]["frechet"]
    assert methods["ping_pong"]["repeats"] > 0.5
    assert methods["copy_last"].keys() == {"bits"}
    assert all(methods[name]["bits"] > 0 for name in ("generator", "unigram", "bigram"))
    drift = report["drift"]["methods"]
    assert "nearest_clip" not in drift and len(drift["generator"]) == 6
    emotion = report["emotion"]
    assert emotion["classes"] == ["happy", "neutral", "sad"]
    assert emotion["methods"].keys() == {"real", "reconstruction", "generator", "shuffled_labels"}
    assert sum(map(sum, emotion["methods"]["generator"]["confusion"])) == 7
    page = Path(result["files"]["report.html"]).read_text()
    assert page.count("data:image/jpeg") == 2 and page.count("data:video/mp4") == 1
    (coded,) = re.findall(r'data:video/mp4;base64,([^"]+)', page)
    example = Path(result["files"]["report.html"]).with_name("example.mp4")
    example.write_bytes(base64.b64decode(coded))
    marks = verify(example)
    assert marks.statement is not None and marks.credentials is not None and marks.credentials.action == "evaluate"
    assert "http" not in re.sub(r'base64,[^"]+', "", page).replace("http-equiv", "")
    assert "| generator |" in Path(result["files"]["report.md"]).read_text()


def test_the_same_seed_gives_the_same_figures(folders: dict[str, Path]) -> None:
    short = ["seconds=1", "samples=1", "dimensions=2", "splits=2", "rollout_seconds=0", "emotion.clips=0"]
    settings = [word for word in words(folders, *short) if "=" in word]
    config = load_config("evaluate_generation", settings)
    once, again = (evaluate_generation(config, folders["dataset"], limit=4).report for _ in range(2))
    assert once == again
    other = load_config("evaluate_generation", [*settings, "seed=1"])
    generated = [evaluate_generation(c, folders["dataset"], limit=4).continued["generator"] for c in (config, other)]
    assert not torch.equal(*generated)


def test_what_does_not_go_together_is_refused_in_one_line(
    folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tokenizer(seed=1, encoder_id=MotionTokenizer.from_pretrained(folders["tokenizer"]).encoder_id)
    other.save_pretrained(tmp_path / "tokenizer")
    off = "examples.clips=0"
    assert main(words(folders, off, f"tokenizer_weights={tmp_path / 'tokenizer'}")) == 1
    assert "speaks tokens of tokenizer" in capsys.readouterr().err
    assert main(words(folders, off, "seconds=60")) == 1
    assert "no held-out clip has 62 s" in capsys.readouterr().err
    assert main(words(folders, off, "prefix_seconds=7", "seconds=2")) == 1
    assert "fewer than two training stretches of 9 s" in capsys.readouterr().err
    assert main(words(folders, "--limit", "none")) == 2
    assert main(words(folders, "sampling.top_p=2")) == 2
    strange = toy_dataset(tmp_path / "dataset", encoder_id="somebody-else")
    command = words(folders)
    command[2] = str(strange)
    assert main(command) == 1
    assert "somebody-else" in capsys.readouterr().err


def test_generated_clips_are_judged_as_often_as_asked(folders: dict[str, Path]) -> None:
    config = load_config("evaluate_generation", ["emotion.seconds=1"])
    speaker = MotionTokenizer.from_pretrained(folders["tokenizer"])
    asked = generate_asked(config, Decoder(load_gpt(folders["gpt"])), speaker, clips=2)
    assert asked.clips.shape == (2 * (7 * 3 + 1), 25, 515)
    assert torch.bincount(asked.classes).tolist() == [6, 6, 6, 6, 6, 2, 6, 6]
    assert set(asked.levels[asked.classes == 5].tolist()) == {1}
