"""XNeMoPipeline: portrait + MotionClip -> frames, by diffusion (X-NeMo section 3) or by the GAN head at once.

What depends on the clip alone (motion tokens) and on the portrait alone (reference keys and values, its own motion) is
computed once. How the motion reaches the denoiser is the control's affair, see `animator.controls`. Frames leave in
order while later ones are still being denoised, so that memory does not grow with the clip: see `animator.windows`. How
a clip is sampled has a name, see `animator.sampler`; what happens at a step is in `animator.sampling`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLTemporalDecoder,
    AutoencoderTiny,
    DDIMScheduler,
    DiffusionPipeline,
)
from torch import Tensor
from transformers import CLIPVisionModelWithProjection
from transformers.image_processing_utils import BaseImageProcessor

from animator.conditions import IN_PLACE, image_token
from animator.controls import import_controls
from animator.controls.control import Control, Driving, Reading, Setting
from animator.controls.motion_attention import MotionAttention
from animator.decoding import choose_decoder, decode_stream
from animator.driving import encode_crops
from animator.errors import XNeMoError
from animator.face import FaceDetector, PortraitCrop
from animator.guidance import GuidedDenoiser, PortraitConditions
from animator.image import resize
from animator.models.attention import ReferenceKeyValues
from animator.models.autoencoder import downsampling, encode_images
from animator.models.deep_cache import DeepCache
from animator.models.gan_head import GanHead
from animator.models.identity import encoder_id
from animator.models.motion_encoder import MotionEncoder
from animator.models.motion_unet import MotionUNet
from animator.models.patch_autoencoder import PatchAutoencoder
from animator.models.reference_net import ReferenceNet
from animator.motion_clip import MotionClip
from animator.output import Frames, XNeMoPipelineOutput, collected
from animator.pixels import from_uint8, to_uint8
from animator.portrait import Picture, PortraitPictures
from animator.preview import Preview, draw_frames
from animator.request import Request, StepCallback
from animator.sampler import SamplerConfig, guided_steps
from animator.sampling import Denoising, count_predictions, frame_noise, loop_offsets, under_the_noise
from animator.solvers import Solvers, build_solver
from animator.video import VideoReader

Portrait = Picture | PortraitCrop | PortraitPictures


class XNeMoPipeline(DiffusionPipeline):
    """Portrait animation by motion latents.

    Args:
        motion_encoder: face crops -> motion latents -> motion tokens; may be missing where a control needs none.
        reference_net: portrait latents -> appearance features; with `unet`, `vae` and `scheduler` the diffusion
            renderer. All four may be missing where only the GAN head was trained.
        unet: the denoiser.
        vae: images <-> latents.
        scheduler: DDIM; the noise levels, and what is predicted. What takes the steps is the sampler's choice.
        gan_head: the instant renderer.
        image_encoder: CLIP's vision tower; without it the image token is zero.
        feature_extractor: its preprocessing.
        tiny_vae: a small decoder of the same latents (TAESD and its kin), for samplers that ask for it.
        control: how the driving motion reaches the denoiser, a network of `animator.controls`; without one it does so
            by motion tokens, X-NeMo's way.
        image_size: side of the portrait and the result in pixels, unless a call says otherwise.
        default_renderer: "diffusion" or "gan": what gives the better video with these weights.
    """

    # The order in which models come to the device, each sending the one before away: `offload_by_model`.
    model_cpu_offload_seq: ClassVar[str] = "motion_encoder->image_encoder->vae->reference_net->unet"
    _optional_components: ClassVar[list[str]] = [
        "motion_encoder",
        "reference_net",
        "unet",
        "vae",
        "scheduler",
        "gan_head",
        "image_encoder",
        "feature_extractor",
        "tiny_vae",
        "control",
    ]

    def __init__(
        self,
        motion_encoder: MotionEncoder | None = None,
        reference_net: ReferenceNet | None = None,
        unet: MotionUNet | None = None,
        vae: AutoencoderKL | AutoencoderKLTemporalDecoder | PatchAutoencoder | None = None,
        scheduler: DDIMScheduler | None = None,
        gan_head: GanHead | None = None,
        image_encoder: CLIPVisionModelWithProjection | None = None,
        feature_extractor: BaseImageProcessor | None = None,
        tiny_vae: AutoencoderTiny | None = None,
        control: Control | None = None,
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
            tiny_vae=tiny_vae,
            control=control,
        )
        self.register_to_config(image_size=image_size, default_renderer=default_renderer)

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> XNeMoPipeline:
        """As diffusers' own, which loads networks only of modules that are imported: every control is."""
        import_controls()
        return super().from_pretrained(*args, **kwargs)

    @property
    def encoder_id(self) -> str:
        """Id of the motion encoder; only its own MotionClips can be rendered.

        Raises:
            XNeMoError: these weights have none.
        """
        return encoder_id(self._encoder().encoder)

    @property
    def face_size(self) -> int:
        """Side of the crop of a portrait's face, which a motion encoder reads, in pixels."""
        side = self.config.image_size if self.motion_encoder is None else self.motion_encoder.config.image_size
        return int(side)

    @property
    def execution_device(self) -> torch.device:
        """Where it computes, which is not where its weights are at rest if they are offloaded."""
        return self._execution_device

    @torch.no_grad()
    def encode_motion(
        self,
        video: str | Path | VideoReader,
        select: str | int = "largest",
        max_gap: int | None = None,
        detector: FaceDetector | None = None,
        preprocessing: str = "tracked",
    ) -> MotionClip:
        """Distil a driving video into its motion (section 3.2), in two passes that keep no pictures.

        Args: as in `read_driving`.
        Returns:
            One latent and one f_rts triplet, relative to the first frame, for every frame of the video.
        Raises:
            XNeMoError: the video cannot be read, the face is not found, or these weights have no motion encoder.
        """
        return self._read(self._encoder(), video, detector, select=select, max_gap=max_gap, preprocessing=preprocessing)

    @torch.no_grad()
    def read_driving(
        self,
        video: str | Path | VideoReader,
        select: str | int = "largest",
        max_gap: int | None = None,
        detector: FaceDetector | None = None,
        preprocessing: str = "tracked",
        best_frame: int | None = None,
    ) -> Any:
        """Read what these weights take from a driving video: its motion latents, or what their control takes.

        Args:
            video: a video file, or an open reader.
            select: which of several faces, see `animator.face.select_face`.
            max_gap: longest time without the face that is bridged, in frames at 25 a second; None is 12, or 0 with
                the released preprocessing.
            detector: used if given.
            preprocessing: "tracked", this project's, or "release", the published inference code's: the left square of
                the first 500 frames and no choice of faces, see `animator.release_preprocessing`.
            best_frame: frame whose head has the portrait's pose, where driving pictures are laid on the portrait; None:
                found by landmarks.
        Returns:
            A driving for `__call__` and `stream`, see `animator.controls.control.Driving`.
        Raises:
            XNeMoError: the video cannot be read, or the face is not found.
        """
        how = {"select": select, "max_gap": max_gap, "preprocessing": preprocessing, "best_frame": best_frame}
        return self._read(self._control(), video, detector, **how)

    def _read(
        self, control: Control, video: str | Path | VideoReader, detector: FaceDetector | None, **how: Any
    ) -> Any:
        with ExitStack() as stack:
            reader = video if isinstance(video, VideoReader) else stack.enter_context(VideoReader(video))
            finder = detector or stack.enter_context(FaceDetector())
            return control.read(reader, Reading(finder, self._execution_device, self.progress_bar, **how))

    @torch.no_grad()
    def encode_motion_crops(self, crops: Iterable[Picture], fps: float = 25.0) -> MotionClip:
        """Distil face crops that are ready into a motion, without looking for faces; for reproduction.

        Args:
            crops: one picture of the face a frame: a list of images or an array (T, height, width, 3), uint8. Each is
                resized to the encoder's square (Lanczos; the aspect is not kept).
            fps: frames a second, which crops do not tell.
        Returns:
            One latent a frame; the head stays where it is, f_rts (0, 0, 1), as crops do not tell where they were.
        Raises:
            XNeMoError: no crops, or something that is no picture.
        """
        latents = encode_crops(self._encoder().encoder, crops, self._execution_device)
        return MotionClip(latents, torch.tensor(IN_PLACE).repeat(len(latents), 1), fps, self.encoder_id)

    @torch.no_grad()
    def __call__(
        self,
        portrait: Portrait,
        motion: Driving,
        *,
        sampler: str | SamplerConfig = "paper",
        reference_face: Picture | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        seed: int = 0,
        height: int | None = None,
        width: int | None = None,
        window: int | None = None,
        overlap: int | None = None,
        noise: Tensor | None = None,
        window_offsets: Sequence[int] | None = None,
        reference_precision: Literal["float16"] | None = None,
        select: str | int = "largest",
        detector: FaceDetector | None = None,
        output_type: Literal["np", "pil", "latent"] = "np",
        decode_chunk: int | None = None,
        callback_on_step_end: StepCallback | None = None,
    ) -> XNeMoPipelineOutput:
        """Animate a portrait and return the whole clip; `stream` gives the same frames without holding them all.

        A value that is left out (None) is the sampler's; docs/samplers.md has them side by side.

        Args:
            portrait: a picture with a face, a crop, or the two pictures of `animator.portrait`.
            motion: what drives: a MotionClip of this pipeline's encoder, or what `read_driving` gives.
            sampler: "paper", "release", "fast", or settings of one's own (`animator.sampler.load_sampler` and
                `dataclasses.replace`). With "paper" and "fast", memory does not grow with the clip. With "release" it
                does, as its windows form a loop: the latents of all frames live from the first step to the last.
            num_inference_steps: denoising steps; 25 (paper) or 35 (release).
            guidance_scale: in diffusers' sense, 1 + w of the paper's Eq. 2; 4.5 (paper, w = 3.5) or 2.5 (release, which
                also counts this way); 1 is none.
            seed: of the starting noise, a frame's depends on nothing else; and of the loop's offsets.
            height, width: of the result in pixels; default `image_size`. They may differ for ready crops only.
            window: frames denoised together; 24.
            overlap: frames that neighbouring windows share; 4.
            select: which of several faces in the portrait.
            detector: used if given.
            output_type: see `XNeMoPipelineOutput`.
            decode_chunk: frames decoded at once; for "latent" there is nothing to decode.
            callback_on_step_end: called as (pipeline, count, timestep, {"frames": (start, stop), "step": step}) after
                each of the (windows x steps) predictions; in a loop, a stop not after its start lies in the next round.

            For reproducing a run of other code:

            reference_face: the portrait's face as a ready crop; `portrait` is then a ready crop as well, and nothing is
                detected. Both may be files, images or arrays. `encode_motion_crops` is the same for the motion.
            noise: the starting noise, (1, T, channels, h, w), instead of noise from `seed`.
            window_offsets: frame that the loop's first window begins at, from 0 on, one for each step, instead of
                offsets from `seed`. Without effect where the clip is one window.
            reference_precision: "float16" rounds the reference features, as the release does whatever it runs in.
        Raises:
            XNeMoError: the motion comes from another encoder; no face in the portrait; these weights have no diffusion
                model, or another schedule than DDIM's; an unknown sampler; values that the model cannot take, or that
                make no sense together.
        """
        if output_type not in ("np", "pil", "latent"):
            raise ValueError(f'output_type must be "np", "pil" or "latent", not {output_type!r}')
        request = Request(
            sampler=sampler,
            reference_face=reference_face,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            seed=seed,
            height=height,
            width=width,
            window=window,
            overlap=overlap,
            noise=noise,
            window_offsets=window_offsets,
            reference_precision=reference_precision,
            select=select,
            detector=detector,
            decode_chunk=decode_chunk,
            callback_on_step_end=callback_on_step_end,
        )
        if output_type != "latent":
            return collected(self._frames(portrait, motion, request), output_type)
        latents = list(self._latents(portrait, motion, request.without_decoding()))
        return XNeMoPipelineOutput(frames=torch.cat(latents)[None])

    @torch.no_grad()
    def stream(self, portrait: Portrait, motion: Driving, **options: Any) -> Iterator[Frames]:
        """Animate a portrait and yield frames in order as soon as they are done; memory does not grow with the clip.

        (With `sampler="release"` it does grow, by the latents, and all frames are done at the end.)

        Args:
            portrait, motion: see `__call__`.
            options: all others of `__call__` but `output_type`.
        Yields:
            uint8 (n, height, width, 3), n <= decode_chunk.
        Raises:
            XNeMoError: see `__call__`.
        """
        yield from self._frames(portrait, motion, Request(**options))

    @torch.no_grad()
    def stream_latents(self, portrait: Portrait, motion: Driving, **options: Any) -> Iterator[Tensor]:
        """As `stream`, but yield latents as the decoder takes them, (n, channels, h, w)."""
        yield from self._latents(portrait, motion, Request(**options).without_decoding())

    @torch.no_grad()
    def preview(
        self,
        portrait: Portrait,
        motion: MotionClip,
        *,
        output_type: Literal["np", "pil"] = "np",
        **options: Any,
    ) -> XNeMoPipelineOutput:
        """Animate a portrait through the GAN head; `options` are those of `stream_preview`."""
        if output_type not in ("np", "pil"):
            raise ValueError(f'output_type must be "np" or "pil", not {output_type!r}')
        return collected(self.stream_preview(portrait, motion, **options), output_type)

    @torch.no_grad()
    def stream_preview(
        self,
        portrait: Portrait,
        motion: Driving,
        *,
        reference_face: Picture | None = None,
        select: str | int = "largest",
        detector: FaceDetector | None = None,
    ) -> Iterator[Frames]:
        """Draw each frame at once through the GAN head and yield chunks in order.

        Args: as in `__call__`.
        Yields:
            uint8 (n, height, width, 3).
        Raises:
            XNeMoError: the motion comes from another encoder; no face; these weights have no GAN head.
        """
        clip = self._encoder().check(motion)
        preview = self.preview_of(portrait, reference_face=reference_face, select=select, detector=detector)
        with self.progress_bar(total=len(motion)) as bar:
            yield from draw_frames(preview, clip, bar.update)

    @torch.no_grad()
    def preview_of(
        self,
        portrait: Portrait,
        *,
        reference_face: Picture | None = None,
        select: str | int = "largest",
        detector: FaceDetector | None = None,
    ) -> Preview:
        """Put a portrait into the GAN head, to draw frames as they come; motion must be of this pipeline's encoder.

        Args: as in `__call__`.
        Raises:
            XNeMoError: no face; these weights have no GAN head.
        """
        self._require("GAN head", self.gan_head)
        side = self.config.image_size
        request = Request(reference_face=reference_face, select=select, detector=detector)
        pictures = request.pictures(portrait, (side, side), self.face_size)
        return Preview(self.gan_head, self.motion_encoder, pictures, side, self._execution_device)

    def portrait_conditions(
        self, pictures: PortraitPictures, rounding: torch.dtype | None = None, size: tuple[int, int] | None = None
    ) -> PortraitConditions:
        """Compute all that the denoiser needs of a portrait.

        Args:
            pictures: its two pictures.
            rounding: number format that reference features are rounded to before they are projected.
            size: width and height of the result; default: those of the picture.
        """
        device, dtype = self._execution_device, self.unet.dtype
        image = pictures.image if size is None else resize(pictures.image, size)
        latents = encode_images(self.vae, from_uint8(image[None], device)).to(dtype)
        control = self._control()
        if control.prompt is not None:
            embeds = control.prompt.to(device, dtype)
        elif self.image_encoder is None:
            embeds = torch.zeros(1, 1, self.unet.config.cross_attention_dim, device=device, dtype=dtype)
        else:
            embeds = image_token(self.image_encoder, self.feature_extractor, pictures.image, device).to(dtype)
        negative = torch.zeros_like(embeds) if control.prompt is None else embeds

        def reference(timestep: Tensor | int) -> ReferenceKeyValues:
            features = self.reference_net(latents, embeds, timestep)
            return self.unet.project_reference(features if rounding is None else features.rounded(rounding))

        known = reference if control.reference_every_step else reference(0)
        return PortraitConditions(known, embeds, negative, latents)

    def _frames(self, portrait: Portrait, motion: Driving, request: Request) -> Iterator[Frames]:
        self._require_diffusion()
        sampler = request.settle(self.unet.config.max_frames)
        decoder = choose_decoder(self.vae, self.tiny_vae, sampler.decoder)
        latents = self._latents(portrait, motion, request)
        for images in decode_stream(decoder, latents, sampler.decode_chunk, sampler.decode_overlap):
            yield to_uint8(images, truncate=sampler.pixels == "truncate")

    def _latents(self, portrait: Portrait, motion: Driving, request: Request) -> Iterator[Tensor]:
        control = self._control()
        control.check(motion)
        self._require_diffusion()
        sampler = request.settle(self.unet.config.max_frames)
        device, factor = self._execution_device, downsampling(self.vae)
        width, height = request.picture_size(self.config.image_size, factor)
        offsets = loop_offsets(sampler, request.window_offsets, request.seed)
        shape = (self.unet.config.in_channels, height // factor, width // factor)
        noise = frame_noise(request.noise, request.seed, len(motion), shape)
        solvers = Solvers(build_solver(self.scheduler, sampler, device))
        cache = self._deep_cache(sampler)

        pictures = request.pictures(portrait, (width, height), self.face_size)
        rounding = torch.float16 if sampler.reference_precision == "float16" else None
        setting = Setting(pictures, width, height, sampler, request.detector, device, self.unet.dtype)
        prepared = control.prepare(motion, setting)
        conditions = self.portrait_conditions(pictures, rounding, (width, height))
        origin = self.unet.origin(conditions.latents)
        with self.progress_bar(total=count_predictions(sampler, len(motion))) as bar:

            def told(frames: Sequence[int], step: int) -> None:
                bar.update()
                if request.callback_on_step_end is not None:
                    span = {"frames": (frames[0], frames[-1] + 1), "step": step}
                    request.callback_on_step_end(self, bar.n, int(solvers.scheduler.timesteps[step]), span)

            denoising = Denoising(
                denoiser=GuidedDenoiser(self.unet, conditions, prepared, sampler.guidance_scale),
                solvers=solvers,
                count=len(motion),
                noise=noise,
                portrait=under_the_noise(conditions, sampler.initial, origin),
                told=told,
                guided=guided_steps(sampler),
                cache=cache,
            )
            try:
                for latents in denoising.run(sampler, offsets):
                    yield latents + origin
            finally:
                self.maybe_free_model_hooks()

    def _deep_cache(self, sampler: SamplerConfig) -> DeepCache | None:
        if sampler.deep_cache_every == 1:
            return None
        levels = len(self.unet.config.block_out_channels)
        if sampler.deep_cache_levels >= levels:
            raise XNeMoError(
                f"sampler.deep_cache_levels={sampler.deep_cache_levels}: this denoiser has {levels} levels, of which "
                f"at most {levels - 1} can be computed at every step while the rest is kept"
            )
        return DeepCache(sampler.deep_cache_levels, sampler.deep_cache_every)

    def _control(self) -> Control:
        """How the motion reaches the denoiser."""
        return self._encoder() if self.control is None else self.control

    def _encoder(self) -> MotionAttention:
        if self.motion_encoder is None:
            raise XNeMoError(
                "these weights are driven by pictures and have no motion latents; drive them with a video, or name "
                "weights that have a motion encoder"
            )
        return MotionAttention(self.motion_encoder)

    def _require_diffusion(self) -> None:
        self._require("diffusion", self.unet, self.reference_net, self.vae, self.scheduler)
        if not isinstance(self.scheduler, DDIMScheduler):
            name = type(self.scheduler).__name__
            raise XNeMoError(
                f"{name}: the noise schedule must come as DDIMScheduler; what takes the steps is chosen by the "
                "sampler's key solver"
            )

    def _require(self, renderer: str, *components: object) -> None:
        if any(component is None for component in components):
            other = "preview" if renderer == "diffusion" else "diffusion"
            raise XNeMoError(f"these weights hold no {renderer} renderer; use {other}, or weights that have it")
