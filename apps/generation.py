"""Made-up motion -> videos and motion files: what `xnemo outpaint`, `emote` and `interpolate` share."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from animator.builders import resolve_device, resolve_dtype
from animator.config import RenderConfig
from animator.errors import XNeMoError
from animator.face import FaceDetector
from animator.files import atomic_path
from animator.motion_clip import SUFFIX, MotionClip
from animator.pipeline import XNeMoPipeline
from animator.portrait import PortraitPictures, portrait_pictures
from animator.preview import BATCH
from animator.provenance.marks import Marks
from animator.video import VideoReader, VideoWriter
from apps.animation import (
    chosen_renderer,
    cut,
    open_video,
    prepare_portrait,
    read_part,
    relative_to,
    render,
    sound_from,
)
from apps.tokens import load_pipeline_for
from apps.verb import UsageError
from motion_gpt.command_config import GenerateConfig
from motion_gpt.decoder import Decoder
from motion_gpt.outpainting import join
from motion_gpt.weights import load_gpt
from motion_tokenizer.tokenizer import MotionTokenizer

Frames = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Given:
    """A clip to continue, read.

    Attributes:
        path: its file.
        motion: the part that the settings choose, f_rts relative to its first frame.
        rate: its frames a second, exactly.
        first: frame of the file that the part begins with.
        reader: its pictures, from the part's first frame on; None for a motion file.
    """

    path: str
    motion: MotionClip
    rate: float | Fraction
    first: int
    reader: VideoReader | None

    @property
    def named(self) -> MotionClip:
        """The motion under the name of the file that was given, for errors to name it."""
        return replace(self.motion, source=self.path)


class MotionDesk:
    """Tokenizer and generator, and the animator's weights as soon as something needs them.

    Args:
        config: settings.
        stack: closes what is opened.
        action: the command, for the marks of its videos.
    Raises:
        XNeMoError: no such weights, or weights that do not belong together.
    """

    def __init__(self, config: GenerateConfig, stack: ExitStack, action: str) -> None:
        self.config = config
        self._action = action
        self._sources: list[tuple[str, str]] = []
        self._stack = stack
        device = resolve_device(config.device)
        self.tokenizer = MotionTokenizer.from_pretrained(config.tokenizer_weights, device)
        generator = load_gpt(config.gpt_weights, self.tokenizer).to(device)
        self.decoder = Decoder(generator, resolve_dtype(config.dtype, device))

    @cached_property
    def pipeline(self) -> XNeMoPipeline:
        """The animator, whose motion encoder is the tokenizer's."""
        return load_pipeline_for(self.tokenizer, self.config)

    @cached_property
    def detector(self) -> FaceDetector:
        """The face detector."""
        return self._stack.enter_context(FaceDetector(min_score=self.config.face.min_score))

    @property
    def marks(self) -> Marks:
        """Marks of what is drawn from the portrait and clip read so far."""
        return Marks(self._action, tuple(self._sources), self.config.marks)

    def read(self, path: str) -> Given:
        """Read the clip to continue.

        Raises:
            XNeMoError: it cannot be read, is of another encoder, or its face is lost, or not there at the end.
        """
        config = self.config
        self._sources.append(("driving", path))
        if path.endswith(SUFFIX):
            clip = MotionClip.load(path, self.tokenizer.encoder_id)
            first, stop = given_frames(path, len(clip), clip.fps, config.start, config.stop)
            return Given(path, cut(clip, first, stop), clip.fps, first, None)
        reader = self._stack.enter_context(open_video(path, config))
        first, stop = given_frames(path, len(reader), reader.info.fps, config.start, config.stop)
        part = self._stack.enter_context(reader.part(first, stop))
        check_face_at_end(path, part, first, self.detector)
        motion = read_part(self.pipeline, part, first, config.face, self.detector)
        return Given(path, motion, reader.info.rate, first, part)

    def portrait(self, path: str) -> PortraitPictures:
        """A picture file, cut to what the renderers take."""
        self._sources.append(("portrait", path))
        return prepare_portrait(self.pipeline, path, self.config, self.detector)

    def own_portrait(self, given: Given) -> PortraitPictures:
        """The last picture of the given clip, cut likewise.

        Raises:
            XNeMoError: it is a motion file, which holds no pictures.
        """
        if given.reader is None:
            raise XNeMoError(
                f"{given.path}: a motion file holds no picture to draw; name one with --portrait FILE, or write motion "
                "only, with --motion-out FILE"
            )
        side, face = self.pipeline.config.image_size, self.config.face
        picture = given.reader.frame(len(given.motion) - 1)
        face_side = self.pipeline.motion_encoder.config.image_size
        try:
            return portrait_pictures(
                picture,
                (side, side),
                face_side,
                select=face.select,
                detector=self.detector,
                preprocessing=face.preprocessing,
            )
        except XNeMoError as error:
            raise XNeMoError(f"{given.path}, last frame: {error}") from error

    def sound_of(self, given: Given | None) -> str | Path | None:
        """A file whose sound, from its beginning, is that of the given clip; None where there is none."""
        if given is None or given.reader is None or not (self.config.sound and given.reader.info.has_audio):
            return None
        begin = given.first / float(given.rate)
        return sound_from(given.path, begin, self._stack) if given.first else given.path


def given_frames(path: str, frames: int, fps: float, start: float, stop: float | None) -> tuple[int, int]:
    """First frame of the part that `start` and `stop` choose, and the frame after its last.

    Raises:
        XNeMoError: nothing is left.
    """
    first = round(start * fps)
    end = frames if stop is None else min(frames, round(stop * fps))
    if first >= frames:
        raise XNeMoError(f"start={start:g}: {path} is only {frames / fps:.2f} s long")
    if end <= first:
        raise XNeMoError(f"stop={stop:g}: nothing of {path} lies between start={start:g} and that; take a later stop")
    return first, end


def check_face_at_end(path: str, part: VideoReader, first: int, detector: FaceDetector) -> None:
    """Refuse a clip whose last picture shows no face: there is nothing to continue.

    A clip without any face is let through; whoever follows the face says so.

    Raises:
        XNeMoError: the message says when the face leaves.
    """
    count, size = len(part), 32
    if detector.detect(part.frame(count - 1)):
        return
    for stop in range(count - 1, 0, -size):
        start = max(0, stop - size)
        seen = [bool(detector.detect(picture)) for picture in next(part.chunks(size, start, stop))]
        if any(seen):
            gone = start + len(seen) - seen[::-1].index(True)
            seconds = math.floor(100 * (first + gone) / part.info.fps) / 100
            minutes, rest = divmod(math.floor(10 * seconds), 600)
            raise XNeMoError(
                f"{path}: the face leaves at {minutes}:{rest / 10:04.1f} (frame {first + gone}) and is not there at "
                f"the end, where the continuation begins; end the clip before that with stop={seconds:g}"
            )


def check_writable(path: Path) -> None:
    """Find out before any long work whether a file can be written.

    Raises:
        XNeMoError: it cannot.
    """

    class Tried(Exception):
        pass

    try:
        with atomic_path(path):
            raise Tried
    except Tried:
        pass


def seconds_asked(text: str | None, default: float, longest: float) -> float:
    """The value of `--seconds`.

    Raises:
        UsageError: no number above 0, or more than the settings allow.
    """
    try:
        seconds = default if text is None else float(text.removesuffix("s"))
    except ValueError:
        raise UsageError(f"--seconds {text}: must be a number, such as 10 or 2.5") from None
    check_length(seconds, longest)
    return seconds


def check_length(seconds: float, longest: float) -> None:
    """Refuse a length of made-up motion that cannot be, or is so long that it may be a slip.

    Raises:
        UsageError: it is.
    """
    if not (math.isfinite(seconds) and seconds > 0):
        raise UsageError(f"{seconds:g} seconds: must be more than 0")
    if seconds > longest:
        raise UsageError(
            f"{seconds:g} seconds are more than longest={longest:g}; if they are meant, add longest={seconds:g} "
            "(memory does not grow with the length, time does)"
        )


def numbered(path: Path, count: int) -> list[Path]:
    """Names for several results: NAME_1.SUFFIX, NAME_2.SUFFIX, ...; for one the name itself."""
    if count == 1:
        return [path]
    suffix = SUFFIX if path.name.endswith(SUFFIX) else path.suffix
    stem = path.name.removesuffix(suffix)
    return [path.with_name(f"{stem}_{number}{suffix}") for number in range(1, count + 1)]


def motion_path(text: str) -> Path:
    """The value of `--motion-out`.

    Raises:
        UsageError: it does not end as motion files do.
    """
    if not text.endswith(SUFFIX):
        raise UsageError(f"--motion-out {text}: must end in {SUFFIX}")
    return Path(text)


def draw(
    pipeline: XNeMoPipeline, pictures: PortraitPictures, pieces: Iterable[MotionClip], frames: int, config: RenderConfig
) -> Generator[Frames, None, None]:
    """Draw a clip that comes in pieces.

    The GAN head draws the pieces as they come, in memory that does not grow. The diffusion model looks at the whole
    motion (4 kB a frame) and gives pictures early.

    Args:
        pipeline: the animator.
        pictures: the portrait.
        pieces: parts of one clip, in order.
        frames: how many frames they have together.
        config: settings.
    Yields:
        uint8 (n, height, width, 3).
    """
    if chosen_renderer(pipeline, config) == "gan":
        preview = pipeline.preview_of(pictures)
        with tqdm(total=frames, desc="drawing", unit="frame") as bar:
            for batch in in_batches(pieces, BATCH):
                yield preview.draw(batch.latents, batch.boxes)
                bar.update(len(batch))
        return
    with tqdm(pieces, desc="making motion", unit="piece") as bar:
        motion = MotionClip.concatenate(list(bar), rebase=False)
    pipeline.set_progress_bar_config(desc="drawing")
    yield from render(pipeline, pictures, motion, config)


def in_batches(pieces: Iterable[MotionClip], size: int) -> Iterator[MotionClip]:
    """The same frames in clips of `size` frames, the last one perhaps shorter."""
    waiting: MotionClip | None = None
    for piece in pieces:
        joined = piece if waiting is None else MotionClip.concatenate([waiting, piece], rebase=False)
        whole = len(joined) // size * size
        for start in range(0, whole, size):
            yield joined[start : start + size]
        waiting = joined[whole:] if whole < len(joined) else None
    if waiting is not None:
        yield waiting


@dataclass(frozen=True)
class Written:
    """Number and size of the pictures in a video."""

    frames: int
    width: int
    height: int


def write_video(
    output: Path,
    frames: Generator[Frames, None, None],
    rate: float | Fraction,
    config: RenderConfig,
    marks: Marks | None,
    sound: str | Path | None = None,
    sound_until: float | None = None,
) -> Written:
    """Write frames as they come.

    Args:
        output: the mp4 to make.
        frames: uint8 (n, height, width, 3) each.
        rate: frames a second.
        config: for the quality.
        marks: of synthetic media; None for a video that is only a step on the way to another.
        sound: file whose sound is taken along.
        sound_until: where it ends, in seconds; None: with the pictures.
    Raises:
        XNeMoError: the file cannot be written.
    """
    count, height, width = 0, 0, 0
    # Closed, so that no progress bar is left open behind an error of the writer, or an interruption.
    with (
        VideoWriter(output, rate, sound, config.crf, sound_until, marks) as writer,
        closing(frames),
    ):
        for pictures in frames:
            writer.write(pictures)
            count += len(pictures)
            height, width = pictures.shape[1:3]
    return Written(count, width, height)


def produce(
    desk: MotionDesk,
    made: Iterator[MotionClip],
    frames: int,
    given: Given | None,
    pictures: PortraitPictures | None,
    video: Path | None,
    motion: Path | None,
    in_place: bool = False,
    marked: bool = True,
) -> Written | None:
    """Draw made-up motion behind the given clip, or write it, or both, as it is made.

    Args:
        desk: where everything is.
        made: the new motion in pieces.
        frames: how many frames it has.
        given: what it continues; None for nothing.
        pictures: the portrait; None where nothing is drawn.
        video: the mp4 to make; None for none.
        motion: the motion file to make, given part included; None for none.
        marked: the video gets the marks of synthetic media; False where it is only a step on the way to another.
        in_place: the portrait is the given clip's last picture, so that its head is in place there.
    Returns:
        What was drawn.
    """
    kept: list[MotionClip] = []
    before = [] if given is None else [given.motion]

    def pieces() -> Iterator[MotionClip]:
        for piece in made:
            if motion is not None:
                kept.append(piece)
            yield piece

    written = None
    if pictures is not None and video is not None:
        shown: Iterable[MotionClip] = chain(before, pieces())
        if in_place and given is not None:
            origin = given.motion.boxes[-1]
            shown = (relative_to(piece, origin) for piece in shown)
        rate: float | Fraction = desk.tokenizer.fps if given is None else given.rate
        until = None if given is None else len(given.motion) / float(given.rate)
        total = frames + sum(map(len, before))
        drawn = draw(desk.pipeline, pictures, shown, total, desk.config)
        marks = desk.marks if marked else None
        written = write_video(video, drawn, rate, desk.config, marks, desk.sound_of(given), until)
    else:
        with tqdm(total=frames, desc="making motion", unit="frame") as bar:
            for piece in pieces():
                bar.update(len(piece))
    if motion is not None:
        clip = MotionClip.concatenate(kept, rebase=False)
        (clip if given is None else join(given.motion, clip)).save(motion)
    return written


def whole_number(text: str | None, option: str, default: int, least: int) -> int:
    """The value of an option that counts.

    Raises:
        UsageError: no whole number, or below the least.
    """
    if text is None:
        return default
    try:
        number = int(text)
    except ValueError:
        raise UsageError(f"{option} {text}: must be a whole number") from None
    if number < least:
        raise UsageError(f"{option} {text}: must be at least {least}")
    return number
