"""`xnemo demo`: a real portrait, a real driving clip, three pictures of what comes out."""

from __future__ import annotations

import argparse
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from animator.config import DemoConfig
from animator.errors import XNeMoError
from apps.commands.animate import report
from apps.verb import Context, Verb

if TYPE_CHECKING:
    from numpy import uint8
    from numpy.typing import NDArray

    from animator.provenance.marks import Marks
    from apps.animation import Animation

# The part of the fetched clip in which the face is free of hands; speech, a smile and a tilted head.
DEMO_START, DEMO_SECONDS = 9.8, 8.0
SHEET_COLUMNS = 8
FACE_MARGIN = 2.2  # sides of the face that a picture of the driving clip shows


def run(files: list[str], config: DemoConfig, options: argparse.Namespace, context: Context) -> dict[str, Any]:
    """Animate, then lay portrait, driving clip and result beside each other."""
    from animator.provenance.marks import Marks
    from apps.animation import animate

    folder = Path(config.output)
    portrait = config.portrait or demo_portrait()
    driving = config.driving or demo_driving()
    if config.driving is None and config.start == 0 and config.seconds is None:
        config = replace(config, start=DEMO_START, seconds=DEMO_SECONDS)
    if driving.endswith(".safetensors"):
        raise XNeMoError(f"{driving}: the demo shows the driving clip, so it needs a video; use xnemo animate")
    context.kept = f"{folder} holds what was finished"
    animation = animate(config, portrait, driving, folder / "animated.mp4")
    beside = folder / "side_by_side.mp4"
    marks = Marks("demo", (("portrait", portrait), ("driving", driving)), config.marks)
    write_side_by_side(portrait, driving, animation, beside, marks)
    sheet = folder / "contact_sheet.png"
    write_contact_sheet(driving, animation, sheet)
    return report(animation) | {"side_by_side": str(beside), "contact_sheet": str(sheet)}


def demo_portrait() -> str:
    """The astronaut (Eileen Collins, NASA, public domain) that comes inside scikit-image."""
    import skimage

    path = Path(skimage.__file__).parent / "data" / "astronaut.png"
    if not path.is_file():
        raise XNeMoError(f"{path}: not in this scikit-image; name a picture with portrait=FILE")
    return str(path)


def demo_driving() -> str:
    """A stock clip of one expressive face, fetched once from the package index."""
    from animator.assets import asset_path

    try:
        return str(asset_path("demo-driving"))
    except XNeMoError as error:
        raise XNeMoError(f"{error}; or name a clip of your own: xnemo demo driving=FILE.mp4") from error


def write_side_by_side(portrait: str, driving: str, animation: Animation, output: Path, marks: Marks) -> None:
    """Portrait | driving | result as a video with the result's length and sound."""
    from tqdm import tqdm

    from animator.image import read_image
    from animator.video import VideoReader, VideoWriter
    from animator.visuals import fit, side_by_side

    with VideoReader(driving) as theirs, VideoReader(animation.output) as ours:
        side = ours.info.height
        still = fit(read_image(portrait), side, side)
        with (
            VideoWriter(
                output, ours.info.rate, animation.output if ours.info.has_audio else None, marks=marks
            ) as writer,
            tqdm(total=len(ours), desc="side by side", unit="frame") as bar,
        ):
            frames = chain.from_iterable(theirs.chunks(start=animation.first, stop=animation.first + len(ours)))
            for frame, drawn in zip(frames, chain.from_iterable(ours.chunks()), strict=True):
                tiles = [("portrait", still), ("driving", around_face(frame, animation.face)), ("result", drawn)]
                writer.write(side_by_side(tiles, side))
                bar.update()


def around_face(frame: NDArray[uint8], face: tuple[int, int, int, int] | None) -> NDArray[uint8]:
    """The part of a frame around the face, square where the frame allows it; the whole frame if no face is known."""
    if face is None:
        return frame
    x, y, width, height = face
    side = min(round(FACE_MARGIN * max(width, height)), *frame.shape[:2])
    left = min(max(x + width // 2 - side // 2, 0), frame.shape[1] - side)
    top = min(max(y + height // 2 - side // 2, 0), frame.shape[0] - side)
    return frame[top : top + side, left : left + side]


def write_contact_sheet(driving: str, animation: Animation, output: Path) -> None:
    """Frames at even distances: the driving clip above, the result below."""
    import numpy as np

    from animator.image import write_image
    from animator.video import VideoReader
    from animator.visuals import Row, contact_sheet

    with VideoReader(driving) as theirs, VideoReader(animation.output) as ours:
        shown = np.unique(np.linspace(0, len(ours) - 1, SHEET_COLUMNS).round().astype(int))
        begin, end = (frame / ours.info.fps for frame in (animation.first, animation.first + len(ours)))
        times = f"{begin:.1f} to {end:.1f} s"
        above = [around_face(theirs.frame(animation.first + int(i)), animation.face) for i in shown]
        below = [ours.frame(int(i)) for i in shown]
    write_image(output, contact_sheet([Row(f"driving, {times}", above), Row("result", below)]))


def summary(result: dict[str, Any]) -> str:
    """Where everything is."""
    made = f"{result['output']}: {result['frames']} frames, made in {result['seconds']:.0f} s"
    return "\n".join([made, result["side_by_side"], result["contact_sheet"]])


VERB = Verb(
    usage="xnemo demo [key=value ...] [--json]",
    config="demo",
    run=run,
    summary=summary,
)
