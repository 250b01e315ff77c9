"""The queue draws one job after the other, each for its owner alone; and a render is what the command makes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from animator.builders import animator_config, build_pipeline
from animator.config_loader import load_config
from animator.errors import XNeMoError
from animator.motion_clip import SUFFIX
from animator.portrait import portrait_pictures
from animator.provenance.verify import verify
from animator.video import VideoReader
from apps.viewer.rendering import KEPT, WAITING, Cancelled, RenderQueue, Work, draw_video
from tests.apps.conftest import Outcome
from tests.motion_tokenizer import tiny

SOON = 20.0  # seconds; nothing here takes more than a few milliseconds


@pytest.fixture
def queue() -> Iterator[RenderQueue]:
    made = RenderQueue()
    yield made
    made.close()


class Held:
    """Work that reports a frame and then waits until it is let go."""

    def __init__(self) -> None:
        self.begun, self.go = threading.Event(), threading.Event()

    def __call__(self, told: Callable[[int], None]) -> None:
        told(1)
        self.begun.set()
        self.go.wait(SOON)
        told(2)


def writing(path: Path) -> Work:
    return lambda told: path.write_bytes(b"x") and told(1)


def test_jobs_are_done_in_order_and_show_how_far_they_are(queue: RenderQueue, tmp_path: Path) -> None:
    held = Held()
    first = queue.submit("a", "first", 4, tmp_path / "1", held)
    second = queue.submit("a", "second", 1, tmp_path / "2", writing(tmp_path / "2"))
    assert held.begun.wait(SOON)
    newest, oldest = queue.jobs("a")
    assert (newest.state, oldest.state, oldest.done, oldest.share) == ("waiting", "drawing", 1, 0.25)
    assert (queue.ahead(first), queue.ahead(second)) == (0, 1)
    held.go.set()
    done = queue.wait(second, SOON)
    assert done is not None and done.state == "done" and done.share == 1 and (tmp_path / "2").exists()
    queue.remove("a", second)
    assert not (tmp_path / "2").exists() and [job.key for job in queue.jobs("a")] == [first]


def test_a_cancelled_job_stops_and_one_that_waits_never_begins(queue: RenderQueue, tmp_path: Path) -> None:
    held = Held()
    first = queue.submit("a", "first", 4, tmp_path / "1", held)
    second = queue.submit("a", "second", 1, tmp_path / "2", writing(tmp_path / "2"))
    assert held.begun.wait(SOON)
    queue.cancel("a", second)
    queue.cancel("a", first)
    held.go.set()
    states = [job.state for key in (first, second) if (job := queue.wait(key, SOON))]
    assert states == ["cancelled", "cancelled"] and not (tmp_path / "2").exists()


def test_failures_are_told_in_words_and_the_next_job_is_drawn(queue: RenderQueue, tmp_path: Path) -> None:
    def refused(_: Callable[[int], None]) -> None:
        raise XNeMoError("no face found")

    def broken(_: Callable[[int], None]) -> None:
        raise ZeroDivisionError("by\nzero")

    keys = [queue.submit("a", "x", 1, tmp_path / "x", work) for work in (refused, broken, writing(tmp_path / "x"))]
    jobs = [queue.wait(key, SOON) for key in keys]
    assert [(job.state, job.error) for job in jobs if job] == [
        ("failed", "no face found"),
        ("failed", "ZeroDivisionError: by zero"),
        ("done", ""),
    ]


def test_owners_do_not_reach_each_others_jobs(queue: RenderQueue, tmp_path: Path) -> None:
    held = Held()
    mine = queue.submit("a", "mine", 1, tmp_path / "1", held)
    theirs = queue.submit("b", "theirs", 1, tmp_path / "2", writing(tmp_path / "2"))
    queue.cancel("b", mine)
    queue.remove("b", mine)
    assert held.begun.wait(SOON)
    held.go.set()
    done = queue.wait(mine, SOON)
    assert done is not None and done.state == "done" and [job.key for job in queue.jobs("b")] == [theirs]
    queue.wait(theirs, SOON)
    queue.forget("b")
    assert queue.jobs("b") == [] and not (tmp_path / "2").exists() and queue.jobs("a") == [done]
    held = Held()
    last = queue.submit("b", "last", 2, tmp_path / "3", held)
    assert held.begun.wait(SOON)
    queue.forget("b")
    held.go.set()
    assert queue.wait(last, SOON) is None, "what its owner left behind goes as soon as it is over"


def test_the_queue_and_the_list_of_finished_jobs_are_bounded(queue: RenderQueue, tmp_path: Path) -> None:
    held = Held()
    queue.submit("a", "held", 1, tmp_path / "held", held)
    assert held.begun.wait(SOON)
    for number in range(WAITING):
        queue.submit("a", str(number), 1, tmp_path / str(number), writing(tmp_path / str(number)))
    with pytest.raises(XNeMoError, match="renders are waiting"):
        queue.submit("a", "more", 1, tmp_path / "more", held)
    queue.submit("b", "another's", 1, tmp_path / "b", writing(tmp_path / "b"))
    held.go.set()
    for number in range(KEPT):
        queue.wait(queue.jobs("a")[0].key, SOON)
        queue.submit("a", f"n{number}", 1, tmp_path / f"n{number}", writing(tmp_path / f"n{number}"))
    queue.wait(queue.jobs("a")[0].key, SOON)
    assert [job.title for job in queue.jobs("a")] == [f"n{number}" for number in reversed(range(KEPT))]
    assert len(list(tmp_path.iterdir())) == KEPT + 1, "files go with their jobs"


def test_a_render_is_the_video_of_the_command(
    xnemo: Callable[..., Outcome], tiny_weights: Path, portrait: Path
) -> None:
    pipeline = build_pipeline(animator_config("tiny"), seed=0)
    motion = tiny.motion(9, encoder_id=pipeline.encoder_id)
    motion.save(f"m{SUFFIX}")
    # The mark in the pixels depends on the command.
    words = ["steps=2", "guidance_scale=1", "marks.pixels=false", "marks.credentials=false"]
    config = load_config("animate", [f"weights={tiny_weights}", *words])
    side = pipeline.config.image_size
    pictures = portrait_pictures(portrait, (side, side), pipeline.motion_encoder.config.image_size)
    heard: list[int] = []
    draw_video(pipeline, pictures, motion, config, Path("ours.mp4"), heard.append)
    assert heard[0] == 0 and heard[-1] == 9 and len(heard) > 3, "each prediction of the diffusion model is heard"
    assert xnemo("animate", portrait, f"m{SUFFIX}", "-o", "theirs.mp4", *words).code == 0
    with VideoReader("ours.mp4") as ours, VideoReader("theirs.mp4") as theirs:
        assert len(ours) == len(theirs) == 9
        for frame in range(9):
            np.testing.assert_array_equal(ours.frame(frame), theirs.frame(frame))
    found = verify("ours.mp4")
    assert found.xmp and found.statement is not None and "(view)" in found.statement

    def unwanted(_: int) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        draw_video(pipeline, pictures, motion, config, Path("half.mp4"), unwanted)
    assert not list(Path().glob("*half*")) and not list(Path().glob(".xnemo*"))
