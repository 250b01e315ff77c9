"""How good the weights are: self- and cross-reenactment of a split of talking-head clips, measured and reported.

    python benchmarks/default_weights.py --clips DATA --manifest DATA/manifest.csv --portraits DATA \\
        --models DATA/models --output outputs/evaluation

The manifest is a CSV with columns `file` (relative to --clips or --portraits), `kind` ("clip" or "portrait"), `split`,
and for portraits `note` (photo, painting, cartoon, ...). The models folder holds `lpips_alexnet.safetensors`,
`face_landmarker.task` and `dlib_face_resnet_fp16.safetensors`. What each number means is written in
`animator.evaluation`. The output folder gets report.json, report.md and contact sheets of the best and worst clips.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import mediapipe
import numpy as np
import skimage
import torch
from tqdm import tqdm

from animator.builders import find_weights, load_pipeline
from animator.config import RuntimeConfig
from animator.errors import XNeMoError
from animator.evaluation.following import overall
from animator.evaluation.identity import FaceIdentity
from animator.evaluation.landmarks import FaceLandmarker
from animator.evaluation.metrics import PictureMetrics
from animator.evaluation.protocols import Draw, cross_reenactment, read_driver, self_reenactment
from animator.evaluation.report import CrossEntry, SelfEntry, cross_report, markdown, self_report
from animator.face import FaceDetector
from animator.files import atomic_path, sha256_of
from animator.image import write_image
from animator.pipeline import XNeMoPipeline
from animator.portrait import PortraitPictures, portrait_pictures
from animator.visuals import BACKGROUND, Row, contact_sheet

NETWORKS = {
    "lpips": "lpips_alexnet.safetensors",
    "landmarks": "face_landmarker.task",
    "identity": "dlib_face_resnet_fp16.safetensors",
}
SHEET_CLIPS = 4  # clips on a contact sheet
SHEET_FRAMES = 8  # frames of each


@dataclass(frozen=True)
class Item:
    """A file of the manifest and what it shows."""

    path: Path
    note: str


def main(arguments: Sequence[str] | None = None) -> int:
    given = parser().parse_args(arguments)
    if given.threads:
        torch.set_num_threads(given.threads)
    try:
        report = measure(given)
    except XNeMoError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(markdown(report))
    return 0


def parser() -> argparse.ArgumentParser:
    """The script's arguments."""
    made = argparse.ArgumentParser(description="Measure weights on a split of talking-head clips.")
    made.add_argument("--clips", type=Path, required=True, help="folder that the manifest's clips are relative to")
    made.add_argument("--manifest", type=Path, required=True, help="CSV with file, kind, split, note")
    made.add_argument("--split", default="validation")
    made.add_argument("--portraits", type=Path, required=True, help="folder that its portraits are relative to")
    made.add_argument("--models", type=Path, required=True, help="folder with " + ", ".join(NETWORKS.values()))
    made.add_argument("--weights", help="folder with weights; default: the packaged ones")
    made.add_argument("--renderer", choices=("gan", "diffusion"), help="default: what the weights recommend")
    made.add_argument("--steps", type=int, default=25, help="denoising steps (diffusion only)")
    made.add_argument("--guidance-scale", type=float, default=4.5, help="1 + w of the paper's Eq. 2 (diffusion only)")
    made.add_argument("--seed", type=int, default=0, help="of the starting noise (diffusion only)")
    made.add_argument("--frames", type=int, help="use only so many frames of each clip; default all")
    made.add_argument("--limit", type=int, help="use only so many clips; default all of the split")
    made.add_argument("--threads", type=int, help="CPU threads; default all")
    made.add_argument("--output", type=Path, required=True, help="folder for the report")
    return made


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Run both experiments and write the report."""
    started = time.monotonic()
    clips = read_manifest(given.manifest, given.clips, "clip", given.split)[: given.limit]
    stills = read_manifest(given.manifest, given.portraits, "portrait", given.split)
    models = {name: given.models / file for name, file in NETWORKS.items()}
    given.output.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        pipeline = load_pipeline(RuntimeConfig(weights=given.weights))
        pipeline.set_progress_bar_config(disable=True)
        detector = stack.enter_context(FaceDetector())
        landmarker = stack.enter_context(FaceLandmarker(models["landmarks"]))
        metrics = PictureMetrics(models["lpips"], pipeline.device)
        identity = FaceIdentity(models["identity"]).to(pipeline.device)
        renderer = given.renderer or pipeline.config.default_renderer
        draw = drawing(pipeline, renderer, given.steps, given.guidance_scale, given.seed)
        portraits, skipped = cut_portraits(pipeline, stills, detector)
        own: list[SelfEntry] = []
        cross: list[CrossEntry] = []
        with tqdm(total=2 * len(clips), desc="clips", unit="half") as bar:
            for number, clip in enumerate(clips):
                bar.set_postfix_str(clip.path.stem)
                try:
                    driver = read_driver(pipeline, clip.path, landmarker, detector, given.frames)
                except XNeMoError as error:
                    skipped[clip.path.name] = str(error)
                    bar.update(2)
                    continue
                own.append(SelfEntry(driver, self_reenactment(pipeline, driver, draw, metrics, landmarker)))
                bar.update()
                # Clip n drives portrait n, both in alphabetical order.
                still, pictures = portraits[number % len(portraits)]
                result = cross_reenactment(driver, pictures, draw, landmarker, identity)
                cross.append(CrossEntry(driver, still.path.name, still.note, result))
                bar.update()
        if not own:
            raise XNeMoError(f"none of the {len(clips)} clips could be measured: {'; '.join(skipped.values())}")
        settings = (
            f"{given.steps} steps, seed {given.seed}, guidance_scale {given.guidance_scale:g} "
            f"(the paper's w = {given.guidance_scale - 1:g})"
        )
        about = {
            "weights": find_weights(given.weights).name,
            "encoder": pipeline.encoder_id,
            "renderer": renderer + ("" if renderer == "gan" else f", {settings}"),
            "split": given.split,
            "clips": len(own),
            "frames of each clip": given.frames or "all",
            "device": str(pipeline.device),
            "versions": f"torch {torch.__version__}, mediapipe {mediapipe.__version__}, "
            f"scikit-image {skimage.__version__}",
            "seconds": round(time.monotonic() - started),
            "weight_files": hashes(find_weights(given.weights)),
            "networks": {path.name: sha256_of(path) for path in models.values()},
        }
    report = {"about": about, "self": self_report(own), "cross": cross_report(cross), "skipped": skipped}
    write_report(given.output, report)
    write_sheets(given.output, own, cross, {still.path.name: pictures for still, pictures in portraits})
    return report


def read_manifest(manifest: Path, folder: Path, kind: str, split: str) -> list[Item]:
    """The files of one kind and split, in alphabetical order."""
    try:
        with manifest.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["kind"] == kind and row["split"] == split]
    except (OSError, KeyError, ValueError) as error:
        raise XNeMoError(f"{manifest}: not a manifest with file, kind and split ({error})") from error
    if not rows:
        raise XNeMoError(f"{manifest}: holds no {kind} of split {split}")
    items = [Item(find_file(folder, row["file"]), row.get("note") or "") for row in rows]
    return sorted(items, key=lambda item: item.path.name)


def find_file(folder: Path, name: str) -> Path:
    """A manifest's file in a folder, which may be the data's root or the folder of this kind of file itself."""
    for path in (folder / name, folder / Path(name).name):
        if path.is_file():
            return path
    raise XNeMoError(f"{folder / name}: no such file")


def drawing(pipeline: XNeMoPipeline, renderer: str, steps: int, guidance_scale: float, seed: int) -> Draw:
    """The renderer to be measured."""
    if renderer == "gan":
        return pipeline.stream_preview
    return partial(pipeline.stream, num_inference_steps=steps, guidance_scale=guidance_scale, seed=seed)


def cut_portraits(
    pipeline: XNeMoPipeline, stills: list[Item], detector: FaceDetector
) -> tuple[list[tuple[Item, PortraitPictures]], dict[str, str]]:
    """Portraits as the pipeline takes them, and, by name, why others cannot be used."""
    side, face_side = pipeline.config.image_size, pipeline.motion_encoder.config.image_size
    usable, skipped = [], {}
    for still in stills:
        try:
            usable.append((still, portrait_pictures(still.path, (side, side), face_side, detector=detector)))
        except XNeMoError as error:
            skipped[still.path.name] = str(error)
    if not usable:
        raise XNeMoError(f"none of the {len(stills)} portraits shows a face that is found")
    return usable, skipped


def hashes(weights: Path) -> dict[str, str]:
    """Checksums of all files of the weights, by their path in the folder."""
    return {path.relative_to(weights).as_posix(): sha256_of(path) for path in sorted(weights.rglob("*.safetensors"))}


def write_report(folder: Path, report: dict[str, Any]) -> None:
    """Write report.json and report.md."""
    with atomic_path(folder / "report.json") as path:
        path.write_text(json.dumps(report, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    with atomic_path(folder / "report.md") as path:
        path.write_text(markdown(report), encoding="utf-8")


def write_sheets(
    folder: Path, own: list[SelfEntry], cross: list[CrossEntry], portraits: dict[str, PortraitPictures]
) -> None:
    """Contact sheets: self-reenactment by LPIPS, cross-reenactment by how well the result follows."""
    empty = np.full((256, 256, 3), BACKGROUND, np.uint8)

    def own_rows(entry: SelfEntry) -> Iterator[Row]:
        lpips = entry.result.errors.means()["lpips"]
        yield Row(f"{entry.driver.path.stem}: driver", some(entry.driver.pictures))
        following = overall(entry.result.following)
        yield Row(f"result, LPIPS {lpips:.3f}, following {following:.2f}", some(entry.result.pictures))

    def cross_rows(entry: CrossEntry) -> Iterator[Row]:
        following = overall(entry.result.following)
        yield Row(f"{entry.driver.path.stem}: driver", [empty, *some(entry.driver.pictures)])
        portrait = portraits[entry.portrait].image
        yield Row(f"{entry.portrait}: result, following {following:.2f}", [portrait, *some(entry.result.pictures)])

    by_lpips = sorted(own, key=lambda entry: entry.result.errors.means()["lpips"])
    # Clips whose driver does not move at all cannot be ranked.
    ranked = [entry for entry in cross if not np.isnan(overall(entry.result.following))]
    by_following = sorted(ranked, key=lambda entry: -overall(entry.result.following))
    write_both(folder, "self", by_lpips, own_rows)
    write_both(folder, "cross", by_following, cross_rows)


def write_both(folder: Path, name: str, ranked: Sequence[Any], rows: Callable[[Any], Iterator[Row]]) -> None:
    """The sheets NAME_best.png and NAME_worst.png (the worst first) of entries in order of quality."""
    for which, entries in (("best", ranked[:SHEET_CLIPS]), ("worst", ranked[: -SHEET_CLIPS - 1 : -1])):
        if entries:
            sheet = contact_sheet([row for entry in entries for row in rows(entry)])
            write_image(folder / f"{name}_{which}.png", sheet)


def some(pictures: np.ndarray) -> list[np.ndarray]:
    """About `SHEET_FRAMES` of the kept frames, evenly spaced."""
    chosen = np.unique(np.linspace(0, len(pictures) - 1, SHEET_FRAMES).round().astype(int))
    return [pictures[number] for number in chosen]


if __name__ == "__main__":
    sys.exit(main())
