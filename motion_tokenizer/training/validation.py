"""How a run does on people it does not train on, and beside it on some that it does."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from animator.training.clock import ERROR
from animator.training.state import TrainingState, evaluating
from motion_tokenizer.evaluation.reconstruction import errors
from motion_tokenizer.evaluation.usage import expected_used, perplexity
from motion_tokenizer.features import BOXES, LATENTS
from motion_tokenizer.models.vqvae import MotionVQVAE
from motion_tokenizer.training.clips import FeatureClips


class Validator:
    """Scores weights on whole clips.

    Args:
        held_out: the validation split.
        trained: the training split; as many clips as are held out are scored, evenly spaced.
        box_weight: of the box dimensions in the error, as in the loss.
    """

    def __init__(self, held_out: FeatureClips, trained: FeatureClips, box_weight: float) -> None:
        self.held_out = held_out.clips()
        wanted = torch.linspace(0, len(trained) - 1, min(len(trained), len(held_out))).long()
        self.trained = [trained.clip(number) for number in wanted.tolist()]
        self.box_weight = box_weight

    def run(self, model: MotionVQVAE, state: TrainingState, quantised: bool, writer: SummaryWriter) -> dict[str, float]:
        """Figures of this moment.

        Args:
            model: with the weights that are to be scored.
            state: of the run; its sums of resets are taken and start anew.
            quantised: whether the quantiser is in use yet; before, there is no `error`, so that nothing is best.
            writer: gets all figures.
        Returns:
            error: mean squared error of normalised latents, plus `box_weight` times that of the boxes; mse_latents,
            mse_boxes, r2, r2_within_clips, velocity_nmse (latents, see `motion_tokenizer.evaluation.reconstruction`);
            train_error: the error on training clips; used, used_over_uniform, perplexity: of the held-out tokens, means
            over the levels; reset_rate: share of the codes replaced a step since the last validation.
        """
        figures, tokens = self._errors(model, self.held_out, quantised)
        seen, _ = self._errors(model, self.trained, quantised)
        figures["train_error"] = seen[ERROR]
        if not quantised:
            figures["error_unquantised"] = figures.pop(ERROR)
        elif tokens.shape[1]:
            figures |= _usage(tokens, model.config.codes)
            steps = max(1.0, state.sums.pop("steps", 0.0))
            figures["reset_rate"] = state.sums.pop("resets", 0.0) / (steps * tokens.shape[1] * model.config.codes)
        for name, value in figures.items():
            writer.add_scalar(f"validation/{name}", value, state.step)
        return {"step": float(state.step), "minutes": state.seconds / 60} | figures

    def _errors(self, model: MotionVQVAE, clips: list[Tensor], quantised: bool) -> tuple[dict[str, float], Tensor]:
        done = [reconstruct(model, clip, quantised) for clip in clips]
        true = [model.normalise(clip.to(model.device)).cpu() for clip in clips]
        ours = [model.normalise(features.to(model.device)).cpu() for features, _ in done]
        latents = errors([x[:, LATENTS] for x in true], [x[:, LATENTS] for x in ours])
        boxes = errors([x[:, BOXES] for x in true], [x[:, BOXES] for x in ours])
        figures = {
            ERROR: latents["mse"] + self.box_weight * boxes["mse"],
            "mse_latents": latents["mse"],
            "mse_boxes": boxes["mse"],
            "r2": latents["r2"],
            "r2_within_clips": latents["r2_within_clips"],
            "velocity_nmse": latents["velocity_nmse"],
        }
        return figures, torch.cat([tokens for _, tokens in done])


@torch.no_grad()
def reconstruct(model: MotionVQVAE, clip: Tensor, quantised: bool = True) -> tuple[Tensor, Tensor]:
    """Send one clip through the model as the tokenizer does: its end on the grid, its first frame repeated in front.

    Args:
        model: any quantiser, also none.
        clip: features (T, 515), on the CPU.
        quantised: False leaves the quantiser out.
    Returns:
        Features (T, 515) and tokens (n, levels), on the CPU; levels is 0 without a quantiser.
    """
    missing = -len(clip) % model.config.stride
    padded = torch.cat([clip[:1].expand(missing, -1), clip])[None].to(model.device)
    with evaluating(model):
        if quantised and model.bottleneck.levels:
            tokens = model.encode(padded)
            return model.decode(tokens)[0, missing:].cpu(), tokens[0].cpu()
        vectors = model.encode_continuous(padded)
        return model.decode_continuous(vectors)[0, missing:].cpu(), torch.zeros(vectors.shape[1], 0).long()


def _usage(tokens: Tensor, codes: int) -> dict[str, float]:
    levels = tokens.unbind(dim=1)
    used = sum(len(level.unique()) for level in levels) / len(levels)
    return {
        "used": used,
        "used_over_uniform": used / expected_used(codes, len(tokens)),
        "perplexity": sum(perplexity(level, codes) for level in levels) / len(levels),
    }
