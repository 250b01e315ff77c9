"""Measure one clip after the other: the weights under test, baselines and other programs' videos on all its cases.

A case is a clip, or a clip and a portrait; a method is the weights under test, a baseline or another program's videos.
Every (case, method) has a record in the output folder, named after a hash of all that it depends on, so an interrupted
run goes on where it stopped and another setting never reads a wrong record.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from animator.builders import load_pipeline
from animator.errors import XNeMoError
from animator.evaluation.baselines import (
    COPY_DRIVER,
    COPY_REFERENCE,
    PASTE_FACE,
    Results,
    copy_reference,
    driver_frames,
    paste_face,
    result_frames,
)
from animator.evaluation.config import ReenactmentConfig
from animator.evaluation.networks import NetworkFiles, Networks
from animator.evaluation.observer import Observer
from animator.evaluation.protocols import (
    Draw,
    Driver,
    Frames,
    Measured,
    Subject,
    measure,
    own_subject,
    portrait_subject,
    read_driver,
)
from animator.evaluation.records import DEFINITIONS, Record, load_record, make_record, save_record
from animator.evaluation.sources import Item
from animator.face import FaceDetector
from animator.files import sha256_of
from animator.pipeline import XNeMoPipeline
from animator.provenance.marks import Marks, identity_of
from animator.visuals import Row, contact_sheet

SHEET_FRAMES = 8  # frames of a clip on its contact sheet
SHEET_SIDE = 112  # of a frame there, in pixels


@dataclass(frozen=True)
class Method:
    """A row of the tables.

    Attributes:
        name: what the tables call it.
        kind: "weights", a baseline's name, or "results".
        results: another program's videos, for "results".
    """

    name: str
    kind: str
    results: Results | None = None


@dataclass(frozen=True)
class Case:
    """A clip that drives its own first frame, or a portrait."""

    experiment: str
    clip: Item
    portrait: Item | None = None

    @property
    def name(self) -> str:
        """Clip and portrait in one name."""
        return self.clip.name if self.portrait is None else f"{self.clip.name} on {self.portrait.name}"


@dataclass(frozen=True)
class Plan:
    """All that a worker needs to know.

    Attributes:
        cases: what is measured.
        methods: by what.
        config: the settings.
        networks: the measuring networks.
        weights: checksum of each file of the weights under test.
        folder: where records go.
    """

    cases: tuple[Case, ...]
    methods: tuple[Method, ...]
    config: ReenactmentConfig
    networks: NetworkFiles
    weights: dict[str, str]
    folder: Path


@dataclass
class Outcome:
    """What came of a plan, or of a part of it.

    Attributes:
        records: one for each case and method that could be measured.
        skipped: "method, case" -> why it could not be.
    """

    records: list[Record] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)

    def add(self, other: Outcome) -> None:
        """Take in another part."""
        self.records += other.records
        self.skipped |= other.skipped


def drawing(pipeline: XNeMoPipeline, config: ReenactmentConfig) -> Draw:
    """The renderer under test."""
    renderer = pipeline.config.default_renderer if config.renderer == "auto" else config.renderer
    if renderer == "gan":
        return pipeline.stream_preview
    return partial(pipeline.stream, sampler=config.sampler, seed=config.seed)


class Measurer:
    """Pipeline and networks of one process; a context manager."""

    def __init__(self, plan: Plan) -> None:
        if plan.config.videos:
            identity_of(plan.config.marks)  # a certificate that cannot be used is found out before any work
        self._plan = plan
        self._stack = ExitStack()
        self._pipeline = load_pipeline(plan.config)
        self._pipeline.set_progress_bar_config(disable=True)
        self._draw = drawing(self._pipeline, plan.config)
        self._detector = self._stack.enter_context(FaceDetector())
        self._observer = Observer(self._stack.enter_context(Networks(plan.networks, self._pipeline.execution_device)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def job(self, cases: Sequence[Case]) -> Iterator[Outcome]:
        """Measure what is missing of all cases of one clip."""
        driver: Driver | None = None
        failure: str | None = None
        for case in cases:
            stems = {method: record_stem(self._plan, case, method) for method in self._plan.methods}
            subject: Subject | None = None
            for method, stem in stems.items():
                if load_record(self._plan.folder, stem) is not None:
                    continue
                try:
                    if failure is not None:
                        raise XNeMoError(failure)
                    if driver is None:
                        driver = self._driver(case.clip.path)
                    if subject is None:
                        subject = self._subject(case, driver)
                    yield Outcome([self._measure(case, method, stem, driver, subject)])
                except XNeMoError as error:
                    if driver is None:
                        failure = str(error)
                    yield Outcome(skipped={f"{method.name}, {case.experiment}, {case.name}": str(error)})

    def _driver(self, path: Path) -> Driver:
        return read_driver(self._pipeline, path, self._observer, self._detector, self._plan.config.frames)

    def _subject(self, case: Case, driver: Driver) -> Subject:
        if case.portrait is None:
            return own_subject(self._pipeline, driver, self._observer)
        return portrait_subject(self._pipeline, case.portrait.path, self._observer, self._detector)

    def _measure(self, case: Case, method: Method, stem: str, driver: Driver, subject: Subject) -> Record:
        video = None
        if self._plan.config.videos and method.kind in ("weights", "results"):
            video = self._plan.folder / f"{stem}.mp4"
        frames = self._frames(case, method, driver, subject)
        measured = measure(
            driver, subject, frames, self._observer, case.portrait is None, video, self._marks(case, method)
        )
        portrait = None if case.portrait is None else case.portrait.name
        note = "" if case.portrait is None else case.portrait.note
        record = make_record(driver, measured, case.experiment, portrait, note, method.name, stem)
        save_record(self._plan.folder, record, _sheet(driver, subject, measured), (measured.runs, driver.runs))
        return record

    def _marks(self, case: Case, method: Method) -> Marks:
        portrait = None if case.portrait is None else case.portrait.path
        parts = {"portrait": portrait, "driving": case.clip.path, "result": _result_path(case, method)}
        sources = tuple((role, path) for role, path in parts.items() if path is not None)
        return Marks("evaluate", sources, self._plan.config.marks)

    def _frames(self, case: Case, method: Method, driver: Driver, subject: Subject) -> Iterable[Frames]:
        if method.kind == "weights":
            return self._draw(subject.pictures, driver.motion)
        if method.kind == COPY_REFERENCE:
            return copy_reference(subject.still, len(driver))
        if method.kind == COPY_DRIVER:
            return driver_frames(driver.path, len(driver))
        if method.kind == PASTE_FACE:
            return paste_face(driver.path, driver.seen.face, subject.still, subject.face)
        path = _result_path(case, method)
        if path is None:
            raise XNeMoError(f"{method.name} has no video of it")
        return result_frames(path, len(driver))


def record_stem(plan: Plan, case: Case, method: Method) -> str:
    """Name of a record: readable, and ending in a hash of everything that its numbers depend on."""
    config = plan.config
    about = {
        "definitions": DEFINITIONS,
        "experiment": case.experiment,
        "method": method.kind,
        "clip": sha256_of(case.clip.path),
        "portrait": None if case.portrait is None else sha256_of(case.portrait.path),
        "frames": config.frames,
        "networks": {role: network["sha256"] for role, network in plan.networks.plain().items()},
        # The driver's motion decides which frames there are and where its first face is cut, for every method.
        "weights": plan.weights,
        "videos": config.videos,
    }
    if method.kind == "weights":
        about |= {"renderer": config.renderer, "sampler": asdict(config.sampler), "seed": config.seed}
        about |= {"dtype": config.dtype, "tiny_vae": config.tiny_vae}
    path = _result_path(case, method)
    if path is not None:
        about["result"] = sha256_of(path)
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
    parts = [case.experiment, case.clip.name, *([case.portrait.name] if case.portrait else []), method.name]
    return "-".join(["_".join(part.split()) for part in parts] + [digest[:12]])


def _result_path(case: Case, method: Method) -> Path | None:
    if method.results is None:
        return None
    portrait = None if case.portrait is None else case.portrait.name
    return method.results.find(case.experiment, case.clip.name, portrait)


def _sheet(driver: Driver, subject: Subject, measured: Measured) -> np.ndarray:
    """The driver's sampled frames above the result's, each behind the portrait."""
    chosen = np.unique(np.linspace(0, len(driver.pictures) - 1, SHEET_FRAMES).round().astype(int))
    empty = np.full_like(subject.still, 24)
    rows = [
        Row("driver", [empty, *driver.pictures[chosen]]),
        Row("portrait, result", [subject.still, *measured.pictures[chosen]]),
    ]
    return contact_sheet(rows, side=SHEET_SIDE)
