"""Videos that show made-up motion beside what it came from, or beside others."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from itertools import chain, repeat
from pathlib import Path

import numpy as np
from tqdm import tqdm

from animator.video import VideoReader
from animator.visuals import Picture, dimmed, framed, side_by_side
from apps.commands.demo import around_face
from apps.generation import Given, MotionDesk, write_video


def write_continuations(
    desk: MotionDesk, given: Given, portrait: Picture, videos: Sequence[Path], output: Path
) -> None:
    """The given clip (or, of a motion file, the portrait) beside its continuations.

    Where made-up motion begins, the given clip stops and darkens, and a coloured frame appears around the results.

    Args:
        desk: for sound and quality.
        given: what was continued.
        portrait: the picture that was animated.
        videos: the results, all of one length.
        output: the mp4 to make.
    """
    t0 = len(given.motion)
    with ExitStack() as stack:
        readers = [stack.enter_context(VideoReader(video)) for video in videos]
        side, count = readers[0].info.height, len(readers[0])
        names = ["result"] if len(videos) == 1 else [f"result {number}" for number in range(1, len(videos) + 1)]
        left = _given_pictures(given) if given.reader is not None else repeat(portrait)
        shown = zip(range(count), left, *(chain.from_iterable(reader.chunks()) for reader in readers), strict=False)

        def pictures() -> Generator[Picture, None, None]:
            for frame, source, *results in tqdm(shown, total=count, desc="side by side", unit="frame"):
                made_up = frame >= t0
                label = "portrait" if given.reader is None else "given, ended" if made_up else "given"
                tiles = [(label, source)]
                for name, result in zip(names, results, strict=True):
                    tiles.append((f"{name}, goes on" if made_up else name, framed(result) if made_up else result))
                yield side_by_side(tiles, side)[None]

        until = t0 / float(given.rate)
        write_video(output, pictures(), given.rate, desk.config, desk.marks, desk.sound_of(given), until)


def _given_pictures(given: Given) -> Iterator[Picture]:
    """The given clip around its face, then its last picture, darkened, for ever."""
    assert given.reader is not None
    face = given.motion.crop
    last: Picture | None = None
    for picture in chain.from_iterable(given.reader.chunks(stop=len(given.motion))):
        last = around_face(picture, face)
        yield last
    assert last is not None
    yield from repeat(dimmed(last))


def write_grid(
    videos: Sequence[tuple[str, Path]], columns: int, output: Path, desk: MotionDesk, given: Given | None
) -> None:
    """Videos of one length and size as a table, each under its label.

    Args:
        videos: label and file of each, row by row; as many as fill whole rows.
        columns: in a row.
        output: the mp4 to make.
        desk: for the quality.
        given: the clip that all of them continue, whose sound is taken along; None for none.
    """
    with ExitStack() as stack:
        readers = [stack.enter_context(VideoReader(path)) for _, path in videos]
        side, count = readers[0].info.height, len(readers[0])
        # Few at a time, for each of the readers holds as many.
        shown = zip(*(chain.from_iterable(reader.chunks(8)) for reader in readers), strict=True)

        def pictures() -> Generator[Picture, None, None]:
            for frames in tqdm(shown, total=count, desc="laying out", unit="frame"):
                tiles = [(label, frame) for (label, _), frame in zip(videos, frames, strict=True)]
                rows = [side_by_side(tiles[first : first + columns], side) for first in range(0, len(tiles), columns)]
                yield np.concatenate(rows)[None]

        until = None if given is None else len(given.motion) / float(given.rate)
        write_video(output, pictures(), readers[0].info.rate, desk.config, desk.marks, desk.sound_of(given), until)
