"""The released X-NeMo files -> a folder that `XNeMoPipeline.from_pretrained` opens.

Everything is checked before anything is written: names, shapes and number formats come from the heads of the files.
Then the weights go from file to file without ever being in memory together, into a folder that gets its name when it
is whole.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from diffusers import DDIMScheduler
from tqdm import tqdm

from animator.asset_manifest import IMAGE_VARIATIONS, VIDEO_DIFFUSION, released_home
from animator.builders import build_feature_extractor
from animator.convert.components import (
    Component,
    base_unet_file,
    check_base_config,
    check_fit,
    find_folder,
    read_autoencoder,
    read_image_encoder,
)
from animator.convert.expected import Skeletons, build_skeletons
from animator.convert.record import SourceFile, write_card, write_layout, write_manifest
from animator.convert.release_files import BaseUnet, ReleasedFiles
from animator.convert.shards import Network, in_format, write_network
from animator.errors import XNeMoError
from animator.files import atomic_folder, sha256_of
from animator.model_config import AnimatorConfig, SchedulerConfig
from animator.models.identity import RECORD, record_id
from animator.models.motion_encoder import MotionEncoder
from animator.pipeline import XNeMoPipeline

# The schedule that the release was trained with: Stable Diffusion's, but for the last beta.
RELEASE_SCHEDULE = SchedulerConfig(beta_end=0.02)

DEFAULT_SHARD_BYTES = 10**9


@dataclass(frozen=True)
class Conversion:
    """What a conversion did.

    Attributes:
        folder: the new folder.
        size: bytes of weights in it.
        from_base: network -> keys that were taken from the base UNet.
        computed: released keys of position tables that no file held.
    """

    folder: Path
    size: int
    from_base: dict[str, list[str]]
    computed: list[str]


def convert_release(
    source: Path,
    target: Path,
    config: AnimatorConfig,
    allow_base: bool = False,
    dtype: torch.dtype | None = None,
    shard_bytes: int = DEFAULT_SHARD_BYTES,
) -> Conversion:
    """Convert the released files.

    Args:
        source: folder with the four `.pth` files and, unless they are in the folder of downloaded weights, the two base
            models.
        target: the folder to make.
        config: the architecture; the released one is the size `xnemo`.
        allow_base: take UNet keys that the released files lack from the base UNet.
        dtype: number format to write; None keeps each entry's own.
        shard_bytes: largest size of a file of weights.
    Raises:
        XNeMoError: a file is missing, damaged or another one than it should be, or the folder cannot be written.
    """
    skeletons = build_skeletons(config)
    files = ReleasedFiles.read(source, skeletons)
    lacking = files.lacking()
    # Not needed, but where it is, it says whether the architecture is the right one.
    check_base_config(source / IMAGE_VARIATIONS / "unet", config.reference_net)
    base = _base_unet(source, files, config) if allow_base and any(lacking.values()) else None
    files.check_complete(base)
    autoencoder, image_encoder = _components(source, config)

    networks = [*files.networks(base), autoencoder.network]
    paths = [file.path for file in files.all] + [autoencoder.path]
    if image_encoder is not None:
        networks.append(image_encoder.network)
        paths.append(image_encoder.path)
    if base is not None:
        paths.append(base.path)
    from_base = {name: keys for name, keys in lacking.items() if keys}
    computed = files.computed()
    size = sum(network.bytes_in(dtype) for network in networks)
    with atomic_folder(target) as folder:
        check_space(target, folder, size)
        _write_configs(folder, config, skeletons, autoencoder, image_encoder)
        write_networks(networks, folder, dtype, shard_bytes)
        _write_encoder_id(folder / "motion_encoder", skeletons.motion_encoder)
        layout = {file.path.name: list(file.head) for file in files.all}
        write_layout(folder, layout, {key: in_format(value, dtype) for key, value in files.extras().items()})
        write_manifest(folder, _hashed(paths, source), dtype, from_base, computed, files.overridden())
        write_card(folder)
    return Conversion(target, size, from_base, computed)


def check_space(target: Path, folder: Path, size: int) -> None:
    """Stop before hours of writing end on a full disk.

    Raises:
        XNeMoError: fewer than `size` bytes are free where `folder` is.
    """
    free = shutil.disk_usage(folder).free
    if free < size:
        raise XNeMoError(f"{target}: needs {size / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free there")


def write_networks(networks: list[Network], folder: Path, dtype: torch.dtype | None, shard_bytes: int) -> None:
    """Write networks one after the other, with a progress bar over their bytes."""
    total = sum(network.bytes_in(dtype) for network in networks)
    with tqdm(total=total, unit="B", unit_scale=True) as bar:
        for network in networks:
            bar.set_description(f"writing {network.folder}")
            write_network(network, folder, dtype, shard_bytes, bar.update)


def _base_unet(source: Path, files: ReleasedFiles, config: AnimatorConfig) -> BaseUnet:
    folder = find_folder(source, released_home(), f"{IMAGE_VARIATIONS}/unet", "image-variations-unet")
    check_base_config(folder, config.reference_net)
    remedy = "`xnemo fetch image-variations-unet` brings it"
    return BaseUnet.read(base_unet_file(folder, remedy), files.denoising.expected, remedy)


def _components(source: Path, config: AnimatorConfig) -> tuple[Component, Component | None]:
    """Autoencoder and, where the architecture has an image token, image encoder."""
    home = released_home()
    folder = find_folder(source, home, f"{VIDEO_DIFFUSION}/vae", "svd-vae")
    autoencoder = read_autoencoder(folder, "delete it and run `xnemo fetch svd-vae`")
    image_encoder = None
    if config.image_encoder:
        folder = find_folder(source, home, f"{IMAGE_VARIATIONS}/image_encoder", "image-variations")
        image_encoder = read_image_encoder(folder, "delete it and run `xnemo fetch image-variations`")
    check_fit(config, autoencoder, image_encoder)
    return autoencoder, image_encoder


def _write_configs(
    folder: Path, config: AnimatorConfig, skeletons: Skeletons, autoencoder: Component, image_encoder: Component | None
) -> None:
    """Write everything but the weights."""
    scheduler = DDIMScheduler(**asdict(RELEASE_SCHEDULE))
    scheduler.save_pretrained(folder / "scheduler")
    skeletons.motion_encoder.save_config(folder / "motion_encoder")
    skeletons.reference_net.save_config(folder / "reference_net")
    skeletons.unet.save_config(folder / "unet")
    autoencoder.net.save_config(folder / "vae")
    feature_extractor = None
    if image_encoder is not None:
        image_encoder.net.config.save_pretrained(folder / "image_encoder")
        feature_extractor = build_feature_extractor()
        feature_extractor.save_pretrained(folder / "feature_extractor")
    pipeline = XNeMoPipeline(
        motion_encoder=skeletons.motion_encoder,
        reference_net=skeletons.reference_net,
        unet=skeletons.unet,
        vae=autoencoder.net,
        scheduler=scheduler,
        image_encoder=None if image_encoder is None else image_encoder.net,
        feature_extractor=feature_extractor,
        image_size=config.image_size,
        default_renderer="diffusion",
    )
    pipeline.save_config(folder)
    if feature_extractor is not None:
        _name_portably(folder / "model_index.json")


def _write_encoder_id(folder: Path, encoder: MotionEncoder) -> None:
    """Let the encoder's configuration tell the id that goes with its weights, which are written."""
    written = MotionEncoder.from_pretrained(folder, local_files_only=True)
    record_id(written)
    if RECORD in written.config:
        encoder.register_to_config(**{RECORD: written.config[RECORD]})
        encoder.save_config(folder)


def _name_portably(index: Path) -> None:
    """Name the preprocessing as every transformers knows it, and not as the class that this machine's stands for."""
    components = json.loads(index.read_text(encoding="utf-8"))
    components["feature_extractor"] = ["transformers", "CLIPImageProcessor"]
    index.write_text(json.dumps(components, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _hashed(paths: list[Path], source: Path) -> list[SourceFile]:
    """Checksums of what was read, with a progress bar; names are as the release lays them out."""
    hashed = []
    with tqdm(total=sum(path.stat().st_size for path in paths), unit="B", unit_scale=True, desc="checksums") as bar:
        for path in paths:
            root = source if path.is_relative_to(source) else released_home()
            size = path.stat().st_size
            hashed.append(SourceFile(path.relative_to(root).as_posix(), size, sha256_of(path)))
            bar.update(size)
    return hashed
