"""MotionTokenizer: MotionClip -> TokenSequence -> MotionClip."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from animator.errors import XNeMoError
from animator.files import replaced_folder
from animator.models.identity import encoder_id as model_id
from animator.motion_clip import MotionClip
from motion_tokenizer.features import from_features, to_features
from motion_tokenizer.models.vqvae import MotionVQVAE
from motion_tokenizer.streaming import TokenizerStream, check_tokens
from motion_tokenizer.token_sequence import TokenSequence

DEFAULT_TOKENIZER = Path(__file__).resolve().parent / "pretrained" / "lite"
ABOUT = "tokenizer.json"
SCHEMA = 1

# Frame rates closer than this (relative) are one: 30000/1001 and 29.97 are not worth an interpolation.
_FPS_TOLERANCE = 1e-4
_CODES_AT_ONCE = 1024


class MotionTokenizer:
    """Trained networks with what they were trained for.

    Args:
        model: the networks; in evaluation mode from here on.
        encoder_id: the motion encoder whose latents they were trained on; others mean nothing to them.
        fps: frames a second that they were trained at.
    Raises:
        ValueError: the model has no tokens (quantizer kind none).
    """

    def __init__(self, model: MotionVQVAE, encoder_id: str, fps: float = 25.0) -> None:
        if model.bottleneck.levels == 0:
            raise ValueError("a model with quantizer kind none has no tokens")
        self.model = model.eval()
        self.encoder_id = encoder_id
        self.fps = float(fps)

    @classmethod
    def from_pretrained(cls, folder: str | Path | None = None, device: str | torch.device = "cpu") -> MotionTokenizer:
        """Load what `save_pretrained` wrote.

        Args:
            folder: where; None is the packaged tokenizer, size lite.
            device: where to compute; motion and tokens come from the CPU and go back there.
        Raises:
            XNeMoError: no tokenizer there, or files that are damaged or do not fit together.
        """
        path = find_tokenizer(folder)
        try:
            about = json.loads((path / ABOUT).read_text(encoding="utf-8"))
            if about["schema"] > SCHEMA:
                raise ValueError(
                    f"schema {about['schema']} is newer than {SCHEMA}, the newest known here; update xnemo"
                )
            encoder_id, fps = about["encoder_id"], float(about["fps"])
            if not isinstance(encoder_id, str) or not encoder_id:
                raise ValueError(f"encoder_id must be a text, not {encoder_id!r}")
            if not (math.isfinite(fps) and fps > 0):
                raise ValueError(f"fps must be above 0, not {fps}")
            return cls(_load_model(path).to(device), encoder_id, fps)
        except KeyError as error:
            raise XNeMoError(f"{path}: this tokenizer cannot be loaded: {ABOUT} has no {error}") from error
        except (
            OSError,
            ValueError,
            RuntimeError,
            TypeError,
            AttributeError,
            ArithmeticError,
            SafetensorError,
        ) as error:
            # diffusers and safetensors report damage by all of these.
            raise XNeMoError(f"{path}: this tokenizer cannot be loaded: {str(error)[:300]}") from error

    def save_pretrained(self, folder: str | Path) -> Path:
        """Write a folder for `from_pretrained`: `tokenizer.json`, `config.json` and the weights as safetensors.

        A tokenizer that is there is replaced, when the new one is whole.

        Raises:
            XNeMoError: the folder holds something else, or cannot be written.
        """
        target = Path(folder)
        about = {"schema": SCHEMA, "encoder_id": self.encoder_id, "fps": self.fps}
        if target.exists() and any(target.iterdir()) and not (target / ABOUT).is_file():
            raise XNeMoError(f"{target}: holds something that is no tokenizer; name a new folder")
        with replaced_folder(target) as temporary:
            self.model.save_pretrained(temporary)
            (temporary / ABOUT).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        return target

    @property
    def id(self) -> str:
        """Id of this tokenizer, 16 hexadecimal digits: of its networks, its encoder and its frame rate."""
        about = json.dumps([model_id(self.model), self.encoder_id, self.fps])
        return hashlib.sha256(about.encode()).hexdigest()[:16]

    @property
    def frames_per_token(self) -> int:
        """Frames that one step of tokens stands for."""
        return int(self.model.config.stride)

    @property
    def levels(self) -> int:
        """Tokens for each step."""
        return self.model.bottleneck.levels

    @property
    def codes(self) -> int:
        """Number of different tokens, at each level."""
        return self.model.bottleneck.codes

    @property
    def bits_per_second(self) -> float:
        """What a second of motion is worth at most: levels x log2(codes) bits for each step."""
        return self.levels * math.log2(self.codes) * self.fps / self.frames_per_token

    @property
    def codebook(self) -> Tensor:
        """The codes, (codes, code_dim), float32; with residual levels those of the first."""
        return self.codebooks[0]

    @property
    def codebooks(self) -> Tensor:
        """The codes of all levels, (levels, codes, code_dim), float32."""
        return self.model.bottleneck.codebooks.detach().float().cpu()

    def nearest(self, code: int | Tensor, k: int = 1) -> Tensor:
        """The `k` other codes that are nearest to a code, nearest first.

        Args:
            code: a code, or several (...).
            k: how many.
        Returns:
            (k,), or (..., k), int64.
        Raises:
            ValueError: no such code, or k is not 1 to codes - 1.
        """
        wanted = torch.as_tensor(code)
        if not 1 <= k < self.codes:
            raise ValueError(f"k must be 1 to {self.codes - 1}, not {k}")
        if ((wanted < 0) | (wanted >= self.codes)).any():
            raise ValueError(f"codes are 0 to {self.codes - 1}")
        flat, codebook = wanted.reshape(-1), self.codebook
        found = []
        for part in flat.split(_CODES_AT_ONCE):
            distances = torch.cdist(codebook[part], codebook)
            # Itself is left out by number: a duplicate is as near.
            distances[torch.arange(len(part)), part] = torch.inf
            found.append(distances.topk(k, largest=False, sorted=True).indices)
        return torch.cat(found).view(*wanted.shape, k) if found else torch.zeros(*wanted.shape, k, dtype=torch.int64)

    @torch.no_grad()
    def encode(self, motion: MotionClip) -> TokenSequence:
        """Tokenise a clip.

        Motion of another frame rate is resampled to the tokenizer's first (linearly, `MotionClip.resample`), and the
        sequence then counts frames at that rate. The end of the clip is on the grid of tokens; where its length is no
        multiple of `frames_per_token`, its first frame is repeated before it.

        Raises:
            XNeMoError: latents of another encoder, or fewer frames than one token stands for.
        """
        name = motion.source or "the motion"
        if motion.encoder_id != self.encoder_id:
            raise XNeMoError(
                f"{name}: made by motion encoder {motion.encoder_id}, but this tokenizer was trained for "
                f"{self.encoder_id}; extract the motion with that encoder, or take a tokenizer trained for the other"
            )
        if abs(motion.fps - self.fps) > _FPS_TOLERANCE * self.fps:
            motion = motion.resample(self.fps)
        frames, stride = len(motion), self.frames_per_token
        if frames < stride:
            raise XNeMoError(
                f"{name}: has {frames} frames at {self.fps:g} a second, but a token stands for {stride}; "
                "give a longer clip"
            )
        features = to_features(motion.latents, motion.boxes)
        features = torch.cat([features[:1].expand(-frames % stride, -1), features])
        tokens = self.model.encode(features[None].to(self.model.mean))[0].cpu()
        return TokenSequence(
            tokens=tokens,
            frames=frames,
            fps=self.fps,
            tokenizer_id=self.id,
            encoder_id=self.encoder_id,
            source=motion.source,
            source_sha256=motion.source_sha256,
            crop=motion.crop,
            t0=motion.t0,
            seed=motion.seed,
        )

    def decode(self, sequence: TokenSequence) -> MotionClip:
        """Turn tokens into motion, `sequence.frames` frames at the tokenizer's rate.

        Raises:
            XNeMoError: tokens of another tokenizer, tokens that the codebook does not have, or a number of frames
                that does not go with the number of tokens.
        """
        name = sequence.source or "the tokens"
        if sequence.tokenizer_id != self.id:
            raise XNeMoError(
                f"{name}: tokens of tokenizer {sequence.tokenizer_id}, but the one in use is {self.id}; tokenise the "
                "clip again with this one, or load the other"
            )
        try:
            check_tokens(sequence.tokens, self.codes, self.levels)
        except ValueError as error:
            raise XNeMoError(f"{name}: {error}; the tokens are damaged or of another tokenizer") from error
        padding = len(sequence) * self.frames_per_token - sequence.frames
        if not 0 <= padding < self.frames_per_token:
            raise XNeMoError(
                f"{name}: {len(sequence)} tokens of {self.frames_per_token} frames cannot make {sequence.frames} frames"
            )
        with torch.no_grad():
            decoded = self.model.decode(sequence.tokens[None].to(self.model.mean.device))[0]
        latents, boxes = from_features(decoded[padding:].cpu())
        return MotionClip(
            latents=latents,
            boxes=boxes,
            fps=self.fps,
            encoder_id=self.encoder_id,
            source=sequence.source,
            source_sha256=sequence.source_sha256,
            crop=sequence.crop,
            t0=sequence.t0,
            seed=sequence.seed,
        )

    def reconstruct(self, motion: MotionClip) -> MotionClip:
        """What is left of a clip after `encode` and `decode`."""
        return self.decode(self.encode(motion))

    def stream(self, frames: int | None = None) -> TokenizerStream:
        """Begin to tokenise, and to decode, a clip that comes in pieces.

        Args:
            frames: the clip's length where it is known, so that its end is on the grid as in `encode`; None: its
                first frame begins a token.
        Raises:
            XNeMoError: the tokenizer looks ahead (`causal=false`).
        """
        if not self.model.config.causal:
            raise XNeMoError("this tokenizer looks ahead (causal=false) and needs the whole clip at once; use encode")
        return TokenizerStream(self.model, 0 if frames is None else -frames % self.frames_per_token)


def find_tokenizer(folder: str | Path | None) -> Path:
    """Locate a folder with a tokenizer; None is the packaged one.

    Raises:
        XNeMoError: there is no such folder, or it holds no tokenizer.
    """
    path = DEFAULT_TOKENIZER if folder is None else Path(folder).expanduser()
    if not (path / ABOUT).is_file():
        what = "the packaged tokenizer is missing" if folder is None else "no tokenizer here"
        raise XNeMoError(f"{path}: {what} ({ABOUT} not found); name a folder with tokenizer_weights=FOLDER")
    return path


def _load_model(path: Path) -> MotionVQVAE:
    """Load the networks and insist on every tensor: diffusers fills gaps with random numbers."""
    model, report = MotionVQVAE.from_pretrained(
        path, local_files_only=True, use_safetensors=True, output_loading_info=True
    )
    wrong: dict[str, Any] = {kind: report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")}
    for kind, names in wrong.items():
        if names:
            raise ValueError(f"{kind.replace('_', ' ')}: {', '.join(map(str, names[:3]))}")
    return model
