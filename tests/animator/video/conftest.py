"""Frames that say which they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.animator.media import clip_frames, numbered


@pytest.fixture(scope="session")
def frames(clip: Path) -> NDArray[np.uint8]:
    """50 real frames that carry their numbers."""
    return numbered(clip_frames(clip, 50))
