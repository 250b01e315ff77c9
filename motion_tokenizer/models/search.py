"""Closed-loop encoding: tokens chosen by what the decoder makes of them.

The nearest code is the best one only if the decoder looked at one token at a time. A causal decoder remembers, so what
earlier tokens got wrong can be made good by later ones; speech coders have chosen their codes this way since CELP
(Schroeder and Atal 1985, analysis by synthesis), and since trellis coding several ways at once: the best few continue
side by side, and a token is decided some tokens later (the M-algorithm, Anderson and Mohan 1984).

To decode every code for every token would take long, so few are tried: those nearest to what the encoder says, or those
whose errors are predicted to be the smallest. For that the decoder is taken for linear around the nearest code, which
makes the error a quadratic form of the code (a step of Gauss and Newton).

Letters in shapes: B clips, M paths of each, L levels of a token, stride * F numbers of a token's frames.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from motion_tokenizer.models.blocks import StreamState
from motion_tokenizer.models.decoder import Decoder
from motion_tokenizer.quantizers import Quantizer

_PROBE = 0.3  # of the codes' standard deviation: how far from the nearest code the decoder's slope is taken
_DAMPING = 1e-4  # of the mean curvature, added to it: a direction that changes nothing must not be followed


@dataclass
class Paths:
    """The ways that are still open, the best one first. Empty at the start of a clip.

    Attributes:
        memory: what the decoder remembers of each, of B * M rows.
        errors: squared error of each beyond the best one's, (B, M); infinite where a path is given up.
        tokens: of each, what is not decided yet, (B, M, n, L), int64.
    """

    memory: StreamState = field(default_factory=StreamState)
    errors: Tensor | None = None
    tokens: Tensor | None = None

    @property
    def best(self) -> Tensor | None:
        """What is not decided yet of the best one, (B, n, L); None before the first token."""
        return None if self.tokens is None else self.tokens[:, 0]

    def settle(self) -> None:
        """Take the best one for good, so that what follows goes on from its tokens."""
        if self.errors is not None and self.tokens is not None:
            self.errors = torch.full_like(self.errors, torch.inf)
            self.errors[:, 0] = 0
            self.tokens = self.tokens[:, :, :0]

    def copy(self) -> Paths:
        """The same ways, for a stream that goes another way from here."""
        return replace(self, memory=self.memory.copy())


@dataclass(frozen=True)
class Search:
    """How tokens are searched for.

    Args:
        quantizer, decoder: of one causal tokenizer.
        weights: of the squared errors of each feature, (F,).
        count: codes that are tried after each path, the nearest one among them.
        predicted: try the codes whose errors are predicted to be the smallest, not the nearest ones.
        paths: M.
        delay: tokens after which a token is decided: it may depend on the frames of so many after its own.
    """

    quantizer: Quantizer
    decoder: Decoder
    weights: Tensor
    count: int
    predicted: bool
    paths: int
    delay: int

    @torch.no_grad()
    def push(self, vectors: Tensor, target: Tensor, open_paths: Paths) -> Tensor:
        """Search for the next n tokens.

        Args:
            vectors: what the encoder says, (B, n, code_dim).
            target: normalised features that are to be given back, (B, n * stride, F).
            open_paths: of the tokens before; afterwards, of these too.
        Returns:
            The tokens that are decided now, (B, m, L), int64.
        """
        batch, steps = vectors.shape[:2]
        scale = self.weights.sqrt()
        frames = (target * scale).unflatten(1, (steps, -1)).flatten(2)
        near = self.quantizer.candidates(vectors, 1 if self.predicted else self.count)
        if open_paths.errors is None or open_paths.tokens is None:
            open_paths.errors = vectors.new_full((batch, self.paths), torch.inf)
            open_paths.errors[:, 0] = 0
            open_paths.tokens = near.new_zeros(batch, self.paths, 0, near.shape[-1])
        decided = [near[:, :0, 0]]
        for step in range(steps):
            self._extend(near[:, step], frames[:, step], scale, open_paths)
            if open_paths.tokens.shape[2] > self.delay:
                decided.append(_decide(open_paths))
        return torch.cat(decided, dim=1)

    def _extend(self, near: Tensor, wanted: Tensor, scale: Tensor, open_paths: Paths) -> None:
        """Try codes after every path, and keep the best M ways.

        Args:
            near: codes of each clip near to what the encoder says, the nearest first, (B, k, L).
            wanted: scaled frames of the token, (B, stride * F).
            scale: of each feature, (F,).
        """
        errors, tokens = open_paths.errors, open_paths.tokens
        assert errors is not None and tokens is not None
        batch = len(near)
        tried, wanted = (x.repeat_interleave(self.paths, dim=0) for x in (near, wanted[:, None]))
        if self.predicted and self.count > 1:
            tried = self._promising(tried, wanted, scale, open_paths.memory)
        decoded, after = self._decoded(self.quantizer.decode(tried), scale, open_paths.memory)
        added = (decoded - wanted).square().sum(dim=-1)
        # The nearest code once more would be the same way twice.
        added[:, 1:].masked_fill_((tried[:, 1:] == tried[:, :1]).all(dim=-1), torch.inf)
        total = (errors[..., None] + added.unflatten(0, (batch, -1))).flatten(1)
        best = total.topk(self.paths, dim=1, largest=False)
        clips = torch.arange(batch, device=total.device)[:, None]
        rows = (clips * total.shape[1] + best.indices).flatten()
        chosen = tried.flatten(0, 1)[rows].unflatten(0, (batch, -1))
        open_paths.memory = after.rows(rows)
        # Beyond the best one's, so that long streams lose no digits.
        open_paths.errors = best.values - best.values[:, :1]
        open_paths.tokens = torch.cat([tokens[clips, best.indices // self.count], chosen[:, :, None]], dim=2)

    def _promising(self, nearest: Tensor, wanted: Tensor, scale: Tensor, memory: StreamState) -> Tensor:
        """The nearest code, and those that promise the smallest errors after each path, (B * M, count, L).

        Args:
            nearest: (B * M, 1, L).
            wanted: (B * M, 1, stride * F).
            scale, memory: as in `_decoded`.
        """
        start = self.quantizer.decode(nearest)
        decoded, _ = self._decoded(start, scale, memory)
        # All paths of a clip are near each other: the slope is that of its best one.
        best = torch.arange(0, len(nearest), self.paths, device=nearest.device)
        length = _PROBE * self.quantizer.codebooks[0].std().clamp(min=1e-6)
        around = start[best] + length * torch.eye(self.quantizer.dim, device=start.device)
        slope = (self._decoded(around, scale, memory.rows(best))[0] - decoded[best]) / length
        metric = slope @ slope.mT
        curvature = metric.diagonal(dim1=-2, dim2=-1).mean(dim=-1)[:, None, None]
        metric = metric + (_DAMPING * curvature + 1e-12) * torch.eye(self.quantizer.dim, device=start.device)
        slope, metric = (x.repeat_interleave(self.paths, dim=0) for x in (slope, metric))
        move = torch.linalg.solve(metric, slope @ (wanted - decoded).mT)
        promising = self.quantizer.candidates(start[:, 0] + move[..., 0], self.count - 1, metric)
        return torch.cat([nearest, promising], dim=1)

    def _decoded(self, vectors: Tensor, scale: Tensor, memory: StreamState) -> tuple[Tensor, StreamState]:
        """What follows where the next vector is each of (N, k, code_dim): scaled frames (N, k, stride * F), memories.

        The decoder goes on from `memory` (of N rows), which stays as it is; the memories come as N * k rows.
        """
        rows, count = vectors.shape[:2]
        after = memory.rows(torch.arange(rows, device=vectors.device).repeat_interleave(count))
        decoded = self.decoder(vectors.flatten(0, 1)[:, None], after) * scale
        return decoded.flatten(1).unflatten(0, (rows, count)), after


def _decide(open_paths: Paths) -> Tensor:
    """Take the oldest open token of the best path, (B, 1, L), and give up the paths that have another there."""
    assert open_paths.errors is not None and open_paths.tokens is not None
    oldest, open_paths.tokens = open_paths.tokens[:, :, 0], open_paths.tokens[:, :, 1:]
    others = (oldest != oldest[:, :1]).any(dim=-1)
    open_paths.errors = open_paths.errors.masked_fill(others, torch.inf)
    return oldest[:, :1]
