"""A network's weights into safetensors files, part by part: never more in memory than one file of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from animator.files import open_to_others

State = Mapping[str, Tensor]

STEMS = {"diffusers": "diffusion_pytorch_model", "transformers": "model"}


@dataclass(frozen=True)
class Part:
    """Tensors of a network that come from one place.

    Attributes:
        names: our key -> key in that place.
        sizes: our key -> (number of values, number format) there.
        load: opens the place.
        mapped: whether it is a file mapped from disk; only one such file is open at a time.
    """

    names: dict[str, str]
    sizes: dict[str, tuple[int, torch.dtype]]
    load: Callable[[], State]
    mapped: bool = True

    @classmethod
    def of(cls, names: dict[str, str], state: State, load: Callable[[], State], mapped: bool = True) -> Part:
        """Make a part, with sizes from a look at its tensors, which need not have values."""
        sizes = {ours: (state[key].numel(), state[key].dtype) for ours, key in names.items()}
        return cls(names, sizes, load, mapped)

    @classmethod
    def in_memory(cls, tensors: State) -> Part:
        """Make a part of tensors that are there."""
        return cls.of({key: key for key in tensors}, tensors, lambda: tensors, mapped=False)


@dataclass(frozen=True)
class Network:
    """One folder of weights to write.

    Attributes:
        folder: its name in the pipeline's folder.
        library: "diffusers" or "transformers", which name their files differently.
        parts: what it consists of, without a key twice.
    """

    folder: str
    library: str
    parts: Sequence[Part]

    def bytes_in(self, dtype: torch.dtype | None) -> int:
        """Size of the weights when written."""
        return sum(_bytes(part, key, dtype) for part in self.parts for key in part.names)


def write_network(
    network: Network,
    root: Path,
    dtype: torch.dtype | None,
    shard_bytes: int,
    written: Callable[[int], object],
) -> None:
    """Write the weights of a network, in one file or, if they are larger than `shard_bytes`, in several and a list.

    Args:
        network: what to write.
        root: the pipeline's folder.
        dtype: number format of the floating-point entries; None leaves each as it is.
        shard_bytes: largest size of a file, unless one tensor alone is larger.
        written: told the number of bytes after each file.
    """
    folder, stem = root / network.folder, STEMS[network.library]
    folder.mkdir(parents=True, exist_ok=True)
    shards = list(_shards(network.parts, dtype, shard_bytes))
    weight_map, total = {}, 0
    opened: Part | None = None
    state: State = {}
    for number, shard in enumerate(shards, 1):
        name = f"{stem}-{number:05d}-of-{len(shards):05d}" if len(shards) > 1 else stem
        tensors: dict[str, Tensor] = {}
        for part, key in shard:
            if part is not opened:
                opened, state = part, part.load()
            tensors[key] = _prepared(in_format(state[part.names[key]], dtype))
            weight_map[key] = f"{name}.safetensors"
        save_tensors(tensors, folder / f"{name}.safetensors")
        size = sum(tensor.nbytes for tensor in tensors.values())
        total += size
        written(size)
    if len(shards) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        (folder / f"{stem}.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _shards(parts: Sequence[Part], dtype: torch.dtype | None, limit: int) -> Iterator[list[tuple[Part, str]]]:
    """Cut the parts into files. A mapped file begins a new one, so that no two are open for the same shard."""
    shard: list[tuple[Part, str]] = []
    full = 0
    for part in parts:
        for number, key in enumerate(part.names):
            size = _bytes(part, key, dtype)
            if shard and (full + size > limit or (part.mapped and number == 0)):
                yield shard
                shard, full = [], 0
            shard.append((part, key))
            full += size
    if shard:
        yield shard


def _bytes(part: Part, key: str, dtype: torch.dtype | None) -> int:
    count, stored = part.sizes[key]
    return count * (dtype if dtype is not None and stored.is_floating_point else stored).itemsize


def format_of(name: str) -> torch.dtype | None:
    """A number format by its name in the settings; None for "stored", which leaves each entry as it is."""
    return None if name == "stored" else getattr(torch, name)


def in_format(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    """Bring a tensor to a number format, unless it holds whole numbers or the format is None."""
    return tensor if dtype is None or not tensor.is_floating_point() else tensor.to(dtype)


def _prepared(tensor: Tensor) -> Tensor:
    tensor = tensor.contiguous()
    # A view of something larger may not be written as it is.
    return tensor if tensor.untyped_storage().nbytes() == tensor.nbytes else tensor.clone()


def save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Write a safetensors file.

    Raises:
        OSError: it cannot be written.
    """
    places: set[int] = set()
    for key, tensor in tensors.items():
        # Two entries may not share their memory.
        if tensor.data_ptr() in places:
            tensors[key] = tensor.clone()
        places.add(tensor.data_ptr())
    try:
        save_file(tensors, path, metadata={"format": "pt"})
    except SafetensorError as error:  # what it makes of a full disk
        raise OSError(str(error)) from error
    open_to_others(path)
