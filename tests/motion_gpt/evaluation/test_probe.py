"""The judge of emotions: it learns, it does not know whom it judges, and its figures are right."""

from __future__ import annotations

import pytest
import torch

from motion_gpt.evaluation.probe import Judge, Labelled, LinearProbe, accuracies, confusion, spearman, wilson

CLASSES = 4


def windows(people: int, each: int, seed: int, told: float, marked: float = 0.0) -> Labelled:
    """Windows of classes that lie `told` apart; every person shows one class only, and is `marked` by himself."""
    generator = torch.Generator().manual_seed(seed)
    features, classes, names = [], [], []
    for person in range(people):
        wanted = torch.arange(each) % CLASSES if not marked else torch.full((each,), person % CLASSES)
        noise = torch.randn(each, 12, generator=generator)
        noise[:, :CLASSES] += told * torch.nn.functional.one_hot(wanted, CLASSES)
        noise[:, CLASSES + person % 8] += marked
        features.append(noise)
        classes.append(wanted)
        names += [f"person {person}"] * each
    everything = torch.cat(classes)
    return Labelled(torch.cat(features), everything, tuple(names), torch.ones_like(everything))


def test_the_probe_tells_classes_apart_and_never_names_one_it_has_not_seen() -> None:
    seen = windows(6, 40, 0, told=4.0)
    probe = LinearProbe(seen.features, seen.classes, CLASSES + 2, 0.01)
    other = windows(3, 40, 1, told=4.0)
    logs = probe(other.features)
    assert float((logs.argmax(dim=1) == other.classes).double().mean()) > 0.9
    assert torch.isinf(logs[:, CLASSES:]).all()
    assert torch.allclose(logs.exp().sum(dim=1), torch.ones(len(logs), dtype=torch.float64))


def test_strangers_are_judged_by_a_probe_that_does_not_know_them() -> None:
    # Each person shows one class and is easily known by himself: knowing people must not help.
    known = windows(8, 20, 0, told=0.0, marked=20.0)
    judge = Judge(known, CLASSES, 0.01)
    right = judge.strangers(known).argmax(dim=1) == known.classes
    assert float(right.double().mean()) < 0.6
    all_of_them = LinearProbe(known.features, known.classes, CLASSES, 0.01)
    assert float((all_of_them(known.features).argmax(dim=1) == known.classes).double().mean()) > 0.9
    assert torch.allclose(judge.nobody(known.features).exp().sum(dim=1), torch.ones(len(known), dtype=torch.float64))


def test_rare_classes_count_as_much_as_others() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(1010, 1, generator=generator)
    classes = torch.zeros(1010, dtype=torch.int64)
    classes[:10] = 1
    features[:10] += 1.5
    probe = LinearProbe(features, classes, 2, 1e-3)
    # Without balance the rare class would never be the answer in the middle between the two.
    assert float(probe(torch.tensor([[1.0]])).argmax()) == 1


def test_tables_and_shares() -> None:
    table = confusion(torch.tensor([0, 1, 1, 2]), torch.tensor([0, 0, 1, 2]), 3)
    assert table.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]
    shares = accuracies(table)
    assert shares["accuracy"] == pytest.approx(0.75)
    assert shares["balanced"] == pytest.approx((0.5 + 1 + 1) / 3)
    low, high = wilson(50, 100)
    assert (low, high) == (pytest.approx(0.4038, abs=1e-3), pytest.approx(0.5962, abs=1e-3))


def test_rank_correlation_shares_the_ranks_of_ties() -> None:
    assert spearman([1, 2, 3], [10, 20, 30]) == pytest.approx(1)
    assert spearman([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    assert spearman([1, 1, 2, 2], [1, 2, 3, 4]) == pytest.approx(0.894, abs=1e-3)
    assert spearman([1, 1], [1, 2]) is None
