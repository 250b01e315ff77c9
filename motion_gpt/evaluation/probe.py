"""A judge of emotions that knows real latents alone: linear, small, and never asked about a person it has seen.

The probe reads the numbers of `motion_gpt.evaluation.features` of a window, standardised, of means over the frames of a
token. For every labelled person one is fitted on all others. Real windows are judged by the one that does not know
their person; what was generated, which is nobody, by the mean of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

_ITERATIONS = 100


@dataclass(frozen=True, eq=False)
class Labelled:
    """Windows with labels.

    Attributes:
        features: (N, D).
        classes: number of the emotion of each, (N,), int64.
        people: who is shown in each.
        levels: intensity of each, 0 where it is not known, (N,), int64.
    """

    features: Tensor
    classes: Tensor
    people: tuple[str, ...]
    levels: Tensor

    def __len__(self) -> int:
        """Number of windows."""
        return len(self.people)


class LinearProbe:
    """Softmax regression, every class as heavy, whatever it has.

    Args:
        features: (N, D).
        classes: (N,), int64.
        count: number of classes; those without examples are never the answer.
        penalty: weight of |W|^2 / 2.
    """

    def __init__(self, features: Tensor, classes: Tensor, count: int, penalty: float) -> None:
        x = features.double()
        self.mean, self.scale = x.mean(dim=0), x.std(dim=0).clamp(min=1e-6)
        counts = torch.bincount(classes, minlength=count).double()
        weight = torch.where(counts > 0, 1 / counts.clamp(min=1), 0)[classes]
        weight = weight / weight.sum()
        self.absent = torch.where(counts > 0, 0.0, -torch.inf)
        self.matrix = torch.zeros(x.shape[1], count, dtype=torch.float64, requires_grad=True)
        self.constant = torch.zeros(count, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.LBFGS(
            [self.matrix, self.constant], max_iter=_ITERATIONS, history_size=20, line_search_fn="strong_wolfe"
        )
        inputs = (x - self.mean) / self.scale

        def loss() -> Tensor:
            optimizer.zero_grad()
            nats = F.cross_entropy(self._logits(inputs), classes, reduction="none")
            value = (weight * nats).sum() + penalty * self.matrix.square().sum() / 2
            value.backward()
            return value

        optimizer.step(loss)
        self.matrix.requires_grad_(False)
        self.constant.requires_grad_(False)

    def __call__(self, features: Tensor) -> Tensor:
        """Log-probabilities, (N, D) to (N, classes), float64; -inf for classes without examples."""
        return self._logits((features.double() - self.mean) / self.scale).log_softmax(dim=-1)

    def _logits(self, inputs: Tensor) -> Tensor:
        return inputs @ self.matrix + self.constant + self.absent


class Judge:
    """Probes of which each knows all people but one.

    Args:
        windows: real ones.
        count: number of classes.
        penalty: of the probes.
    Raises:
        ValueError: fewer than two people.
    """

    def __init__(self, windows: Labelled, count: int, penalty: float) -> None:
        people = sorted(set(windows.people))
        if len(people) < 2:
            raise ValueError("a probe that is asked about strangers needs two people at least")
        self.probes: dict[str, LinearProbe] = {}
        for person in people:
            others = torch.tensor([name != person for name in windows.people])
            self.probes[person] = LinearProbe(windows.features[others], windows.classes[others], count, penalty)

    def strangers(self, windows: Labelled) -> Tensor:
        """Log-probabilities of windows of the same people, each by the probe that does not know them, (N, classes)."""
        asked = [
            self.probes[person](features[None])[0]
            for person, features in zip(windows.people, windows.features, strict=True)
        ]
        return torch.stack(asked)

    def nobody(self, features: Tensor) -> Tensor:
        """Log of the mean probability of all probes, (N, D) to (N, classes)."""
        logs = torch.stack([probe(features) for probe in self.probes.values()])
        return logs.logsumexp(dim=0) - torch.tensor(float(len(self.probes))).log()


def confusion(answers: Tensor, classes: Tensor, count: int) -> Tensor:
    """How often each class (row) was taken for each (column), (count, count), int64."""
    return torch.bincount(classes * count + answers, minlength=count**2).view(count, count)


def accuracies(table: Tensor) -> dict[str, float]:
    """Share of right answers, and the mean of the classes' shares, of a confusion table."""
    totals = table.sum(dim=1)
    recalls = table.diagonal()[totals > 0] / totals[totals > 0]
    total = int(totals.sum())
    right = int(table.diagonal().sum())
    low, high = wilson(right, total)
    return {
        "accuracy": right / total if total else float("nan"),
        "low": low,
        "high": high,
        "balanced": float(recalls.mean()) if len(recalls) else float("nan"),
        "windows": total,
    }


def wilson(right: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927)."""
    if total == 0:
        return float("nan"), float("nan")
    share = right / total
    middle = share + z**2 / (2 * total)
    reach = z * (share * (1 - share) / total + z**2 / (4 * total**2)) ** 0.5
    return (middle - reach) / (1 + z**2 / total), (middle + reach) / (1 + z**2 / total)


def spearman(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Rank correlation, ties sharing their ranks; None where one of the two does not vary."""
    x, y = (_ranks(torch.tensor(list(values), dtype=torch.float64)) for values in (a, b))
    if len(x) < 2 or x.std() == 0 or y.std() == 0:
        return None
    return float(torch.corrcoef(torch.stack([x, y]))[0, 1])


def _ranks(values: Tensor) -> Tensor:
    below = (values[None] < values[:, None]).sum(dim=1)
    equal = (values[None] == values[:, None]).sum(dim=1)
    return below + (equal - 1) / 2
