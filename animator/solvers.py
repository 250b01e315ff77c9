"""From noise to latents step by step: DDIM, or a multistep solver, which needs fewer steps for the same accuracy.

DDIM keeps nothing from step to step, so frames at different steps share one. A multistep solver (DPM-Solver++, Lu et
al. 2022; UniPC, Zhao et al. 2023) reads its earlier predictions. In a wavefront of windows each group of frames is at a
step of its own, so each has its own solver for as long as it is under way: two tensors of the size of its latents (for
UniPC three), whatever the length of the clip.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import asdict
from typing import TypeAlias

import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler
from torch import Tensor

from animator.errors import XNeMoError
from animator.sampler import NoiseScheduleConfig, SamplerConfig

Scheduler: TypeAlias = DDIMScheduler | DPMSolverMultistepScheduler | UniPCMultistepScheduler

MULTISTEP = {"dpmpp": DPMSolverMultistepScheduler, "unipc": UniPCMultistepScheduler}


def build_ddim(
    weights: DDIMScheduler, schedule: NoiseScheduleConfig, steps: int, device: torch.device
) -> DDIMScheduler:
    """A DDIM scheduler of its own, so that several clips may be denoised side by side, with its timesteps set.

    Args:
        weights: what came with the weights; gives every value that `schedule` leaves open, and what is predicted.
        schedule: values that the sampler insists on.
        steps: denoising steps.
        device: where the timesteps are.
    Raises:
        XNeMoError: more steps than noise levels.
    """
    stated = {name: value for name, value in asdict(schedule).items() if value is not None}
    if "beta_end" in stated:
        stated["trained_betas"] = None  # a table of betas would win over the formula
    scheduler = DDIMScheduler.from_config(weights.config, **stated)
    levels = scheduler.config.num_train_timesteps
    if steps > levels:
        raise XNeMoError(f"steps={steps}: there are only {levels} noise levels")
    scheduler.set_timesteps(steps, device=device)
    if int(scheduler.timesteps.max()) >= levels:
        # "leading" spacing adds an offset, which with so many steps leads beyond the last level.
        raise XNeMoError(f"steps={steps}: too many for {levels} noise levels with this schedule; take fewer")
    return scheduler


def build_solver(weights: DDIMScheduler, sampler: SamplerConfig, device: torch.device) -> Scheduler:
    """The scheduler that a sampler names, with its timesteps set; see `build_ddim`.

    A multistep solver has the noise levels, the spacing of steps and the end that DDIM would have; with "leading"
    spacing its timesteps are other ones, as diffusers counts one more interval for it.

    Raises:
        XNeMoError: more steps than noise levels, or weights whose schedule only DDIM has.
    """
    ddim = build_ddim(weights, sampler.schedule, sampler.steps, device)
    if sampler.solver == "ddim":
        return ddim
    if ddim.config.clip_sample:
        raise XNeMoError(
            f"sampler.solver={sampler.solver}: the latents of these weights are clipped at every step, which only "
            "sampler.solver=ddim does"
        )
    levels = ddim.config.num_train_timesteps
    if sampler.steps >= levels:
        raise XNeMoError(f"steps={sampler.steps}: sampler.solver={sampler.solver} takes fewer than {levels} steps")
    end = "zero" if ddim.config.set_alpha_to_one else "sigma_min"
    solver = MULTISTEP[sampler.solver].from_config(ddim.config, final_sigmas_type=end)
    solver.set_timesteps(sampler.steps, device=device)
    return solver


class Solvers:
    """Takes groups of frames from step to step, each group with its own history where the solver has one.

    Args:
        scheduler: from `build_solver`; gives the timesteps, and is itself left as it is.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.under_way: dict[range, Scheduler] = {}

    def advance(self, latents: Tensor, prediction: Tensor, frames: range, step: int) -> Tensor:
        """One step for some frames.

        Args:
            latents, prediction: (n, channels, h, w).
            frames: which they are; the same group at every step, from the first to the last.
            step: steps done.
        Returns:
            Latents one step cleaner.
        """
        timestep = self.scheduler.timesteps[step]
        if isinstance(self.scheduler, DDIMScheduler):
            # Without noise of its own (eta 0) a step keeps no state, so windows may be at different steps.
            return self.scheduler.step(prediction, timestep, latents, eta=0.0).prev_sample
        if step == 0:
            self.under_way[frames] = deepcopy(self.scheduler)
        solver = self.under_way[frames]
        if step + 1 == len(self.scheduler.timesteps):
            del self.under_way[frames]
        return solver.step(prediction, timestep, latents).prev_sample
