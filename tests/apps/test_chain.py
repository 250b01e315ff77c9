"""`xnemo train all` at the smallest sizes, on real clips."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from animator.config_loader import load_config
from animator.pipeline import XNeMoPipeline
from apps.chain import Step, content_key, steps_of
from apps.chain_card import model_card
from apps.cli import main
from motion_gpt.outpainting import continue_motion
from motion_gpt.settings import Sampling
from motion_gpt.weights import load_gpt
from motion_tokenizer.tokenizer import MotionTokenizer
from tests.animator.media import clip_frames, make_video
from tests.apps.conftest import Outcome

FRAMES = 44


@pytest.fixture(scope="module")
def clips(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three people, one of them held out, a file that is no video, and a portrait, in a manifest."""
    folder = tmp_path_factory.mktemp("clips")
    names = {"GRID_01_neutral_01": "train", "MEAD_M003_happy_02": "train", "AOC_01": "validation"}
    rows = ["file,kind,split,identity"]
    for name, split in names.items():
        make_video(folder / f"{name[:4]}.mp4", clip_frames(shared_data / "clips" / f"{name}.mp4", FRAMES), 25)
        rows.append(f"{name[:4]}.mp4,clip,{split},{name[:4]}")
    (folder / "damaged.mp4").write_bytes(b"no video")
    rows.append("damaged.mp4,clip,train,nobody")
    shutil.copy(shared_data / "portraits" / "an_solo.jpg", folder)
    rows.append("an_solo.jpg,portrait,validation,somebody")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    return folder / "manifest.csv"


@pytest.fixture
def xnemo(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Outcome]:
    """The command line as it is, inside an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> Outcome:
        code = main([str(word) for word in words])
        out, err = capsys.readouterr()
        return Outcome(code, out, err)

    return run


@pytest.mark.slow
def test_from_clips_to_weights_that_belong_together(
    xnemo: Callable[..., Outcome], clips: Path, shared_data: Path, tmp_path: Path
) -> None:
    landmarker = shared_data / "models" / "face_landmarker.task"
    models = tmp_path / "models"  # all but the head, whose pictures would take most of the time
    models.mkdir()
    for path in (shared_data / "models").iterdir():
        if not path.name.startswith("ict"):
            (models / path.name).symlink_to(path)
    steps = ["schedule.max_steps=1", "pairs=2", "diffusion_pairs=2", "losses.vgg=0", "losses.vggface=0"]
    tokens = ["tokenizer=tiny", "tokenizer.codes=32", "window=16", "batch=2", "searched_steps=0", "unquantised_steps=0"]
    words = [
        "train", "all", clips, "-o", "made", "--minutes", "1", "animator=tiny",
        "shares.autoencoder=1", "stages=['image cached_latents=true',motion]",
        "tokenizer_steps_a_minute=10", "gpt_steps_a_minute=10",
        given("prepare", f"landmarker={landmarker}", "image_size=64"),
        given("autoencoder", "schedule.max_steps=1", "batch=2", "patch_size=32"),
        given("animator", *steps),
        given("tokenizer", *tokens, "pool_vectors_per_code=1"),
        given("gpt", "gpt=tiny", "augment.pool=8"),
        given("gate", f"models={models}", "frames=4", "workers=1", "resamples=100", "heads=4",
              "videos=false"),
        "--json",
    ]  # fmt: skip
    first = left_out(xnemo(*words))
    made = ["crops", "autoencoder", "latents", "image", "motion", "dataset", "tokenizer", "gpt"]
    assert first["run"] == [*made, "gate"]
    # Networks that have seen two steps are refused, and that is no failure of the chain.
    assert first["gate"]["passed"] is False and Path(first["gate"]["report"]).is_file()

    card = Path("made/finished/README.md").read_text()
    assert "| motion | `xnemo train animator` |" in card and "damaged.mp4" in card and "| self | L1" in card

    # clip -> tokens -> continuation -> pixels
    folders = first["weights"]
    pipeline = XNeMoPipeline.from_pretrained(folders["animator"])
    tokenizer = MotionTokenizer.from_pretrained(folders["motion_tokenizer"])
    motion = pipeline.encode_motion(clips.parent / "AOC_.mp4")
    assert motion.encoder_id == tokenizer.encoder_id
    generator = load_gpt(folders["motion_gpt"], tokenizer)
    (longer,) = continue_motion(generator, tokenizer, motion, 8, Sampling(seed=1))
    assert longer.t0 == FRAMES and torch.isfinite(longer.latents).all()
    ran(xnemo("outpaint", clips.parent / "AOC_.mp4", "--seconds", "0.2", "-o", "r.mp4",
              f"weights={folders['animator']}", f"tokenizer_weights={folders['motion_tokenizer']}",
              f"gpt_weights={folders['motion_gpt']}", "renderer=gan"))  # fmt: skip

    again = left_out(xnemo(*words))
    assert again["run"] == [] and again["weights"] == folders and again["gate"] == first["gate"]
    changed = left_out(xnemo(*words, "gpt_steps_a_minute=15", "gate=false"))
    assert changed["run"] == ["gpt"] and changed["steps"]["tokenizer"] == first["steps"]["tokenizer"]


def test_the_card_says_what_was_done_and_how_good_it_is() -> None:
    steps = [Step("crops", "prepare", (), settings=("stride=1",)), Step("laptop", "train_animator", ("crops",))]
    record = {"crops": {"key": "a1", "seconds": 90.0}, "laptop": {"key": "b2", "seconds": 600.0}}
    card = model_card(steps, record, ["crops: one clip"], {"reasons": ["worse in L1"], "table": "| the table |\n"})
    assert "| crops | `xnemo prepare` | `stride=1` | 1.5 | a1 |" in card and "Left out: crops: one clip" in card
    assert "no step ahead: worse in L1" in card and card.endswith("| the table |\n")
    assert "Not compared" in model_card(steps, record, [], None)


def test_a_recipe_may_come_twice_and_end_before_the_tokenizer() -> None:
    words = ["until=animator", "minutes=60", "start_from=w", "stages=['laptop pairs=4','laptop cached_latents=true']"]
    steps = {step.name: step for step in steps_of(load_config("train_all", words))}
    assert list(steps) == ["crops", "latents", "laptop", "laptop_2"]
    assert steps["latents"].inside == "crops" and steps["latents"].settings == ("autoencoder=w",)
    assert steps["laptop"].settings[-1] == "pairs=4" and "start_from=w" in steps["laptop"].settings
    assert steps["laptop_2"].settings[-2:] == ("start_from={laptop}", "cached_latents=true")
    assert "schedule.max_minutes=30" in steps["laptop_2"].settings  # nothing is kept for tokenizer and generator


def test_what_a_step_depends_on_is_in_its_key(tmp_path: Path) -> None:
    config = load_config("train_all", ["stages=[image,motion]", "shares.autoencoder=1", "shares.animator=7"])
    steps = {step.name: step for step in steps_of(config)}
    assert list(steps) == ["crops", "autoencoder", "image", "motion", "dataset", "tokenizer", "gpt"]
    assert steps["image"].needs == ("crops", "autoencoder") and steps["motion"].needs == ("crops", "image")
    assert "start_from={image}" in steps["motion"].settings
    # 60 minutes in 12 parts: 5 for the autoencoder, 35 for two stages, 10 for each of the others
    assert "schedule.max_minutes=5" in steps["autoencoder"].settings
    assert "schedule.max_minutes=17.5" in steps["image"].settings
    assert "schedule.steps=2400" in steps["tokenizer"].settings and "schedule.steps=700" in steps["gpt"].settings

    (tmp_path / "a").write_bytes(b"one")
    (tmp_path / "list.csv").write_text("file\na\n")
    keys = {content_key(tmp_path), content_key(tmp_path / "list.csv")}
    (tmp_path / "a").write_bytes(b"two")
    keys |= {content_key(tmp_path), content_key(tmp_path / "list.csv")}
    (tmp_path / "a").rename(tmp_path / "b")
    assert len(keys | {content_key(tmp_path)}) == 5


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nowhere"], "nowhere: cannot be read"),
        ([".", "stages=[]"], "name at least one"),
        ([".", "shares.animator=0", "shares.tokenizer=0", "shares.gpt=0"], "at least one must be above 0"),
        ([".", "--minutes", "never"], "must be a number above 0"),
        ([".", "gate=false", "stages=['image cached_latents=true']"], "nobody makes latents"),
        (["."], "the gate measures with these"),
    ],
)
def test_what_makes_no_sense_is_told(xnemo: Callable[..., Outcome], words: list[str], told: str) -> None:
    outcome = xnemo("train", "all", *words)
    assert outcome.code in (1, 2) and told in outcome.err and outcome.err.count("\n") == 1


def left_out(outcome: Outcome) -> dict[str, Any]:
    """What a chain says that is done but for a clip, which it tells whenever it is asked."""
    found: dict[str, Any] = json.loads(outcome.out)
    assert outcome.code == 1 and "damaged.mp4" in found["error"] and "not of all clips" in found["error"]
    assert [line.split(":")[0] for line in found["left_out"]] == ["crops", "dataset"]
    return found


def ran(outcome: Outcome) -> str:
    assert outcome.code == 0, outcome.err
    return outcome.out


def given(step: str, *words: str) -> str:
    """Settings for one step, as they are written on the command line."""
    return f"settings.{step}=[{','.join(repr(word) for word in words)}]"
