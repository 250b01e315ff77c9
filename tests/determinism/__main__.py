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

MODELS = ("tokenizer_weights=speaker/tokenizer", "gpt_weights=speaker/gpt")
CORPUS = Path(__file__).resolve().parents[1] / "corpus"
WEIGHTS = ("weights=weights", "device=cpu")
GAN = ("renderer=gan", *WEIGHTS)

# Command -> its words; {out} is a folder of its own.
COMMANDS = {
    "animate, GAN head": ("animate", "portrait.png", "driving.mp4", "-o", "{out}/a.mp4", "--preview", *WEIGHTS),
    "animate, diffusion": (
        "animate", "portrait.png", "driving.mp4", "-o", "{out}/b.mp4", "steps=1", "seconds=0.2", *WEIGHTS,
    ),
    "extract": ("extract", "driving.mp4", "-o", "{out}", *WEIGHTS),
    "tokenize": ("tokenize", "driving.mp4", "-o", "{out}", MODELS[0], *WEIGHTS),
    "detokenize": (
        "detokenize", "driving.mp4", "-o", "{out}/d.motion.safetensors", "--portrait", "portrait.png",
        MODELS[0], *GAN,
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
    "replay": (
        "replay", str(CORPUS / "clip.edits.json"), str(CORPUS / "clip.tokens.json"), "-o", "{out}/r.tokens.json",
    ),
}  # fmt: skip

# The others are those that faults are tried on.
LONG_JOBS = (
    "prepare", "train autoencoder", "train animator", "train tokenizer", "train gpt", "evaluate", "convert",
)  # fmt: skip


def prepare(folder: Path) -> None:
    """Write what the commands read."""
    from motion_gpt.weights import save_gpt
    from motion_tokenizer.tokenizer import MotionTokenizer
    from tests.faults.jobs import prepare_media
    from tests.motion_gpt.talking import speaker_of
    from tests.motion_tokenizer import tiny

    encoder_id = prepare_media(folder)
    tokenizer = MotionTokenizer(tiny.model(), encoder_id)
    tokenizer.save_pretrained(folder / "speaker" / "tokenizer")
    save_gpt(speaker_of(tokenizer), folder / "speaker" / "gpt")


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


def make_all(folder: Path) -> dict[str, str]:
    """Run every command in a folder that `prepare` filled; what each result hashes to.

    Commands whose networks are not on this machine are left out.
    """
    from apps.cli import main as xnemo
    from tests.faults.jobs import JOBS, NETWORKS

    found = {}
    with contextlib.chdir(folder), contextlib.redirect_stdout(sys.stderr):
        for number, (name, words) in enumerate(COMMANDS.items()):
            out = Path(f"out-{number}-{os.getpid()}")
            assert xnemo([word.format(out=out) for word in words]) == 0, name
            found[name] = digest(out)
        for name in LONG_JOBS:
            job = JOBS[name]
            if job.needs is None or (NETWORKS / job.needs).is_file():
                out = f"out-{os.getpid()}-{name.replace(' ', '-')}"
                assert xnemo([word.replace("made/", f"{out}/") for word in job.words]) == 0, name
                found[name] = job.digest(Path(job.output.replace("made/", f"{out}/")))
    return found


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    print(json.dumps(make_all(Path(sys.argv[1]))))
