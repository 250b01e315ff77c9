"""Where a pipeline's weights are while it runs, and whether its blocks are compiled."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from animator.errors import XNeMoError
from animator.pipeline import XNeMoPipeline

# Each layer finds its reference by its name, so each is compiled by itself, and perhaps again without guidance. torch
# gives up at 8.
VARIANTS_OF_A_BLOCK = 128


def offload_by_group(pipeline: XNeMoPipeline, device: torch.device) -> XNeMoPipeline:
    """Keep the weights of the two UNets in the machine's memory; each layer's visit the device while it runs.

    They are 85 % of the weights at the paper's size. The other networks are small, and are moved to the device.

    Args:
        pipeline: on the CPU; is changed.
        device: where to compute.
    Returns:
        The pipeline.
    Raises:
        XNeMoError: there are no UNets in it.
    """
    unets = _unets(pipeline, "offload=group")
    for component in pipeline.components.values():
        if isinstance(component, nn.Module) and component not in unets:
            component.to(device)
    for unet in unets:
        # Layers and not blocks: the pipeline also calls single projections, for the reference.
        unet.enable_group_offload(device, torch.device("cpu"), offload_type="leaf_level")
    return pipeline


def offload_by_model(pipeline: XNeMoPipeline, device: torch.device) -> XNeMoPipeline:
    """Keep all weights in the machine's memory; each network visits the device as a whole, for as long as it is needed.

    Faster than `offload_by_group`, and needs room for the denoiser (56 % of the weights at the paper's size) beside the
    autoencoder, which stays with it once the first frames are decoded, and the motion encoder. Everything else has left
    by then.

    Args:
        pipeline: on the CPU; is changed.
        device: where to compute.
    Returns:
        The pipeline.
    """
    pipeline.enable_model_cpu_offload(device=device)
    return pipeline


def compile_blocks(pipeline: XNeMoPipeline, **options: Any) -> None:
    """Compile the transformer blocks of the two UNets in place, at their first use.

    Raises torch's limit on how often one function is compiled, for the whole process.

    Args:
        pipeline: is changed.
        options: of `torch.compile`.
    Raises:
        XNeMoError: there are no UNets in it.
    """
    unets = _unets(pipeline, "compile=true")
    dynamo = torch._dynamo.config
    dynamo.cache_size_limit = max(dynamo.cache_size_limit, VARIANTS_OF_A_BLOCK)
    for unet in unets:
        unet.compile_repeated_blocks(**options)


def _unets(pipeline: XNeMoPipeline, asked: str) -> list[Any]:
    unets = [pipeline.reference_net, pipeline.unet]
    if any(unet is None for unet in unets):
        raise XNeMoError(f"{asked}: concerns the diffusion renderer, which these weights do not hold; leave it out")
    return unets
