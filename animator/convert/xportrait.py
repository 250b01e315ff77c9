"""X-Portrait's released file (`model_state-*.th`) -> a folder that `XNeMoPipeline.from_pretrained` opens.

As with X-NeMo's release, everything is checked before anything is written, and the weights go from file to file without
being in memory together. The file may lack the two networks that X-Portrait did not train.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor
from transformers import CLIPTextModel

from animator.convert.checkpoints import find_weights, read_head, read_state
from animator.convert.checks import check_complete, check_entries
from animator.convert.components import check_fit, read_autoencoder
from animator.convert.expected import Expected
from animator.convert.expected_xportrait import (
    POSITION_IDS,
    Skeletons,
    build_skeletons,
    expected_autoencoder,
    expected_control,
    expected_denoiser,
    expected_reference_net,
    expected_text_encoder,
    expected_unused,
    text_config,
)
from animator.convert.record import MANIFEST, write_json
from animator.convert.release import DEFAULT_SHARD_BYTES, check_space, write_networks
from animator.convert.shards import Network, Part, State
from animator.errors import XNeMoError
from animator.files import atomic_folder, sha256_of
from animator.model_config import AnimatorConfig
from animator.pipeline import XNeMoPipeline

REMEDY = "download it again from the page of X-Portrait (github.com/bytedance/X-Portrait)"
BEGIN, END = 49406, 49407  # CLIP's tokens; the second also fills a prompt up
_SECOND_TABLE = ".attention_blocks.1.pos_encoder.pe"  # of two equal tables of a block the first is kept


@dataclass(frozen=True)
class Conversion:
    """What a conversion did.

    Attributes:
        folder: the new folder.
        size: bytes of weights in it.
        keys: entries of the file by what became of them.
    """

    folder: Path
    size: int
    keys: dict[str, int]


def convert_xportrait(
    source: Path,
    target: Path,
    config: AnimatorConfig,
    vae: Path | None = None,
    text_encoder: Path | None = None,
    dtype: torch.dtype | None = None,
    shard_bytes: int = DEFAULT_SHARD_BYTES,
) -> Conversion:
    """Convert the released file.

    Args:
        source: the file.
        target: the folder to make.
        config: the architecture; the released one is the size `xportrait`.
        vae: diffusers folder of Stable Diffusion's autoencoder, where the file has none.
        text_encoder: transformers folder of Stable Diffusion's text encoder, where the file has none.
        dtype: number format to write; None keeps each entry's own.
        shard_bytes: largest size of a file of weights.
    Raises:
        XNeMoError: the file is missing, damaged or another one than it should be, a network is in it twice over or not
            at all, or the folder cannot be written.
    """
    if config.control != "control_nets":
        raise XNeMoError("animator: X-Portrait is driven through ControlNets; choose animator=xportrait")
    nets = build_skeletons(config)
    parts = {
        "unet": expected_denoiser(nets, config),
        "reference_net": expected_reference_net(nets, config),
        "control": expected_control(nets, config),
    }
    own = {"vae": expected_autoencoder(nets), "text encoder": expected_text_encoder(nets)}
    unused = expected_unused(nets, config)
    head = _read(source, _joined([*parts.values(), *own.values(), unused]))
    present = {name for name, expected in own.items() if not expected.shapes.keys().isdisjoint(head)}
    parts |= {name: expected for name, expected in own.items() if name in present}
    for expected in parts.values():
        check_complete(str(source), head, expected, REMEDY)

    networks = [_network(name, source, head, expected) for name, expected in parts.items() if name != "text encoder"]
    prompt = empty_prompt(nets, _text_weights(source, nets, text_encoder, "text encoder" in present))
    networks[2] = Network("control", "diffusers", [*networks[2].parts, Part.in_memory({"empty_prompt": prompt})])
    autoencoder = nets.vae
    if "vae" not in present:
        if vae is None:
            raise XNeMoError(f"{source}: holds no autoencoder; name a folder of Stable Diffusion's with vae=FOLDER")
        component = read_autoencoder(vae, "name another folder with vae=FOLDER")
        check_fit(config, component, None)
        networks.append(component.network)
        autoencoder = component.net

    size = sum(network.bytes_in(dtype) for network in networks)
    counts = {name: len([key for key in head if key in expected.shapes]) for name, expected in parts.items()}
    counts["not needed"] = len([key for key in head if key in unused.shapes])
    with atomic_folder(target) as folder:
        check_space(target, folder, size)
        _write_configs(folder, config, nets, autoencoder)
        write_networks(networks, folder, dtype, shard_bytes)
        _write_record(folder, source, dtype, counts)
    return Conversion(target, size, counts)


def _read(source: Path, expected: Expected) -> dict[str, Tensor]:
    """Names and shapes of the file's entries, checked; values of the tables alone."""
    head = read_head(source, expected.tables.__contains__, REMEDY, training=True)
    head.pop(POSITION_IDS, None)
    check_entries(source, head, expected, REMEDY)
    return head


def _joined(parts: list[Expected]) -> Expected:
    joined = Expected("X-Portrait", {}, {}, {})
    for part in parts:
        joined.shapes.update(part.shapes)
        joined.tables.update(part.tables)
    return joined


def _network(name: str, source: Path, head: dict[str, Tensor], expected: Expected) -> Network:
    held = {ours: key for key, ours in expected.ours.items() if key in head and not key.endswith(_SECOND_TABLE)}

    def load() -> State:
        state = read_state(source, REMEDY, training=True)
        # Attention of the autoencoder: a convolution of 1 x 1 is a matrix.
        flat = name == "vae"
        return {key: state[key].flatten(1) if flat and ".attn_1." in key and state[key].ndim == 4 else state[key]
                for key in held.values()}  # fmt: skip

    parts = [Part.of(held, head, load)]
    tables = {expected.ours[key]: table for key, table in expected.tables.items() if expected.ours[key] not in held}
    if tables:
        parts.append(Part.in_memory(tables))
    return Network(name, "diffusers", parts)


def _text_weights(source: Path, nets: Skeletons, folder: Path | None, inside: bool) -> dict[str, Tensor]:
    """The text encoder's weights under its own keys."""
    if inside:
        ours, state = expected_text_encoder(nets).ours, read_state(source, REMEDY, training=True)
        return {name: state[key] for key, name in ours.items()}
    if folder is None:
        raise XNeMoError(
            f"{source}: holds no text encoder, whose empty prompt every layer reads; name a folder of Stable "
            "Diffusion's with text_encoder=FOLDER"
        )
    files, remedy = find_weights(folder, "transformers"), "name another folder with text_encoder=FOLDER"
    if len(files) != 1:
        raise XNeMoError(f"{folder}: {len(files)} files of weights; {remedy}")
    expected = expected_text_encoder(nets, "text_model.")
    state = {key: value for key, value in read_state(files[0], remedy).items() if not key.endswith("position_ids")}
    check_entries(files[0], state, expected, remedy)
    check_complete(str(files[0]), state, expected, remedy)
    return {name: state[key] for key, name in expected.ours.items()}


@torch.no_grad()
def empty_prompt(nets: Skeletons, weights: dict[str, Tensor]) -> Tensor:
    """The empty prompt's embedding, (1, 77, width): what X-Portrait's cross-attention reads everywhere."""
    encoder = CLIPTextModel(text_config(nets.text_encoder.config.hidden_size)).eval()
    encoder.load_state_dict({name: value.float() for name, value in weights.items()}, strict=False)
    length = nets.text_encoder.config.max_position_embeddings
    tokens = torch.tensor([[BEGIN] + [END] * (length - 1)])
    embedding: Tensor = encoder(input_ids=tokens).last_hidden_state
    return embedding


def _write_configs(folder: Path, config: AnimatorConfig, nets: Skeletons, autoencoder: object) -> None:
    pipeline = XNeMoPipeline(
        reference_net=nets.reference_net,
        unet=nets.unet,
        vae=autoencoder,  # type: ignore[arg-type]
        scheduler=nets.scheduler,
        control=nets.control,
        image_size=config.image_size,
        default_renderer="diffusion",
    )
    for name in ("reference_net", "unet", "vae", "control"):
        getattr(pipeline, name).save_config(folder / name)
    nets.scheduler.save_pretrained(folder / "scheduler")
    pipeline.save_config(folder)


def _write_record(folder: Path, source: Path, dtype: torch.dtype | None, counts: dict[str, int]) -> None:
    """Write where the weights came from, for programs and for people."""
    checksum = sha256_of(source)
    about = {
        "schema": 1,
        "made_by": f"xnemo-motion-suite {version('xnemo-motion-suite')}",
        "origin": "X-Portrait inference release (bytedance/X-Portrait)",
        "number_format": "as stored" if dtype is None else str(dtype).removeprefix("torch."),
        "sources": [{"file": source.name, "bytes": source.stat().st_size, "sha256": checksum}],
        "keys": counts,
    }
    write_json(folder / MANIFEST, about)
    (folder / "README.md").write_text(_CARD.format(name=source.name, checksum=checksum), encoding="utf-8")


_CARD = """---
license: other
library_name: diffusers
---

# X-Portrait, the released weights

Converted by `xnemo convert xportrait-release` from `{name}` (sha256 {checksum}), which the authors of *X-Portrait:
Expressive Portrait Animation with Hierarchical Motion Attention* (SIGGRAPH 2024) published. Their terms go with it; the
networks that it was made from are Stable Diffusion's (CreativeML OpenRAIL-M).

Use with `xnemo animate PORTRAIT VIDEO weights=FOLDER sampler=xportrait`.
"""
