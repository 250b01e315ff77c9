"""The card of weights that `xnemo train all` has made: what was done, by which settings, and how good it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from apps.chain import Step


def model_card(
    steps: Sequence[Step], record: Mapping[str, Any], left_out: Sequence[str], gate: Mapping[str, Any] | None
) -> str:
    """Write the card.

    Args:
        steps: of the chain, in order.
        record: the chain's, by step: key and seconds.
        left_out: what steps had to leave out.
        gate: what `xnemo evaluate gate` wrote; None where it was not asked.
    Returns:
        Markdown.
    """
    lines = [
        "# Weights of `xnemo train all`",
        "",
        "What they may be used for follows from the licences of the clips, and of the weights that they go on from.",
        "",
        "| step | command | settings | minutes | key |",
        "|---|---|---|---|---|",
    ]
    for step in steps:
        command, done = f"xnemo {step.command.replace('_', ' ')}", record[step.name]
        settings = " ".join(f"`{setting}`" for setting in step.settings)
        lines.append(f"| {step.name} | `{command}` | {settings} | {done['seconds'] / 60:.1f} | {done['key']} |")
    lines += ["", *(f"Left out: {line}\n" for line in left_out)]
    if gate is None:
        lines.append("Not compared with the packaged weights.")
    else:
        verdict = "no step ahead: " + "; ".join(gate["reasons"]) if gate["reasons"] else "they are better"
        lines += [f"Beside the packaged weights (before) they (after) are judged so: {verdict}.", "", gate["table"]]
    return "\n".join(lines).rstrip("\n") + "\n"
