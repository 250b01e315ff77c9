"""Tokens that are searched for (`motion_tokenizer.models.search`), for a decoder that learns to read them.

To search takes ten times as long as to learn from what was found. So the tokens of some steps' windows are kept, and
the decoder goes through them several times before it is asked for new ones.
"""

from __future__ import annotations

from torch import Tensor

from animator.training.state import AveragedWeights
from motion_tokenizer.models.vqvae import MotionVQVAE
from motion_tokenizer.training.windows import WindowBatch


class SearchedTokens:
    """The tokens of a run's last steps.

    Args:
        model: in training.
        searcher: weights that a round's tokens are searched with, those of the round's first step. They are part of
            the run's state, so that a run that goes on finds the same tokens again.
        first: the first step on searched tokens.
        windows: steps whose windows make a round.
        passes: how often a round is gone through.
    """

    def __init__(self, model: MotionVQVAE, searcher: AveragedWeights, first: int, windows: int, passes: int) -> None:
        self._model = model
        self._searcher = searcher
        self._first = first
        self._windows = windows
        self._round = windows * passes
        self._found: dict[int, Tensor] = {}

    def windows_of(self, step: int) -> int:
        """The step whose windows are drawn for a step: its own, but for the later passes of a round."""
        if step < self._first:
            return step
        number, place = divmod(step - self._first, self._round)
        return self._first + number * self._windows + place % self._windows

    def vectors(self, step: int, batch: WindowBatch) -> Tensor:
        """What the decoder reads in a step on searched tokens, (B, n, code_dim); `batch` as `windows_of` says."""
        if (step - self._first) % self._round == 0:
            self._searcher.load(self._model.state_dict())
            self._found.clear()
        number = self.windows_of(step)
        if number not in self._found:
            with self._searcher.applied_to(self._model):
                self._found[number] = self._model.encode(batch.noisy)
        return self._model.bottleneck.decode(self._found[number])
