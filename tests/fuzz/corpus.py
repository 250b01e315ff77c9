"""The whole files that the broken ones are made of: small, made here, and kept in `tests/corpus`.

python -m tests.fuzz.corpus     # makes them again
"""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from animator.dataset import MotionRecord, write_dataset
from animator.motion_clip import MotionClip
from animator.provenance.config import MarksConfig
from animator.provenance.marks import Marks
from animator.video import VideoWriter
from motion_tokenizer.edit_history import EditHistory
from motion_tokenizer.editing import Delete, Insert, Lock, Repeat, Replace, TokenKind
from motion_tokenizer.token_sequence import TokenSequence
from tests.animator.media import make_video

CORPUS = Path(__file__).resolve().parent.parent / "corpus"
ENCODER = "0123456789abcdef"


def pictures(count: int, height: int = 48, width: int = 64) -> np.ndarray:
    """A bright disc that wanders over a slope, uint8 (count, height, width, 3)."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    shown = []
    for number in range(count):
        disc = np.hypot(y - height / 2, x - 12 - 4 * number) < 10
        slope = 40 + 2 * x + y
        shown.append(np.stack([np.where(disc, 230, slope), slope, np.where(disc, 90, slope)], axis=2))
    return np.clip(np.stack(shown), 0, 255).astype(np.uint8)


def motion(frames: int, seed: int) -> MotionClip:
    """Random motion of few distinct numbers, so that its file is small."""
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randint(-2, 3, (frames, 512), generator=generator).float()
    boxes = torch.tensor([[0.0, 0.0, 1.0]]).repeat(frames, 1)
    return MotionClip(latents, boxes, 25.0, ENCODER, f"{seed}.mp4", "ab" * 32, (1, 2, 30, 40), 1, 3)


def make(folder: Path) -> None:
    """Write every file."""
    folder.mkdir(exist_ok=True)
    make_video(folder / "plain.mp4", pictures(6), 25, tone=0.2)
    make_video(folder / "turned.mp4", pictures(4), 25, rotation=90, ticks=[0, 1, 5, 6])
    make_video(folder / "plain.mkv", pictures(4), Fraction(30000, 1001))
    marks = Marks("animate", config=MarksConfig(label=True))
    with VideoWriter(folder / "marked.mp4", 25, marks=marks) as writer:
        writer.write(pictures(4))
    for kind in ("png", "jpeg", "webp", "gif", "bmp", "tiff"):
        buffer = io.BytesIO()
        Image.fromarray(pictures(1, 24, 32)[0]).save(buffer, kind)
        (folder / f"still.{kind}").write_bytes(buffer.getvalue())
    motion(2, 1).save(folder / "clip.motion.safetensors")
    tokens = torch.tensor([[3], [1], [4], [1], [5]])
    sequence = TokenSequence(tokens, 20, 25.0, "tokenizer", ENCODER, "a.mp4", "cd" * 32, (1, 2, 30, 40), 8, 7)
    sequence.save(folder / "clip.tokens.json")
    edits = (Replace(0, 1, ((2,),)), Insert(0, 0, ((7,),)), Repeat(0, 0, 2, 2), Lock(0, 0, 1, True), Delete(0, 3, 4))
    kind = TokenKind("tokenizer", 16, 1, 4)
    EditHistory(kind, (sequence,), edits, len(edits)).save(folder / "clip.edits.json")
    records = [
        MotionRecord("a", "anna", "happy", 2, "train", None, motion(2, 1)),
        MotionRecord("b", "bert", None, None, "validation", None, motion(2, 2)),
    ]
    write_dataset(folder / "dataset", records)


if __name__ == "__main__":
    make(CORPUS)
