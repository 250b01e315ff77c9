"""Videos and motion files -> tokens -> motion and pictures: what `xnemo tokenize` and `xnemo detokenize` share."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from animator.builders import load_pipeline
from animator.config import RuntimeConfig
from animator.errors import XNeMoError
from animator.face import FaceDetector
from animator.motion_clip import SUFFIX as MOTION_SUFFIX
from animator.motion_clip import MotionClip
from animator.pipeline import XNeMoPipeline
from animator.portrait import PortraitPictures
from animator.provenance.marks import Marks
from animator.video import VideoWriter
from apps.animation import (
    at_model_rate,
    chosen_frames,
    cut,
    motion_name,
    open_video,
    prepare_portrait,
    read_part,
    render,
    sound_from,
)
from motion_tokenizer.config import TokenizeConfig
from motion_tokenizer.token_sequence import SUFFIX as TOKEN_SUFFIX
from motion_tokenizer.token_sequence import TokenSequence
from motion_tokenizer.tokenizer import MotionTokenizer


def token_name(path: str | Path) -> str:
    """A file's name without its suffix, which for token and motion files has two parts."""
    name = Path(path).name
    return name.removesuffix(TOKEN_SUFFIX) if name.endswith(TOKEN_SUFFIX) else motion_name(path)


def load_pipeline_for(tokenizer: MotionTokenizer, runtime: RuntimeConfig) -> XNeMoPipeline:
    """Load the animator's weights that the settings name, and insist that the tokenizer was trained for them.

    Raises:
        XNeMoError: as `load_pipeline`, or another motion encoder (the message names both).
    """
    pipeline = load_pipeline(runtime)
    if pipeline.encoder_id != tokenizer.encoder_id:
        raise XNeMoError(
            f"these weights have motion encoder {pipeline.encoder_id}, but the tokenizer was trained for "
            f"{tokenizer.encoder_id}; name weights=FOLDER and tokenizer_weights=FOLDER that belong together"
        )
    return pipeline


def read_tokens(paths: Sequence[str], config: TokenizeConfig, tokenizer_id: str) -> list[TokenSequence]:
    """The tokens of token files, videos and motion files; networks are loaded where there are others than token files.

    Args:
        paths: the files.
        config: settings.
        tokenizer_id: the tokenizer that the tokens must come from.
    Raises:
        XNeMoError: a file cannot be read, or belongs to another tokenizer.
    """
    clips = []
    with ExitStack() as stack:
        desk: TokenDesk | None = None
        for path in paths:
            if path.endswith(TOKEN_SUFFIX):
                clips.append(TokenSequence.load(path, tokenizer_id))
                continue
            desk = desk or TokenDesk(config, None, stack)
            if desk.tokenizer.id != tokenizer_id:
                raise XNeMoError(
                    f"{path}: is to be tokenised by {tokenizer_id}, but the tokenizer in use is {desk.tokenizer.id}; "
                    "name the folder of the other with tokenizer_weights=FOLDER"
                )
            clips.append(desk.tokenize(path))
    return clips


class TokenDesk:
    """The tokenizer, and the animator's weights as soon as something needs them.

    Args:
        config: settings.
        portrait: picture to draw results with; None where nothing is drawn.
        stack: closes what is opened.
    Raises:
        XNeMoError: no tokenizer, no weights, or a portrait that cannot be used.
    """

    def __init__(self, config: TokenizeConfig, portrait: str | None, stack: ExitStack) -> None:
        self.config = config
        self._stack = stack
        # First, because it is quick: a missing tokenizer is told before a video has been read.
        self.tokenizer = MotionTokenizer.from_pretrained(config.tokenizer_weights)
        self._pictures: PortraitPictures | None = None
        self._portrait = portrait
        if portrait is not None:
            self._pictures = prepare_portrait(self._pipeline, portrait, config, self._detector)

    @cached_property
    def _pipeline(self) -> XNeMoPipeline:
        return load_pipeline_for(self.tokenizer, self.config)

    @cached_property
    def _detector(self) -> FaceDetector:
        return self._stack.enter_context(FaceDetector(min_score=self.config.face.min_score))

    def tokenize(self, path: str) -> TokenSequence:
        """The tokens of a video or motion file, of the part that `start` and `seconds` choose.

        Raises:
            XNeMoError: it cannot be read, shows no face, is shorter than a token, or is of another encoder than the
                tokenizer's.
        """
        motion = self._read(path)
        # Errors shall name the file that was given, not the one that its motion once came from.
        return replace(self.tokenizer.encode(replace(motion, source=path)), source=motion.source)

    def detokenize(self, path: str) -> MotionClip:
        """The motion of a token file, or what the tokens of a video or motion file keep of it.

        Raises:
            XNeMoError: as of `tokenize`, or tokens of another tokenizer.
        """
        if not path.endswith(TOKEN_SUFFIX):
            return self.tokenizer.decode(self.tokenize(path))
        tokens = TokenSequence.load(path, self.tokenizer.id)
        motion = self.tokenizer.decode(replace(tokens, source=path))
        return self._part(replace(motion, source=tokens.source))

    def _read(self, path: str) -> MotionClip:
        if path.endswith(MOTION_SUFFIX):
            return self._part(MotionClip.load(path, self.tokenizer.encoder_id))
        pipeline, detector, config = self._pipeline, self._detector, self.config
        with open_video(path, config) as reader:
            first, stop = chosen_frames(reader, config.start, config.seconds)
            with reader.part(first, stop) as part:
                return read_part(pipeline, part, first, config.face, detector)

    def _part(self, motion: MotionClip) -> MotionClip:
        return cut(motion, *chosen_frames(motion, self.config.start, self.config.seconds))

    def draw(self, motion: MotionClip, output: Path, came_from: str) -> Path:
        """Draw motion with the portrait; the sound of `came_from` is kept if that is a video.

        Raises:
            XNeMoError: the sampler's settings do not go together, or the video cannot be written.
        """
        pictures, config = self._pictures, self.config
        assert pictures is not None and self._portrait is not None  # drawing is asked for only with a portrait
        rate = motion.fps if config.output_fps is None else config.output_fps
        with ExitStack() as stack:
            sound = self._sound(came_from, stack) if config.sound and rate == motion.fps else None
            marks = Marks("detokenize", (("portrait", self._portrait), ("motion", came_from)), config.marks)
            writer = stack.enter_context(VideoWriter(output, rate, audio_from=sound, crf=config.crf, marks=marks))
            self._pipeline.set_progress_bar_config(desc="drawing")
            for frames in at_model_rate(
                motion, config.model_fps, lambda clip: render(self._pipeline, pictures, clip, config)
            ):
                writer.write(frames)
        return output

    def _sound(self, path: str, stack: ExitStack) -> str | Path | None:
        """What the video that motion came from sounds like, from `start` on; None for motion and token files."""
        if path.endswith((MOTION_SUFFIX, TOKEN_SUFFIX)):
            return None
        with open_video(path, self.config) as reader:
            has_sound = reader.info.has_audio
        if not has_sound:
            return None
        return sound_from(path, self.config.start, stack) if self.config.start else path
