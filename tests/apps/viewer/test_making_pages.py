"""The pages that edit, make up, compare and save motion do so, on small networks of random weights."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import streamlit as st
from PIL import Image
from streamlit.testing.v1 import AppTest

from animator.config_loader import load_config
from animator.evaluation.metrics import at_measured_size
from animator.files import sha256_of
from animator.image import read_image
from animator.motion_clip import SUFFIX, MotionClip
from animator.provenance.credentials import read_credentials
from animator.video import VideoWriter, read_audio, write_wav
from apps.viewer import config, editing, exporting, jobs, networks, server  # noqa: F401 (config types the settings)
from apps.viewer.comparing import Result, difference_picture, measure, packed, perceive
from apps.viewer.keys import collected, files_of, key_of_picture, key_of_take, ways_through
from apps.viewer.making import continued, keep
from apps.viewer.rendering import draw_video
from apps.viewer.session import Session
from apps.viewer.takes import Origin, Take, from_motion, shown_motion
from motion_gpt.settings import Sampling
from motion_gpt.vocabulary import Condition
from motion_gpt.weights import save_gpt
from motion_tokenizer.editing import Repeat, Swap
from motion_tokenizer.tokenizer import MotionTokenizer
from tests.apps.conftest import Outcome
from tests.motion_gpt.talking import speaker_of
from tests.motion_tokenizer import tiny

FRAMES = 40
LATE = 60  # seconds after which a page is taken to hang


@pytest.fixture(scope="module")
def weights(tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Settings that name tiny weights."""
    from animator.builders import load_pipeline

    root = tmp_path_factory.mktemp("viewer")
    found = load_config("view", [f"weights={tiny_weights}", "device=cpu"])
    tokenizer = MotionTokenizer(tiny.model(), load_pipeline(found).encoder_id)
    tokenizer.save_pretrained(root / "tokenizer")
    save_gpt(speaker_of(tokenizer), root / "gpt")
    return [f"weights={tiny_weights}", f"tokenizer_weights={root / 'tokenizer'}", f"gpt_weights={root / 'gpt'}"]


@pytest.fixture(autouse=True, scope="module")
def viewer(weights: list[str]) -> Iterator[None]:
    """A viewer that runs with them, and forgets everything afterwards."""
    before = server._started[:]
    st.cache_resource.clear()
    server.configure(load_config("view", [*weights, "device=cpu", "renderer=gan"]))
    yield
    jobs.queue().close()
    st.cache_resource.clear()
    server._started[:] = before


def take_of(key: str, seed: int = 0, frames: int = FRAMES) -> Take:
    tokenizer = networks.tokenizer()
    return from_motion(key, key.title(), tiny.motion(frames, seed, tokenizer.encoder_id), tokenizer)


def opened(session: Session) -> None:
    """What the pages of these tests begin with."""
    session.add(take_of("second", 1, 24))
    session.add(take_of("first"))
    session.point(10)


def _script(module: str, empty: bool) -> None:
    import importlib

    import streamlit as st

    from apps.viewer.jobs import owner
    from apps.viewer.session import current
    from tests.apps.viewer.test_making_pages import opened

    if "begun" not in st.session_state:
        # All these pages belong to one session, as Streamlit's test runner has it; each shall begin its own.
        st.session_state["begun"] = True
        current.clear()
        owner.clear()
    if not current().takes and not empty:
        opened(current())
    # As the menu leaves it: where the empty page's button leads.
    importlib.import_module(f"apps.viewer.pages.{module}").page()


def open_page(module: str, empty: bool = False) -> AppTest:
    app = AppTest.from_function(_script, default_timeout=LATE, kwargs={"module": module, "empty": empty})
    return run(app)


def run(app: AppTest) -> AppTest:
    app.run()
    assert not app.exception, app.exception
    return app


def session_of(app: AppTest) -> Session:
    """The session behind a page: the last one that was made."""
    return sessions[-1]


sessions: list[Session] = []


@pytest.fixture(autouse=True)
def watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remember the sessions that pages make."""
    made = Session.__init__

    def remember(self: Session, *words: object, **named: object) -> None:
        made(self, *words, **named)  # type: ignore[arg-type]
        sessions.append(self)

    monkeypatch.setattr(Session, "__init__", remember)


def button(app: AppTest, label: str) -> AppTest:
    next(each for each in app.button if each.label == label and not each.disabled).click()
    return run(app)


@pytest.mark.parametrize("module", ["edit", "interpolate", "extrapolate", "compare", "export"])
def test_pages_without_anything_open_say_what_to_do(module: str) -> None:
    app = open_page(module, empty=True)
    assert [each.label for each in app.button] == ["Open something"]


def test_a_token_is_replaced_by_what_the_generator_suggests_and_back() -> None:
    app = open_page("edit")
    session = session_of(app)
    before = session.takes["first"]
    use = next(each for each in app.button if each.label == "Use")
    use.click()
    run(app)
    after = session.takes["first"]
    changed = (after.tokens.tokens != before.tokens.tokens).any(dim=1).nonzero()[:, 0].tolist()
    assert changed == [10 // 4] and str(int(after.tokens.tokens[2, 0])) in (use.key or "")
    assert any("1 changed" in each.value for each in app.caption)
    button(app, "Undo")
    assert session.takes["first"].tokens is before.tokens
    app.text_input[0].set_value("999999")
    button(app, "Replace")
    assert "must be 0 to" in app.error[0].value


def test_locked_tokens_stay_when_the_rest_is_drawn_anew() -> None:
    app = open_page("edit")
    session = session_of(app)
    before = session.takes["first"].tokens.tokens
    session.choose(3, 5)
    app.segmented_control[0].set_value("Lock")
    button(run(app), "Lock")
    app.segmented_control[0].set_value("Draw anew")
    run(app)
    next(each for each in app.selectbox if each.label == "Which tokens").set_value("all that are not locked")
    button(app, "Draw 4 candidates")
    button(app, "Use")
    after = session.takes["first"].tokens
    assert (after.tokens[3:5] == before[3:5]).all() and (after.tokens != before).any()
    assert after.seed == 0 and after.t0 == 0
    app.segmented_control[0].set_value("Delete")
    button(run(app), "Delete")
    assert "locked" in app.error[0].value


def test_three_ways_lead_through_collected_frames() -> None:
    app = open_page("interpolate")
    button(app, "Add this frame")
    assert "one more frame" in app.info[0].value
    next(each for each in app.slider if each.label == "Frame").set_value(30)
    button(run(app), "Add this frame")
    shown = [each.value for each in app.markdown]
    assert {"**Linear**", "**Slerp**", "**Token path**"} <= set(shown)
    assert next(each for each in app.slider if each.label == "Along the way").max == 25
    button(app, "Render")
    (job,) = jobs_of(session_of(app))
    assert job is not None and job.state == "done" and job.frames == 26
    ways = ways_through(collected(session_of(app)), 1.0, "smooth", loop=False)
    assert len(ways) == 3
    for way in ways.values():
        assert way.boxes.equal(ways["linear"].boxes), "the head stands in one place in all of them"


def jobs_of(session: Session) -> list[jobs.Job | None]:
    owner = session.folder.name
    return [jobs.queue().wait(job.key, LATE) for job in jobs.queue().jobs(owner)]


def test_the_expression_of_a_picture_can_be_a_key(portrait: Path, tmp_path: Path) -> None:
    session = Session(tmp_path)
    key = key_of_picture(session, "face.png", portrait.read_bytes())
    assert key.name == "face.png" and len(key.motion) == 1 and not list(tmp_path.iterdir())


def test_a_take_is_continued_in_several_ways_and_one_is_kept() -> None:
    app = open_page("extrapolate")
    session = session_of(app)
    next(each for each in app.selectbox if each.label == "From").set_value("frame 10, the cursor")
    button(app, "Continue")
    _, made = session.scratch["continued"]
    given = session.takes["first"].motion
    assert len(made) == 3 and given is not None
    for each in made:
        assert len(each.motion) == 11 + 50 and each.motion.t0 == 11
        assert (each.motion.latents[:11] == given.latents[:11]).all()
        with Image.open(io.BytesIO(each.look)) as look:
            assert look.format == "WEBP" and getattr(look, "n_frames", 1) == 31


def test_every_chosen_emotion_makes_a_clip() -> None:
    app = open_page("emotion")
    session = session_of(app)
    button(app, "Make")
    made = session.scratch["felt"]
    assert [each.title for each in made] == [
        f"{feeling} (seed 0)" for feeling in ("neutral 1", "happy 3", "sad 3", "surprised 3")
    ]
    assert all(len(each.motion) == 50 and each.motion.t0 == 0 for each in made)


def test_what_is_exported_is_replayed_to_the_same_bytes(
    xnemo: Callable[..., Outcome], weights: list[str], tmp_path: Path
) -> None:
    session = Session(tmp_path / "session")
    session.folder.mkdir()
    opened(session)
    table = editing.together(session, "first", "second", networks.tokenizer())
    for edit in (Repeat(0, 1, 3, 2), Swap(0, 0, 1, 1, 2, 4)):
        editing.edit(session, table, edit)
    take = session.takes["second"]
    for number, original in enumerate(table.originals):
        name = exporting.file_name(original.name, ".original.tokens.json")
        Path(name).write_bytes(exporting.token_file(session, table.history.sources[number]))
    Path("Second.edits.json").write_bytes(exporting.history_file(session, table))
    words = exporting.replay_command(take, table).split()
    assert words[0] == "xnemo" and xnemo(*words[1:], weights[1]).code == 0
    assert Path("Second.tokens.json").read_bytes() == exporting.token_file(session, take.tokens)
    motion = xnemo(*words[1:-1], f"m{SUFFIX}", weights[1])
    assert motion.code == 0 and Path(f"m{SUFFIX}").read_bytes() == exporting.motion_file(session, take)
    assert not list(session.folder.iterdir()), "nothing is left behind"


def test_the_export_page_offers_what_there_is(portrait: Path) -> None:
    app = open_page("export")
    session = session_of(app)
    assert any("Nothing was rendered yet" in each.value for each in app.caption)
    button(app, "Render")
    (job,) = jobs_of(session)
    assert job is not None and job.state == "done"
    run(app)
    assert any(f"{FRAMES} frames in" in each.value for each in app.markdown)
    sheet = exporting.contact_sheet_file(session.takes["first"], portrait)
    with Image.open(io.BytesIO(sheet)) as picture:
        assert picture.format == "PNG" and picture.width > picture.height
    clip = MotionClip.load(_written(session, exporting.motion_file(session, session.takes["first"])))
    assert len(clip) == FRAMES


def test_an_exported_video_names_its_sources_and_sounds_like_its_clip(portrait: Path, tmp_path: Path) -> None:
    session = Session(tmp_path / "session")
    session.folder.mkdir()
    mine = session.new_file(".upload")
    mine.write_bytes(portrait.read_bytes())
    session.names[mine] = "me.png"
    write_wav(tmp_path / "voice.wav", np.sin(np.arange(32000) / 9).astype(np.float32), 16000)
    motion = replace(tiny.motion(12, 0, networks.tokenizer().encoder_id), source="clip.mp4", source_sha256="ab" * 32)
    take = replace(from_motion("a", "clip.mp4", motion, networks.tokenizer()), sound=tmp_path / "voice.wav")
    shown = shown_motion(replace(take, motion=None), networks.tokenizer())  # as after an edit
    made_from = jobs.sources_of(session, shown, mine, take.origin)
    pictures, video = networks.pictures(mine), session.new_file(".mp4")
    draw_video(networks.pipeline(), pictures, shown, server.settings(), video, lambda _: None, made_from, take.sound)
    found = read_credentials(video, b"")
    assert found is not None
    hashes = {source["role"]: (source["name"], source["sha256"]) for source in found.sources}
    assert hashes == {"portrait": ("me.png", sha256_of(portrait)), "driving": ("clip.mp4", "ab" * 32)}
    samples, rate = read_audio(video, 16000)
    assert len(samples) / rate == pytest.approx(12 / 25, abs=0.06) and np.abs(samples).max() > 0.5


def test_what_follows_a_clip_has_its_sound_and_its_source_as_far_as_they_go(portrait: Path, tmp_path: Path) -> None:
    session = Session(tmp_path / "session")
    session.folder.mkdir()
    write_wav(tmp_path / "voice.wav", np.sin(np.arange(32000) / 9).astype(np.float32), 16000)
    motion = replace(tiny.motion(24, 0, networks.tokenizer().encoder_id), source="clip.mp4", source_sha256="ab" * 32)
    take = replace(from_motion("a", "clip.mp4", motion, networks.tokenizer()), sound=tmp_path / "voice.wav")
    (made,) = continued(take, 12, 0.5, Sampling(), Condition(), 1, portrait, lambda _: None)
    keep(session, made.title, made.motion, portrait, made.origin)
    assert session.take is not None and session.take.length == 24
    shown, origin, video = (
        shown_motion(session.take, networks.tokenizer()),
        session.take.origin,
        session.new_file(".mp4"),
    )
    made_from = jobs.sources_of(session, shown, portrait, origin)
    assert [(source.role, source.name, source.sha256) for source in made_from[1:]] == [
        ("driving", "clip.mp4", "ab" * 32)
    ]
    pictures, setting = networks.pictures(portrait), server.settings()
    draw_video(
        networks.pipeline(), pictures, shown, setting, video, lambda _: None, (), origin.sound, origin.sound_until
    )
    samples, rate = read_audio(video, 16000)
    assert len(samples) / rate == pytest.approx(12 / 25, abs=0.06)


def test_what_leads_through_frames_names_their_files(portrait: Path, tmp_path: Path) -> None:
    session = Session(tmp_path)
    motion = replace(tiny.motion(12, 0, networks.tokenizer().encoder_id), source_sha256="ab" * 32)
    take = from_motion("a", "clip.mp4", motion, networks.tokenizer())
    keys = [key_of_take(session, take, 0), key_of_take(session, take, 8)]
    keys.append(key_of_picture(session, "face.png", portrait.read_bytes()))
    for chosen, files in ((keys, ["ab" * 32, sha256_of(portrait)]), (keys[:2], ["ab" * 32])):
        way = ways_through(chosen, 0.4, "smooth", loop=False)["linear"]
        keep(session, "A way", way, portrait, Origin(keys=files_of(chosen)))
        assert session.take is not None
        shown = shown_motion(session.take, networks.tokenizer())
        named = jobs.sources_of(session, shown, portrait, session.take.origin)
        assert [(source.role, source.sha256) for source in named[1:]] == [("key", file) for file in files]
    assert [source.name for source in files_of(keys)] == ["clip.mp4", "face.png"]


def _written(session: Session, data: bytes) -> Path:
    path = session.new_file(SUFFIX)
    path.write_bytes(data)
    return path


def test_networks_that_are_missing_are_named_and_the_rest_is_measured(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", 25) as writer:
        writer.write(np.zeros((3, 64, 64, 3), np.uint8))
    apart = perceive(tmp_path / "a.mp4", tmp_path / "a.mp4", tmp_path)
    assert (apart.lpips, apart.identity) == (None, None)
    assert ["lpips_alexnet" in apart.missing[0], "models=FOLDER" in apart.missing[1]] == [True, True]


def test_networks_tell_people_apart(shared_data: Path, tmp_path: Path) -> None:
    faces = [np.asarray(read_image(path)) for path in sorted((shared_data / "portraits").glob("*"))[:2]]
    for name, face in zip("ab", faces, strict=True):
        square = face[: min(face.shape[:2]), : min(face.shape[:2])]
        with VideoWriter(tmp_path / f"{name}.mp4", 25) as writer:
            writer.write(at_measured_size(square[None]).repeat(2, axis=0))
    same = perceive(tmp_path / "a.mp4", tmp_path / "a.mp4", shared_data / "models")
    other = perceive(tmp_path / "a.mp4", tmp_path / "b.mp4", shared_data / "models")
    assert same.lpips == 0 and same.identity == pytest.approx(1) and not same.missing
    assert other.lpips is not None and other.lpips > 0.2
    assert other.identity is not None and other.identity < 0.95


def test_two_videos_are_measured_and_packed_for_the_player(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = np.kron(rng.integers(0, 256, (12, 8, 8, 3)), np.ones((1, 16, 16, 1))).astype(np.uint8)
    for name, shown in (("a", frames), ("b", 255 - frames[:9])):
        with VideoWriter(tmp_path / f"{name}.mp4", 25) as writer:
            writer.write(shown)
    same = measure(tmp_path / "a.mp4", tmp_path / "a.mp4")
    assert same.l1 == 0 and same.ssim == pytest.approx(1) and difference_picture(same.map).max() == 0
    apart = measure(tmp_path / "a.mp4", tmp_path / "b.mp4")
    assert apart.frames == 9 and apart.l1 > 0.2 and apart.ssim < 0.5 and apart.map.shape == (256, 256)
    data = packed(Result("a", "A", tmp_path / "a.mp4"), Result("b", "B", tmp_path / "b.mp4"))
    length = int.from_bytes(data[:4], "little")
    about = json.loads(data[4 : 4 + length])
    assert (about["frames"], about["fps"], about["names"]) == (9, 25.0, ["A", "B"])
    assert len(data) == 4 + length + sum(about["sizes"])
    assert data[4 + length :].startswith((tmp_path / "a.mp4").read_bytes())
