"""Vector autoregression of order two: each frame is a linear function of the two before it, and Gaussian noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_RADIUS = 0.999  # above it a linear recursion grows for ever


@dataclass(frozen=True, eq=False)
class Autoregression:
    """y[t] = y[t-1] first + y[t-2] second + constant + noise e, with e drawn from N(0, 1).

    Attributes:
        first, second: (K, K), float64.
        constant: (K,), float64.
        noise: (K, K), float64; times its own transpose it is the covariance of the errors.
    """

    first: Tensor
    second: Tensor
    constant: Tensor
    noise: Tensor

    @staticmethod
    def fit(sequences: Sequence[Tensor], penalty: float = 1e-4) -> Autoregression:
        """Least squares.

        Args:
            sequences: (T, K) each; those of two frames and less are passed over.
            penalty: ridge, relative to the mean square of a component.
        """
        long = [sequence.double() for sequence in sequences if len(sequence) > 2]
        before = torch.cat([torch.cat([y[1:-1], y[:-2]], dim=1) for y in long])
        after = torch.cat([y[2:] for y in long])
        inputs = torch.cat([before, torch.ones(len(before), 1, dtype=torch.float64)], dim=1)
        ridge = penalty * float(before.square().mean()) * len(inputs) * torch.eye(inputs.shape[1], dtype=torch.float64)
        ridge[-1, -1] = 0
        solution = torch.linalg.solve(inputs.T @ inputs + ridge, inputs.T @ after)
        k = after.shape[1]
        first, second, constant = _damped(solution[:k], solution[k : 2 * k], after.mean(dim=0), solution[-1])
        errors = after - inputs @ solution
        values, vectors = torch.linalg.eigh(errors.T @ errors / len(errors))
        return Autoregression(first, second, constant, vectors * values.clamp(min=0).sqrt())

    def draws(self, sequence: Tensor) -> Tensor:
        """What N(0, 1) drew for each frame of a sequence, (T, K), but the first two: (T - 2, K)."""
        y = sequence.double()
        errors = y[2:] - y[1:-1] @ self.first - y[:-2] @ self.second - self.constant
        return errors @ torch.linalg.pinv(self.noise).T

    def next(self, older: Tensor, newer: Tensor, generator: torch.Generator, strength: float = 1.0) -> Tensor:
        """Draw what follows two frames, (K,) each, with errors that are `strength` times as large as those fitted."""
        drawn = self.noise @ torch.randn(len(newer), generator=generator, dtype=torch.float64)
        return newer @ self.first + older @ self.second + self.constant + strength * drawn


def _damped(first: Tensor, second: Tensor, mean: Tensor, constant: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Coefficients of a recursion that does not grow for ever, about the same mean."""
    k = len(first)
    companion = torch.zeros(2 * k, 2 * k, dtype=torch.float64)
    companion[:k, :k], companion[:k, k:] = first.T, second.T
    companion[k:, :k] = torch.eye(k, dtype=torch.float64)
    radius = float(torch.linalg.eigvals(companion).abs().max())
    if radius <= _RADIUS:
        return first, second, constant
    factor = _RADIUS / radius
    first, second = first * factor, second * factor**2
    return first, second, mean - mean @ first - mean @ second
