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
from animator.files import atomic_path, replaced_folder, sha256_of
from apps.chain_config import TrainAllConfig
from apps.gate import PARTS
from apps.verb import Context, PartlyFailed

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
    """

    name: str
    command: str
    needs: tuple[str, ...]
    files: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    product: str = ""
    folder_setting: str | None = None


@dataclass
class Chain:
    """The steps under way.

    Attributes:
        folder: where all of it lies.
        sources: the clips, and whatever lies beside them.
        keys: step -> its key; clips and weights to go on from have theirs from the beginning.
        made: step -> what it made.
        complaints: clips that a step had to leave out.
        fresh: the steps that were really run.
    """

    folder: Path
    sources: Path
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
        folder = self.folder / f"{step.name}-{key}"
        product = folder / step.product
        record = self._record()
        self.made[step.name] = product
        if record.get(step.name, {}).get("key") == key and product.exists():
            print(f"{step.name}: done before, in {folder}", file=sys.stderr)
            return
        print(f"{step.name}: xnemo {step.command.replace('_', ' ')} in {folder}", file=sys.stderr)
        began = time.monotonic()
        try:
            self._command(step, folder, context)
        except PartlyFailed as error:
            if not product.exists():
                raise
            self.complaints.append(f"{step.name}: {error}")
        self.fresh.append(step.name)
        record[step.name] = {"key": key, "made": str(product), "seconds": round(time.monotonic() - began, 1)}
        with atomic_path(self.folder / RECORD) as path:
            path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")

    def _command(self, step: Step, folder: Path, context: Context) -> None:
        verb = importlib.import_module(f"apps.commands.{step.command}").VERB
        words = {name: str(path) for name, path in self.made.items()} | {SOURCE: str(self.sources)}
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

    def _record(self) -> dict[str, Any]:
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
    """
    if not config.stages:
        raise XNeMoError("stages=[]: name at least one, such as laptop")
    if sum(asdict(config.shares).values()) <= 0:
        raise XNeMoError("shares: at least one must be above 0")
    folder.mkdir(parents=True, exist_ok=True)
    context.kept = f"{folder} holds the steps that are done, and the same command goes on from there"
    keys = {SOURCE: content_key(source)}
    if config.start_from is not None:
        keys[START] = content_key(Path(config.start_from))
    chain = Chain(folder, source, keys)
    for step in steps_of(config):
        chain.run(step, context)
    candidates = _gather(chain, config.stages[-1])
    result: dict[str, Any] = {
        "weights": {name: str(candidates / name) for name in PARTS},
        "steps": {name: str(path) for name, path in chain.made.items()},
        "run": chain.fresh,
        "left_out": chain.complaints,
    }
    if config.gate:
        result["gate"] = _judge(chain, candidates, config, context)
    return result


def steps_of(config: TrainAllConfig) -> list[Step]:
    """The steps that the settings ask for, in order."""
    given, minutes = config.settings, _minutes(config)
    steps = [Step("crops", "prepare", (SOURCE,), ("{source}",), tuple(given.prepare))]
    common = ("crops={crops}", f"animator={config.animator}")
    needs: tuple[str, ...] = ("crops",)
    start: list[str] = []
    if config.start_from is not None:
        needs, start = ("crops", START), [f"start_from={config.start_from}"]
    if minutes["autoencoder"] > 0:
        settings = (*common, f"schedule.max_minutes={minutes['autoencoder']:g}", *given.autoencoder)
        steps.append(_training("autoencoder", "train_autoencoder", needs, settings))
        needs, start = ("crops", "autoencoder"), ["start_from={autoencoder}"]
    for stage in config.stages:
        each = f"schedule.max_minutes={minutes['animator'] / len(config.stages):g}"
        settings = (f"train={stage}", *common, each, *start, *given.animator)
        steps.append(_training(stage, "train_animator", needs, settings))
        needs, start = ("crops", stage), [f"start_from={{{stage}}}"]
    last = config.stages[-1]
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

    Raises:
        XNeMoError: there is no such file or folder, or it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        if source.is_dir():
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


def _minutes(config: TrainAllConfig) -> dict[str, float]:
    shares = asdict(config.shares)
    return {name: config.minutes * share / sum(shares.values()) for name, share in shares.items()}


def _training(
    name: str, command: str, needs: tuple[str, ...], settings: Sequence[str], files: tuple[str, ...] = ()
) -> Step:
    return Step(name, command, needs, files, tuple(settings), WEIGHTS, "output")


def _gather(chain: Chain, last_stage: str) -> Path:
    """Put the finished weights side by side, as `xnemo evaluate gate` takes them."""
    target = chain.folder / "finished"
    for name, step in (("animator", last_stage), ("motion_tokenizer", "tokenizer"), ("motion_gpt", "gpt")):
        with replaced_folder(target / name) as gathered:
            shutil.copytree(chain.made[step], gathered, dirs_exist_ok=True)
    return target


def _judge(chain: Chain, candidates: Path, config: TrainAllConfig, context: Context) -> dict[str, Any]:
    """What `xnemo evaluate gate` says of the finished weights; a refusal is an answer, and no failure."""
    chain.made["candidates"] = candidates
    files = ("{candidates}", "{source}")
    chain.run(Step("gate", "evaluate_gate", ("gpt", SOURCE), files, tuple(config.settings.gate), "gate.json"), context)
    chain.complaints = [line for line in chain.complaints if not line.startswith("gate: ")]
    found = json.loads(chain.made["gate"].read_text(encoding="utf-8"))
    return {"passed": found["passed"], "reasons": found["reasons"], "report": found["report"]}


def _filled(text: str, words: dict[str, str]) -> str:
    for name, value in words.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def _attribute(option: str) -> str:
    return option.lstrip("-").replace("-", "_")
