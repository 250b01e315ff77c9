"""A portrait, a driving file and settings -> a video file, in constant memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from animator.builders import check_architecture, load_pipeline, packaged_weights
from animator.config import AnimateConfig, FaceConfig, RenderConfig, RuntimeConfig
from animator.controls.control import Driving
from animator.errors import XNeMoError
from animator.face import FaceDetector
from animator.motion_clip import SUFFIX, MotionClip
from animator.pipeline import XNeMoPipeline
from animator.portrait import PortraitPictures, portrait_pictures
from animator.provenance.marks import Marks
from animator.request import StepCallback
from animator.sampler import choose_sampler
from animator.video import VideoReader, VideoWriter, read_audio, resample_indices, write_wav

SOUND_RATE = 48000
SAMPLING_KEYS = ("sampler", "steps", "guidance_scale", "window", "overlap")  # nothing of it concerns the GAN head


@dataclass(frozen=True)
class Animation:
    """A finished video.

    Attributes:
        output: the file.
        frames: number of frames.
        fps: frames a second.
        width, height: in pixels.
        seconds: how long it took to make, from loading the weights to closing the file.
        first: frame of the driving clip that the first frame shows.
        face: (x, y, width, height) of the driving face in that frame, in pixels; None where the motion file does not
            know it.
    """

    output: Path
    frames: int
    fps: float
    width: int
    height: int
    seconds: float
    first: int
    face: tuple[int, int, int, int] | None


def default_output(portrait: str, driving: str) -> Path:
    """Where a result goes when nobody says: `outputs/PORTRAIT_DRIVING.mp4`."""
    return Path("outputs") / f"{Path(portrait).stem}_{motion_name(driving)}.mp4"


def motion_name(path: str | Path) -> str:
    """A driving file's name without its suffix, which for motion files has two parts."""
    name = Path(path).name
    return name.removesuffix(SUFFIX) if name.endswith(SUFFIX) else Path(path).stem


def animate(config: AnimateConfig, portrait: str, driving: str, output: Path) -> Animation:
    """Animate a portrait with the settings of `xnemo animate`.

    Args:
        config: settings.
        portrait: a picture file.
        driving: a video file, or a motion file.
        output: the mp4 to make; it is there only when whole.
    Raises:
        XNeMoError: anything that the user can mend.
    """
    started = time.monotonic()
    check_output(output, portrait, driving)
    check_sampler(config)
    with ExitStack() as stack:
        source: MotionClip | VideoReader
        if driving.endswith(SUFFIX):
            source = MotionClip.load(driving)
        else:
            source = stack.enter_context(open_video(driving, config))
        first, stop = chosen_frames(source, config.start, config.seconds)
        own: float | Fraction = source.fps if isinstance(source, MotionClip) else source.info.rate
        rate = own if config.output_fps is None else config.output_fps
        sound = None
        if isinstance(source, VideoReader) and source.info.has_audio and config.sound and rate == own:
            sound = sound_from(driving, config.start, stack) if config.start else driving
        # Opened before the long work, so that a folder that cannot be written is found out at once.
        marks = Marks("animate", (("portrait", portrait), ("driving", driving)), config.marks)
        writer = stack.enter_context(VideoWriter(output, rate, audio_from=sound, crf=config.crf, marks=marks))
        pipeline = load_pipeline(_with_weights(config))
        if config.animator is not None:
            check_architecture(pipeline, config.animator)
        chosen_renderer(pipeline, config)
        detector = stack.enter_context(FaceDetector(min_score=config.face.min_score))
        pictures = prepare_portrait(pipeline, portrait, config, detector)
        motion: Driving
        if isinstance(source, MotionClip):
            motion = cut(source, first, stop)
        else:
            part, face = stack.enter_context(source.part(first, stop)), config.face
            with counting_from(first, part):
                motion = pipeline.read_driving(
                    part, face.select, face.max_gap, detector, face.preprocessing, config.best_frame
                )
        pipeline.set_progress_bar_config(desc="drawing")
        count, height, width = 0, 0, 0
        for frames in at_model_rate(motion, config.model_fps, lambda clip: render(pipeline, pictures, clip, config)):
            writer.write(frames)
            count += len(frames)
            height, width = frames.shape[1:3]
    seconds = time.monotonic() - started
    return Animation(output, count, float(rate), width, height, seconds, first, motion.crop)


def _with_weights(config: AnimateConfig) -> AnimateConfig:
    """Where an architecture is named and no weights are, the packaged ones of that architecture."""
    if config.weights is None and config.animator in packaged_weights():
        return replace(config, weights=config.animator)
    return config


def chosen_frames(source: MotionClip | VideoReader, start: float, seconds: float | None) -> tuple[int, int]:
    """First frame of the part that the settings choose, and the frame after its last.

    Raises:
        XNeMoError: the clip ends before the part begins.
    """
    fps, name = (source.fps, source.source) if isinstance(source, MotionClip) else (source.info.fps, source.info.path)
    first = round(start * fps)
    if first >= len(source):
        raise XNeMoError(f"start={start:g}: {name or 'the clip'} is only {len(source) / fps:.2f} s long")
    return first, len(source) if seconds is None else min(len(source), first + max(1, round(seconds * fps)))


def cut(motion: MotionClip, first: int, stop: int | None) -> MotionClip:
    """Frames `first` to `stop` of a clip, with f_rts relative to the first of them."""
    part = motion[first:stop]
    return part if first == 0 else relative_to(part, part.boxes[0])


def relative_to(motion: MotionClip, origin: Tensor) -> MotionClip:
    """The same motion with f_rts relative to another frame, whose triplet is `origin`, (3,)."""
    # (dx, dy) and s are measured in sides of the reference face, so the new reference divides what it is.
    boxes = torch.cat([motion.boxes[:, :2] - origin[:2], motion.boxes[:, 2:]], dim=1) / origin[2]
    return replace(motion, boxes=boxes, crop=None)


def sound_from(video: str, start: float, stack: ExitStack) -> Path:
    """Cut a video's sound to begin at `start` seconds, in a file that goes away with `stack`."""
    folder = Path(stack.enter_context(TemporaryDirectory(prefix="xnemo-")))
    samples, rate = read_audio(video, SOUND_RATE)
    write_wav(folder / "sound.wav", samples[round(start * rate) :], rate)
    return folder / "sound.wav"


def open_video(path: str, runtime: RuntimeConfig) -> VideoReader:
    """Open a video with the reader that the settings name."""
    return VideoReader(path, cast(Literal["auto", "decord", "pyav"], runtime.reader))


def read_motion(pipeline: XNeMoPipeline, reader: VideoReader, face: FaceConfig, detector: FaceDetector) -> MotionClip:
    """Read the motion of a video, with the face that the settings choose."""
    return pipeline.encode_motion(reader, face.select, face.max_gap, detector, face.preprocessing)


def read_part(
    pipeline: XNeMoPipeline, part: VideoReader, first: int, face: FaceConfig, detector: FaceDetector
) -> MotionClip:
    """Read the motion of the part of a video that begins with its frame `first`, as if there were no more of it."""
    with counting_from(first, part):
        return read_motion(pipeline, part, face, detector)


@contextmanager
def counting_from(first: int, part: VideoReader) -> Iterator[None]:
    """Let errors say that a video's part, which begins with its frame `first`, counts its own frames."""
    try:
        yield
    except XNeMoError as error:
        if first == 0:
            raise
        raise XNeMoError(f"{error} (frames and times count from {first / part.info.fps:g} s)") from error


def at_model_rate(
    motion: Driving, model_fps: float | None, draw: Callable[[Driving], Iterator[NDArray[np.uint8]]]
) -> Iterator[NDArray[np.uint8]]:
    """Draw a clip at the model's frame rate and give it back at its own: frames are repeated or left out.

    Args:
        motion: T frames at `motion.fps`.
        model_fps: rate to draw at; None draws every frame of the clip.
        draw: renders a clip, chunk by chunk.
    Yields:
        T frames in all.
    """
    if model_fps is None or model_fps == motion.fps:
        yield from draw(motion)
        return
    resampled = motion.resample(model_fps)
    wanted = resample_indices(len(resampled), model_fps, motion.fps, len(motion))
    repeats = np.bincount(wanted, minlength=len(resampled))
    done = 0
    for frames in draw(resampled):
        chosen = np.repeat(frames, repeats[done : done + len(frames)], axis=0)
        done += len(frames)
        if len(chosen):
            yield chosen


def prepare_portrait(
    pipeline: XNeMoPipeline, portrait: str, config: RenderConfig, detector: FaceDetector
) -> PortraitPictures:
    """Find the portrait's face and cut the picture to what the pipeline takes."""
    side = pipeline.config.image_size
    face_side = pipeline.face_size
    try:
        return portrait_pictures(
            portrait,
            (side, side),
            face_side,
            select=config.portrait_face,
            detector=detector,
            preprocessing=config.face.preprocessing,
        )
    except XNeMoError as error:
        if portrait in str(error):
            raise
        raise XNeMoError(f"{portrait}: {error}") from error


def render(
    pipeline: XNeMoPipeline,
    pictures: PortraitPictures,
    motion: Driving,
    config: RenderConfig,
    on_step: StepCallback | None = None,
) -> Iterator[NDArray[np.uint8]]:
    """Render with the renderer that the settings, or else the weights, choose; yields uint8 (n, H, W, 3).

    `on_step` hears of each prediction of the diffusion model, see `XNeMoPipeline.__call__`.
    """
    if chosen_renderer(pipeline, config) == "gan":
        return pipeline.stream_preview(pictures, motion)
    return pipeline.stream(
        pictures,
        motion,
        sampler=config.sampler,
        num_inference_steps=config.steps,
        guidance_scale=config.guidance_scale,
        seed=config.seed,
        window=config.window,
        overlap=config.overlap,
        callback_on_step_end=on_step,
    )


def check_sampler(config: RenderConfig) -> None:
    """Refuse what the pipeline would refuse only after the clip has been read.

    Raises:
        XNeMoError: settings of the sampler that cannot be, or a decoder that it does not read.
    """
    sampler = choose_sampler(config.sampler, steps=config.steps, guidance_scale=config.guidance_scale)
    if config.tiny_vae is not None and sampler.decoder != "tiny":
        raise XNeMoError("tiny_vae: is read only by sampler.decoder=tiny; add that, or leave it out")


def chosen_renderer(pipeline: XNeMoPipeline, config: RenderConfig) -> str:
    """The renderer that the settings, or else the weights, choose.

    Raises:
        XNeMoError: it is the GAN head, and settings ask for something of diffusion.
    """
    renderer = pipeline.config.default_renderer if config.renderer == "auto" else config.renderer
    plain = RenderConfig()
    asked = [f"{name}=" for name in SAMPLING_KEYS if getattr(config, name) != getattr(plain, name)]
    if renderer == "gan" and asked:
        other = "take renderer=diffusion" if pipeline.unet else "name weights with a diffusion model by weights=FOLDER"
        raise XNeMoError(f"{', '.join(asked)}: the GAN head draws without sampling; {other}, or leave it out")
    return str(renderer)


def check_output(output: Path, *inputs: str) -> None:
    """Refuse an output that is no mp4, or is one of the inputs.

    Raises:
        XNeMoError: it is.
    """
    if output.suffix.lower() != ".mp4":
        raise XNeMoError(f"{output}: the result is an mp4; name a file that ends in .mp4")
    for path in inputs:
        if output.exists() and Path(path).exists() and output.samefile(path):
            raise XNeMoError(f"{output}: is one of the inputs; name another output with -o")
