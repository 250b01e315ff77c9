"""What the viewer counts and fits over a set of clips is what it says."""

from __future__ import annotations

from pathlib import Path

import altair as alt
import numpy as np
import pytest

from animator.dataset import MotionDataset, MotionRecord, write_dataset
from animator.errors import XNeMoError
from apps.viewer import code_statistics, latent_space
from apps.viewer.charts import map_chart, transition_rows, usage_classes
from apps.viewer.code_statistics import UNLABELLED, count_codes
from apps.viewer.codes import gallery_codes, statistics_of, typical_codes
from apps.viewer.latent_map import has_umap, place_of, sample_rows, umap_places
from apps.viewer.latent_space import fit_pca, fit_readout
from apps.viewer.palette import palette
from apps.viewer.survey import PACKAGED, load_survey, probe_identity, survey_dataset
from motion_tokenizer.tokenizer import MotionTokenizer
from tests.motion_tokenizer import tiny
from tests.motion_tokenizer.synthetic import ENCODER, synthetic_motion

PEOPLE, CLIPS = 6, 2


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> MotionDataset:
    """Two clips of each of six people, every other one labelled, and a mirrored copy of one."""
    folder = tmp_path_factory.mktemp("survey") / "clips"
    records = [
        MotionRecord(
            f"clip_{person}_{clip}",
            f"person_{person}",
            "happy" if clip else None,
            None,
            "train",
            None,
            synthetic_motion(24, seed=10 * person + clip),
        )
        for person in range(PEOPLE)
        for clip in range(CLIPS)
    ]
    copy = MotionRecord("copy", "person_0", None, None, "train", None, synthetic_motion(24, seed=0), mirrored=True)
    write_dataset(folder, [*records, copy])
    return MotionDataset.open(folder)


@pytest.fixture(scope="module")
def tokenizer() -> MotionTokenizer:
    return MotionTokenizer(tiny.model(), ENCODER)


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_perplexity_is_the_number_of_equally_used_codes() -> None:
    statistics = count_codes([(np.array([3, 5, 7, 9]), None), (np.array([9, 7, 5, 3]), None)], 16)
    assert statistics.perplexity == pytest.approx(4)
    assert (statistics.dead, statistics.tokens, statistics.clips) == (12, 8, 2)
    assert count_codes([], 16).perplexity == 0


def test_transitions_never_cross_from_one_clip_into_the_next() -> None:
    statistics = count_codes([(np.array([0, 1, 0, 2]), None), (np.array([3, 0, 1]), None)], 4)
    assert statistics.successors(0, 3) == [(1, pytest.approx(2 / 3)), (2, pytest.approx(1 / 3))]
    assert statistics.successors(2, 3) == []
    assert np.allclose(statistics.transitions([0, 1])[0], [0, 2 / 3])
    assert {(row["before"], row["after"]) for row in transition_rows(statistics, [0, 1, 2])} == {
        ("0", "1"),
        ("0", "2"),
        ("1", "0"),
    }


def test_emotion_mix_does_not_depend_on_how_many_clips_an_emotion_has() -> None:
    happy, sad = np.array([0, 1]), np.array([0, 2])
    clips = [(happy, "happy")] * 9 + [(sad, "sad")] + [(np.array([3]), None)]
    statistics = count_codes(clips, 4)
    assert statistics.mix(0) == {"happy": pytest.approx(0.5), "sad": pytest.approx(0.5)}
    assert statistics.mix(3) == {}
    assert statistics.emotions == ("happy", "sad", UNLABELLED)
    assert typical_codes(statistics, "sad", 1) == [2]
    assert typical_codes(statistics, "bored", 3) == []


def test_gallery_shows_what_is_asked_for() -> None:
    statistics = count_codes([(np.array([5, 5, 5, 2, 2, 9]), "happy")], 16)
    assert gallery_codes("most used", statistics, 2, []) == [5, 2]
    assert gallery_codes("rarest", statistics, 2, []) == [9, 2]
    assert gallery_codes("like the chosen one", statistics, 2, [7, 8, 1]) == [7, 8]
    with pytest.raises(ValueError, match="no such order"):
        gallery_codes("loudest", statistics, 2, [])


def test_usage_classes_hold_every_code_once() -> None:
    usage = random().integers(0, 90, 500)
    clip = np.repeat(np.arange(500), usage)
    assert sum(row["codes"] for row in usage_classes(count_codes([(clip, None)], 500))) == 500


def test_principal_components_find_the_directions_of_variance_and_repeat() -> None:
    draws = random()
    basis = np.linalg.qr(draws.normal(size=(512, 2)))[0].T
    latents = (draws.normal(size=(400, 2)) * [5, 2]) @ basis + 7
    pca = fit_pca(latents.astype(np.float32), 2)
    assert np.abs(np.sum(pca.components * basis, axis=1)) == pytest.approx([1, 1], abs=1e-3)
    assert pca.share.sum() == pytest.approx(1, abs=1e-3)
    assert pca(latents.astype(np.float32)).std(axis=0) == pytest.approx([1, 1], abs=0.02)
    assert np.array_equal(pca.components, fit_pca(latents.astype(np.float32), 2).components)


def test_readout_reads_what_is_there_and_reports_what_it_cannot() -> None:
    draws = random()
    latents = draws.normal(size=(600, 512)).astype(np.float32)
    signals = np.stack([latents[:, 0], latents[:, 1], latents[:, 2], draws.normal(size=600)], axis=1)
    signals[:, :3] = 0.5 + 0.1 * signals[:, :3]
    groups = np.repeat(np.arange(12), 50)
    readout = fit_readout(latents, signals.astype(np.float32), groups, groups >= 9)
    assert (readout.correlation[:3] > 0.6).all()
    assert abs(readout.correlation[3]) < 0.3
    read = readout(latents[:5])
    assert all(0 <= value <= 1 for name in ("mouth", "blink", "smile") for value in read[name])


def test_probe_tells_separable_people_from_others() -> None:
    draws = random()
    identity = np.repeat(np.arange(6, dtype=np.int32), 32)
    clip = np.repeat(np.arange(12, dtype=np.int32), 16)
    latents = draws.normal(size=(192, 512)).astype(np.float32)
    told = probe_identity(latents + 3 * draws.normal(size=(6, 512))[identity].astype(np.float32), identity, clip)
    blind = probe_identity(latents, identity, clip)
    assert told is not None
    assert blind is not None
    assert told.across_clips
    assert told.score > 0.95 > 0.4 > blind.score
    assert probe_identity(latents, np.zeros(192, np.int32), clip) is None
    halves = probe_identity(latents, clip, clip)  # one clip a person
    assert halves is not None
    assert not halves.across_clips


def test_survey_counts_each_clip_once_and_comes_back_whole(
    dataset: MotionDataset, tokenizer: MotionTokenizer, tmp_path: Path
) -> None:
    survey = survey_dataset(dataset, tokenizer, None)
    assert survey.codes.clips == PEOPLE * CLIPS  # not the mirrored copy
    assert survey.codes.tokens == PEOPLE * CLIPS * 24 // tokenizer.frames_per_token
    assert survey.probe is not None
    assert survey.probe.people == PEOPLE
    survey.save(tmp_path / "a.survey.safetensors")
    again = load_survey(tmp_path / "a.survey.safetensors")
    assert (again.name, again.emotions, again.probe) == ("clips", ("happy", UNLABELLED), survey.probe)
    assert np.array_equal(again.codes.usage, survey.codes.usage)
    assert np.array_equal(again.sample.places, survey.sample.places)
    rows = sample_rows(again, again.sample.places[:, :2])
    assert {row["emotion"] for row in rows} == {"happy", UNLABELLED}
    assert len({row["identity"] for row in rows}) == PEOPLE
    alt.Chart.from_dict(map_chart(rows, "identity", ("a", "b"), categories=True))  # which looks at all of it


def test_damaged_survey_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "broken.survey.safetensors"
    path.write_bytes(b"\0" * 100)
    with pytest.raises(XNeMoError, match="broken.survey.safetensors"):
        load_survey(path)


def test_packaged_survey_names_nobody_and_belongs_to_the_packaged_tokenizer() -> None:
    survey = load_survey(PACKAGED)
    about = MotionTokenizer.from_pretrained()
    assert (survey.tokenizer_id, survey.encoder_id) == (about.id, about.encoder_id)
    assert survey.name == ""
    assert survey.readout is not None
    assert (survey.readout.correlation > 0.75).all()
    arrays = latent_space.to_arrays(survey.pca, survey.readout) | code_statistics.to_arrays(survey.codes)
    assert all(np.isfinite(array).all() for array in arrays.values())


def test_near_codes_have_near_colours() -> None:
    corners = random().normal(size=(4, 8))
    codebook = (corners[np.repeat(np.arange(4), 25)] + 0.01 * random(1).normal(size=(100, 8))).astype(np.float32)
    hues = np.array([float(colour[4:].split()[0]) for colour in palette(codebook)]).reshape(4, 25)
    assert max(np.ptp(row) for row in hues) < 120
    assert len(palette(codebook[:, :2])) == 100


@pytest.mark.slow
@pytest.mark.skipif(not has_umap(), reason="umap-learn is not installed (pip install 'xnemo-motion-suite[umap]')")
def test_umap_lays_groups_apart_and_repeats() -> None:
    draws = random()
    groups = np.repeat(np.arange(2), 30)
    points = (draws.normal(size=(60, 8)) + 20 * groups[:, None]).astype(np.float32)
    places = umap_places("a", points)
    assert places.shape == (60, 2) and np.isfinite(places).all()
    centres = np.stack([places[groups == group].mean(axis=0) for group in (0, 1)])
    nearest = np.linalg.norm(places[:, None] - centres[None], axis=2).argmin(axis=1)
    assert (nearest == groups).all()
    assert np.array_equal(umap_places("b", points), places)


def test_place_of_a_point_survives_names_with_spaces() -> None:
    assert place_of("clip:a b 12") == ("clip:a b", 12)
    with pytest.raises(ValueError, match="no place"):
        place_of("12")


def test_statistics_of_no_takes_are_empty() -> None:
    assert statistics_of([], 8).tokens == 0
