"""Arithmetic of one denoising step at the paper's size, whole and with what options leave out: counted, not run.

    python benchmarks/step_arithmetic.py

A window of 24 frames at 512 x 512, of which the one before holds 4. torch counts matrix products, convolutions and
attention (2 FLOP a multiplication and addition) on tensors without contents, so that this needs neither a GPU nor
memory.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

from animator.builders import animator_config, build_animator
from animator.models.deep_cache import DeepFeatures
from animator.models.overlap import OverlapFeatures

FRAMES = 24
SHARED = 4  # frames that windows have in common


def teraflop(run: Callable[[], object]) -> float:
    """What one call computes."""
    with FlopCounterMode(display=False) as counted:
        run()
    return counted.get_total_flops() / 1e12


@torch.no_grad()
def main() -> None:
    """Count and print the table."""
    config = animator_config("xnemo")
    side, levels = config.unet.sample_size, len(config.unet.block_out_channels)
    with torch.device("meta"):
        models = build_animator(config)
        unet, token = models.unet, torch.empty(1, 1, config.unet.cross_attention_dim)
        reference = unet.project_reference(models.reference_net(torch.empty(1, 4, side, side), token))
        driving = torch.empty(1, FRAMES, config.motion_encoder.motion_tokens, config.unet.motion_token_dim)
        latents = torch.empty(1, 4, FRAMES, side, side)

        def step(guided: bool, deep: DeepFeatures | None = None, overlap: OverlapFeatures | None = None) -> float:
            batch, own = 2 if guided else 1, FRAMES - (0 if overlap is None else overlap.frames)
            x, embeds, tokens = (
                part.expand(batch, *part.shape[1:]) for part in (latents[:, :, :own], token, driving[:, :own])
            )
            options = {"unconditional": batch - 1, "deep": deep, "overlap": overlap}
            return teraflop(lambda: unet(x, 500, embeds, tokens, reference, **options))

        whole = step(guided=True)
        print("| step | TFLOP | share |\n|---|---|---|")
        for guided in (True, False):
            name = "guided" if guided else "not guided"
            rows = {name: step(guided)}
            first = OverlapFeatures({}, keep=SHARED)
            step(guided, overlap=first)  # the window before
            rows[f"{name}, overlap_layers=temporal"] = step(guided, overlap=OverlapFeatures(first.kept, keep=SHARED))
            for fine in range(1, levels):
                deep = DeepFeatures(fine)
                step(guided, deep)  # fills it
                rows[f"{name}, deep features reused, deep_cache_levels={fine}"] = step(guided, deep)
            for row, found in rows.items():
                print(f"| {row} | {found:.1f} | {found / whole:.2f} |")


if __name__ == "__main__":
    main()
