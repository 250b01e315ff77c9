"""The processes that train together, and what they must agree on so that none waits for another for ever."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import Tensor, distributed, nn

from animator.errors import XNeMoError
from animator.training.randomness import Share

Terms = dict[str, Tensor]

# The weights of a module lie in pieces in different processes.
SHARDING = (DistributedType.FSDP, DistributedType.DEEPSPEED)


class Ranks:
    """All processes of a run, as one of them sees them.

    Args:
        accelerator: of this process; None is a run that knows of one process only.
    Raises:
        XNeMoError: accelerate divides the weights in a way that a run cannot work with.
    """

    def __init__(self, accelerator: Accelerator | None = None) -> None:
        self.accelerator = accelerator
        self.count = 1 if accelerator is None else accelerator.num_processes
        self.index = 0 if accelerator is None else accelerator.process_index
        self._check_sharding()

    @property
    def main(self) -> bool:
        """Whether this process writes files and talks to the user."""
        return self.index == 0

    @property
    def sharded(self) -> bool:
        """Whether no process has all of the weights."""
        return self.accelerator is not None and self.accelerator.distributed_type in SHARDING

    def shares(self, parts: int) -> list[Share]:
        """This process's parts of a batch that every process takes in `parts` parts."""
        return [Share(part * self.count + self.index, self.count * parts) for part in range(parts)]

    def agree(self, value: float) -> float:
        """The main process's value, for all: clocks differ, and what follows from them must not."""
        return value if self.count == 1 else self._reduced(value if self.main else 0.0)

    def any(self, flag: bool) -> bool:
        """Whether the flag is up in any process."""
        return flag if self.count == 1 else self._reduced(float(flag)) > 0

    def mean(self, terms: Terms) -> Terms:
        """Each term averaged over all processes."""
        if self.count == 1 or not terms:
            return terms
        together = torch.stack([term.detach().float() for term in terms.values()])
        distributed.all_reduce(together)
        return dict(zip(terms, (together / self.count).unbind(), strict=True))

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Average the gradients of a module that no wrapper of accelerate looks after."""
        for parameter in parameters:
            if self.count > 1 and parameter.grad is not None:
                distributed.all_reduce(parameter.grad)
                parameter.grad /= self.count

    def wait(self) -> None:
        """Return when every process has come here."""
        if self.accelerator is not None:
            self.accelerator.wait_for_everyone()

    def _check_sharding(self) -> None:
        """Two ways of dividing weights leave nothing to average, or to save, under the weights' own names."""
        state = None if self.accelerator is None else self.accelerator.state
        if state is None or not self.sharded:
            return
        deepspeed, fsdp = getattr(state, "deepspeed_plugin", None), getattr(state, "fsdp_plugin", None)
        if deepspeed is not None and deepspeed.zero_stage == 3:
            raise XNeMoError("DeepSpeed's stage 3 takes the weights apart; use zero_stage 1 or 2, or FSDP")
        if fsdp is not None and fsdp.fsdp_version != 2:
            raise XNeMoError("FSDP version 1 joins weights of different modules; set fsdp_version: 2")

    def _reduced(self, value: float) -> float:
        assert self.accelerator is not None
        kept = torch.tensor(value, dtype=torch.float64, device=self.accelerator.device)
        distributed.all_reduce(kept)
        return kept.item()
