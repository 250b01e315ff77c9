"""Controls: how the driving motion reaches the denoiser. Each is a module of this package, chosen by its name.

    motion_attention    X-NeMo: motion tokens, which layers of the denoiser attend to
    control_nets        X-Portrait: driving pictures, whose features two ControlNets add to the denoiser's

A further one is a further module with a class that keeps the promises of `animator.controls.control.Control` and a
function `build`, and an architecture (a file in `configs/animator/`) that names it.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules

from animator.controls.control import Control
from animator.errors import XNeMoError
from animator.model_config import AnimatorConfig


def build_control(config: AnimatorConfig) -> Control | None:
    """Build the control that an architecture names, with fresh weights.

    Returns:
        The control; None where it has no networks of its own beside the motion encoder and the denoiser's layers.
    Raises:
        XNeMoError: there is no such control (the message lists them).
    """
    module = f"{__name__}.{config.control}"
    if not config.control.isidentifier() or find_spec(module) is None:
        known = ", ".join(found.name for found in iter_modules(__path__) if found.name != "control")
        raise XNeMoError(f"animator.control={config.control}: no such control; there are {known}")
    built: Control | None = import_module(module).build(config)
    return built


def import_controls() -> None:
    """Import every control: diffusers loads networks only of modules that are imported already."""
    for found in iter_modules(__path__):
        import_module(f"{__name__}.{found.name}")


def control_name(control: Control | None) -> str:
    """What an architecture calls a pipeline's control."""
    return "motion_attention" if control is None else type(control).__module__.rpartition(".")[2]
