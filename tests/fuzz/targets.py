"""What is fuzzed: for each reader of files, broken input and the call that must end in a result or our error."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hypothesis import strategies as st

from tests.fuzz.corpus import CORPUS, ENCODER
from tests.fuzz.mutations import LONG, ODD, broken, broken_json


@dataclass(frozen=True)
class Target:
    """One reader.

    Attributes:
        cases: broken input.
        read: takes one, and a folder that is its own; anything but a return or XNeMoError is a defect.
        share: how many of all cases are its own, in parts of 100.
    """

    cases: st.SearchStrategy[object]
    read: Callable[[object, Path], None]
    share: int


def _files(*patterns: str) -> list[bytes]:
    found = [path.read_bytes() for pattern in patterns for path in sorted(CORPUS.glob(pattern))]
    assert found, f"the corpus has no {patterns}"
    return found


def _video(case: object, folder: Path) -> None:
    from animator.audio import read_audio
    from animator.video import VideoReader

    path = folder / "case.mp4"
    path.write_bytes(case)  # type: ignore[arg-type]
    with VideoReader(path) as reader:
        next(reader.chunks(4))
        reader.frame(len(reader) - 1)
    if reader.info.has_audio:
        read_audio(path)


def _verified(case: object, folder: Path) -> None:
    from animator.provenance.verify import verify

    (folder / "case.mp4").write_bytes(case)  # type: ignore[arg-type]
    verify(folder / "case.mp4")


def _image(case: object, folder: Path) -> None:
    from animator.image import read_image

    (folder / "case.png").write_bytes(case)  # type: ignore[arg-type]
    read_image(folder / "case.png")


def _motion(case: object, folder: Path) -> None:
    from animator.motion_clip import MotionClip

    (folder / "case.motion.safetensors").write_bytes(case)  # type: ignore[arg-type]
    MotionClip.load(folder / "case.motion.safetensors")


def _tokens(case: object, folder: Path) -> None:
    from motion_tokenizer.token_sequence import TokenSequence

    (folder / "case.tokens.json").write_bytes(case)  # type: ignore[arg-type]
    TokenSequence.load(folder / "case.tokens.json")


def _history(case: object, folder: Path) -> None:
    from motion_tokenizer.edit_file import SavedHistory
    from motion_tokenizer.token_sequence import TokenSequence

    (folder / "case.edits.json").write_bytes(case)  # type: ignore[arg-type]
    SavedHistory.load(folder / "case.edits.json").open([TokenSequence.load(CORPUS / "clip.tokens.json")])


@st.composite
def _datasets(draw: st.DrawFn) -> tuple[str, bytes]:
    """A file of the dataset's folder, and its new content."""
    name = draw(st.sampled_from(sorted(path.name for path in (CORPUS / "dataset").iterdir())))
    whole = (CORPUS / "dataset" / name).read_bytes()
    return name, draw(broken_json(whole) if name.endswith(".json") else broken([whole]))


def _dataset(case: object, folder: Path) -> None:
    from animator.dataset import MotionDataset

    name, content = case  # type: ignore[misc]
    shutil.copytree(CORPUS / "dataset", folder / "dataset")
    (folder / "dataset" / name).write_bytes(content)
    dataset = MotionDataset.open(folder / "dataset")
    dataset.labels()
    dataset.summary()
    _ = dataset.statistics
    for _ in dataset.records():
        pass


@st.composite
def _weights(draw: st.DrawFn) -> tuple[str, str, bytes]:
    """A folder of weights, a file in it, and its new content."""
    folder = draw(st.sampled_from(["tokenizer", "animator"]))
    names = {
        "tokenizer": ["config.json", "tokenizer.json", "diffusion_pytorch_model.safetensors"],
        "animator": ["model_index.json", "motion_encoder/config.json", "scheduler/scheduler_config.json"],
    }
    name = draw(st.sampled_from(names[folder]))
    whole = (checkpoints() / folder / name).read_bytes()
    return folder, name, draw(broken_json(whole) if name.endswith(".json") else broken([whole]))


_CHECKPOINTS: list[Path] = []


def checkpoints(folder: Path | None = None) -> Path:
    """Folder with a tiny tokenizer and a tiny animator; made in `folder` at the first call."""
    if not _CHECKPOINTS:
        from animator.builders import animator_config, build_pipeline
        from tests.motion_tokenizer.tiny import tokenizer

        assert folder is not None
        tokenizer(encoder_id=ENCODER).save_pretrained(folder / "tokenizer")
        build_pipeline(animator_config("tiny")).save_pretrained(folder / "animator")
        _CHECKPOINTS.append(folder)
    return _CHECKPOINTS[0]


def _checkpoint(case: object, folder: Path) -> None:
    from animator.builders import load_pipeline
    from animator.config_loader import load_config
    from motion_tokenizer.tokenizer import MotionTokenizer

    kind, name, content = case  # type: ignore[misc]
    target = folder / kind
    target.mkdir()
    for path in sorted((checkpoints() / kind).rglob("*")):
        link = target / path.relative_to(checkpoints() / kind)
        if path.is_dir():
            link.mkdir()
        elif path.relative_to(checkpoints() / kind).as_posix() != name:
            link.hardlink_to(path)
    (target / name).write_bytes(content)
    if kind == "tokenizer":
        MotionTokenizer.from_pretrained(target)
    else:
        load_pipeline(load_config("animate", [f"weights={target}", "device=cpu"]))


_WORDS = ("seed", "steps", "crf", "face.max_gap", "face", "sampler", "marks.label", "window", "weights", "start")
_NASTY = (
    "hydra.run.dir", "hydra", "+x", "++seed", "~seed", "_target_", "+_target_", "face._target_", "defaults", "seed.x",
    "sampler@x", "", "=", "marks", "hydra.searchpath", "+hydra.callbacks.x._target_",
)  # fmt: skip
_VALUES = (
    "os.system", "${oc.env:HOME}", "${seed}", "${hydra:runtime.cwd}", "${now:%Y}", "${eval:1+1}", "[", "{a:", "1e999",
    "nan", "-1", "null", "''", '"', "!!python/object:os.system", "{_target_: os.system}", "[1,2", "\\", "&a", "*a",
    "builtins.eval", "../x", "range(1,9)", "choice(a,b)", "glob(*)", "shuffle(1,2)", "9" * 400,
)  # fmt: skip
_OVERRIDES = st.lists(
    st.tuples(
        st.one_of(st.sampled_from(_WORDS), st.sampled_from(_NASTY), st.text(max_size=8)),
        st.one_of(st.sampled_from(_VALUES), st.sampled_from([str(odd) for odd in ODD + LONG]), st.text(max_size=12)),
    ).map("=".join),
    min_size=1,
    max_size=3,
)


def _config(case: object, folder: Path) -> None:
    from animator.config_loader import load_config

    load_config("animate", case)  # type: ignore[arg-type]


TARGETS = {
    "video": Target(broken(_files("*.mp4", "*.mkv")), _video, 20),
    "marks": Target(broken(_files("marked.mp4")), _verified, 7),
    "image": Target(broken(_files("still.*")), _image, 20),
    "motion": Target(broken(_files("*.motion.safetensors")), _motion, 16),
    "tokens": Target(broken_json(_files("*.tokens.json")[0]), _tokens, 12),
    "history": Target(broken_json(_files("*.edits.json")[0]), _history, 11),
    "dataset": Target(_datasets(), _dataset, 10),
    "checkpoint": Target(_weights(), _checkpoint, 2),
    "config": Target(_OVERRIDES, _config, 2),
}
