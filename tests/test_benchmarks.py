"""Benchmarks of the animator run from end to end at a width for trying out."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY


def run(script: str, *words: str) -> list[str]:
    """The table that a benchmark prints, row by row."""
    command = [sys.executable, str(REPOSITORY / "benchmarks" / script), *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    return [line for line in done.stdout.splitlines() if line.startswith("| ")]


@pytest.mark.slow
def test_the_benchmark_for_a_gpu_runs_without_one() -> None:
    header, paper, fast = run("animate_gpu.py", "--tiny", "--device", "cpu", "--frames", "5", "--repeats", "1")
    assert "seconds" in header
    arithmetic = [float(row.split("|")[4]) for row in (paper, fast)]
    assert arithmetic[0] > arithmetic[1] > 0


@pytest.mark.slow
def test_every_option_has_its_deviation_and_its_time() -> None:
    header, exact, *options = run(
        *("fast_options.py", "--size", "tiny", "--frames", "4", "--window", "3", "--overlap", "1", "--threads", "1")
    )
    assert "PSNR" in header
    assert exact.startswith("| exact (paper) | inf |")
    assert [row.split("|")[1].strip() for row in options][-1] == "**fast**"
    for row in options:
        assert 0 < float(row.split("|")[2]) < 100


@pytest.mark.slow
def test_every_part_of_a_training_step_has_its_time() -> None:
    words = ["train=image", "animator=tiny", "pairs=2", "diffusion_pairs=2", "cached_latents=true", "--repeats", "1"]
    rows = run("training_step.py", *words)
    parts = {row.split("|")[1].strip(): row.split("|")[2] for row in rows[1:]}
    assert {"reference net", "denoiser", "backward pass", "optimiser and averages"} <= set(parts)
    assert "autoencoder" not in parts  # its latents are kept
    assert all(float(took) >= 0 for took in parts.values())


@pytest.mark.slow
def test_every_sampler_has_its_rate_and_its_share_of_the_limit() -> None:
    words = ["--size", "tiny", "--tokens", "6", "--repeats", "1", "--megabytes", "12", "--no-compiled"]
    rows = run("sampling.py", *words)
    limits = [row for row in rows if row.startswith(("| matrix-vector", "| reading"))]
    assert len(limits) == 5
    samplers = rows[rows.index(next(row for row in rows if row.startswith("| sampler"))) + 1 :]
    assert [row.split("|")[1].strip() for row in samplers[:2]] == ["Hugging Face generate, float32", "float32"]
    for row in samplers:
        assert float(row.split("|")[2]) > 0


@pytest.mark.slow
def test_extraction_has_its_cost_and_its_rounding() -> None:
    header, stock, exact, half, throughout = run("extract.py", "--size", "tiny", "--frames", "4", "--threads", "1")
    assert "relative error" in header
    errors = [float(row.split("|")[5]) for row in (stock, exact, half, throughout)]
    assert errors[0] < 1e-5 and errors[1] == 0 and 0 < errors[2] < errors[3]


@pytest.mark.slow
def test_the_tokenizer_has_its_rate_and_the_librarys_codes() -> None:
    header, *rows = run("tokenizer.py", "--size", "tiny", "--seconds", "0.2")
    assert "plain stack" in header
    assert [row.split("|")[1].strip() for row in rows] == [
        *["encode", "decode"] * 2,
        "lookup",
        "vector-quantize-pytorch",
        "ours",
    ]
    library, ours = (float(row.split("|")[2]) for row in rows[-2:])
    assert 0 < 3 * ours < library
