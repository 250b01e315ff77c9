"""Survey: what a whole motion dataset says of the latents and the codes; made once and kept in a file.

The viewer comes with the survey of the clips that the packaged weights were trained on, without names. A dataset that
is opened gets its own, in the cache folder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from animator.errors import XNeMoError
from animator.files import atomic_path
from apps.viewer import code_statistics, latent_space
from apps.viewer.code_statistics import CodeStatistics, count_codes
from apps.viewer.latent_space import Array, Pca, Readout, fit_pca

if TYPE_CHECKING:
    from animator.dataset import MotionDataset
    from motion_tokenizer.tokenizer import MotionTokenizer

PACKAGED = Path(__file__).resolve().parent / "packaged.survey.safetensors"
SCHEMA = 1
FRAMES_PER_CLIP = 16  # of a clip that the map shows and the probe asks


@dataclass(frozen=True)
class IdentityProbe:
    """Whether a linear map can tell from one latent whose face it was; it should not be able to.

    Attributes:
        score: share of frames whose person is named rightly.
        chance: one over the number of people.
        people: how many.
        across_clips: the frames come from other clips of the same people than the map was fitted on; without, from
            the other half of the same clips, where background, pose and light help.
    """

    score: float
    chance: float
    people: int
    across_clips: bool


@dataclass(frozen=True, eq=False)
class MapSample:
    """Frames of the set, thinned out, for the map.

    Attributes:
        places: coordinates along the principal components, (n, k), in standard deviations.
        clip, identity, emotion: number of each, (n,); emotion counts in `Survey.emotions`.
        seconds: time in the clip, (n,).
    """

    places: Array
    clip: NDArray[np.int32]
    identity: NDArray[np.int32]
    emotion: NDArray[np.int32]
    seconds: Array


@dataclass(frozen=True, eq=False)
class Survey:
    """What a dataset says.

    Attributes:
        name: of the dataset.
        encoder_id, tokenizer_id: what it was made with.
        pca: principal components of its latents.
        readout: how to read signals out of latents of this encoder; None where nobody fitted one.
        codes: how its clips use the codebook.
        sample: frames for the map.
        probe: None with fewer than two people.
    """

    name: str
    encoder_id: str
    tokenizer_id: str
    pca: Pca
    readout: Readout | None
    codes: CodeStatistics
    sample: MapSample
    probe: IdentityProbe | None

    @property
    def emotions(self) -> tuple[str, ...]:
        """Names of the emotions; the last one is `UNLABELLED`."""
        return self.codes.emotions

    def save(self, path: Path) -> None:
        """Write it as safetensors.

        Raises:
            XNeMoError: the file cannot be written.
        """
        from safetensors.numpy import save

        arrays = latent_space.to_arrays(self.pca, self.readout) | code_statistics.to_arrays(self.codes)
        arrays |= {f"sample.{name}": value for name, value in vars(self.sample).items()}
        about = {name: getattr(self, name) for name in ("name", "encoder_id", "tokenizer_id", "emotions")}
        about |= {"schema": SCHEMA, "probe": None if self.probe is None else asdict(self.probe)}
        data = save({name: np.ascontiguousarray(value) for name, value in arrays.items()}, {"about": json.dumps(about)})
        with atomic_path(path) as temporary:
            temporary.write_bytes(data)


def load_survey(path: Path) -> Survey:
    """Read what `Survey.save` wrote.

    Raises:
        XNeMoError: missing, damaged or of another version.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="np") as file:
            about = json.loads((file.metadata() or {})["about"])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        if about["schema"] != SCHEMA:
            raise ValueError(f"schema {about['schema']}, not {SCHEMA}")
        pca, readout = latent_space.from_arrays(arrays)
        parts = [arrays[f"sample.{name}"] for name in ("places", "clip", "identity", "emotion", "seconds")]
        return Survey(
            about["name"],
            about["encoder_id"],
            about["tokenizer_id"],
            pca,
            readout,
            code_statistics.from_arrays(arrays, tuple(about["emotions"])),
            MapSample(*parts),
            None if about["probe"] is None else IdentityProbe(**about["probe"]),
        )
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise XNeMoError(f"{path}: not a survey of a dataset ({error}); remove it, and it is made again") from error


def survey_dataset(
    dataset: MotionDataset,
    tokenizer: MotionTokenizer,
    readout: Readout | None,
    progress: Callable[[float], object] = lambda share: None,
) -> Survey:
    """Read a whole dataset; mirrored copies are left out.

    Args:
        dataset: latents of the tokenizer's encoder.
        tokenizer: makes the tokens.
        readout: fitted for that encoder, or None.
        progress: called with the share that is done.
    Raises:
        XNeMoError: latents of another encoder, or a damaged dataset.
    """
    people: dict[str, int] = {}
    latents: list[Array] = []
    moments: list[NDArray[np.float32]] = []
    sampled: list[tuple[int, int, str | None, Array]] = []
    counted: list[tuple[NDArray[np.int64], str | None]] = []
    for done, record in enumerate(dataset.records()):
        progress(done / len(dataset))
        if record.mirrored or len(record.motion) < tokenizer.frames_per_token:
            continue
        counted.append((tokenizer.encode(record.motion).tokens[:, 0].numpy(), record.emotion))
        chosen = np.unique(np.linspace(0, len(record.motion) - 1, FRAMES_PER_CLIP).round().astype(int))
        latents.append(record.motion.latents.numpy()[chosen])
        moments.append(record.motion.latents.numpy().astype(np.float32))
        person = people.setdefault(record.identity, len(people))
        sampled.append((len(sampled), person, record.emotion, (chosen / record.motion.fps).astype(np.float32)))
    if not counted:
        raise XNeMoError(f"{dataset.folder}: has no clip that is as long as a token")
    pca = fit_pca(np.concatenate(moments))
    codes = count_codes(counted, tokenizer.codes)
    names = {name: number for number, name in enumerate(codes.emotions)}
    sizes = [len(part) for part in latents]

    def spread(values: list[int]) -> NDArray[np.int32]:
        return np.repeat(np.array(values, np.int32), sizes)

    every = np.concatenate(latents)
    sample = MapSample(
        places=pca(every),
        clip=spread([clip for clip, *_ in sampled]),
        identity=spread([person for _, person, *_ in sampled]),
        emotion=spread([names.get(emotion or "", len(names) - 1) for _, _, emotion, _ in sampled]),
        seconds=np.concatenate([times for *_, times in sampled]),
    )
    return Survey(
        dataset.folder.name,
        dataset.encoder_id,
        tokenizer.id,
        pca,
        readout,
        codes,
        sample,
        probe_identity(every, sample.identity, sample.clip),
    )


def probe_identity(latents: Array, identity: NDArray[np.int32], clip: NDArray[np.int32]) -> IdentityProbe | None:
    """Ask a linear map whose face each latent is of.

    People with several clips are asked of their last one, by a map that was fitted on the others; where there are
    fewer than five such people, the second half of each clip is asked by a map of the first.

    Args:
        latents: (n, 512), the frames of a clip in order of time.
        identity, clip: number of the person and of the clip of each, (n,).
    Returns:
        None with fewer than two people.
    """
    from animator.evaluation.probes import read_out

    last = {person: clip[identity == person].max() for person in np.unique(identity)}
    several = [person for person, newest in last.items() if clip[identity == person].min() < newest]
    across = len(several) >= 5
    if across:
        asked = np.isin(identity, several)
        train = np.array([clip[n] != last[identity[n]] for n in range(len(clip))])[asked]
    else:
        asked = np.ones(len(clip), bool)
        place = np.array([np.flatnonzero(clip == clip[n]).searchsorted(n) for n in range(len(clip))])
        size = np.array([(clip == clip[n]).sum() for n in range(len(clip))])
        train = place < size // 2
    who = identity[asked].astype(np.int64)
    people = len(np.unique(who))
    if people < 2 or not train.any():
        return None
    score = read_out(latents[asked].astype(np.float64), who, train)
    return IdentityProbe(score, 1 / people, people, across)


def cached_survey_path(dataset: MotionDataset, tokenizer: MotionTokenizer) -> Path:
    """Where the survey of a dataset is kept: another dataset, or another tokenizer, has another name."""
    from animator.assets import cache_dir
    from animator.dataset_format import INDEX

    digest = hashlib.sha256((dataset.folder / INDEX).read_bytes() + tokenizer.id.encode()).hexdigest()
    return cache_dir() / "viewer" / f"{digest[:24]}.survey.safetensors"
