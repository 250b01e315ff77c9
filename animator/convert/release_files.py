"""The four files of the release: read, checked, and sorted into the three networks that they hold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from animator.asset_manifest import DENOISING, ENCODER, REFERENCE, RELEASE_FILES, RELEASE_PAGE, TEMPORAL
from animator.convert.checkpoints import read_head, read_state
from animator.convert.checks import check_complete, check_entries, missing_keys
from animator.convert.expected import (
    Expected,
    Skeletons,
    expected_denoiser,
    expected_motion_encoder,
    expected_reference_net,
)
from animator.convert.shards import Network, Part
from animator.errors import XNeMoError
from animator.release_keys import SECOND_TABLE

REMEDY = f"download it again from {RELEASE_PAGE}"
_OR_BASE = f"{REMEDY}, or let --allow-base take what the base UNet has"


@dataclass(frozen=True)
class ReleasedFile:
    """One checked file.

    Attributes:
        path: where it is.
        expected: what its network takes.
        head: its entries, without values but for the position tables.
    """

    path: Path
    expected: Expected
    head: dict[str, Tensor]

    @classmethod
    def read(cls, path: Path, expected: Expected) -> ReleasedFile:
        """Look at a file.

        Raises:
            XNeMoError: it is missing, damaged, or holds what does not belong.
        """
        head = read_head(path, expected.tables.__contains__, REMEDY)
        check_entries(path, head, expected, REMEDY)
        return cls(path, expected, head)

    def part(self, keys: Iterable[str]) -> Part:
        """Some of its entries, under our names."""
        path = self.path
        return Part.of({self.expected.ours[key]: key for key in keys}, self.head, lambda: read_state(path, REMEDY))


@dataclass(frozen=True)
class BaseUnet:
    """A Stable Diffusion UNet that fills gaps, or that training begins with; keys as in the released files."""

    path: Path
    head: dict[str, Tensor]

    @classmethod
    def read(cls, path: Path, denoiser: Expected, remedy: str) -> BaseUnet:
        """Look at the file of its weights.

        Raises:
            XNeMoError: it is damaged, of another architecture or not complete.
        """
        head = read_head(path, remedy=remedy)
        spatial = denoiser.only(is_spatial)
        check_entries(path, head, spatial, remedy)
        check_complete(str(path), head, spatial, remedy)
        return cls(path, head)

    def part(self, keys: Iterable[str]) -> Part:
        """Some of its entries."""
        path = self.path
        return Part.of({key: key for key in keys}, self.head, lambda: read_state(path))


@dataclass(frozen=True)
class ReleasedFiles:
    """The four files, each checked by itself."""

    encoder: ReleasedFile
    reference: ReleasedFile
    denoising: ReleasedFile
    temporal: ReleasedFile

    @classmethod
    def read(cls, source: Path, skeletons: Skeletons) -> ReleasedFiles:
        """Look at the files of a folder.

        Raises:
            XNeMoError: one is missing, damaged, or holds what does not belong.
        """
        if not source.is_dir():
            raise XNeMoError(f"{source}: no such folder; name the one that holds {', '.join(RELEASE_FILES)}")
        denoiser = expected_denoiser(skeletons.unet)
        return cls(
            ReleasedFile.read(source / ENCODER, expected_motion_encoder(skeletons.motion_encoder)),
            ReleasedFile.read(source / REFERENCE, expected_reference_net(skeletons.reference_net)),
            ReleasedFile.read(source / DENOISING, denoiser),
            ReleasedFile.read(source / TEMPORAL, denoiser),
        )

    @property
    def all(self) -> tuple[ReleasedFile, ...]:
        """The files one by one."""
        return self.encoder, self.reference, self.denoising, self.temporal

    def lacking(self) -> dict[str, list[str]]:
        """Network -> keys that its files do not hold and that cannot be computed, UNets only."""
        return {
            "reference_net": missing_keys(self.reference.head, self.reference.expected),
            "unet": missing_keys([*self.denoising.head, *self.temporal.head], self.denoising.expected),
        }

    def check_complete(self, base: BaseUnet | None) -> None:
        """Demand every key, from the files or from the base UNet.

        Raises:
            XNeMoError: some are in neither.
        """
        fallback = [] if base is None else list(base.head)
        encoder, reference, denoising, temporal = self.all
        check_complete(str(encoder.path), encoder.head, encoder.expected, REMEDY)
        check_complete(str(reference.path), [*reference.head, *fallback], reference.expected, _OR_BASE)
        held = [*denoising.head, *temporal.head, *fallback]
        # What only X-NeMo has, no base UNet can give.
        recoverable = base is None and all(is_spatial(key) for key in missing_keys(held, denoising.expected))
        where = f"{denoising.path} and {temporal.path.name} together"
        check_complete(where, held, denoising.expected, _OR_BASE if recoverable else REMEDY)

    def networks(self, base: BaseUnet | None) -> list[Network]:
        """Our three networks, with what the files lack taken from the base UNet or computed."""
        places = self._unet_places()
        unet = [
            file.part(key for holder, key in places.values() if holder is file)
            for file in (self.denoising, self.temporal)
        ]
        unet.append(Part.in_memory(self._computed_unet_tables()))
        reference = [self.reference.part(self.reference.head)]
        if base is not None:
            lacking = self.lacking()
            reference.append(base.part(lacking["reference_net"]))
            unet.append(base.part(lacking["unet"]))
        held = [key for key in self.encoder.head if key in self.encoder.expected.ours]
        return [
            Network("motion_encoder", "diffusers", [self.encoder.part(held)]),
            Network("reference_net", "diffusers", reference),
            Network("unet", "diffusers", unet),
        ]

    def computed(self) -> list[str]:
        """Released keys of position tables that no file holds."""
        unet = self.denoising.head | self.temporal.head
        return [key for key in self.encoder.expected.tables if key not in self.encoder.head] + [
            key for key in self.denoising.expected.tables if key not in unet
        ]

    def extras(self) -> dict[str, Tensor]:
        """Entries that our networks do not store, and cannot make again to the last bit."""
        kept = {key: value for key, value in self.encoder.head.items() if key not in self.encoder.expected.ours}
        stored = {ours: file.head[key] for ours, (file, key) in self._unet_places().items()}
        unet = self.denoising.head | self.temporal.head
        for key in self.denoising.expected.tables:
            if key in unet and not same_bits(unet[key], stored[self.denoising.expected.ours[key]]):
                kept[key] = unet[key]
        return kept

    def overridden(self) -> list[str]:
        """Keys of the denoising file to which the temporal file, which is read after it, gives other values."""
        both = [key for key in self.denoising.head if key in self.temporal.head]
        if not both:
            return []
        first, second = read_state(self.denoising.path, REMEDY), read_state(self.temporal.path, REMEDY)
        return [key for key in both if not same_bits(first[key], second[key])]

    def _unet_places(self) -> dict[str, tuple[ReleasedFile, str]]:
        """Our key -> the file that decides it, and its key there: the temporal file before the denoising file."""
        entries = [(file, key) for file in (self.denoising, self.temporal) for key in file.head]
        # Of the two position tables of a block the first is stored, whichever file it is in.
        entries.sort(key=lambda entry: not entry[1].endswith(SECOND_TABLE))
        return {file.expected.ours[key]: (file, key) for file, key in entries}

    def _computed_unet_tables(self) -> dict[str, Tensor]:
        places, expected = self._unet_places(), self.denoising.expected
        tables = {expected.ours[key]: table for key, table in expected.tables.items()}
        return {ours: table for ours, table in tables.items() if ours not in places}


def is_spatial(key: str) -> bool:
    """Whether a released key of the denoising UNet belongs to the image UNet that it was made from."""
    return ".motion_modules." not in key and ".temporal_modules." not in key


def same_bits(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors have the same shape, number format and bytes; NaN equals NaN."""
    if first.dtype != second.dtype or first.shape != second.shape:
        return False
    return torch.equal(first.reshape(-1).view(torch.uint8), second.reshape(-1).view(torch.uint8))
