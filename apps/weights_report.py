"""Which released weights are on this machine, which are missing, and what to do next."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from animator.asset_manifest import RELEASE_PAGE, SOURCES, WeightSource, converted_home, released_home
from animator.downloads import is_complete, source_status


def weights_report() -> dict[str, Any]:
    """Compare the list of weights with the disk; no checksum is computed and nothing is loaded.

    Returns:
        `folder`: where the files belong; `sources`: for each what it is, its licence and page, and its files;
        `converted`: the folder that `weights=` takes, and whether it is there; `next`: what to do, in order, commands
        beginning with "xnemo".
    """
    home = released_home()
    converted = converted_home()
    ready = (converted / "model_index.json").is_file()
    return {
        "folder": str(home),
        "sources": {name: _source(source, home) for name, source in SOURCES.items()},
        "converted": {"path": str(converted), "found": ready},
        "next": _next_steps(home, converted, ready),
    }


def weights_summary(report: dict[str, Any]) -> str:
    """The report for people."""
    lines = [f"released weights belong into {report['folder']} (the folder of XNEMO_HOME, where that is set)"]
    headings = {"release": "for the released model:", "extra": "for training and repair, not needed otherwise:"}
    for purpose, heading in headings.items():
        lines += ["", heading]
        for name, source in report["sources"].items():
            if source["purpose"] == purpose:
                lines.append(f"  {name}: {source['about']}; {source['licence']}; {source['page']}")
                lines += [f"    {_state(file):<9} {_line(file)}" for file in source["files"]]
    converted = report["converted"]
    lines += ["", f"converted: {converted['path']}: {'there' if converted['found'] else 'not yet'}", "", "next:"]
    return "\n".join(lines + [f"  {step}" for step in report["next"]])


def _source(source: WeightSource, home: Path) -> dict[str, Any]:
    return {
        "about": source.about,
        "purpose": source.purpose,
        "licence": source.licence,
        "page": source.page,
        "files": [
            {
                "path": str(status.path),
                "found": status.found,
                "problem": status.problem,
                "size": status.file.size,
                "sha256": status.file.sha256,
                "url": source.url_of(status.file),
            }
            for status in source_status(source, home)
        ],
    }


def _next_steps(home: Path, converted: Path, ready: bool) -> list[str]:
    """What is left to do until the released model runs."""
    animate = shlex.join(["xnemo", "animate", "PORTRAIT", "DRIVING", f"weights={converted}"])
    if ready:
        return [animate]
    steps = []
    missing = [source for source in SOURCES.values() if source.purpose == "release" and not is_complete(source, home)]
    fetched = [source.name for source in missing if source.repository is not None]
    if fetched:
        steps.append(f"xnemo fetch {' '.join(fetched)}")
    for source in missing:
        if source.repository is None:
            wanted = [s.path.name for s in source_status(source, home) if not s.found or s.problem is not None]
            steps.append(f"open {RELEASE_PAGE} in a browser and put {', '.join(wanted)} into {home}")
    return [*steps, shlex.join(["xnemo", "convert", "xnemo-release", str(home), str(converted)]), animate]


def _state(file: dict[str, Any]) -> str:
    if not file["found"]:
        return "missing"
    return "there" if file["problem"] is None else "unusable"


def _line(file: dict[str, Any]) -> str:
    if file["problem"] is not None:
        return f"{file['path']}: {file['problem']}"
    size = f" ({file['size'] / 1e9:.2f} GB)" if file["size"] and not file["found"] else ""
    return f"{file['path']}{size}"
