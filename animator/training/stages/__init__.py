"""The three stages of training (X-NeMo section 3.3), one file each."""

from __future__ import annotations

from animator.training.stages.image import ImageStage
from animator.training.stages.motion import MotionStage
from animator.training.stages.stage import Stage, StepLosses
from animator.training.stages.temporal import TemporalStage

STAGES: dict[str, type[Stage]] = {"image": ImageStage, "motion": MotionStage, "temporal": TemporalStage}

__all__ = ["STAGES", "ImageStage", "MotionStage", "Stage", "StepLosses", "TemporalStage"]
