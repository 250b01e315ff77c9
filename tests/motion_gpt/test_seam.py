"""The seam begins where the driving ended, as fast as it ended, and fades; roughness is measured as it is said."""

from __future__ import annotations

import pytest
import torch

from motion_gpt.rates import RateChange, frames_needed, resample_from_end
from motion_gpt.seam import Onset, Seam, SeamSettings, jerk, real_limit, roughness, seam_roughness
from motion_tokenizer.features import from_features, to_features
from tests.motion_tokenizer.tiny import motion


def features(frames: int, seed: int = 0) -> torch.Tensor:
    clip = motion(frames, seed)
    return to_features(clip.latents, clip.boxes)


def test_a_seam_is_smooth_at_both_of_its_ends() -> None:
    """Where the decoder is off by a constant and a slope, the corrected frames leave the driving without a bend."""
    time = torch.arange(-2.0, 40)[:, None]
    truth = torch.zeros(42, 515) + 0.3 * time
    decoded = truth + 5 - 0.2 * time
    seam = Seam(truth[:2], decoded[:2], SeamSettings(fade=10, velocity=1))
    joined = torch.cat([truth[:2], seam(decoded[2:])])[:, 0]
    untouched = torch.cat([truth[:2], decoded[2:]])[:, 0]
    # The fade of 5.2 units over 10 frames has a second difference of at most 6 * 5.2 / 100 + 4 * 0.2 / 10.
    assert joined.diff(n=2).abs().max() < 0.42 < 5 < untouched.diff(n=2).abs().max()
    assert torch.equal(joined[12:], untouched[12:]), "the decoder's own motion, once the fade is over"
    assert not torch.equal(joined[10:11], untouched[10:11])


@pytest.mark.parametrize("velocity", [0.0, 1.0])
def test_velocity_is_carried_over_if_asked_for(velocity: float) -> None:
    driving, decoded = torch.zeros(2, 515), torch.zeros(2, 515)
    driving[0] = -1.0  # arrives at the decoder's place with a velocity that the decoder does not have
    (first,) = Seam(driving, decoded, SeamSettings(fade=10, velocity=velocity))(torch.zeros(1, 515))
    assert float(first[0]) == pytest.approx(velocity * 10 * 0.1 * 0.9**2)


def test_pieces_are_corrected_like_the_whole() -> None:
    driving, decoded, frames = features(2), features(2, 1), features(30, 2)
    whole = Seam(driving, decoded, SeamSettings())(frames)
    seam, onset = Seam(driving, decoded, SeamSettings()), Onset()
    pieces = [seam(frames[a:b]) for a, b in ((0, 1), (1, 1), (1, 8), (8, 30))]
    torch.testing.assert_close(torch.cat(pieces), whole)
    torch.testing.assert_close(torch.cat([onset(frames[:0]), onset(frames[:7]), onset(frames[7:])]), Onset()(frames))


def test_an_onset_puts_the_head_in_place_and_keeps_its_motion() -> None:
    frames = features(20)
    placed = Onset()(frames)
    (_, before), (_, after) = from_features(frames), from_features(placed)
    assert after[0].tolist() == [0.0, 0.0, 1.0]
    torch.testing.assert_close(after[:, 2], before[:, 2] / before[0, 2])
    torch.testing.assert_close(after[5, :2], (before[5, :2] - before[0, :2]) / before[0, 2])
    assert torch.equal(frames[:, :512], placed[:, :512])


def test_roughness_of_a_parabola_is_none_and_of_a_jump_is_known() -> None:
    parabola = (torch.arange(20.0)[:, None] ** 2).expand(-1, 512)
    assert float(jerk(parabola).max()) == 0
    jump = torch.zeros(20, 512)
    jump[10:, 0] = 1.0
    # Third differences of a step are 1, -2, 1, in the three frames from the step on.
    assert float(seam_roughness(jump, 10)) == pytest.approx(4 / 5)
    assert float(roughness(jump)[10 - 5]) == pytest.approx(4 / 5)
    assert len(roughness(jump)) == 13
    assert len(roughness(jump[:7])) == 0
    with pytest.raises(ValueError, match="needs 5 frames before"):
        seam_roughness(jump, 4)
    assert real_limit(jump[:12], 99) is None, "five values tell nothing"
    assert real_limit(jump, 100) == pytest.approx(float(roughness(jump).max()))


@pytest.mark.parametrize("fps", [25.0, 30.0, 60.0, 12.5, 30000 / 1001])
def test_a_clip_of_another_rate_keeps_its_last_frame(fps: float) -> None:
    clip = motion(61, fps=fps)
    seen = resample_from_end(clip, 25.0)
    assert torch.equal(seen.latents[-1], clip.latents[-1]) and torch.equal(seen.boxes[-1], clip.boxes[-1])
    assert seen.fps == 25.0
    assert len(seen) == int((61 - 1) / fps * 25 + 1e-9) + 1
    # A straight line stays one, at the new rate.
    line = torch.arange(61.0)[:, None].expand(-1, 512)
    seen = resample_from_end(type(clip)(line.clone(), clip.boxes, fps, clip.encoder_id), 25.0)
    torch.testing.assert_close(seen.latents[:, 0].diff(), torch.full((len(seen) - 1,), fps / 25), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("fps", [25.0, 30.0, 60.0, 12.5, 30000 / 1001])
def test_new_frames_come_at_the_times_of_the_drivings_rate(fps: float) -> None:
    needed = frames_needed(50, fps, 25.0)
    line = torch.arange(0.0, needed + 1)[:, None].expand(-1, 4)
    change = RateChange(line[0], 25.0, fps)
    made = torch.cat([change(piece) for piece in line[1:].split(3)])
    assert len(made) >= 50
    torch.testing.assert_close(made[:50, 0], torch.arange(1, 51) * (25 / fps), rtol=1e-5, atol=1e-4)
    fewer = RateChange(line[0], 25.0, fps)
    assert len(fewer(line[1:needed])) < 50, "one frame less would not have been enough"
