"""The three stages of training (X-NeMo section 3.3), one file each, and the two of X-Portrait's control."""

from __future__ import annotations

from animator.training.stages.image import ImageStage
from animator.training.stages.motion import MotionStage
from animator.training.stages.pictures import PicturesStage, PicturesTemporalStage
from animator.training.stages.stage import Stage, StepLosses
from animator.training.stages.temporal import TemporalStage

STAGES: dict[str, type[Stage]] = {
    "image": ImageStage,
    "motion": MotionStage,
    "temporal": TemporalStage,
    "pictures": PicturesStage,
    "pictures_temporal": PicturesTemporalStage,
}

__all__ = ["STAGES", "ImageStage", "MotionStage", "Stage", "StepLosses", "TemporalStage"]
