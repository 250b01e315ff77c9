"""A motion dataset small enough to train on in a test, and a tiny tokenizer for it, both on disk."""

from __future__ import annotations

from pathlib import Path

from animator.dataset import MotionRecord, write_dataset
from tests.motion_tokenizer.tiny import ENCODER, motion, tokenizer

LABELS = [("happy", 1), ("happy", 3), ("sad", 2), (None, None), (None, None), ("neutral", None)]


def toy_dataset(folder: Path, frames: int = 60, clips: int = 6, encoder_id: str = ENCODER) -> Path:
    """Write a dataset: so many training clips, and three for validation, of others; each is a few frames longer."""
    records = []
    for number in range(clips + 3):
        emotion, intensity = LABELS[number % len(LABELS)]
        records.append(
            MotionRecord(
                clip_id=f"clip_{number}",
                identity=f"person_{number}",
                emotion=emotion,
                intensity=intensity,
                split="train" if number < clips else "validation",
                audio=None,
                motion=motion(frames + 7 * number, seed=number, encoder_id=encoder_id),
            )
        )
    write_dataset(folder, records)
    return folder


def toy_tokenizer(folder: Path, *overrides: str) -> Path:
    """Write a tiny tokenizer of untrained networks with a codebook that is used."""
    return tokenizer(*overrides).save_pretrained(folder)
