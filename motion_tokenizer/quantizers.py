"""Vectors -> tokens and back: the quantisers of vector-quantize-pytorch behind one small interface.

What the library leaves to its callers is settled here: a codebook starts from k-means over a pool (its own takes the
first batch, however small), a code counts as dead by the share of what uniform use would give (an absolute count means
something else at every batch size), a replaced code starts with enough use not to be replaced again at once, the draws
for replaced codes come from a seed and the step number, and everything that training changes is in the state dict, so
that a resumed run goes on exactly.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from vector_quantize_pytorch import FSQ, SimVQ, VectorQuantize

from motion_tokenizer.config import QuantizerConfig
from motion_tokenizer.lookup import kmeans, nearest_codes


@dataclass(frozen=True)
class Quantized:
    """What a quantiser makes of vectors (B, n, d).

    Attributes:
        vectors: what the decoder reads, (B, n, d); in training gradients pass through to the encoder.
        tokens: (B, n, levels), int64.
        loss: commitment and what else the quantiser learns by, weighted, a scalar.
        metrics: scalars without gradient: `used_codes` and `perplexity` of the batch (means over the levels) and
            `resets`, the codes replaced in this step (sum over the levels). Of a batch they understate how full a
            codebook is: count over a whole epoch for that.
    """

    vectors: Tensor
    tokens: Tensor
    loss: Tensor
    metrics: dict[str, Tensor]


class Quantizer(nn.Module, ABC):
    """One way to quantise. In training mode a call also updates the codebook, where that is how it learns.

    Args:
        dim: length of a vector.
        codes: size of a codebook.
        levels: tokens for each vector; each level quantises what the ones before left over.
        commitment: weight of the pull of vectors towards their codes.
    """

    def __init__(self, dim: int, codes: int, levels: int, commitment: float) -> None:
        super().__init__()
        self.dim = dim
        self.codes = codes
        self.levels = levels
        self.commitment = commitment

    @property
    @abstractmethod
    def codebooks(self) -> Tensor:
        """All codes, (levels, codes, dim)."""

    @abstractmethod
    def learn(self, vectors: Tensor) -> tuple[Tensor, Tensor, Tensor, int]:
        """A training step on (B, n, dim): vectors with gradients, tokens, weighted loss, codes replaced."""

    def initialise(self, pool: Tensor, generator: torch.Generator) -> None:
        """Start the codebook from vectors of the untrained encoder, (N, dim), N at least the number of codes.

        Quantisers whose codes are not vectors of the data do nothing.

        Raises:
            ValueError: the pool has fewer vectors than there are codes.
        """

    def prepare(self, vectors: Tensor) -> Tensor:
        """Bring vectors to where codes are, as the cosine quantiser and FSQ have to."""
        return vectors

    @torch.no_grad()
    def encode(self, vectors: Tensor) -> Tensor:
        """Vectors (..., dim) -> tokens (..., levels), without learning from them."""
        codebooks = self.codebooks.detach()
        # In mixed precision vectors may come in half of the codes' precision.
        residual = self.prepare(vectors).to(codebooks.dtype)
        tokens = []
        for codebook in codebooks:
            nearest = nearest_codes(residual, codebook)
            residual = residual - codebook[nearest]
            tokens.append(nearest)
        return torch.stack(tokens, dim=-1)

    @torch.no_grad()
    def candidates(self, vectors: Tensor, count: int, metric: Tensor | None = None) -> Tensor:
        """Tokens that vectors (..., dim) could become, the nearest code first, (..., count, levels).

        They differ at the first level; further levels quantise what each leaves.

        Args:
            vectors: (..., dim).
            count: how many.
            metric: what distances to codes of the first level are measured by, d^T M d, (..., dim, dim), symmetric;
                None: as they are, and vectors are brought to where codes are (`prepare`).
        """
        first = self.codebooks[0].detach()
        if metric is None:
            vectors = self.prepare(vectors)
            # |v|^2 is the same for all codes.
            distances = first.square().sum(dim=1) - 2 * vectors @ first.T
        else:
            pulled = metric @ vectors[..., None]
            distances = ((first @ metric) * first).sum(dim=-1) - 2 * (first @ pulled)[..., 0]
        tokens = [distances.topk(count, dim=-1, largest=False).indices]
        residual = vectors[..., None, :] - first[tokens[0]]
        for codebook in self.codebooks.detach()[1:]:
            tokens.append(nearest_codes(residual, codebook))
            residual = residual - codebook[tokens[-1]]
        return torch.stack(tokens, dim=-1)

    def decode(self, tokens: Tensor) -> Tensor:
        """Tokens (..., levels) -> vectors (..., dim)."""
        parts = [codebook[tokens[..., level]] for level, codebook in enumerate(self.codebooks)]
        return torch.stack(parts).sum(dim=0)

    def forward(self, vectors: Tensor) -> Quantized:
        """Quantise (B, n, dim)."""
        resets = 0
        if self.training:
            quantized, tokens, loss, resets = self.learn(vectors)
        else:
            tokens = self.encode(vectors)
            quantized = self.decode(tokens)
            loss = self.commitment * F.mse_loss(self.prepare(vectors), quantized)
        metrics = usage(tokens, self.codes) | {"resets": torch.tensor(float(resets), device=vectors.device)}
        return Quantized(quantized, tokens, loss, metrics)


class MovingMeans(Quantizer):
    """Codes that follow the running means of their vectors (EMA), with dead codes replaced.

    Args:
        dim, codes, levels: see `Quantizer`.
        settings: decay, commitment, resets and seed.
        rotation_trick: pass gradients through the rotation from vector to code, not straight through.
        cosine: vectors and codes are on the unit sphere.
    """

    def __init__(
        self,
        dim: int,
        codes: int,
        levels: int,
        settings: QuantizerConfig,
        rotation_trick: bool = False,
        cosine: bool = False,
    ) -> None:
        super().__init__(dim, codes, levels, settings.commitment)
        if cosine and levels > 1:
            raise ValueError("levels: what is left of a vector is not on the unit sphere; cosine has one level")
        self.settings = settings
        self.cosine = cosine
        self.layers = nn.ModuleList(
            VectorQuantize(
                dim=dim,
                codebook_size=codes,
                decay=settings.decay,
                commitment_weight=settings.commitment,
                rotation_trick=rotation_trick,
                use_cosine_sim=cosine,
                # Codes are replaced here, not there: see `_replace_dead`.
                threshold_ema_dead_code=0,
            )
            for _ in range(levels)
        )
        self.steps: Tensor
        self.register_buffer("steps", torch.tensor(0))

    @property
    def codebooks(self) -> Tensor:
        return torch.cat([_means(layer).embed for layer in self.layers])

    def prepare(self, vectors: Tensor) -> Tensor:
        return F.normalize(vectors, dim=-1) if self.cosine else vectors

    @torch.no_grad()
    def initialise(self, pool: Tensor, generator: torch.Generator) -> None:
        residual = self.prepare(pool)
        for layer in self.layers:
            centres, counts = kmeans(residual, self.codes, generator, self.settings.kmeans_iterations)
            centres = self.prepare(centres)
            book = _means(layer)
            book.embed.copy_(centres[None])
            book.cluster_size.copy_(counts[None])
            book.embed_avg.copy_((centres * counts[:, None])[None])
            residual = residual - centres[nearest_codes(residual, centres)]
        self.steps.zero_()

    def learn(self, vectors: Tensor) -> tuple[Tensor, Tensor, Tensor, int]:
        if self.steps == 0:
            self._count_in_steps(vectors.shape[0] * vectors.shape[1])
        residual, total = vectors, torch.zeros_like(vectors)
        tokens, loss, resets = [], vectors.new_zeros(()), 0
        with _seeded(self.settings.seed, int(self.steps), vectors.device):
            for layer in self.layers:
                quantized, nearest, commitment = layer(residual)
                resets += self._replace_dead(layer, residual.detach())
                residual = residual - quantized.detach()
                total = total + quantized
                tokens.append(nearest)
                loss = loss + commitment.squeeze()
        self.steps += 1
        return total, torch.stack(tokens, dim=-1), loss, resets

    def _count_in_steps(self, tokens: int) -> None:
        """Scale the codes' running counts to the tokens of a step, so that the start weighs as much as one step."""
        for layer in self.layers:
            book = _means(layer)
            factor = tokens / book.cluster_size.sum()
            book.cluster_size *= factor
            book.embed_avg *= factor

    @torch.no_grad()
    def _replace_dead(self, layer: nn.Module, vectors: Tensor) -> int:
        """Replace codes that are hardly used by vectors drawn from the batch; returns how many.

        The library moves the code, its sum and its count together, without which the next mean would undo it. Where
        more codes are dead than the batch has vectors, the rest waits for the next step.
        """
        book = _means(layer)
        uniform = float(book.cluster_size.mean())
        dead = book.cluster_size < self.settings.reset_threshold * uniform
        count = min(int(dead.sum()), vectors.shape[0] * vectors.shape[1])
        if count:
            book.reset_cluster_size = self.settings.reset_count * uniform
            book.replace(vectors.reshape(1, -1, self.dim), dead)
        return count


class LinearCodes(Quantizer):
    """SimVQ: the codes are one learned linear map of fixed random vectors, so that all of them move together."""

    def __init__(self, dim: int, codes: int, settings: QuantizerConfig) -> None:
        super().__init__(dim, codes, 1, settings.commitment)
        # Its weight 1 is of the map's own loss; the library's rotation trick makes the commitment grow without bound.
        self.layer = SimVQ(
            dim,
            codes,
            rotation_trick=False,
            input_to_quantize_commit_loss_weight=settings.commitment,
            commitment_weight=1.0,
        )

    @property
    def codebooks(self) -> Tensor:
        return self.layer.codebook[None]

    def learn(self, vectors: Tensor) -> tuple[Tensor, Tensor, Tensor, int]:
        quantized, tokens, loss = self.layer(vectors)
        return quantized, tokens[..., None], loss, 0


class FiniteScalars(Quantizer):
    """FSQ: each dimension is squashed and rounded to a few steps; nothing to learn, nothing to collapse."""

    def __init__(self, dim: int, codes: int, settings: QuantizerConfig) -> None:
        super().__init__(dim, codes, 1, 0.0)
        steps = list(settings.fsq_levels)
        product = int(torch.tensor(steps).prod())
        if len(steps) != dim or product != codes or min(steps) < 2:
            raise ValueError(
                f"fsq_levels {steps} make {product} codes of length {len(steps)}, "
                f"but codes is {codes} and code_dim {dim}"
            )
        # Without preserved symmetry two steps cannot be told apart.
        self.layer = FSQ(steps, preserve_symmetry=True)

    @property
    def codebooks(self) -> Tensor:
        return self.layer.implicit_codebook[None]

    def prepare(self, vectors: Tensor) -> Tensor:
        return self.layer.quantize(vectors)

    @torch.no_grad()
    def encode(self, vectors: Tensor) -> Tensor:
        return self.layer.codes_to_indices(self.layer.quantize(vectors)).long()[..., None]

    def learn(self, vectors: Tensor) -> tuple[Tensor, Tensor, Tensor, int]:
        quantized, tokens = self.layer(vectors)
        return quantized, tokens.long()[..., None], vectors.new_zeros(()), 0


class Continuous(Quantizer):
    """No quantiser: vectors pass as they are, and there are no tokens (levels = 0); the baseline of all others."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim, 0, 0, 0.0)
        self.register_buffer("no_codes", torch.zeros(0, 0, dim), persistent=False)

    @property
    def codebooks(self) -> Tensor:
        return self.get_buffer("no_codes")

    @torch.no_grad()
    def encode(self, vectors: Tensor) -> Tensor:
        return torch.zeros(*vectors.shape[:-1], 0, dtype=torch.int64, device=vectors.device)

    def decode(self, tokens: Tensor) -> Tensor:
        raise ValueError("quantizer kind none has no tokens that could be decoded")

    def learn(self, vectors: Tensor) -> tuple[Tensor, Tensor, Tensor, int]:
        return vectors, self.encode(vectors), vectors.new_zeros(()), 0

    def forward(self, vectors: Tensor) -> Quantized:
        return Quantized(vectors, self.encode(vectors), vectors.new_zeros(()), {})


def build_quantizer(settings: QuantizerConfig, dim: int, codes: int, levels: int) -> Quantizer:
    """Build the quantiser that the settings name.

    Raises:
        ValueError: settings that do not go together.
    """
    kind = settings.kind
    if levels > 1 and kind not in ("ema", "rotation"):
        raise ValueError(f"levels={levels}: quantizer kind {kind} has one level; ema and rotation may have more")
    if kind in ("ema", "rotation", "cosine"):
        return MovingMeans(dim, codes, levels, settings, rotation_trick=kind == "rotation", cosine=kind == "cosine")
    if kind == "simvq":
        return LinearCodes(dim, codes, settings)
    if kind == "fsq":
        return FiniteScalars(dim, codes, settings)
    if kind == "none":
        return Continuous(dim)
    raise ValueError(f"no quantizer kind {kind!r}")


@torch.no_grad()
def usage(tokens: Tensor, codes: int) -> dict[str, Tensor]:
    """How many codes tokens (..., levels) use, and the perplexity of their frequencies; means over the levels."""
    used, perplexity = [], []
    for level in tokens.flatten(0, -2).unbind(dim=1):
        share = torch.bincount(level, minlength=codes) / len(level)
        used.append((share > 0).sum().float())
        perplexity.append(torch.special.entr(share).sum().exp())
    return {"used_codes": torch.stack(used).mean(), "perplexity": torch.stack(perplexity).mean()}


def _means(layer: nn.Module) -> Any:
    """The part of a `VectorQuantize` that holds codes, sums and counts, each (1, codes, ...)."""
    return layer._codebook


@contextmanager
def _seeded(seed: int, step: int, device: torch.device) -> Iterator[None]:
    """Let the library's draws depend on seed and step alone, and leave the global random state as it was."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed((seed << 40) + step)
        yield
