"""XNeMoPipeline: portrait + MotionClip -> frames, by diffusion (X-NeMo section 3) or by the GAN head at once.

What depends on the clip alone (motion latents) and on the portrait alone (reference keys and values, its own motion)
is computed once. Frames leave in order while later ones are still being denoised, so that memory does not grow with
the clip: see `animator.windows`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from diffusers import AutoencoderKL, AutoencoderKLTemporalDecoder, DDIMScheduler, DiffusionPipeline
from diffusers.utils import BaseOutput
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from transformers import CLIPVisionModelWithProjection
from transformers.image_processing_utils import BaseImageProcessor

from animator.errors import XNeMoError
from animator.face import FaceDetector, PortraitCrop, face_crops, track_faces
from animator.files import sha256_of
from animator.guidance import GuidedDenoiser, PortraitConditions
from animator.image import resize
from animator.models.autoencoder import decode_chunks, default_chunk, downsampling, encode_images
from animator.models.gan_head import GanHead
from animator.models.identity import encoder_id
from animator.models.motion_encoder import MotionEncoder
from animator.models.motion_unet import MotionUNet
from animator.models.reference_net import ReferenceNet
from animator.motion_clip import MotionClip
from animator.pixels import from_uint8, to_uint8
from animator.portrait import Picture, PortraitPictures, portrait_pictures
from animator.video import VideoReader
from animator.windows import FrameNoise, Wavefront, plan_windows, regroup

Frames = NDArray[np.uint8]
StepCallback = Callable[["XNeMoPipeline", int, int, dict[str, Any]], object]

ENCODER_BATCH = 16  # face crops encoded at once
PREVIEW_BATCH = 16  # frames that the GAN head draws at once


@dataclass
class XNeMoPipelineOutput(BaseOutput):
    """Result of a whole clip.

    Attributes:
        frames: T frames, by `output_type`: "np" uint8 (T, height, width, 3); "pil" a list of T images; "latent" the
            denoised latents, (1, T, channels, h, w).
    """

    frames: NDArray[np.uint8] | list[Image.Image] | Tensor


class XNeMoPipeline(DiffusionPipeline):
    """Portrait animation by motion latents.

    Args:
        motion_encoder: face crops -> motion latents -> motion tokens.
        reference_net: portrait latents -> appearance features; with `unet`, `vae` and `scheduler` the diffusion
            renderer. All four may be missing where only the GAN head was trained.
        unet: the denoiser.
        vae: images <-> latents.
        scheduler: DDIM.
        gan_head: the instant renderer.
        image_encoder: CLIP's vision tower; without it the image token is zero.
        feature_extractor: its preprocessing.
        image_size: side of the portrait and the result in pixels, unless a call says otherwise.
        default_renderer: "diffusion" or "gan": what gives the better video with these weights.
    """

    _optional_components: ClassVar[list[str]] = [
        "reference_net",
        "unet",
        "vae",
        "scheduler",
        "gan_head",
        "image_encoder",
        "feature_extractor",
    ]

    def __init__(
        self,
        motion_encoder: MotionEncoder,
        reference_net: ReferenceNet | None = None,
        unet: MotionUNet | None = None,
        vae: AutoencoderKL | AutoencoderKLTemporalDecoder | None = None,
        scheduler: DDIMScheduler | None = None,
        gan_head: GanHead | None = None,
        image_encoder: CLIPVisionModelWithProjection | None = None,
        feature_extractor: BaseImageProcessor | None = None,
        image_size: int = 512,
        default_renderer: str = "diffusion",
    ) -> None:
        super().__init__()
        self.register_modules(
            motion_encoder=motion_encoder,
            reference_net=reference_net,
            unet=unet,
            vae=vae,
            scheduler=scheduler,
            gan_head=gan_head,
            image_encoder=image_encoder,
            feature_extractor=feature_extractor,
        )
        self.register_to_config(image_size=image_size, default_renderer=default_renderer)

    @property
    def encoder_id(self) -> str:
        """Id of the motion encoder; only its own MotionClips can be rendered."""
        return encoder_id(self.motion_encoder)

    @torch.no_grad()
    def encode_motion(
        self,
        video: str | Path | VideoReader,
        select: str | int = "largest",
        max_gap: int = 12,
        detector: FaceDetector | None = None,
    ) -> MotionClip:
        """Distil a driving video into its motion (section 3.2), in two passes that keep no pictures.

        Args:
            video: a video file, or an open reader.
            select: which of several faces, see `animator.face.select_face`.
            max_gap: longest run of frames without the face that is bridged.
            detector: used if given.
        Returns:
            One latent and one f_rts triplet, relative to the first frame, for every frame of the video.
        Raises:
            XNeMoError: the video cannot be read, or the face is not found.
        """
        with ExitStack() as stack:
            reader = video if isinstance(video, VideoReader) else stack.enter_context(VideoReader(video))
            finder = detector or stack.enter_context(FaceDetector())
            with self.progress_bar(total=len(reader)) as bar:
                bar.set_description("finding the face")
                track = track_faces(reader, finder, select, max_gap, bar.update)
            with self.progress_bar(total=len(reader)) as bar:
                bar.set_description("reading its motion")
                parts = []
                for crops in face_crops(reader, track, self.motion_encoder.config.image_size, ENCODER_BATCH):
                    parts.append(self._encode_faces(crops).float().cpu())
                    bar.update(len(crops))
            x0, y0, x1, y1 = (int(value) for value in track.crop_boxes[0])
            return MotionClip(
                latents=torch.cat(parts),
                boxes=torch.from_numpy(track.rts()),
                fps=reader.info.fps,
                encoder_id=self.encoder_id,
                source=reader.info.path.name,
                source_sha256=sha256_of(reader.info.path),
                crop=(x0, y0, x1 - x0, y1 - y0),
            )

    @torch.no_grad()
    def __call__(
        self,
        portrait: Picture | PortraitCrop | PortraitPictures,
        motion: MotionClip,
        *,
        reference_face: Picture | None = None,
        num_inference_steps: int = 25,
        guidance_scale: float = 4.5,
        seed: int = 0,
        height: int | None = None,
        width: int | None = None,
        window: int = 24,
        overlap: int = 4,
        reference_precision: Literal["float16"] | None = None,
        select: str | int = "largest",
        detector: FaceDetector | None = None,
        output_type: Literal["np", "pil", "latent"] = "np",
        decode_chunk: int | None = None,
        callback_on_step_end: StepCallback | None = None,
    ) -> XNeMoPipelineOutput:
        """Animate a portrait and return the whole clip; `stream` gives the same frames without holding them all.

        Args: as in `stream_latents` and `stream` (`guidance_scale` is 1 + w of the paper's Eq. 2), and
            output_type: see `XNeMoPipelineOutput`.
        """
        if output_type not in ("np", "pil", "latent"):
            raise ValueError(f'output_type must be "np", "pil" or "latent", not {output_type!r}')
        options: dict[str, Any] = {
            "reference_face": reference_face,
            "num_inference_steps": num_inference_steps,
            "guidance_scale": guidance_scale,
            "seed": seed,
            "height": height,
            "width": width,
            "window": window,
            "overlap": overlap,
            "reference_precision": reference_precision,
            "select": select,
            "detector": detector,
            "callback_on_step_end": callback_on_step_end,
        }
        if output_type == "latent":
            return XNeMoPipelineOutput(frames=torch.cat(list(self.stream_latents(portrait, motion, **options)))[None])
        return _collected(self.stream(portrait, motion, decode_chunk=decode_chunk, **options), output_type)

    @torch.no_grad()
    def stream(
        self,
        portrait: Picture | PortraitCrop | PortraitPictures,
        motion: MotionClip,
        *,
        decode_chunk: int | None = None,
        **options: Any,
    ) -> Iterator[Frames]:
        """Animate a portrait and yield frames in order as soon as they are done; memory does not grow with the clip.

        Args:
            portrait: see `stream_latents`.
            motion: see `stream_latents`.
            decode_chunk: frames decoded at once; default: see `animator.models.autoencoder.default_chunk`.
            options: all others of `stream_latents`.
        Yields:
            uint8 (n, height, width, 3), n <= decode_chunk.
        Raises:
            XNeMoError: see `stream_latents`.
        """
        self._require("diffusion", self.unet, self.reference_net, self.vae, self.scheduler)
        chunk = decode_chunk or default_chunk(self.vae)
        for group in regroup(self.stream_latents(portrait, motion, **options), chunk):
            for images in decode_chunks(self.vae, group, chunk):
                yield to_uint8(images)

    @torch.no_grad()
    def stream_latents(
        self,
        portrait: Picture | PortraitCrop | PortraitPictures,
        motion: MotionClip,
        *,
        reference_face: Picture | None = None,
        num_inference_steps: int = 25,
        guidance_scale: float = 4.5,
        seed: int = 0,
        height: int | None = None,
        width: int | None = None,
        window: int = 24,
        overlap: int = 4,
        reference_precision: Literal["float16"] | None = None,
        select: str | int = "largest",
        detector: FaceDetector | None = None,
        callback_on_step_end: StepCallback | None = None,
    ) -> Iterator[Tensor]:
        """Denoise a clip and yield its latents in order.

        Args:
            portrait: a picture with a face, a crop, or the two pictures of `animator.portrait`.
            motion: the driving motion, of this pipeline's encoder.
            reference_face: the portrait's face as a ready crop; `portrait` is then a ready crop as well.
            num_inference_steps: DDIM steps.
            guidance_scale: in diffusers' sense, 1 + w of the paper's Eq. 2: 4.5 is the paper's w = 3.5; 1 is none.
            seed: of the starting noise; a frame's noise depends on nothing else.
            height, width: of the result in pixels; default `image_size`. They may differ for ready crops only.
            window: frames denoised together.
            overlap: frames that neighbouring windows share.
            reference_precision: "float16" rounds the reference features, as the release does.
            select: which of several faces in the portrait.
            detector: used if given.
            callback_on_step_end: called as (pipeline, count, timestep, {"frames": (start, stop), "step": step}) after
                each of the (windows x steps) predictions.
        Yields:
            (n, channels, h, w).
        Raises:
            XNeMoError: the motion comes from another encoder; no face in the portrait; these weights have no diffusion
                model, or another scheduler than DDIM; sizes or windows that the model cannot take.
        """
        self._check_motion(motion)
        self._require("diffusion", self.unet, self.reference_net, self.vae, self.scheduler)
        if not isinstance(self.scheduler, DDIMScheduler):
            name = type(self.scheduler).__name__
            raise XNeMoError(f"{name} remembers earlier steps, but windows are at different steps; use DDIMScheduler")
        height, width = height or self.config.image_size, width or self.config.image_size
        factor = downsampling(self.vae)
        if height % factor or width % factor:
            raise XNeMoError(f"height {height} and width {width} must be multiples of {factor}")
        if window > self.unet.config.max_frames or not 0 <= overlap < window:
            raise XNeMoError(
                f"window={window}, overlap={overlap}: a window has at most {self.unet.config.max_frames} frames, "
                "and its overlap is smaller than that"
            )
        if reference_precision not in (None, "float16"):
            raise ValueError(f'reference_precision must be "float16" or None, not {reference_precision!r}')
        pictures = self._pictures(portrait, (width, height), reference_face, select, detector)
        conditions = self.portrait_conditions(pictures, torch.float16 if reference_precision == "float16" else None)
        denoise = GuidedDenoiser(self.unet, conditions, guidance_scale)

        device, dtype = self._execution_device, self.unet.dtype
        # A scheduler keeps its timesteps: with one of its own, this stream may run beside others.
        scheduler = type(self.scheduler).from_config(self.scheduler.config)
        scheduler.set_timesteps(num_inference_steps, device=device)
        timesteps = scheduler.timesteps
        noise = FrameNoise(seed, (self.unet.config.in_channels, height // factor, width // factor))
        windows = plan_windows(len(motion), window, overlap)
        with self.progress_bar(total=len(windows) * len(timesteps)) as bar:

            def start(frames: range) -> Tensor:
                return noise(frames).to(device, dtype) * scheduler.init_noise_sigma

            def predict(latents: Tensor, frames: range, step: int) -> Tensor:
                part = slice(frames.start, frames.stop)
                tokens = self._motion_tokens(motion.latents[part], motion.boxes[part])
                prediction = denoise(latents, timesteps[step], tokens)
                bar.update()
                if callback_on_step_end is not None:
                    told = {"frames": (frames.start, frames.stop), "step": step}
                    callback_on_step_end(self, bar.n, int(timesteps[step]), told)
                return prediction

            def advance(latents: Tensor, prediction: Tensor, step: int) -> Tensor:
                # DDIM without noise (eta 0) keeps no state, so windows may be at different steps.
                return scheduler.step(prediction, timesteps[step], latents, eta=0.0).prev_sample

            yield from Wavefront(windows, len(timesteps), start, predict, advance)

    @torch.no_grad()
    def preview(
        self,
        portrait: Picture | PortraitCrop | PortraitPictures,
        motion: MotionClip,
        *,
        output_type: Literal["np", "pil"] = "np",
        **options: Any,
    ) -> XNeMoPipelineOutput:
        """Animate a portrait through the GAN head; `options` are those of `stream_preview`."""
        if output_type not in ("np", "pil"):
            raise ValueError(f'output_type must be "np" or "pil", not {output_type!r}')
        return _collected(self.stream_preview(portrait, motion, **options), output_type)

    @torch.no_grad()
    def stream_preview(
        self,
        portrait: Picture | PortraitCrop | PortraitPictures,
        motion: MotionClip,
        *,
        reference_face: Picture | None = None,
        select: str | int = "largest",
        detector: FaceDetector | None = None,
    ) -> Iterator[Frames]:
        """Draw each frame at once through the GAN head and yield chunks in order.

        Args: as in `stream_latents`.
        Yields:
            uint8 (n, height, width, 3).
        Raises:
            XNeMoError: the motion comes from another encoder; no face; these weights have no GAN head.
        """
        self._check_motion(motion)
        self._require("GAN head", self.gan_head)
        side = self.config.image_size
        pictures = self._pictures(portrait, (side, side), reference_face, select, detector)
        device, dtype = self._execution_device, self.gan_head.dtype
        box = torch.tensor([pictures.box], device=device)
        appearance = self.gan_head.appearance(from_uint8(pictures.image[None], device).to(dtype), box)
        own = self._own_motion(pictures).to(dtype)
        with self.progress_bar(total=len(motion)) as bar:
            for first in range(0, len(motion), PREVIEW_BATCH):
                part = slice(first, first + PREVIEW_BATCH)
                tokens = self._motion_tokens(motion.latents[part], motion.boxes[part]).to(dtype)
                count = len(tokens)
                rts = motion.boxes[part].to(device)
                drawn = self.gan_head.generate(appearance.expand(count), tokens, own.expand(count, -1, -1), rts)
                yield to_uint8(drawn.image)
                bar.update(count)

    def portrait_conditions(
        self, pictures: PortraitPictures, rounding: torch.dtype | None = None
    ) -> PortraitConditions:
        """Compute all that the denoiser needs of a portrait.

        Args:
            pictures: its two pictures.
            rounding: number format that reference features are rounded to before they are projected.
        """
        device, dtype = self._execution_device, self.unet.dtype
        image = from_uint8(pictures.image[None], device)
        latents = encode_images(self.vae, image).to(dtype)
        embeds = self._image_embeds(pictures.image)
        features = self.reference_net(latents, embeds)
        if rounding is not None:
            features = features.rounded(rounding)
        return PortraitConditions(self.unet.project_reference(features), embeds, self._own_motion(pictures))

    def _pictures(
        self,
        portrait: Picture | PortraitCrop | PortraitPictures,
        size: tuple[int, int],
        reference_face: Picture | None,
        select: str | int,
        detector: FaceDetector | None,
    ) -> PortraitPictures:
        face_size = self.motion_encoder.config.image_size
        if isinstance(portrait, PortraitPictures):
            image, face = resize(portrait.image, size), resize(portrait.face, (face_size, face_size))
            return PortraitPictures(image, face, portrait.box)
        return portrait_pictures(portrait, size, face_size, reference_face, select, detector)

    def _encode_faces(self, crops: Frames) -> Tensor:
        """Face crops, uint8 (N, S, S, 3) -> motion latents (N, 512)."""
        return self.motion_encoder.encode(from_uint8(crops, self._execution_device).to(self.motion_encoder.dtype))

    def _motion_tokens(self, latents: Tensor, boxes: Tensor) -> Tensor:
        """Motion latents (N, 512) and f_rts (N, 3) -> motion tokens (N, L, D) in the renderer's format."""
        device, dtype = self._execution_device, self.motion_encoder.dtype
        tokens = self.motion_encoder.fuse(latents.to(device, dtype), boxes.to(device, dtype))
        return tokens if self.unet is None else tokens.to(self.unet.dtype)

    def _own_motion(self, pictures: PortraitPictures) -> Tensor:
        """Motion tokens of the portrait itself, (1, L, D): f_rts (0, 0, 1) is "where it is"."""
        return self._motion_tokens(self._encode_faces(pictures.face[None]), torch.tensor([[0.0, 0.0, 1.0]]))

    def _image_embeds(self, image: Frames) -> Tensor:
        """The portrait's image token, (1, 1, D): CLIP's projected embedding, or zero without an image encoder."""
        device, dtype = self._execution_device, self.unet.dtype
        if self.image_encoder is None:
            return torch.zeros(1, 1, self.unet.config.cross_attention_dim, device=device, dtype=dtype)
        pixels = self.feature_extractor(Image.fromarray(image), return_tensors="pt").pixel_values
        embeds = self.image_encoder(pixels.to(device, self.image_encoder.dtype)).image_embeds
        return embeds[:, None].to(dtype)

    def _check_motion(self, motion: MotionClip) -> None:
        ours = self.encoder_id
        if motion.encoder_id != ours:
            raise XNeMoError(
                f"{motion.source or 'the motion'}: made by motion encoder {motion.encoder_id}, these weights have "
                f"{ours}; extract the motion again with these weights, or load the weights it was made with"
            )

    def _require(self, renderer: str, *components: object) -> None:
        if any(component is None for component in components):
            other = "preview" if renderer == "diffusion" else "diffusion"
            raise XNeMoError(f"these weights hold no {renderer} renderer; use {other}, or weights that have it")


def _collected(chunks: Iterator[Frames], output_type: Literal["np", "pil"]) -> XNeMoPipelineOutput:
    frames = np.concatenate(list(chunks))
    return XNeMoPipelineOutput(frames=[Image.fromarray(frame) for frame in frames] if output_type == "pil" else frames)
