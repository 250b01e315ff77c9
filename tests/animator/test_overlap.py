"""Windows that take over shared frames from the one before: what stays the same, what is saved, what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from animator.builders import animator_config, build_pipeline
from animator.errors import XNeMoError
from animator.models.attention import MotionSlot
from animator.models.overlap import OverlapFeatures, WindowOverlaps
from animator.motion_clip import MotionClip
from animator.pipeline import XNeMoPipeline
from animator.portrait import PortraitPictures
from animator.sampler import load_sampler
from animator.windows import plan_windows
from tests.animator.tiny import motion_unet, shake

FRAMES = 19  # the last window of 8 overlaps by 5


@pytest.fixture(scope="module")
def pipeline() -> XNeMoPipeline:
    pipe = build_pipeline(animator_config("tiny"))
    for net in (pipe.unet, pipe.reference_net):
        shake(net)
    pipe.to(torch.float64).set_progress_bar_config(disable=True)
    return pipe


def sample(pipe: XNeMoPipeline, frames: int = FRAMES, layers: str = "temporal", **keys: Any) -> Tensor:
    drawn = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    latents = torch.randn(frames, 512, generator=torch.Generator().manual_seed(5))
    motion = MotionClip(latents, torch.tensor([[0.0, 0.0, 1.0]]).repeat(frames, 1), 25.0, pipe.encoder_id)
    sampler = replace(load_sampler("paper"), steps=3, window=8, overlap=2, overlap_layers=layers, **keys)
    pictures = PortraitPictures(drawn[0], drawn[1][:32, :32])
    found = pipe(pictures, motion, sampler=sampler, output_type="latent").frames
    assert isinstance(found, Tensor)
    return found


@torch.no_grad()
def test_frames_after_shared_ones_are_what_the_whole_window_gives() -> None:
    """Given what entered each temporal layer of the first frames, the last ones come out as if all were computed."""
    net = motion_unet().double()
    generator = torch.Generator().manual_seed(3)
    x, tokens = (
        torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((2, 4, 7, 8, 8), (2, 7, 32, 16))
    )
    embeds = torch.randn(2, 1, 8, generator=generator, dtype=torch.float64)
    everything = OverlapFeatures({}, keep=7)
    whole = net(x, 300, embeds, tokens, overlap=everything)
    before = {layer: kept[:, :5] for layer, kept in everything.kept.items()}
    rest = OverlapFeatures(before, keep=3)
    torch.testing.assert_close(net(x[:, :, 5:], 300, embeds, tokens[:, 5:], overlap=rest), whole[:, :, 5:])
    assert len(before) == sum(isinstance(layer, MotionSlot) for layer in net.modules())
    for layer, kept in rest.kept.items():
        torch.testing.assert_close(kept, everything.kept[layer][:, 4:])
    assert not torch.allclose(net(x[:, :, 5:], 300, embeds, tokens[:, 5:]), whole[:, :, 5:], atol=1e-3)


def test_one_window_is_the_exact_path(pipeline: XNeMoPipeline) -> None:
    assert torch.equal(sample(pipeline, 8), sample(pipeline, 8, layers="all"))


@pytest.mark.parametrize("keys", [{}, {"guidance_until": 0.5, "deep_cache_every": 2}, {"solver": "unipc"}])
def test_several_windows_are_near_the_exact_path_and_no_more(pipeline: XNeMoPipeline, keys: dict[str, Any]) -> None:
    ours, exact = sample(pipeline, **keys), sample(pipeline, layers="all", **keys)
    deviation = float((ours - exact).norm() / exact.norm())
    assert 1e-6 < deviation < 0.3
    # The first window knows nothing of a second one, so where it is alone it is what it was.
    alone = sample(pipeline, 8, layers="all", **keys)
    torch.testing.assert_close(ours[:, :8], alone)


def test_without_temporal_layers_nothing_changes() -> None:
    pipe = build_pipeline(animator_config("tiny"))
    for net in (pipe.unet, pipe.reference_net):
        shake(net)
    for layer in pipe.unet.modules():
        if isinstance(layer, MotionSlot):
            nn.init.zeros_(layer.proj_out.weight)
            nn.init.zeros_(layer.proj_out.bias)
    pipe.to(torch.float64).set_progress_bar_config(disable=True)
    torch.testing.assert_close(sample(pipe), sample(pipe, layers="all"))


def test_each_frame_is_computed_once_a_step(pipeline: XNeMoPipeline) -> None:
    spatial: list[int] = []
    handle = pipeline.unet.register_forward_pre_hook(lambda net, args: spatial.append(args[0].shape[2]))
    sample(pipeline)
    handle.remove()
    assert sum(spatial) == FRAMES * 3
    assert sorted(set(spatial)) == [5, 6, 8]


def test_features_are_given_to_the_next_window_once() -> None:
    overlaps = WindowOverlaps(plan_windows(19, 8, 2))
    assert overlaps.own == [range(8), range(8, 14), range(14, 19)]
    layer = nn.Identity()
    first = overlaps.recall(range(8), 0)
    assert (first.frames, first.keep) == (0, 2)
    first.extended(layer, torch.arange(8.0).view(1, 8, 1, 1, 1))
    overlaps.keep(range(8), 0, first)
    second = overlaps.recall(range(8, 14), 0)
    assert (second.frames, second.keep) == (2, 3)
    window = second.extended(layer, torch.arange(8.0, 14.0).view(1, 6, 1, 1, 1))
    assert window.flatten().tolist() == list(range(6, 14))
    overlaps.keep(range(8, 14), 0, second)
    last = overlaps.recall(range(14, 19), 0)
    assert last.before[layer].flatten().tolist() == [11, 12, 13]
    assert last.keep == 0
    with pytest.raises(KeyError):
        overlaps.recall(range(8, 14), 0)


def test_a_loop_is_refused(pipeline: XNeMoPipeline) -> None:
    with pytest.raises(XNeMoError, match=r"overlap_layers=temporal: in a closed loop.*loop=false"):
        sample(pipeline, loop=True)
