"""`xnemo evaluate all`: both tables, the motion latent, the tokenizer and the generator, in one report."""

from __future__ import annotations

import argparse
import csv
import importlib
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from animator.errors import XNeMoError
from animator.evaluation.config import AllConfig
from animator.files import atomic_path
from apps.evaluation import LIMIT, OUTPUT, RESULTS, limit_of, report_folder, reported, result_folders, summary
from apps.verb import Context, Verb

if TYPE_CHECKING:
    from animator.evaluation.networks import NetworkFile


def run(files: list[str], config: AllConfig, options: argparse.Namespace, context: Context) -> dict[str, Any]:
    """Run every evaluation; one that cannot be run (no weights, no data) says why in the report."""
    from animator.evaluation.networks import find_network
    from animator.evaluation.reenactment import locate_networks, reenact

    folder, limit, results = report_folder(options, context), limit_of(options), result_folders(options)
    # One input holds both, a manifest for example; of several the first holds the portraits.
    portraits = Path(files[0])
    clips = [Path(file) for file in files[1:]] or [portraits]
    networks = locate_networks(config, [*clips, portraits])
    used = networks.plain()

    def latent() -> dict[str, Any]:
        model = find_network("head", [networks.folder])
        used["head"] = model.plain()
        return _latent(config, model, folder)

    def parts() -> dict[str, Any]:
        found = reenact(config, clips, [portraits], networks, folder, True, limit, results)
        found["latent"] = _attempt("latent", latent)
        dataset = Lazy(lambda: _dataset(config, clips, folder, limit))
        for name, weights in _WEIGHTS.items():
            settings = [f"{key}={value}" for key in (*weights, *_SHARED) if (value := getattr(config, key)) is not None]
            run_it = partial(_command, name, config, dataset, folder, limit, settings, context)
            found[name] = _attempt(name, run_it)
        return found

    return reported(config, used, folder, parts)


# What each of the other commands reads of this one's settings.
_SHARED = ("weights", "device", "dtype")
_WEIGHTS = {"tokenizer": ("tokenizer_weights",), "generation": ("tokenizer_weights", "gpt_weights")}


class Lazy:
    """A value that is made when it is first asked for."""

    def __init__(self, make: Callable[[], Path]) -> None:
        self._make = make
        self._made: Path | None = None

    def get(self) -> Path:
        """The value."""
        if self._made is None:
            self._made = self._make()
        return self._made


def _latent(config: AllConfig, model: NetworkFile, folder: Path) -> dict[str, Any]:
    from animator.config_loader import load_config
    from animator.evaluation.latent import evaluate_latent

    given = ("heads", "seed", "workers", *_SHARED)
    settings = [f"{key}={value}" for key in given if (value := getattr(config, key)) is not None]
    return evaluate_latent(load_config("evaluate_latent", settings), model, folder)


def _command(
    name: str,
    config: AllConfig,
    dataset: Lazy,
    folder: Path,
    limit: int | None,
    settings: list[str],
    context: Context,
) -> dict[str, Any]:
    """Run `xnemo evaluate NAME` on a motion dataset; its own report lies in a folder of its name.

    Raises:
        XNeMoError: the weights are missing, or the command says what is.
    """
    from animator.config_loader import load_config
    from motion_gpt.weights import find_gpt
    from motion_tokenizer.tokenizer import find_tokenizer

    # Asked before a dataset is made, which takes long.
    find_tokenizer(config.tokenizer_weights)
    if name == "generation":
        find_gpt(config.gpt_weights)
    verb = importlib.import_module(f"apps.commands.evaluate_{name}").VERB
    options = argparse.Namespace(output=str(folder / name), limit=None if limit is None else str(limit))
    kept = context.kept
    own = load_config(verb.config, settings)
    if name == "generation":
        own.marks = config.marks
    result = verb.run([str(dataset.get())], own, options, context)
    context.kept = kept
    return {"own_report": f"{name}/"} | result["report"]


def _dataset(config: AllConfig, clips: Sequence[Path], folder: Path, limit: int | None) -> Path:
    """The motion dataset that the settings name, or one of the manifest's clips.

    Raises:
        XNeMoError: the clips are not named by a manifest, which alone says who is who.
    """
    from animator.config_loader import load_config
    from animator.evaluation.sources import MANIFEST
    from animator.extraction.recipe import extract_dataset

    if config.dataset is not None:
        return Path(config.dataset)
    source = clips[0] / MANIFEST if clips[0].is_dir() else clips[0]
    if len(clips) > 1 or source.suffix.lower() != ".csv" or not source.is_file():
        raise XNeMoError("a motion dataset is needed, and the clips are no manifest; name one with dataset=FOLDER")
    listed = folder / "motion_dataset.csv"
    _write_rows(listed, source, limit)
    settings = [f"{key}={value}" for key in _SHARED if (value := getattr(config, key)) is not None]
    return extract_dataset(listed, folder / "motion_dataset", load_config("extract", settings)).folder


def _write_rows(target: Path, source: Path, limit: int | None) -> None:
    """Copy the rows of a manifest that are clips, at most `limit` of each split, the first by name."""
    with source.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row.get("kind", "clip") == "clip"]
    rows.sort(key=lambda row: Path(row["file"]).name)
    chosen = [row for split in ("validation", "train") for row in [r for r in rows if r["split"] == split][:limit]]
    with atomic_path(target) as path, path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(row | {"file": str((source.parent / row["file"]).resolve())} for row in chosen)


def _attempt(name: str, part: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """A part of the report, or why there is none."""
    try:
        return part()
    except XNeMoError as error:
        print(f"{name} is not measured: {error}", file=sys.stderr)
        return {"not_measured": str(error)}


VERB = Verb(
    usage="xnemo evaluate all DATA | PORTRAITS CLIPS... [-o DIR] [--limit N] [--results DIR] [key=value ...] [--json]",
    config="evaluate_all",
    run=run,
    summary=summary,
    least_inputs=1,
    most_inputs=sys.maxsize,
    options=(OUTPUT, LIMIT, RESULTS),
)
