"""Checkpoints of runs in which no process has all of the weights (FSDP, DeepSpeed).

accelerate writes each process's piece of weights and optimiser into a folder, and the averages go beside them. The
checkpoint file names the folder and is written last, so that a run killed in between goes on from the one before.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from torch import Tensor, nn

from animator.errors import XNeMoError
from animator.training.ranks import Ranks
from animator.training.state import TrainingState


def save_pieces(output: Path, state: TrainingState, ranks: Ranks) -> str:
    """Write this process's pieces; every process has to call it. Returns the folder's name in `output`."""
    assert ranks.accelerator is not None
    folder = output / f"pieces_{state.step:07d}"
    ranks.accelerator.save_state(str(folder))
    averages = {
        name: {key: _own(value) for key, value in average.values.items()} for name, average in state.averages.items()
    }
    torch.save(averages, folder / _averages_of(ranks))
    ranks.wait()
    return folder.name


def load_pieces(folder: Path, state: TrainingState, ranks: Ranks) -> None:
    """Read what `save_pieces` wrote, in as many processes.

    Raises:
        XNeMoError: the folder is not whole, or of another number of processes.
    """
    assert ranks.accelerator is not None
    path = folder / _averages_of(ranks)
    if not path.is_file():
        raise XNeMoError(f"{folder}: has no piece {path.name}; go on with as many processes as wrote it")
    ranks.accelerator.load_state(str(folder))
    averages = torch.load(path, map_location="cpu", weights_only=True)
    for name, average in state.averages.items():
        for key, value in average.values.items():
            _own(value).copy_(averages[name][key])


def remove_pieces(output: Path, keep: str | None) -> None:
    """Remove the folders of checkpoints that are no longer named."""
    for folder in output.glob("pieces_*"):
        if folder.name != keep:
            shutil.rmtree(folder, ignore_errors=True)


def whole_state(module: nn.Module) -> dict[str, Tensor]:
    """All of a module's state on the CPU, put together from its pieces; every process has to call it."""
    state = {}
    for name, value in module.state_dict().items():
        together = value.full_tensor() if hasattr(value, "full_tensor") else value
        state[name] = together.detach().cpu()
    return state


def _own(value: Tensor) -> Tensor:
    """This process's piece of a tensor."""
    return value.to_local() if hasattr(value, "to_local") else value


def _averages_of(ranks: Ranks) -> str:
    return f"averages_{ranks.index}_of_{ranks.count}.pt"
