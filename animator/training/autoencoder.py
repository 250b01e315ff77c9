"""Train the small autoencoder on patches of face crops: L1, a little LPIPS, and a trace of divergence from N(0, 1).

Of a `PatchAutoencoder` the principal components are taken first, and then its decoder is trained.
"""

from __future__ import annotations

import copy
import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn import functional as F
from torch.utils.tensorboard import SummaryWriter

from animator.builders import build_animator
from animator.errors import XNeMoError
from animator.evaluation.lpips import Lpips
from animator.files import replaced_folder
from animator.image import write_image
from animator.models.autoencoder import Autoencoder
from animator.models.patch_autoencoder import PatchAutoencoder
from animator.pixels import to_uint8
from animator.training.config import TrainAutoencoderConfig
from animator.training.crops import FaceCrops
from animator.training.loop import Run, Terms, update
from animator.training.state import AveragedWeights, TrainingState
from animator.training.weights import load_networks
from animator.visuals import Row, contact_sheet

SHOWN = 8
FITTED = 800  # frames whose patches give the principal components


def train_autoencoder(config: TrainAutoencoderConfig) -> Path:
    """Train the autoencoder of an architecture.

    The latents of the training set are measured at the end and the scaling factor is set so that they have unit
    variance, as diffusion wants them.

    Args:
        config: architecture, data and settings of the run.
    Returns:
        A folder with the sub-folder `vae`, for `start_from=` of `xnemo train animator`; other networks of the run's own
        `start_from` lie beside it.
    Raises:
        XNeMoError: settings that do not go together, data that cannot be read, or a loss that is not finite.
    """
    if config.animator.vae.temporal:
        raise XNeMoError(
            "animator.vae.temporal=true: the decoder that sees neighbouring frames is Stable Video Diffusion's and is "
            "not trained here; set animator.vae.temporal=false for one of your own"
        )
    if config.perceptual and config.perceptual_weights is None:
        raise XNeMoError("perceptual is on but perceptual_weights names no file; name one or set it to 0")
    accelerator = Accelerator(mixed_precision=config.mixed_precision)
    models = build_animator(config.animator, config.seed)
    loaded = set() if config.start_from is None else load_networks(models, Path(config.start_from))
    vae = models.vae
    assert vae is not None
    crops = FaceCrops.open(Path(config.crops))
    if isinstance(vae, PatchAutoencoder) and "vae" not in loaded:
        vae.fit(crops.images(_spread(crops, FITTED)))
    perceptual = None
    if config.perceptual_weights is not None:
        perceptual = Lpips(Path(config.perceptual_weights)).to(accelerator.device)

    # Before the average and the optimiser are made or loaded, because these follow the weights to where they are.
    vae.to(accelerator.device).train()
    trained = [parameter for parameter in vae.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=config.learning_rate, betas=(0.9, 0.99))
    averages = {"vae": AveragedWeights(vae, config.ema_decay)}
    noise = torch.Generator().manual_seed(config.seed + 1)
    state = TrainingState({"vae": vae}, {"model": optimizer}, averages, {"noise": noise})
    run = Run(state, config.schedule, Path(config.output))
    run.resume()

    def step(images: Tensor, rate_factor: float) -> Terms:
        images = images.to(accelerator.device)
        with accelerator.autocast():
            terms = _losses(vae, images, config, perceptual, noise)
        rate = config.learning_rate * rate_factor
        update(optimizer, terms, rate, config.gradient_clip, accelerator)
        averages["vae"].update(vae, state.step)
        return {name: term.detach() for name, term in terms.items()}

    def validate(writer: SummaryWriter) -> dict[str, float]:
        return _validate(_averaged(vae, averages["vae"]), crops, state, run.output, writer)

    run.loop(_patches(crops.on(accelerator.device), config, state.step), step, validate)

    finished = _averaged(vae, averages["vae"])
    finished.register_to_config(scaling_factor=1 / _latent_deviation(finished, crops))
    with replaced_folder(run.output / "weights") as weights:
        finished.save_pretrained(weights / "vae")
        for name in loaded - {"vae"}:
            shutil.copytree(Path(config.start_from or "") / name, weights / name)
    return run.output / "weights"


def _patches(crops: FaceCrops, config: TrainAutoencoderConfig, first_step: int) -> Iterator[Tensor]:
    """Random patches of random training frames, half of them mirrored; each step has its own seed."""
    rows = torch.tensor([row for clip in crops.clips_of("train") for row in crops.rows(clip)])
    generator = torch.Generator()
    room = crops.frames.shape[1] - config.patch_size
    if room < 0:
        raise XNeMoError(f"patch_size={config.patch_size}: the crops are only {crops.frames.shape[1]} px wide")
    for step in itertools.count(first_step):
        generator.manual_seed((config.seed * 1_000_003 + step) % 2**32)
        picked = torch.randint(len(rows), (config.batch,), generator=generator)
        corners = torch.randint(room + 1, (config.batch, 2), generator=generator).tolist()
        images = crops.images(rows[picked])
        side = config.patch_size
        cut = torch.stack([x[:, a : a + side, b : b + side] for x, (a, b) in zip(images, corners, strict=True)])
        mirrored = torch.rand(config.batch, generator=generator) < 0.5
        yield torch.where(mirrored.to(cut.device)[:, None, None, None], cut.flip(-1), cut)


def _losses(
    vae: Autoencoder,
    images: Tensor,
    config: TrainAutoencoderConfig,
    perceptual: Lpips | None,
    generator: torch.Generator,
) -> Terms:
    posterior = vae.encode(images).latent_dist
    noise = torch.randn(posterior.mean.shape, generator=generator).to(images.device)
    decoded = vae.decode(posterior.mean + posterior.std * noise).sample
    terms = {
        "l1": F.l1_loss(decoded, images),
        "divergence": config.divergence * posterior.kl().mean(),
    }
    if perceptual is not None:
        terms["lpips"] = config.perceptual * perceptual(decoded, images).mean()
    return terms


def _averaged(vae: Autoencoder, average: AveragedWeights) -> Autoencoder:
    finished = copy.deepcopy(vae).eval()
    average.store_in(finished)
    return finished


@torch.no_grad()
def _validate(
    vae: Autoencoder, crops: FaceCrops, state: TrainingState, output: Path, writer: SummaryWriter
) -> dict[str, float]:
    """Reconstruct the middle frame of each validation clip at full size; returns PSNR in dB."""
    middle = [crops.rows(clip)[len(crops.rows(clip)) // 2] for clip in crops.clips_of("validation")]
    images = crops.images(torch.tensor(middle)).to(vae.device)
    decoded = torch.cat([vae.decode(vae.encode(x).latent_dist.mean).sample for x in images.split(4)]).clamp(-1, 1)
    error = ((decoded - images) / 2).square().mean(dim=(1, 2, 3))
    psnr = (-10 * error.log10()).mean().item()
    writer.add_scalar("validation/psnr", psnr, state.step)
    pictures = [list(to_uint8(x[:SHOWN])) for x in (images, decoded)]
    rows = [Row("original", pictures[0]), Row(f"{psnr:.1f} dB", pictures[1])]
    write_image(output / f"validation_{state.step:07d}.png", contact_sheet(rows))
    return {"step": float(state.step), "minutes": state.seconds / 60, "psnr": psnr}


@torch.no_grad()
def _latent_deviation(vae: Autoencoder, crops: FaceCrops, frames: int = 128) -> float:
    """Standard deviation of the latents of evenly spaced training frames."""
    images = crops.images(_spread(crops, frames)).to(vae.device)
    return torch.cat([vae.encode(x).latent_dist.mean for x in images.split(4)]).std().item()


def _spread(crops: FaceCrops, frames: int) -> Tensor:
    """Rows of so many training frames, evenly spaced."""
    rows = torch.tensor([row for clip in crops.clips_of("train") for row in crops.rows(clip)])
    return rows[torch.linspace(0, len(rows) - 1, min(frames, len(rows))).long()]
