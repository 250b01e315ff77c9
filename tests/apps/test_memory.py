"""What a run says that it took."""

from __future__ import annotations

import numpy as np
import psutil
import pytest
import torch

from apps.commands.animate import summary
from apps.memory import MEGABYTE, peak_gpu_memory_mb, peak_memory_mb


def test_the_peak_counts_what_was_held_and_given_back() -> None:
    before = psutil.Process().memory_info().rss / MEGABYTE
    held = np.ones(64 * MEGABYTE // 8)
    del held
    assert peak_memory_mb() > before + 48  # the system counts in lots of some megabytes


@pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without CUDA")
def test_without_cuda_there_is_no_memory_of_a_gpu() -> None:
    assert peak_gpu_memory_mb() is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_with_cuda_the_peak_of_the_device_is_counted() -> None:
    held = torch.ones(64 * MEGABYTE, dtype=torch.uint8, device="cuda")
    del held
    peak = peak_gpu_memory_mb()
    assert peak is not None and peak >= 64


def test_people_are_told_of_the_gpu_only_where_there_is_one() -> None:
    result = {"output": "r.mp4", "frames": 2, "fps": 25.0, "width": 64, "height": 64, "seconds": 3.2}
    result |= {"peak_memory_mb": 700.4}
    assert summary(result) == "r.mp4: 2 frames, 25 fps, 64 x 64, made in 3 s with at most 700 MiB"
    assert summary(result | {"peak_gpu_memory_mb": 812.6}).endswith("at most 700 MiB, 813 MiB on the GPU")
