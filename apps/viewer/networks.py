"""The networks behind the pages: loaded when something needs them, once for the whole server.

Nothing here imports torch before it is asked for something, so that the first page does not wait for it.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from apps.viewer.server import settings
from apps.viewer.warm import keep_for_good, slow_imports

if TYPE_CHECKING:
    from animator.pipeline import XNeMoPipeline
    from animator.portrait import PortraitPictures
    from animator.preview import Preview
    from motion_gpt.command_config import EmoteConfig
    from motion_gpt.decoder import Decoder
    from motion_tokenizer.tokenizer import MotionTokenizer

PORTRAITS = 8  # prepared portraits that are kept; each is a few MB


@st.cache_resource(show_spinner="Loading the tokenizer …")
def tokenizer() -> MotionTokenizer:
    """The motion tokenizer that the settings name."""
    slow_imports()
    from animator.builders import resolve_device
    from motion_tokenizer.tokenizer import MotionTokenizer

    loaded = MotionTokenizer.from_pretrained(settings().tokenizer_weights, resolve_device(settings().device))
    keep_for_good()
    return loaded


@st.cache_resource(show_spinner=False)
def colours() -> list[str]:
    """A CSS colour for each code of the tokenizer."""
    from apps.viewer.palette import palette

    return palette(tokenizer().codebook.numpy())


@st.cache_resource(show_spinner="Loading the generator …")
def generator() -> Decoder:
    """The motion generator, ready to score and to sample."""
    from animator.builders import resolve_device, resolve_dtype
    from motion_gpt.decoder import Decoder
    from motion_gpt.weights import load_gpt

    config = settings()
    device = resolve_device(config.device)
    loaded = Decoder(load_gpt(config.gpt_weights, tokenizer()).to(device), resolve_dtype(config.dtype, device))
    keep_for_good()
    return loaded


@st.cache_resource(show_spinner="Loading the animator …")
def pipeline() -> XNeMoPipeline:
    """The animator, whose motion encoder is the tokenizer's."""
    from apps.tokens import load_pipeline_for

    loaded = load_pipeline_for(tokenizer(), settings())
    keep_for_good()
    return loaded


def generation_settings() -> EmoteConfig:
    """How motion is made up: the settings of `xnemo emote`, with what the viewer's own say."""
    from animator.config_loader import load_config
    from motion_gpt.command_config import EmoteConfig

    config, ours = load_config("emote"), settings()
    known = {field.name for field in fields(EmoteConfig)}
    return replace(config, **{name: value for name, value in vars(ours).items() if name in known})


def default_portrait() -> Path:
    """The portrait that motion is drawn with where nobody chose one."""
    from apps.commands.demo import demo_portrait

    return Path(demo_portrait())


@st.cache_resource(show_spinner="Preparing the portrait …", max_entries=PORTRAITS)
def pictures(portrait: Path) -> PortraitPictures:
    """A portrait, cut to what the renderers take.

    Raises:
        XNeMoError: no picture, or no face in it.
    """
    from animator.face import FaceDetector
    from apps.animation import prepare_portrait

    config = settings()
    with ExitStack() as stack:
        detector = stack.enter_context(FaceDetector(min_score=config.face.min_score))
        return prepare_portrait(pipeline(), str(portrait), config, detector)


@st.cache_resource(show_spinner="Preparing the portrait …", max_entries=PORTRAITS)
def preview(portrait: Path) -> Preview:
    """The instant renderer with a portrait in it.

    Raises:
        XNeMoError: no picture, no face in it, or weights without a GAN head.
    """
    return pipeline().preview_of(pictures(portrait))
