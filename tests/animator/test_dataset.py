"""Motion datasets on disk: lossless, readable by others, checked when opened, written whole or not at all."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from animator import dataset_writer
from animator.audio import write_wav
from animator.dataset import MotionDataset, MotionRecord, write_dataset
from animator.dataset_format import AUDIO, COLUMNS, INDEX
from animator.errors import XNeMoError
from animator.motion_clip import MotionClip

ROOT = Path(__file__).parents[2]


def motion(frames: int, seed: int, encoder_id: str = "encoder-a", fps: float = 25.0) -> MotionClip:
    generator = torch.Generator().manual_seed(seed)
    latents = 3 + 2 * torch.randn(frames, 512, generator=generator)
    boxes = torch.rand(frames, 3, generator=generator) + 0.5
    return MotionClip(latents, boxes, fps, encoder_id, f"{seed}.mp4", "ab" * 32, (1, 2, 30, 40))


def record(name: str, identity: str, split: str, seed: int, frames: int = 9) -> MotionRecord:
    return MotionRecord(name, identity, None, None, split, None, motion(frames, seed))


@pytest.fixture
def records() -> list[MotionRecord]:
    """Five clips of three people, one of them with a mirrored copy and labels."""
    happy = replace(record("b_happy", "b", "train", 1, 30), emotion="happy", intensity=3)
    return [
        record("c_1", "c", "validation", 4, 1),
        happy,
        replace(happy, clip_id="b_happy-mirrored", mirrored=True, motion=motion(30, 2)),
        record("a_1", "a", "train", 3),
        replace(
            record("a_2", "a", "train", 5), motion=replace(motion(7, 6), crop=None, t0=3, seed=2**40), settings="{}"
        ),
    ]


@pytest.fixture
def folder(records: list[MotionRecord], tmp_path: Path) -> Path:
    write_dataset(tmp_path / "dataset", records)
    return tmp_path / "dataset"


def same(a: MotionRecord, b: MotionRecord) -> bool:
    values = [{k: v for k, v in vars(x).items() if k != "motion"} for x in (a, b)]
    motions = [{k: v for k, v in vars(x.motion).items() if k not in ("latents", "boxes")} for x in (a, b)]
    tensors = torch.equal(a.motion.latents, b.motion.latents) and torch.equal(a.motion.boxes, b.motion.boxes)
    return values[0] == values[1] and motions[0] == motions[1] and tensors


def test_records_come_back_as_they_went_in_and_in_a_fixed_order(
    records: list[MotionRecord], folder: Path, tmp_path: Path
) -> None:
    dataset = MotionDataset.open(folder)
    assert (len(dataset), dataset.encoder_id, dataset.fps) == (5, "encoder-a", 25)
    order = ["a_1", "a_2", "b_happy", "b_happy-mirrored", "c_1"]
    read = list(dataset.records())
    assert [r.clip_id for r in read] == order == [row["clip_id"] for row in dataset.labels()]
    by_name = {r.clip_id: r for r in records}
    assert all(same(r, by_name[r.clip_id]) for r in read)
    assert [r.clip_id for r in dataset.records("train")] == order[:4]
    assert [r.clip_id for r in dataset.records("validation")] == order[4:]
    # The order in which they were written does not matter to a single byte.
    write_dataset(tmp_path / "again", records[::-1])
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


def test_statistics_are_those_of_the_training_frames_without_mirrored_copies(
    records: list[MotionRecord], folder: Path
) -> None:
    statistics = MotionDataset.open(folder).statistics
    used = [r.motion for r in records if r.split == "train" and not r.mirrored]
    latents, boxes = (torch.cat([getattr(m, name) for m in used]).double() for name in ("latents", "boxes"))
    assert statistics.frames == len(latents) == 46
    assert torch.allclose(statistics.latent_mean.double(), latents.mean(dim=0), rtol=1e-6)
    assert torch.allclose(statistics.latent_std.double(), latents.std(dim=0, correction=0), rtol=1e-6)
    assert torch.allclose(statistics.box_mean.double(), boxes.mean(dim=0), rtol=1e-6)
    assert torch.allclose(statistics.box_std.double(), boxes.std(dim=0, correction=0), rtol=1e-6)


def test_mirrored_copies_are_no_new_data(folder: Path) -> None:
    summary = MotionDataset.open(folder).summary()
    train, validation = summary["train"], summary["validation"]
    assert (train.clips, train.identities, train.frames, train.mirrored) == (3, 2, 46, 1)
    assert train.hours == 46 / 25 / 3600
    assert (validation.clips, validation.identities, validation.frames, validation.mirrored) == (1, 1, 1, 0)


def test_a_dataset_of_many_shards_reads_like_one_of_few(
    records: list[MotionRecord], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset_writer, "SHARD_FRAMES", 10)
    monkeypatch.setattr(dataset_writer, "GROUP_FRAMES", 5)
    write_dataset(tmp_path / "many", records)
    many, few = MotionDataset.open(tmp_path / "many"), MotionDataset.open(folder)
    assert len(list((tmp_path / "many").glob("train-*.parquet"))) == 3
    assert all(same(a, b) for a, b in zip(many.records(), few.records(), strict=True))
    assert many.summary() == few.summary()
    assert torch.equal(many.statistics.latent_std, few.statistics.latent_std)


def test_pandas_duckdb_and_datasets_open_the_folder(
    records: list[MotionRecord], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "dataset"
    # A sound whose name looks like a split's must not lead a reader astray.
    sound = folder / AUDIO / "train-1.wav"
    write_dataset(folder, [replace(r, audio=sound if r.clip_id == "a_1" else None) for r in records])
    write_wav(sound, np.zeros(160, np.float32), 16000)
    expected = {r.clip_id: r.motion.latents.numpy() for r in MotionDataset.open(folder).records()}
    assert next(MotionDataset.open(folder).records()).audio == sound

    table = pd.read_parquet(folder)
    assert list(table.columns) == COLUMNS.names and len(table) == 5
    for row in table.itertuples():
        assert np.array_equal(np.stack(row.latents), expected[row.clip_id])
    labelled = table[table.emotion == "happy"]
    assert (
        labelled.intensity.tolist() == [3, 3] and table[table.clip_id == "a_1"].audio.item() == f"{AUDIO}/train-1.wav"
    )

    query = f"""
        select clip_id, emotion, len(latents), len(latents[1]), latents[2][7], crop
        from '{folder}/*.parquet' where split = 'train' and not mirrored order by clip_id
    """
    rows = duckdb.sql(query).fetchall()
    assert [row[:4] for row in rows] == [("a_1", None, 9, 512), ("a_2", None, 7, 512), ("b_happy", "happy", 30, 512)]
    assert rows[2][4] == expected["b_happy"][1, 6] and rows[0][5] == [1, 2, 30, 40] and rows[1][5] is None

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    datasets.disable_progress_bars()
    for arguments in (("parquet", None, str(folder)), (str(folder),)):
        opened = datasets.load_dataset(*arguments, cache_dir=str(tmp_path / "cache"))
        assert {split: len(opened[split]) for split in opened} == {"train": 4, "validation": 1}
        for row in opened["train"]:
            assert np.array_equal(np.asarray(row["latents"], np.float32), expected[row["clip_id"]])


def test_a_subset_that_duckdb_wrote_still_has_our_columns(folder: Path, tmp_path: Path) -> None:
    shard = next(folder.glob("train-*.parquet"))
    duckdb.sql(f"copy (from '{shard}') to '{tmp_path / 'new.parquet'}' (format parquet)")
    before = list(MotionDataset.open(folder).records())
    (tmp_path / "new.parquet").replace(shard)
    assert all(same(a, b) for a, b in zip(MotionDataset.open(folder).records(), before, strict=True))


def test_a_dataset_without_training_clips_has_no_statistics(records: list[MotionRecord], tmp_path: Path) -> None:
    write_dataset(tmp_path / "held_out", records[:1])
    dataset = MotionDataset.open(tmp_path / "held_out")
    assert [r.clip_id for r in dataset.records()] == ["c_1"] and list(dataset.summary()) == ["validation"]
    with pytest.raises(XNeMoError, match="held_out: has no clips for training"):
        _ = dataset.statistics


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: replace(r, motion=motion(9, 1, "encoder-b")), "motion encoder encoder-a and .* by encoder-b"),
        (lambda r: replace(r, motion=motion(9, 1, fps=30)), "25 frames a second and a_3 30"),
        (lambda r: replace(r, split="validation"), "identity a is in both splits"),
        (lambda r: replace(r, clip_id="a_1"), "two clips are called a_1"),
    ],
)
def test_what_does_not_belong_together_is_not_written(
    change: object, message: str, records: list[MotionRecord], tmp_path: Path
) -> None:
    added = change(record("a_3", "a", "train", 8))  # type: ignore[operator]
    with pytest.raises(XNeMoError, match=message):
        write_dataset(tmp_path / "dataset", [*records, added])
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_over_a_folder_that_holds_something(folder: Path, records: list[MotionRecord]) -> None:
    with pytest.raises(XNeMoError, match="dataset: exists already"):
        write_dataset(folder, records)
    with pytest.raises(XNeMoError, match="there are no clips"):
        write_dataset(folder.with_name("empty"), [])
    assert sorted(path.name for path in folder.parent.iterdir()) == ["dataset"]


def test_a_shard_truncated_in_the_middle_is_named(folder: Path) -> None:
    shard = next(folder.glob("train-*.parquet"))
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(XNeMoError, match=f"{re.escape(str(shard))}: truncated or damaged"):
        MotionDataset.open(folder)
    shard.unlink()
    with pytest.raises(XNeMoError, match=f"{re.escape(str(shard))}: a part of the dataset is missing"):
        MotionDataset.open(folder)


def test_changed_bytes_are_found_when_the_clip_is_read(folder: Path) -> None:
    shard = next(folder.glob("train-*.parquet"))
    with pq.ParquetFile(shard) as file:
        chunk = file.metadata.row_group(0).column(COLUMNS.names.index("latents"))
    data = bytearray(shard.read_bytes())
    data[chunk.data_page_offset + chunk.total_compressed_size // 2] ^= 1
    shard.write_bytes(data)
    dataset = MotionDataset.open(folder)
    with pytest.raises(XNeMoError, match=f"{re.escape(shard.name)}: damaged"):
        list(dataset.records("train"))


def test_latents_of_another_encoder_among_the_shards_are_refused(folder: Path, tmp_path: Path) -> None:
    other = MotionRecord("c_1", "c", None, None, "validation", None, motion(3, 1, "encoder-b"))
    write_dataset(tmp_path / "other", [other])
    shutil.copy(next((tmp_path / "other").glob("*.parquet")), next(folder.glob("validation-*.parquet")))
    with pytest.raises(XNeMoError, match=r"validation-.*encoder-b, the dataset is of encoder-a"):
        MotionDataset.open(folder)


def test_other_folders_are_refused_in_a_line_that_says_what_to_do(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(XNeMoError, match="nowhere: no such motion dataset; xnemo extract"):
        MotionDataset.open(tmp_path / "nowhere")
    (tmp_path / "hollow").mkdir()
    with pytest.raises(XNeMoError, match="hollow: not a motion dataset, or its extraction was interrupted"):
        MotionDataset.open(tmp_path / "hollow")
    index = json.loads((folder / INDEX).read_text())
    for change, message in (
        ({"schema": 99}, "schema 99 is newer than 1; update xnemo"),
        ({"shards": []}, "the dataset is empty"),
    ):
        (folder / INDEX).write_text(json.dumps(index | change))
        with pytest.raises(XNeMoError, match=message):
            MotionDataset.open(folder)
    for text in ("{}", "[1]", "{", '{"schema": 1}'):
        (folder / INDEX).write_text(text)
        with pytest.raises(XNeMoError, match=f"{INDEX}: not the index of a motion dataset"):
            MotionDataset.open(folder)


def test_a_table_of_another_schema_is_named(folder: Path) -> None:
    shard = next(folder.glob("validation-*.parquet"))
    pq.write_table(pa.table({"clip_id": ["x"], "text": ["y"]}), shard)
    with pytest.raises(XNeMoError, match=rf"{re.escape(str(shard))}: of another schema \(no column audio"):
        MotionDataset.open(folder)


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    # A limit on file size makes the kernel refuse the write, as a full disk does.
    script = f"""
import resource, signal
from tests.animator.test_dataset import record
from animator.dataset import write_dataset
from animator.errors import XNeMoError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    write_dataset({str(tmp_path / "dataset")!r}, [record("a", "a", "train", 0, 500)])
except XNeMoError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.startswith(f"{tmp_path / 'dataset'}: cannot be written: "), done.stdout
    assert "File too large" in done.stdout and done.stdout.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
