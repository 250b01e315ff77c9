"""What the invisible mark survives, what it costs, and how often it is seen where there is none.

    python benchmarks/pixel_mark.py FOLDER [--clips N] [--frames N] [--side PX] [--unmarked] [--json FILE]

FOLDER holds videos, such as faces; the centre of each is cut square and scaled to --side, marked, written at crf 18 as
the program does, and then treated as the rows of the table say. The same unmarked videos give the false alarms. A row:
videos in which the mark is found, in which its identifier is read, the share of wrong bits, and the mean and smallest
score. `--unmarked` measures false alarms alone; `--json` writes the figures too.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from animator.errors import XNeMoError
from animator.image import resize
from animator.provenance.pixel_mark import (
    BITS,
    LIKELY,
    MOST_PICTURES,
    SURE,
    PixelMark,
    PixelMarker,
    bits_of,
    identifier_of,
    read_pixel_mark,
)
from animator.video import VideoReader, VideoWriter

Pictures = list[NDArray[np.uint8]]
SUFFIXES = {".mp4", ".mov", ".mkv", ".webm", ".avi"}


def cropped(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A tenth of height and width gone, more on two sides than on the others."""
    height, width = picture.shape[:2]
    return picture[round(0.07 * height) : round(0.97 * height), round(0.04 * width) : round(0.94 * width)]


def halved(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return resize(picture, (picture.shape[1] // 2, picture.shape[0] // 2), "bicubic")


def doubled(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return resize(picture, (picture.shape[1] * 2, picture.shape[0] * 2), "bicubic")


def brighter(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.clip(picture.astype(np.float32) * 1.15 + 10, 0, 255).astype(np.uint8)


def mirrored(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(picture[:, ::-1])


def as_is(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return picture


# Name -> what happens to each picture, and the crf it is then written with.
TREATMENTS: dict[str, tuple[Callable[[NDArray[np.uint8]], NDArray[np.uint8]], int]] = {
    "as written": (as_is, 18),
    "H.264 at crf 28": (as_is, 28),
    "H.264 at crf 33": (as_is, 33),
    "half size": (halved, 18),
    "double size": (doubled, 18),
    "10 % cropped": (cropped, 18),
    "brighter": (brighter, 18),
    "half size, 10 % cropped": (lambda picture: cropped(halved(picture)), 18),
    "10 % cropped, crf 28": (cropped, 28),
    "half size, crf 28": (halved, 28),
    "half size, 10 % cropped, crf 28": (lambda picture: cropped(halved(picture)), 28),
    "mirrored": (mirrored, 18),
}


def square_pictures(path: Path, side: int, count: int) -> Pictures:
    """The first pictures of a video, the centre cut square and scaled."""
    with VideoReader(path) as reader:
        pictures = [picture for chunk in reader.chunks(stop=count) for picture in chunk]
    height, width = pictures[0].shape[:2]
    edge = min(height, width)
    top, left = (height - edge) // 2, (width - edge) // 2
    return [resize(picture[top : top + edge, left : left + edge], (side, side)) for picture in pictures]


def written(pictures: Pictures, crf: int) -> Pictures:
    """What comes back from H.264."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video.mp4"
        with VideoWriter(path, 25, crf=crf) as writer:
            for picture in pictures:
                writer.write(picture)
        with VideoReader(path) as reader:
            return [picture for chunk in reader.chunks() for picture in chunk]


def read(pictures: Pictures) -> PixelMark:
    return read_pixel_mark(pictures[:: -(-len(pictures) // MOST_PICTURES)])


def measure_chance(paths: list[Path], side: int, count: int) -> dict[str, object]:
    """Read every video unmarked, and changed in several ways."""
    chance: list[PixelMark] = []
    for number, path in enumerate(paths):
        print(f"unmarked, {number + 1} of {len(paths)}: {path.name}", file=sys.stderr, flush=True)
        plain = square_pictures(path, side, count)
        for change in (as_is, halved, cropped, mirrored, brighter):
            chance.append(read([change(picture) for picture in plain]))
    scores = [mark.score for mark in chance]
    return {
        "readings": len(chance),
        "found": sum(mark.found for mark in chance),
        "mean_score": float(np.mean(scores)),
        "score_deviation": float(np.std(scores)),
        "largest_score": max(scores),
    }


def measure(paths: list[Path], side: int, count: int) -> dict[str, object]:
    """Mark, treat and read every video."""
    rows: dict[str, list[tuple[bool, bool, float, float]]] = {name: [] for name in TREATMENTS}
    psnr: list[float] = []
    costs: list[float] = []
    for number, path in enumerate(paths):
        print(f"{number + 1} of {len(paths)}: {path.name}", file=sys.stderr, flush=True)
        plain = square_pictures(path, side, count)
        identifier = identifier_of(path.name)
        marker = PixelMarker(identifier)
        marker.mark(plain[0])  # lays the pattern out, once for a video
        started = time.perf_counter()
        marked = [marker.mark(picture) for picture in plain]
        costs.append((time.perf_counter() - started) / len(plain))
        errors = [np.square(a.astype(np.float32) - b).mean() for a, b in zip(plain, marked, strict=True)]
        psnr.append(float(10 * np.log10(255**2 / np.mean(errors))))
        sent = written(marked, 18)
        for name, (change, crf) in TREATMENTS.items():
            got = read(sent if name == "as written" else written([change(picture) for picture in sent], crf))
            wrong = float((got.bits != bits_of(identifier)).mean())
            rows[name].append((got.found, got.identifier == identifier, wrong, got.score))
    return {
        "videos": len(paths),
        "pictures": count,
        "side": side,
        "psnr_db": {"mean": float(np.mean(psnr)), "least": min(psnr)},
        "milliseconds_a_picture": 1000 * float(np.median(costs)),
        "rows": {name: _summed(results) for name, results in rows.items()},
    }


def _summed(results: list[tuple[bool, bool, float, float]]) -> dict[str, float]:
    found, named, wrong, scores = zip(*results, strict=True)
    return {
        "found": sum(found) / len(found),
        "identified": sum(named) / len(named),
        "bit_error": sum(wrong) / len(wrong),
        "mean_score": sum(scores) / len(scores),
        "least_score": min(scores),
    }


def table(figures: dict[str, object]) -> str:
    """The figures in Markdown."""
    rows, quality = figures["rows"], figures["psnr_db"]
    assert isinstance(rows, dict) and isinstance(quality, dict)
    lines = [
        "| treated by | found | identifier read | wrong bits | mean score | least score |",
        "|---|---|---|---|---|---|",
        *(
            f"| {name} | {row['found']:.1%} | {row['identified']:.1%} | {row['bit_error']:.1%} "
            f"| {row['mean_score']:.1f} | {row['least_score']:.1f} |"
            for name, row in rows.items()
        ),
        "",
        f"{figures['videos']} videos of {figures['pictures']} pictures, {figures['side']} x {figures['side']}; "
        f"{BITS} bits; found from a score of {SURE:g} on, or {LIKELY:g} where the checksum agrees.",
        f"Cost: PSNR {quality['mean']:.1f} dB (least {quality['least']:.1f}), "
        f"{figures['milliseconds_a_picture']:.1f} ms a picture.",
    ]
    return "\n".join(lines)


def chance_line(chance: dict[str, object]) -> str:
    """False alarms in words."""
    return (
        f"Unmarked: found in {chance['found']} of {chance['readings']} readings; score "
        f"{chance['mean_score']:.2f} +- {chance['score_deviation']:.2f}, largest {chance['largest_score']:.2f}."
    )


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clips", type=int, help="so many, evenly spread over the folder (default: all)")
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--unmarked", action="store_true")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    paths = sorted(path for path in arguments.folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not paths:
        parser.error(f"{arguments.folder}: holds no videos")
    if arguments.clips is not None:
        paths = [paths[round(i)] for i in np.linspace(0, len(paths) - 1, min(arguments.clips, len(paths)))]
    try:
        figures = {} if arguments.unmarked else measure(paths, arguments.side, arguments.frames)
        chance = measure_chance(paths, arguments.side, arguments.frames)
    except XNeMoError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print("\n".join([*([table(figures)] if figures else []), chance_line(chance)]))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures | {"unmarked": chance}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
