"""How much of what a device can compute a run does compute: model FLOPs utilisation, MFU.

Operations are those that a plan counts (`animator.training.plan`), without what is computed twice to save memory by
more than the plan does; the peak is the maker's, of dense products.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

# Part of the name that torch gives -> 10^12 operations a second in bfloat16 and in float32 (NVIDIA's data sheets). The
# first that fits counts.
PEAKS = {
    "H100 PCIe": (756.0, 51.0),
    "H100": (989.0, 67.0),
    "H200": (989.0, 67.0),
    "A100": (312.0, 19.5),
}


def peak_of(name: str, precision: str) -> float | None:
    """Peak of a GPU, in operations a second; None of one that is not in the table.

    Args:
        name: as `torch.cuda.get_device_name` gives it.
        precision: "bf16" or "no", of the run.
    """
    for part, (half, single) in PEAKS.items():
        if part in name:
            return 1e12 * (half if precision == "bf16" else single)
    return None


def device_peak(device: torch.device, precision: str, told: float | None) -> float | None:
    """Peak of a device, in operations a second: what the user says (in 10^12), or what is known of the GPU."""
    if told is not None:
        return 1e12 * told
    return peak_of(torch.cuda.get_device_name(device), precision) if device.type == "cuda" else None


@dataclass
class Utilisation:
    """Measures a run between two lines of its log.

    Attributes:
        operations: multiplications and additions of a step of one process.
        peak: what its device can do in a second; None: unknown.
    """

    operations: float
    peak: float | None
    _last: tuple[int, float] | None = field(default=None, repr=False)

    def figures(self, step: int, seconds: float) -> dict[str, float]:
        """Speed since the last call; validations and checkpoints that fell into that time count.

        Args:
            step, seconds: how many steps the run has done, in which time.
        Returns:
            speed/steps, a second; speed/teraflops; speed/mfu, in [0, 1], where the peak is known. Nothing at first.
        """
        last, self._last = self._last, (step, seconds)
        if last is None or seconds <= last[1]:
            return {}
        rate = (step - last[0]) / (seconds - last[1])
        figures = {"speed/steps": rate, "speed/teraflops": rate * self.operations / 1e12}
        return figures if self.peak is None else figures | {"speed/mfu": rate * self.operations / self.peak}
