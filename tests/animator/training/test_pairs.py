"""Pairs: two frames of one clip, reproducible from seed and step, and everything mirrored together."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from animator.errors import XNeMoError
from animator.training.augment import AugmentConfig
from animator.training.crops import FaceCrops, rts_between
from animator.training.pairs import PairBatch, PairSampler, mirrored_blendshapes
from animator.training.randomness import Share

SIDE = 16
NAMES = ["_neutral", "browInnerUp", "eyeBlinkLeft", "eyeBlinkRight", "jawLeft", "jawRight", "jawOpen"]
LENGTHS = {"a": ("train", 9), "b": ("validation", 5), "c": ("train", 4), "d": ("train", 2)}
ONLY_MIRRORING = AugmentConfig(
    scale_low=1, scale_high=1, aspect=0, shift=0, piecewise=0, brightness=0, contrast=0, saturation=0, hue=0
)


@pytest.fixture(scope="module")
def crops() -> FaceCrops:
    """Frames of noise whose first blendshape says which row they are: row / 100."""
    generator = torch.Generator().manual_seed(0)
    count = sum(length for _, length in LENGTHS.values())
    clips, first = [], 0
    for name, (split, length) in LENGTHS.items():
        clips.append({"name": name, "identity": name, "split": split, "frames": length, "first": first})
        first += length
    rows = torch.arange(count)
    blendshapes = torch.rand(count, len(NAMES), generator=generator)
    blendshapes[:, 0] = rows / 100
    turn = torch.rand(count, generator=generator) - 0.5
    rotation = torch.eye(3).repeat(count, 1, 1)
    rotation[:, 0, 0], rotation[:, 0, 2] = turn.cos(), turn.sin()
    rotation[:, 2, 0], rotation[:, 2, 2] = -turn.sin(), turn.cos()
    return FaceCrops(
        frames=np.random.default_rng(0).integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8),
        clip=torch.cat([torch.full((clip["frames"],), number) for number, clip in enumerate(clips)]),
        frame=rows,
        centre=torch.rand(count, 2, generator=generator) * 0.2 + 0.4,
        size=torch.rand(count, generator=generator) * 0.2 + 0.4,
        crop_side=torch.full((count,), 0.5),
        landmarks=torch.rand(count, 478, 2, generator=generator),
        blendshapes=blendshapes,
        rotation=rotation,
        clips=clips,
        blendshape_names=NAMES,
    )


def sampler(crops: FaceCrops, augment: AugmentConfig | None, split: str = "train", seed: int = 0) -> PairSampler:
    return PairSampler(crops, split, SIDE, 8, augment, seed)


def rows_of(batch: PairBatch) -> Tensor:
    return (batch.blendshapes[:, 0] * 100).round().long()


def test_partners_are_two_frames_of_one_clip_of_the_split(crops: FaceCrops) -> None:
    for split in ("train", "validation"):
        for step in range(20):
            rows = rows_of(sampler(crops, AugmentConfig(), split).batch(6, step))
            partners = PairBatch.swap(rows)
            assert torch.equal(crops.clip[rows], crops.clip[partners])
            assert (rows != partners).all()
            assert {crops.clips[clip]["split"] for clip in crops.clip[rows].tolist()} == {split}


def test_long_clips_do_not_take_all(crops: FaceCrops) -> None:
    rows = torch.cat([rows_of(sampler(crops, None).batch(100, step)) for step in range(10)])
    share = torch.bincount(crops.clip[rows], minlength=4).float() / len(rows)
    roots = torch.tensor([math.sqrt(9), 0, math.sqrt(4), math.sqrt(2)])
    assert torch.allclose(share, roots / roots.sum(), atol=0.05)


def test_seed_and_step_decide_the_batch(crops: FaceCrops) -> None:
    batch = sampler(crops, AugmentConfig()).batch(4, step=7)
    used = sampler(crops, AugmentConfig())
    used.batch(4, step=6)
    again = used.batch(4, step=7)
    assert batch.latents is None  # none are kept
    drawn = [{name: x for name, x in vars(one).items() if x is not None} for one in (batch, again)]
    assert all(torch.equal(x, drawn[1][name]) for name, x in drawn[0].items())
    assert not torch.equal(batch.crops, sampler(crops, AugmentConfig()).batch(4, step=8).crops)
    assert not torch.equal(batch.crops, sampler(crops, AugmentConfig(), seed=1).batch(4, step=7).crops)


def test_the_stream_gives_the_batches_of_its_steps(crops: FaceCrops) -> None:
    stream = sampler(crops, AugmentConfig()).stream(3, first_step=5)
    for step in (5, 6, 7):
        (batch,) = next(stream)
        assert torch.equal(batch.crops, sampler(crops, AugmentConfig()).batch(3, step).crops)
    stream.close()


def test_shares_make_up_the_whole_batch(crops: FaceCrops) -> None:
    whole = sampler(crops, AugmentConfig()).batch(6, step=3)
    parts = [sampler(crops, AugmentConfig()).batch(6, 3, Share(index, 3)) for index in range(3)]
    assert torch.cat([part.numbers for part in parts]).sort()[0].tolist() == list(range(12))
    for part in parts:
        assert torch.equal(PairBatch.swap(part.numbers), (part.numbers + 6) % 12)
        for name, value in vars(part).items():
            assert name == "latents" or torch.equal(value, getattr(whole, name)[part.numbers]), name


def test_pictures_are_made_and_augmented_where_the_frames_are(crops: FaceCrops) -> None:
    plain = sampler(crops, AugmentConfig()).batch(4, step=0)
    here = replace(crops, resident=torch.from_numpy(crops.frames))
    batch = sampler(here, AugmentConfig()).batch(4, step=0)
    assert torch.equal(batch.images, plain.images) and torch.equal(batch.crops, plain.crops)
    # A device without content in place of a GPU: what does not come to it is an error.
    away = replace(crops, resident=torch.empty(crops.frames.shape, dtype=torch.uint8, device="meta"))
    for augment in (AugmentConfig(), None):
        batch = PairSampler(away, "train", SIDE // 2, 8, augment, 0).batch(4, step=0)
        assert batch.images.is_meta and batch.crops.is_meta and not batch.landmarks.is_meta
        assert batch.images.shape == (8, 3, SIDE // 2, SIDE // 2)


def test_without_augmentation_everything_is_as_stored(crops: FaceCrops) -> None:
    batch = sampler(crops, None).batch(5, step=0)
    rows = rows_of(batch)
    assert torch.allclose(batch.images, crops.images(rows))
    assert torch.allclose(batch.landmarks, crops.landmarks[rows] * 2 - 1)
    assert torch.equal(batch.blendshapes, crops.blendshapes[rows])
    assert torch.equal(batch.rotation, crops.rotation[rows])
    assert torch.allclose(batch.rts, rts_between(crops, rows, PairBatch.swap(rows)))


def test_a_mirrored_pair_is_mirrored_in_every_part(crops: FaceCrops) -> None:
    left, right = NAMES.index("eyeBlinkLeft"), NAMES.index("eyeBlinkRight")
    plain = sampler(crops, None)
    seen = set()
    for step in range(4):
        batch = sampler(crops, ONLY_MIRRORING).batch(6, step)
        rows = rows_of(batch)
        stored = crops.images(rows)
        for sample, row in enumerate(rows.tolist()):
            mirrored = torch.allclose(batch.images[sample], stored[sample].flip(-1))
            assert mirrored or torch.allclose(batch.images[sample], stored[sample])
            seen.add(mirrored)
            sign = torch.tensor([-1.0, 1.0]) if mirrored else torch.ones(2)
            assert torch.allclose(batch.landmarks[sample], (crops.landmarks[row] * 2 - 1) * sign, atol=1e-6)
            shapes = crops.blendshapes[row, [right, left]] if mirrored else crops.blendshapes[row, [left, right]]
            assert torch.equal(batch.blendshapes[sample, [left, right]], shapes)
            assert batch.blendshapes[sample, -1] == crops.blendshapes[row, -1]  # jawOpen has no side
            # The x-z entries of a turn to the left and to the right have opposite signs.
            assert batch.rotation[sample, 0, 2] == crops.rotation[row, 0, 2] * sign[0]
            assert batch.rotation[sample, 2, 2] == crops.rotation[row, 2, 2]
            partner = torch.tensor([PairBatch.swap(rows)[sample].item()])
            rts = rts_between(crops, torch.tensor([row]), partner)[0]
            assert torch.allclose(batch.rts[sample], rts * torch.tensor([sign[0], 1.0, 1.0]))
            centre, side = crops.centre[row][None], crops.crop_side[row][None]
            assert torch.allclose(batch.crops[sample], _cut(stored[sample], centre, side, mirrored), atol=1e-4)
    assert seen == {True, False}
    assert torch.equal(rows_of(plain.batch(6, 0)), rows_of(sampler(crops, ONLY_MIRRORING).batch(6, 0)))


def _cut(picture: Tensor, centre: Tensor, side: Tensor, mirrored: bool) -> Tensor:
    """The plain crop of a stored picture, mirrored afterwards."""
    from animator.training.augment import driving_crops

    cut = driving_crops(picture[None], centre, side, 8, None)[0]
    return cut.flip(-1) if mirrored else cut


def test_mirroring_twice_changes_nothing_for_the_real_names() -> None:
    names = ["_neutral", "browDownLeft", "browDownRight", "jawLeft", "jawRight", "mouthLeft", "mouthRight", "jawOpen"]
    order = mirrored_blendshapes(names)
    assert [names[i] for i in order] == [
        "_neutral", "browDownRight", "browDownLeft", "jawRight", "jawLeft", "mouthRight", "mouthLeft", "jawOpen",
    ]  # fmt: skip
    assert [order[i] for i in order] == list(range(len(names)))


def test_smaller_pictures_are_averaged(crops: FaceCrops) -> None:
    batch = PairSampler(crops, "train", SIDE // 2, 8, None, 0).batch(2, 0)
    blocks = crops.images(rows_of(batch)).reshape(4, 3, SIDE // 2, 2, SIDE // 2, 2)  # 2 x 2 blocks of pixels
    assert torch.allclose(batch.images, blocks.mean(dim=(3, 5)), atol=1e-5)


def test_an_empty_split_is_an_error(crops: FaceCrops) -> None:
    with pytest.raises(XNeMoError, match="no clips of the split 'test'"):
        sampler(crops, None, "test")
