"""Makes the survey that the viewer comes with: `python -m apps.viewer.package_survey DATASET LABELS`.

DATASET is the motion dataset that the packaged weights were trained on; LABELS a folder with NAME.npz for each clip, as
MediaPipe's Face Landmarker sees it: `blendshapes` (T, 52), `blendshape_names`, `head_matrix` (T, 4, 4), `valid` (T).
Names of people, clips and files stay out of what is written.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from animator.dataset import MotionDataset
from animator.evaluation.landmarks import head_angles
from apps.viewer.latent_space import Array, Readout, fit_readout
from apps.viewer.survey import PACKAGED, survey_dataset
from motion_tokenizer.tokenizer import MotionTokenizer


def signals_of(path: Path) -> tuple[Array, NDArray[np.bool_]]:
    """The signals of a labelled clip, (T, 4), in the order of `latent_space.SIGNALS`, and where there is a face."""
    with np.load(path) as labels:
        names = [str(name) for name in labels["blendshape_names"]]
        shapes = labels["blendshapes"].astype(np.float32)
        valid = labels["valid"].astype(bool)
        angles = np.array(
            [
                head_angles(matrix) if ok else np.zeros(3)
                for matrix, ok in zip(labels["head_matrix"], valid, strict=True)
            ]
        )

    def mean(*wanted: str) -> Array:
        return shapes[:, [names.index(name) for name in wanted]].mean(axis=1)

    blink, smile = mean("eyeBlinkLeft", "eyeBlinkRight"), mean("mouthSmileLeft", "mouthSmileRight")
    return np.stack([mean("jawOpen"), blink, smile, angles[:, 0]], axis=1).astype(np.float32), valid


def readout_of(dataset: MotionDataset, labels: Path) -> Readout:
    """Fit the linear map on the training split and measure it on the other."""
    latents, signals, people, held = [], [], [], []
    numbers: dict[str, int] = {}
    for record in dataset.records():
        path = labels / f"{record.clip_id}.npz"
        if record.mirrored or not path.is_file():
            continue
        found, valid = signals_of(path)
        length = min(len(found), len(record.motion))
        keep = valid[:length]
        latents.append(record.motion.latents.numpy()[:length][keep])
        signals.append(found[:length][keep])
        people.append(np.full(int(keep.sum()), numbers.setdefault(record.identity, len(numbers))))
        held.append(np.full(int(keep.sum()), record.split != "train"))
    return fit_readout(*(np.concatenate(parts) for parts in (latents, signals, people, held)))


def main(words: list[str]) -> None:
    """Write the packaged survey and print its figures."""
    dataset, tokenizer = MotionDataset.open(words[0]), MotionTokenizer.from_pretrained()
    readout = readout_of(dataset, Path(words[1]))
    survey = replace(
        survey_dataset(dataset, tokenizer, readout, lambda share: print(f"{share:.0%}", end="\r")), name=""
    )
    survey.save(PACKAGED)
    print("correlation", readout.correlation, "probe", survey.probe, "perplexity", survey.codes.perplexity)
    print("dead", survey.codes.dead, "tokens", survey.codes.tokens, "shares", survey.pca.share, PACKAGED.stat().st_size)


if __name__ == "__main__":
    main(sys.argv[1:])
