"""`xnemo verify`: which marks of synthetic media a video carries."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from animator.provenance.config import VerifyConfig
from apps.verb import Context, Verb

if TYPE_CHECKING:
    from animator.provenance.verify import Findings

STATES = {
    "trusted": "intact, signed by {signer}, whose issuer is trusted here",
    "valid": "intact, signed by {signer}, whose issuer is not known here",
    "invalid": "NOT intact: the file or the manifest was changed after {signer} signed it",
}


def run(files: list[str], config: VerifyConfig, options: argparse.Namespace, context: Context) -> dict[str, Any]:
    """Look for every layer of marks; nothing is written, and nothing is asked of the network."""
    from animator.provenance.verify import verify, video_stream_digest

    (file,) = files
    return {"file": file} | report(verify(file, config.trust)) | {"video_sha256": video_stream_digest(file)}


def report(findings: Findings) -> dict[str, Any]:
    """What `--json` says; `video_sha256`, which the command adds, is of the coded pictures alone.

    `synthetic` is false where no mark was found, which proves nothing: marks can be removed.
    """
    signed, pixels = findings.credentials, findings.pixels
    return {
        "synthetic": findings.synthetic,
        "metadata": {"found": findings.statement is not None, "statement": findings.statement},
        "xmp": {"found": findings.xmp},
        "credentials": {"found": signed is not None} | ({} if signed is None else asdict(signed)),
        "pixels": {
            "found": pixels.found,
            "identifier": pixels.identifier,
            "score": round(pixels.score, 2),
            "agrees_with_credentials": findings.agrees,
        },
    }


def summary(result: dict[str, Any]) -> str:
    """One line a layer."""
    signed, pixels = result["credentials"], result["pixels"]
    synthetic = "is marked as synthetic" if result["synthetic"] else "no mark found, which does not prove it genuine"
    lines = [
        f"{result['file']}: {synthetic}",
        f"metadata     {result['metadata']['statement'] or 'none of this program'}",
        f"XMP          {'says that a trained model made it' if result['xmp']['found'] else 'none that says so'}",
    ]
    if signed["found"]:
        state = STATES[signed["state"]].format(signer=signed["signer"] or "nobody named")
        said = "says that a trained model made it" if signed["synthetic"] else "does not say that a model made it"
        lines.append(f"credentials  {state}; {said}")
        lines += [
            f"             {source['role']}: {source['name']}, sha256 {source['sha256'][:16]}..."
            for source in signed["sources"]
        ]
    else:
        lines.append("credentials  none")
    if pixels["found"]:
        named = "its bits are damaged" if pixels["identifier"] is None else f"identifier {pixels['identifier']:04x}"
        agrees = {True: ", which the credentials name", False: ", but the credentials name ANOTHER", None: ""}
        lines.append(
            f"pixels       marked (score {pixels['score']:.1f}); {named}{agrees[pixels['agrees_with_credentials']]}"
        )
    else:
        lines.append(f"pixels       no mark (score {pixels['score']:.1f})")
    return "\n".join(lines)


VERB = Verb(
    usage="xnemo verify FILE [trust=CERTIFICATES.pem] [--json]",
    config="verify",
    run=run,
    summary=summary,
    least_inputs=1,
    most_inputs=1,
)
