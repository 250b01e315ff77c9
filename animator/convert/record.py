"""What a converted folder says about itself: where its weights came from, under which licence, and what was left over.

`manifest.json` is for people and programs, the model card for people. `release_layout.json` says which keys were in
which released file, and `release_extras.safetensors` holds the entries that our networks compute instead of storing;
with the two, `xnemo convert to-release` gives the released files back bit for bit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from animator.asset_manifest import OPENRAIL, RELEASE_LICENCE, RELEASE_PAGE, STABILITY
from animator.convert.checkpoints import read_json, read_state
from animator.convert.shards import save_tensors

MANIFEST = "manifest.json"
LAYOUT = "release_layout.json"
EXTRAS = "release_extras.safetensors"

_SCHEMA = 1


@dataclass(frozen=True)
class SourceFile:
    """A file that was converted: its name as the release lays it out, size in bytes, and checksum."""

    file: str
    bytes: int
    sha256: str


def write_manifest(
    folder: Path,
    sources: list[SourceFile],
    dtype: torch.dtype | None,
    from_base: Mapping[str, list[str]],
    computed: list[str],
    overridden: list[str],
) -> None:
    """Write `manifest.json`.

    Args:
        folder: the pipeline's folder.
        sources: what was read.
        dtype: number format that everything was brought to; None: each entry kept its own.
        from_base: network -> keys that were taken from the base UNet.
        computed: position tables that no file held.
        overridden: keys of the denoising file that the temporal file replaced by other values.
    """
    manifest: dict[str, Any] = {
        "schema": _SCHEMA,
        "made_by": f"xnemo-motion-suite {version('xnemo-motion-suite')}",
        "origin": "X-NeMo inference release (bytedance/x-nemo-inference)",
        "page": RELEASE_PAGE,
        "licences": {
            "motion_encoder, reference_net, unet": f"{RELEASE_LICENCE} (research only)",
            "image_encoder": OPENRAIL,
            "vae": STABILITY,
        },
        "number_format": "as stored" if dtype is None else str(dtype).removeprefix("torch."),
        "sources": [asdict(source) for source in sources],
        "from_base": dict(from_base),
        "computed": computed,
        "overridden": overridden,
    }
    write_json(folder / MANIFEST, manifest)


def write_card(folder: Path) -> None:
    """Write the model card, whose head names the licence."""
    (folder / "README.md").write_text(_CARD, encoding="utf-8")


_CARD = f"""---
license: cc-by-nc-4.0
library_name: diffusers
---

# X-NeMo, the released weights

Converted by `xnemo convert xnemo-release` from the files that the authors of *X-NeMo: Expressive Neural Motion
Reenactment via Disentangled Latent Attention* (ICLR 2025) published at
{RELEASE_PAGE}. `manifest.json` has their checksums.

| part | licence |
|---|---|
| motion encoder, reference net, denoiser | {RELEASE_LICENCE}, for academic research only |
| image encoder (Stable Diffusion image variations) | {OPENRAIL} |
| autoencoder (Stable Video Diffusion) | {STABILITY} |

Use with `xnemo animate PORTRAIT DRIVING weights=FOLDER`, or `XNeMoPipeline.from_pretrained(FOLDER)`.
"""


def write_layout(folder: Path, layout: Mapping[str, list[str]], extras: dict[str, Tensor]) -> None:
    """Write which released file holds which keys, and the entries that are stored nowhere else.

    Args:
        folder: the pipeline's folder.
        layout: name of a released file -> its keys, in its order.
        extras: released key -> value.
    """
    write_json(folder / LAYOUT, dict(layout))
    if extras:
        save_tensors(extras, folder / EXTRAS)


def read_layout(folder: Path) -> tuple[dict[str, list[str]] | None, dict[str, Tensor]]:
    """Read back what `write_layout` wrote; (None, {}) in a folder that was not converted from a release.

    Raises:
        XNeMoError: the files are damaged.
    """
    if not (folder / LAYOUT).is_file():
        return None, {}
    extras = read_state(folder / EXTRAS) if (folder / EXTRAS).is_file() else {}
    return read_json(folder / LAYOUT), extras


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write a record as people read it."""
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
