"""Files made to harm: each is refused in one line, and nothing of what it wanted happens."""

from __future__ import annotations

import contextlib
import json
import os
import struct
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from animator.builders import animator_config, build_pipeline, load_pipeline
from animator.config_loader import load_config
from animator.dataset import MotionDataset
from animator.dataset_format import AUDIO, COLUMNS, INDEX
from animator.errors import XNeMoError
from animator.evaluation.html_pieces import facts, from_markdown, page
from animator.extraction.sources import list_clips
from animator.image import read_image
from animator.motion_clip import MotionClip
from animator.provenance.credentials import Credentials
from animator.provenance.pixel_mark import PixelMark
from animator.provenance.verify import Findings
from animator.video import VideoReader
from apps.commands.verify import report, summary
from motion_tokenizer.tokenizer import MotionTokenizer
from tests.animator.media import make_video
from tests.fuzz.corpus import CORPUS, pictures
from tests.motion_tokenizer.tiny import tokenizer


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A whole dataset in a folder of its own, and something to steal beside it."""
    folder = tmp_path / "dataset"
    folder.mkdir()
    for path in (CORPUS / "dataset").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (tmp_path / "secret.wav").write_bytes(b"secret")
    return folder


def shard_of(folder: Path) -> Path:
    return next(folder.glob("train-*.parquet"))


def test_time_stamps_that_would_fill_the_memory_are_refused(tmp_path: Path) -> None:
    # Six pictures, the last but one of which is held for more than a day: at the file's rate, two million times.
    path = make_video(tmp_path / "long.mp4", pictures(6), 25, ticks=[0, 1, 2, 3, 4, 25 * 100_000])
    began = time.monotonic()
    with pytest.raises(XNeMoError, match=r"long\.mp4: lasts 27.8 hours by its time stamps"):
        VideoReader(path)
    assert time.monotonic() - began < 5


def test_a_header_that_counts_a_million_frames_is_not_believed(tmp_path: Path) -> None:
    data = bytearray((CORPUS / "plain.mp4").read_bytes())
    place = data.index(b"stts") + 8
    assert struct.unpack(">III", data[place : place + 12])[:2] == (1, 6)
    data[place + 4 : place + 8] = struct.pack(">I", 1_000_000)
    (tmp_path / "many.mp4").write_bytes(data)
    with contextlib.suppress(XNeMoError):
        assert len(VideoReader(tmp_path / "many.mp4")) == 6


def test_huge_pictures_in_a_tiny_video_are_refused(tmp_path: Path) -> None:
    path = make_video(tmp_path / "wide.mp4", np.zeros((1, 16, 8208, 3), np.uint8), 25)
    assert path.stat().st_size < 20_000
    with pytest.raises(XNeMoError, match="8208 x 16 pixels"):
        VideoReader(path)


@pytest.mark.parametrize("name", ["../outside.parquet", "{root}/outside.parquet", "a/../../outside.parquet", "\x00"])
def test_a_dataset_names_no_files_outside_its_folder(dataset: Path, name: str) -> None:
    shard_of(dataset).rename(dataset.parent / "outside.parquet")
    index = json.loads((dataset / INDEX).read_text())
    index["shards"][0]["file"] = name.format(root=dataset.parent)
    (dataset / INDEX).write_text(json.dumps(index))
    with pytest.raises(XNeMoError, match="lies outside the dataset"):
        MotionDataset.open(dataset)


def test_a_link_out_of_a_dataset_is_not_followed(dataset: Path) -> None:
    shard = shard_of(dataset)
    shard.rename(dataset.parent / "outside.parquet")
    shard.symlink_to(dataset.parent / "outside.parquet")
    with pytest.raises(XNeMoError, match="lies outside the dataset"):
        MotionDataset.open(dataset)


@pytest.mark.parametrize("sound", ["../secret.wav", "{root}/secret.wav", f"{AUDIO}/link.wav"])
def test_a_datasets_sounds_lie_in_its_folder(dataset: Path, sound: str) -> None:
    (dataset / AUDIO).mkdir()
    (dataset / AUDIO / "link.wav").symlink_to(dataset.parent / "secret.wav")
    table = pq.read_table(shard_of(dataset))
    place = table.schema.get_field_index("audio")
    named = pa.array([sound.format(root=dataset.parent)], pa.string())
    pq.write_table(table.set_column(place, COLUMNS.field("audio"), named), shard_of(dataset))
    with pytest.raises(XNeMoError, match="lies outside the dataset"):
        list(MotionDataset.open(dataset).records())


def test_a_small_table_that_unpacks_to_gigabytes_is_refused(dataset: Path) -> None:
    frames = 40_000  # 82 MB of latents, all alike
    row = pq.read_table(shard_of(dataset)).to_pylist()[0] | {"frames": frames}
    columns = {name: pa.array([row[name]], COLUMNS.field(name).type) for name in COLUMNS.names if name != "latents"}
    inner = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(frames * 512, np.float32)), 512)
    columns["latents"] = pa.ListArray.from_arrays(pa.array([0, frames], pa.int32()), inner)
    pq.write_table(pa.table([columns[name] for name in COLUMNS.names], schema=COLUMNS), shard_of(dataset))
    assert shard_of(dataset).stat().st_size < 100_000
    with pytest.raises(XNeMoError, match="claims 2.* values in .* bytes"):
        MotionDataset.open(dataset)


@pytest.mark.parametrize("name", ["../../evil", "/tmp/evil", "a/../../b", "a\\b", "a\x1b[2J"])
def test_a_manifest_cannot_choose_where_files_are_written(tmp_path: Path, name: str) -> None:
    (tmp_path / "m.csv").write_text(f'file,identity,clip_id\nclip.mp4,anna,"{name}"\n')
    with pytest.raises(XNeMoError, match="which is no name for a file"):
        list_clips(tmp_path / "m.csv")


def safetensors(header: dict[str, object], data: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


@pytest.mark.parametrize(
    "content",
    [
        safetensors({"latents": {"dtype": "F32", "shape": [2**40, 512], "data_offsets": [0, 2**51]}}),
        safetensors({"latents": {"dtype": "F32", "shape": [2, 512], "data_offsets": [0, 8]}}, bytes(8)),
        safetensors({"latents": {"dtype": "F32", "shape": [1, 512], "data_offsets": [2048, 0]}}, bytes(2048)),
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 50) + b"{}",
    ],
    ids=["huge shape", "other size", "backwards", "huge header", "short header"],
)
def test_a_safetensors_header_that_lies_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.motion.safetensors").write_bytes(content)
    with pytest.raises(XNeMoError, match=r"x\.motion\.safetensors: not a motion file"):
        MotionClip.load(tmp_path / "x.motion.safetensors")


def test_weights_that_lack_a_tensor_are_refused(tmp_path: Path) -> None:
    build_pipeline(animator_config("tiny")).save_pretrained(tmp_path / "weights")
    path = tmp_path / "weights" / "motion_encoder" / "config.json"
    about = json.loads(path.read_text())
    path.write_text(json.dumps(about | {"hourglass_depth": about["hourglass_depth"] + 1}))
    with pytest.raises(XNeMoError, match=r"these weights cannot be loaded: motion_encoder: its file has no "):
        load_pipeline(load_config("animate", [f"weights={tmp_path / 'weights'}", "device=cpu"]))


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_a_pickle_in_place_of_weights_is_not_opened(tmp_path: Path) -> None:
    folder = tokenizer().save_pretrained(tmp_path / "tokenizer")
    (folder / "diffusion_pytorch_model.safetensors").unlink()
    torch.save({"x": Payload(tmp_path / "ran")}, folder / "diffusion_pytorch_model.bin")
    with pytest.raises(XNeMoError, match="this tokenizer cannot be loaded"):
        MotionTokenizer.from_pretrained(folder)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "part",
    [
        ["evil", "Evil"],
        ["os", "system"],
        ["animator.errors; import os", "X"],
        ["animator.builders", "load_pipeline"],
        ["builtins", "Eval"],
        "one.two",
        ["diffusers"],
        [None, "X"],
    ],
)
def test_weights_name_no_code_of_their_own(tmp_path: Path, part: object, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    index: dict[str, object] = {"_class_name": "XNeMoPipeline", "unet": part}
    if isinstance(part, str):
        index = {"_class_name": part}
    (folder / "model_index.json").write_text(json.dumps(index))
    (tmp_path / "evil.py").write_text(f"import os; os.mkdir({str(tmp_path / 'ran')!r})")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(XNeMoError, match=r"model_index\.json: (unet is of|is not of a)"):
        load_pipeline(load_config("animate", [f"weights={folder}", "device=cpu"]))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "word",
    [
        "_target_=os.system",
        "+_target_=os.system",
        "face._target_=os.system",
        "+face={_target_: os.mkdir, path: ran}",
        "hydra.run.dir=ran",
        "hydra.searchpath=[file://.]",
        "+hydra.callbacks.x._target_=os.system",
        "seed=${oc.env:HOME}",
        "seed=${oc.create:{_target_: os.system}}",
        "crf=${eval:1}",
        "steps=!!python/object/apply:os.mkdir [ran]",
        "face=../../etc/passwd",
    ],
)
def test_settings_import_and_call_nothing(word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(XNeMoError):
        load_config("animate", [word])
    assert list(tmp_path.iterdir()) == []


def test_text_settings_are_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "s3cret")
    assert load_config("animate", ["weights=${oc.env:SECRET}"]).weights == "${oc.env:SECRET}"


def test_labels_with_html_are_shown_as_text() -> None:
    script = "<script>alert(1)</script>"
    html = page(
        script, [*facts({script: script, "list": [{script: script}]}), *from_markdown(f"# {script}\n\n{script}")]
    )
    assert "<script" not in html and "&lt;script&gt;" in html


def test_a_manifest_of_others_cannot_steer_the_terminal() -> None:
    evil = "\x1b[2J\x1b]0;gone\x07"
    from animator.provenance.credentials import _found

    assertion = {"label": "c2pa.actions", "data": {"actions": ["x", {"digitalSourceType": None, "description": evil}]}}
    sources = {"label": "org.xnemo.sources", "data": {"sources": [{"role": evil, "name": evil, "sha256": 3}, 7]}}
    manifest = {
        "claim_generator_info": [{"name": evil}],
        "signature_info": {"common_name": evil},
        "assertions": [assertion, sources],
    }
    signed = _found({"active_manifest": "m", "manifests": {"m": manifest}}, evil)
    assert isinstance(signed, Credentials) and signed.state == "invalid"
    nothing = PixelMark(False, None, 4.0, 1.0, np.zeros(24, bool))
    text = summary({"file": "f.mp4"} | report(Findings(None, False, signed, nothing, None)))
    assert "\x1b" not in text and "\x07" not in text


def test_tags_of_any_encoding_do_not_hide_a_video(tmp_path: Path) -> None:
    data = (CORPUS / "marked.mp4").read_bytes()
    assert b"Synthetic media" in data
    (tmp_path / "latin1.mp4").write_bytes(data.replace(b"Synthetic media", b"Synth\xe9tic m\xe9dia"))
    with VideoReader(tmp_path / "latin1.mp4") as reader:
        assert len(reader) == 4


def test_a_tiny_file_of_many_megapixels_is_no_picture(tmp_path: Path) -> None:
    Image.new("1", (10_000, 10_000)).save(tmp_path / "bomb.png")
    assert (tmp_path / "bomb.png").stat().st_size < 20_000
    with pytest.raises(XNeMoError, match="claims 10000 x 10000 pixels in"):
        read_image(tmp_path / "bomb.png")
