"""`xnemo train all`: the recipes of this suite in a row, from clips to weights that belong together.

A step's folder carries a key in its name, of its command, its settings and the keys of the steps that it builds on;
clips, and weights that training goes on from, count by their content. So a step is done again exactly when something
that it depends on has changed, what was made before stays where it is, and an interrupted recipe goes on in the folder
that it began.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import importlib
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from animator.config_loader import load_config
from animator.errors import XNeMoError
from animator.evaluation.config import GateConfig
from animator.evaluation.sources import find_items
from animator.files import atomic_path, replaced_folder, sha256_of
from animator.training.parts import PARTS as PARTS_FOLDER
from apps.chain_card import model_card
from apps.chain_config import TrainAllConfig
from apps.gate import PARTS
from apps.verb import Context, PartlyFailed

_CACHED = "cached_latents=true"
SOURCE, START = "source", "start"  # stand for the clips, and the weights to go on from, in the needs of a step
RECORD = "chain.json"
WEIGHTS = "weights"  # folder of finished weights in the output of every training


@dataclass(frozen=True)
class Step:
    """One command of the chain. "{name}" in its words stands for what the step of that name made.

    Attributes:
        name: of the step, and the beginning of its folder's name.
        command: module in `apps.commands`.
        needs: steps whose results it uses; `SOURCE` and `START` are none.
        files: file names that it is given.
        settings: key=value.
        product: what the next steps use, inside its folder; "" is the folder.
        folder_setting: the setting that names its folder; None where -o does.
        inside: the step in whose folder it works; None: it has its own.
    """

    name: str
    command: str
    needs: tuple[str, ...]
    files: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    product: str = ""
    folder_setting: str | None = None
    inside: str | None = None


@dataclass
class Chain:
    """The steps under way.

    Attributes:
        folder: where all of it lies.
        keys: step -> its key; clips and weights to go on from have theirs from the beginning.
        made: step -> what it made; the clips are there from the beginning.
        complaints: clips that a step had to leave out, now or when it was run.
        fresh: the steps that were really run.
    """

    folder: Path
    keys: dict[str, str]
    made: dict[str, Path] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)
    fresh: list[str] = field(default_factory=list)

    def run(self, step: Step, context: Context) -> None:
        """Do a step, or find that it is done.

        Raises:
            XNeMoError: it failed.
        """
        self.keys[step.name] = key = self._key(step)
        folder = self.folder / f"{step.name}-{key}" if step.inside is None else self.made[step.inside]
        product = folder / step.product
        record = self.record()
        before = record.get(step.name, {})
        self.made[step.name] = product
        if before.get("key") == key and product.exists():
            print(f"{step.name}: done before, in {folder}", file=sys.stderr)
            self.complaints += before.get("left_out", [])
            return
        print(f"{step.name}: xnemo {step.command.replace('_', ' ')} in {folder}", file=sys.stderr)
        began, left_out = time.monotonic(), []
        try:
            self._command(step, folder, context)
        except PartlyFailed as error:
            if not product.exists():
                raise
            left_out = [f"{step.name}: {error}"]
        self.complaints += left_out
        self.fresh.append(step.name)
        seconds = round(time.monotonic() - began, 1)
        record[step.name] = {"key": key, "made": str(product), "seconds": seconds, "left_out": left_out}
        with atomic_path(self.folder / RECORD) as path:
            path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")

    def _command(self, step: Step, folder: Path, context: Context) -> None:
        verb = importlib.import_module(f"apps.commands.{step.command}").VERB
        words = {name: str(path) for name, path in self.made.items()}
        settings = [_filled(setting, words) for setting in step.settings]
        if step.folder_setting is not None:
            settings.append(f"{step.folder_setting}={folder}")
        options = argparse.Namespace(**{_attribute(option.names[-1]): None for option in verb.options})
        options.output = str(folder)
        files = [_filled(file, words) for file in step.files]
        verb.run(files, load_config(verb.config, settings), options, Context(context.kept))

    def _key(self, step: Step) -> str:
        below = [self.keys[name] for name in step.needs]
        text = json.dumps([step.command, step.files, step.settings, below])
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    def record(self) -> dict[str, Any]:
        """What was made when, by step."""
        try:
            found = json.loads((self.folder / RECORD).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


def train_all(source: Path, folder: Path, config: TrainAllConfig, context: Context) -> dict[str, Any]:
    """From clips to weights that belong together, and the verdict on them.

    Args:
        source: folder of clips or manifest.
        folder: for everything that is made.
        config: what is trained, and for how long.
        context: told what an interruption leaves.
    Returns:
        Folders of the weights by part, the steps that were run, and what the gate says.
    Raises:
        XNeMoError: there is no such source, or a step failed.
        PartlyFailed: all is done, but a step had to leave clips out, in this call or when it was run.
    """
    if not config.stages:
        raise XNeMoError("stages=[]: name at least one, such as laptop")
    if sum(shares_of(config).values()) <= 0:
        raise XNeMoError("shares: at least one must be above 0")
    crops = _holds_crops(source)
    if crops and config.until != "animator":
        raise XNeMoError(
            f"{source}: holds face crops, of which no motion is read; name the clips, or set until=animator"
        )
    keys = {SOURCE: content_key(source)}
    if config.gate:
        _check_gate(source, config)
    if config.start_from is not None:
        keys[START] = content_key(Path(config.start_from))
    chain, steps = Chain(folder, keys, {SOURCE: source}), steps_of(config, crops)
    folder.mkdir(parents=True, exist_ok=True)
    context.kept = f"{folder} holds the steps that are done, and the same command goes on from there"
    for step in steps:
        chain.run(step, context)
    candidates = _gather(chain, steps)
    result: dict[str, Any] = {
        "weights": {name: str(candidates / name) for name in PARTS if (candidates / name).is_dir()},
        "steps": {step.name: str(chain.made[step.name]) for step in steps},
        "run": chain.fresh,
    }
    if config.gate:
        result["gate"] = _judge(chain, steps[-1].name, candidates, config, context)
    result["left_out"] = chain.complaints
    verdict = json.loads(Path(result["gate"]["report"]).read_text(encoding="utf-8")) if config.gate else None
    with atomic_path(candidates / "README.md") as path:
        path.write_text(model_card(steps, chain.record(), chain.complaints, verdict), encoding="utf-8")
    if chain.complaints:
        left_out = "; ".join(chain.complaints)
        raise PartlyFailed(f"the weights in {candidates} are made, but not of all clips: {left_out}", result)
    return result


def steps_of(config: TrainAllConfig, crops: bool = False) -> list[Step]:
    """The steps that the settings ask for, in order.

    Args:
        config: the settings.
        crops: there are no clips, but face crops that were made of them elsewhere.
    """
    given, minutes = config.settings, _minutes(config)
    # A folder of crops is put together where it lies.
    files, inside = ((), SOURCE) if crops else (("{source}",), None)
    steps = [Step("crops", "prepare", (SOURCE,), files, tuple(given.prepare), inside=inside)]
    common = ("crops={crops}", f"animator={config.animator}")
    needs: tuple[str, ...] = ("crops",)
    start: list[str] = []
    if config.start_from is not None:
        needs, start = ("crops", START), [f"start_from={config.start_from}"]
    if minutes["autoencoder"] > 0:
        settings = (*common, f"schedule.max_minutes={minutes['autoencoder']:g}", *given.autoencoder)
        steps.append(_training("autoencoder", "train_autoencoder", needs, settings))
        needs, start = ("crops", "autoencoder"), ["start_from={autoencoder}"]
    stages = [stage.split() for stage in config.stages]
    if any(_CACHED in words for words in (given.animator, *stages)):
        maker = next((word.removeprefix("start_from=") for word in start), None)
        if maker is None:
            raise XNeMoError(f"{_CACHED}: nobody makes latents; set shares.autoencoder above 0 or start_from")
        words = (*given.prepare, f"autoencoder={maker}")
        steps.append(Step("latents", "prepare", needs, (), words, "latents.json", inside="crops"))
    last = ""
    for number, (stage, *own) in enumerate(stages):
        # A recipe may come twice, with other settings.
        last = stage if stage not in (step.name for step in steps) else f"{stage}_{number + 1}"
        each = f"schedule.max_minutes={minutes['animator'] / len(stages):g}"
        settings = (f"train={stage}", *common, each, *start, *given.animator, *own)
        steps.append(_training(last, "train_animator", needs, settings))
        needs, start = ("crops", last), [f"start_from={{{last}}}"]
    if config.until == "animator":
        return steps
    weights = f"weights={{{last}}}"
    steps.append(Step("dataset", "extract", (SOURCE, last), ("{source}",), (weights, *given.extract)))
    count = max(1, round(minutes["tokenizer"] * config.tokenizer_steps_a_minute))
    settings = (f"schedule.steps={count}", *given.tokenizer)
    steps.append(_training("tokenizer", "train_tokenizer", ("dataset",), settings, ("{dataset}",)))
    count = max(1, round(minutes["gpt"] * config.gpt_steps_a_minute))
    settings = ("tokenizer_weights={tokenizer}", f"schedule.steps={count}", *given.gpt)
    steps.append(_training("gpt", "train_gpt", ("dataset", "tokenizer"), settings, ("{dataset}",)))
    return steps


def content_key(source: Path) -> str:
    """A key of the content and the names of all files of a folder, or of a manifest and the files that it names.

    Of face crops the parts count, of which all else is made.

    Raises:
        XNeMoError: there is no such file or folder, or it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        if _holds_crops(source):
            found = sorted((source / PARTS_FOLDER).iterdir())
        elif source.is_dir():
            found = sorted(path for path in source.rglob("*") if path.is_file())
        else:
            with source.open(newline="", encoding="utf-8") as file:
                named = [source.parent / (row.get("file") or "") for row in csv.DictReader(file)]
            found = [source, *(path for path in named if path.is_file())]
        for path in found:
            digest.update(f"{os.path.relpath(path, source)}\0{sha256_of(path)}\n".encode())
    except (OSError, UnicodeDecodeError) as error:
        raise XNeMoError(f"{source}: cannot be read: {error}") from error
    return digest.hexdigest()


def shares_of(config: TrainAllConfig) -> dict[str, float]:
    """How the minutes are shared out among what is trained at all."""
    shares = asdict(config.shares)
    return shares | {"tokenizer": 0.0, "gpt": 0.0} if config.until == "animator" else shares


def _minutes(config: TrainAllConfig) -> dict[str, float]:
    shares = shares_of(config)
    return {name: config.minutes * share / sum(shares.values()) for name, share in shares.items()}


def _training(
    name: str, command: str, needs: tuple[str, ...], settings: Sequence[str], files: tuple[str, ...] = ()
) -> Step:
    return Step(name, command, needs, files, tuple(settings), WEIGHTS, "output")


def _gather(chain: Chain, steps: Sequence[Step]) -> Path:
    """Put the finished weights side by side, as `xnemo evaluate gate` takes them."""
    target = chain.folder / "finished"
    shutil.rmtree(target, ignore_errors=True)  # what an earlier call put there may belong to other weights
    for name, step in (("animator", _last_stage(steps)), ("motion_tokenizer", "tokenizer"), ("motion_gpt", "gpt")):
        if step not in chain.made:
            continue
        with replaced_folder(target / name) as gathered:
            shutil.copytree(chain.made[step], gathered, dirs_exist_ok=True)
    return target


def _last_stage(steps: Sequence[Step]) -> str:
    return [step.name for step in steps if step.command == "train_animator"][-1]


def _holds_crops(folder: Path) -> bool:
    return (folder / PARTS_FOLDER).is_dir()


def _check_gate(source: Path, config: TrainAllConfig) -> None:
    """Miss what the gate will measure with now, and not after the training."""
    gate = load_config("evaluate_gate", config.settings.gate)
    assert isinstance(gate, GateConfig)
    for kind in ("clip", "portrait"):
        try:
            find_items([source], kind, gate.split)
        except XNeMoError as error:
            raise XNeMoError(f"{error}; the gate measures with these: name some, or set gate=false") from error


def _judge(chain: Chain, last: str, candidates: Path, config: TrainAllConfig, context: Context) -> dict[str, Any]:
    """What `xnemo evaluate gate` says of the finished weights; a refusal is an answer, and no failure."""
    chain.made["candidates"] = candidates
    files = ("{candidates}", "{source}")
    chain.run(Step("gate", "evaluate_gate", (last, SOURCE), files, tuple(config.settings.gate), "gate.json"), context)
    chain.complaints = [line for line in chain.complaints if not line.startswith("gate: ")]
    found = json.loads(chain.made["gate"].read_text(encoding="utf-8"))
    return {"passed": found["passed"], "reasons": found["reasons"], "report": found["report"]}


def _filled(text: str, words: dict[str, str]) -> str:
    for name, value in words.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def _attribute(option: str) -> str:
    return option.lstrip("-").replace("-", "_")
