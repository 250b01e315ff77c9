"""Runs every command that makes something, in this process, and prints what each result hashes to.

    python -m tests.determinism FOLDER     # a folder with the media and weights of `prepare`

Two fresh processes print the same, whatever their hash seed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

FRAMES = 8
MODELS = ("tokenizer_weights=tokenizer", "gpt_weights=gpt")
WEIGHTS = ("weights=weights", "device=cpu")
GAN = ("renderer=gan", *WEIGHTS)

# Command -> its words; {out} is a folder of its own.
COMMANDS = {
    "animate, GAN head": ("animate", "portrait.png", "driving.mp4", "-o", "{out}/a.mp4", "--preview", *WEIGHTS),
    "animate, diffusion": ("animate", "portrait.png", "driving.mp4", "-o", "{out}/b.mp4", "steps=1", *WEIGHTS),
    "extract": ("extract", "driving.mp4", "-o", "{out}", *WEIGHTS),
    "tokenize": ("tokenize", "driving.mp4", "-o", "{out}", "tokenizer_weights=tokenizer", *WEIGHTS),
    "detokenize": (
        "detokenize", "driving.mp4", "-o", "{out}/d.motion.safetensors", "--portrait", "portrait.png",
        "tokenizer_weights=tokenizer", *GAN,
    ),
    "outpaint": (
        "outpaint", "driving.mp4", "--seconds", "0.4", "-o", "{out}/o.mp4", "--motion-out",
        "{out}/o.motion.safetensors", *MODELS, *GAN,
    ),
    "emote": ("emote", "portrait.png", "--emotion", "happy", "--seconds", "0.4", "-o", "{out}/e.mp4", *MODELS, *GAN),
    "interpolate": (
        "interpolate", "portrait.png", "driving.mp4@0", "driving.mp4@0.2", "--seconds", "0.3",
        "-o", "{out}/i.mp4", *GAN,
    ),
    "train tokenizer": (
        "train", "tokenizer", "tokenizer=tiny", "dataset=motions", "output={out}/run", "batch=4", "window=32",
        "tokenizer.codes=16", "unquantised_steps=0", "searched_steps=0", "pool_vectors_per_code=1", "schedule.steps=3",
        "schedule.warm_up_steps=1", "schedule.validate_steps=3",
    ),
}  # fmt: skip


def prepare(folder: Path) -> None:
    """Write what the commands read."""
    import shutil

    import skimage

    from animator.assets import asset_path
    from animator.builders import animator_config, build_pipeline
    from animator.dataset import MotionRecord, write_dataset
    from motion_gpt.weights import save_gpt
    from motion_tokenizer.tokenizer import MotionTokenizer
    from tests.animator.media import clip_frames, make_video
    from tests.motion_gpt.talking import speaker_of
    from tests.motion_tokenizer import tiny

    make_video(folder / "driving.mp4", clip_frames(asset_path("single-face-video"), FRAMES), 25, tone=FRAMES / 25)
    shutil.copy(Path(skimage.__file__).parent / "data" / "astronaut.png", folder / "portrait.png")
    pipeline = build_pipeline(animator_config("tiny"), seed=0)
    pipeline.save_pretrained(folder / "weights")
    tokenizer = MotionTokenizer(tiny.model(), pipeline.encoder_id)
    tokenizer.save_pretrained(folder / "tokenizer")
    save_gpt(speaker_of(tokenizer), folder / "gpt")
    records = [
        MotionRecord(name, name, None, None, split, None, tiny.motion(48, number))
        for number, (name, split) in enumerate((("a", "train"), ("b", "train"), ("c", "validation")))
    ]
    write_dataset(folder / "motions", records)


def digest(folder: Path) -> str:
    """Of all results in a folder: the coded pictures of videos, all bytes of motion, tokens and weights."""
    from animator.provenance.verify import video_stream_digest

    found = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".mp4":
            found[path.name] = video_stream_digest(path)
        elif path.suffix == ".safetensors" or path.name.endswith(".tokens.json"):
            found[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    assert found, f"{folder} holds no results"
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()


def main() -> int:
    """Run all, and print an object of hashes."""
    os.chdir(sys.argv[1])
    from apps.cli import main as xnemo

    found = {}
    for number, (name, words) in enumerate(COMMANDS.items()):
        out = Path(f"out-{os.getpid()}-{number}")
        with contextlib.redirect_stdout(sys.stderr):
            code = xnemo([word.format(out=out) for word in words])
        assert code == 0, name
        found[name] = digest(out)
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
