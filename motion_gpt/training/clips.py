"""Clips with the labels that the generator is conditioned on, and how often each is drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from animator.dataset import MotionDataset
from animator.errors import XNeMoError
from motion_gpt.vocabulary import Condition, Vocabulary
from motion_tokenizer.models.blocks import StreamState
from motion_tokenizer.models.search import Paths
from motion_tokenizer.models.vqvae import MotionVQVAE
from motion_tokenizer.tokenizer import MotionTokenizer
from motion_tokenizer.training.clips import FeatureClips, read_clips

_FRAMES_TOGETHER = 8192  # encoded at once, padding included, unless a single clip is longer


@dataclass(frozen=True, eq=False)
class LabelledClips:
    """The clips of a split.

    Attributes:
        clips: their features.
        conditions: what each expresses; clips without a label have the empty condition.
    """

    clips: FeatureClips
    conditions: tuple[Condition, ...]

    def __len__(self) -> int:
        """Number of clips."""
        return len(self.conditions)

    @property
    def labelled(self) -> Tensor:
        """Which clips have an emotion, (clips,), bool."""
        return torch.tensor([condition.emotion is not None for condition in self.conditions])

    def with_shuffled_labels(self, seed: int) -> LabelledClips:
        """The same clips, with the conditions of the labelled ones dealt out at random among them."""
        numbers = self.labelled.nonzero()[:, 0].tolist()
        order = torch.randperm(len(numbers), generator=torch.Generator().manual_seed(seed)).tolist()
        conditions = list(self.conditions)
        for place, other in zip(numbers, order, strict=True):
            conditions[place] = self.conditions[numbers[other]]
        return LabelledClips(self.clips, tuple(conditions))


def read_labelled_clips(
    dataset: MotionDataset, split: str, tokenizer: MotionTokenizer, mirrored: bool = False
) -> LabelledClips:
    """Read a split of a dataset, at the tokenizer's frame rate, clips of at least two tokens.

    Raises:
        XNeMoError: latents of another encoder than the tokenizer's, an emotion or intensity that does not exist, no
            clips, or a damaged dataset.
    """
    check_encoder(dataset, tokenizer)
    clips = read_clips(dataset, split, tokenizer.fps, 2 * tokenizer.frames_per_token, mirrored)
    rows = {row["clip_id"]: row for row in dataset.labels()}
    vocabulary = Vocabulary(tokenizer.codes, tokenizer.levels)
    conditions = []
    for name in clips.names:
        condition = Condition(rows[name]["emotion"], rows[name]["intensity"] if rows[name]["emotion"] else None)
        try:
            condition.branches(vocabulary)
        except XNeMoError as error:
            raise XNeMoError(f"{dataset.folder}: clip {name}: {error}") from error
        conditions.append(condition)
    return LabelledClips(clips, tuple(conditions))


def check_encoder(dataset: MotionDataset, tokenizer: MotionTokenizer) -> None:
    """Refuse a dataset whose latents mean nothing to the tokenizer.

    Raises:
        XNeMoError: they are of another encoder; both ids are named.
    """
    if dataset.encoder_id != tokenizer.encoder_id:
        raise XNeMoError(
            f"{dataset.folder}: latents of motion encoder {dataset.encoder_id}, but the tokenizer was trained for "
            f"{tokenizer.encoder_id}; extract the dataset with that encoder, or take a tokenizer of the other"
        )


def draw_weights(clips: LabelledClips, balance: float, labelled: float) -> Tensor:
    """How often each clip is drawn, (clips,), float64, sum 1.

    Args:
        clips: the clips.
        balance: 0 to draw every frame as often, 1 every identity.
        labelled: share of draws from labelled clips alone: every emotion as often, of each every identity as often, of
            each every frame. Where there are none, all draws are from all clips.
    """
    lengths = clips.clips.lengths.double()
    identities = clips.clips.identities
    weights = lengths / _totals(identities, lengths) ** balance
    weights = weights / weights.sum()
    marked = clips.labelled.double()
    if not labelled or not marked.any():
        return weights
    emotions = [condition.emotion for condition in clips.conditions]
    people = list(zip(emotions, identities, strict=True))
    people_of = Counter(emotion for emotion, _ in set(people))
    classes = len({emotion for emotion in emotions if emotion is not None})
    share = torch.tensor([1 / (classes * people_of[emotion]) for emotion in emotions], dtype=torch.float64)
    return (1 - labelled) * weights + labelled * marked * share * lengths / _totals(people, lengths)


def _totals(groups: Sequence[object], lengths: Tensor) -> Tensor:
    """Frames of all clips in the group that each clip belongs to, (clips,)."""
    totals: Counter[object] = Counter()
    for group, length in zip(groups, lengths.tolist(), strict=True):
        totals[group] += length
    return torch.tensor([totals[group] for group in groups], dtype=torch.float64)


@torch.inference_mode()
def tokens_of(clips: Sequence[Tensor], tokenizer: MotionTokenizer) -> list[Tensor]:
    """Tokens of many clips, as `MotionTokenizer.encode` makes them, but for ties that rounding may decide otherwise.

    Clips of a like length are encoded together: choosing tokens by what they decode to goes step by step, and costs a
    third so. What is put behind the shorter ones comes after their last token was decided.

    Args:
        clips: features, (frames, 515) each.
        tokenizer: makes the tokens.
    Returns:
        (n, levels) of each, int64, on the CPU.
    """
    model, stride = tokenizer.model, tokenizer.frames_per_token
    together = _FRAMES_TOGETHER if model.config.causal else 0
    padded = [torch.cat([clip[:1].expand(-len(clip) % stride, -1), clip]) for clip in clips]
    order = sorted(range(len(clips)), key=lambda number: len(padded[number]))
    tokens: dict[int, Tensor] = {}
    while order:
        # From the longest on, as many as fit beside it.
        longest = len(padded[order[-1]])
        count = max(1, together // longest)
        numbers, order = order[-count:], order[:-count]
        batch = [torch.cat([padded[n], padded[n][-1:].expand(longest - len(padded[n]), -1)]) for n in numbers]
        encoded = _encode_together(model, torch.stack(batch).to(model.mean), [len(padded[n]) for n in numbers])
        tokens.update(zip(numbers, encoded, strict=True))
    return [tokens[number] for number in range(len(clips))]


def _encode_together(model: MotionVQVAE, features: Tensor, lengths: list[int]) -> list[Tensor]:
    """Tokens of each of (B, T, F), of which its first frames count; lengths are multiples of the stride."""
    stride = model.config.stride
    if model.config.search_delay == 0:
        return [row[: n // stride].clone() for row, n in zip(model.encode(features).cpu(), lengths, strict=True)]
    # A clip's last tokens hang on where it ends.
    state, paths, decided, begin = StreamState(), Paths(), [], 0
    tokens: dict[int, Tensor] = {}
    for end in sorted(set(lengths)):
        decided.append(model.encode_next(features[:, begin:end], state, paths))
        known = torch.cat([*decided, *([] if paths.best is None else [paths.best])], dim=1).cpu()
        tokens |= {row: known[row].clone() for row, length in enumerate(lengths) if length == end}
        begin = end
    return [tokens[row] for row in range(len(lengths))]
