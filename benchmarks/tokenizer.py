"""Speed of the motion tokenizer at the paper's size: encode, decode, and the lookup of codes.

    OMP_NUM_THREADS=1 python benchmarks/tokenizer.py

Networks have random weights, which cost what trained ones cost. Times are the smallest of several runs. Frames a second
stand beside those of a plain stack: the same convolutions, one `nn.Conv1d` for each with the same channels, kernel,
stride, dilation and length, run one after the other in the same process, without padding of their own, activations,
sums, normalisation and quantiser. Their ratio does not depend on the machine. T2M-GPT's own VQ-VAE of this size, timed
by itself on one thread of two shared AMD EPYC cores with AVX-512, is given for comparison; it holds on such a machine.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from vector_quantize_pytorch import VectorQuantize

from motion_tokenizer.builders import build_model, tokenizer_config
from motion_tokenizer.features import FEATURES
from motion_tokenizer.lookup import nearest_codes
from motion_tokenizer.models.blocks import TemporalConv

FRAMES = 128  # of a clip, as in training
BATCHES = (1, 32)
VECTORS = 8192  # of a lookup

# T2M-GPT, frames a second: (direction, batch) -> encode to tokens, decoder alone.
PEER = {("encode", 1): 11058, ("encode", 32): 22751, ("decode", 1): 8431, ("decode", 32): 19658}


def fastest(runs: dict[str, Callable[[], object]], seconds: float) -> dict[str, float]:
    """The smallest time of each, in seconds; they take turns, so that a busy moment meets all alike."""
    best = dict.fromkeys(runs, float("inf"))
    for run in runs.values():
        run()
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def plain_stack(network: nn.Module, run: Callable[[], object]) -> tuple[Callable[[], object], int]:
    """The convolutions of `network` as `run` uses them, each by itself; and their multiplications and additions."""
    layers: list[tuple[nn.Conv1d, Tensor]] = []

    def note(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, TemporalConv)
        batch, frames, _ = inputs[0].shape
        out_channels, kernel, in_channels = layer.weight.shape
        # All of these have an even padding, so that half of it on either side gives the same length.
        padding = layer.padding // 2
        bare = nn.Conv1d(in_channels, out_channels, kernel, layer.stride, padding, layer.dilation)
        layers.append((bare, torch.randn(batch, in_channels, frames)))

    hooks = [module.register_forward_pre_hook(note) for module in network.modules() if isinstance(module, TemporalConv)]
    run()
    for hook in hooks:
        hook.remove()
    work = sum(2 * bare.weight.numel() * bare(x).shape[0] * bare(x).shape[2] for bare, x in layers)
    return lambda: [bare(x) for bare, x in layers], work


def networks(size: str, seconds: float) -> None:
    """Print the table of encode and decode."""
    model = build_model(tokenizer_config(size))
    generator = torch.Generator().manual_seed(0)
    print(f"size {size}, {sum(p.numel() for p in model.parameters()) / 1e6:.2f} million parameters, {FRAMES} frames\n")
    print("| | batch | frames/s | plain stack | ours / stack | T2M-GPT | ours / T2M-GPT | GFLOP/s |")
    print("|---|---|---|---|---|---|---|---|")
    for batch in BATCHES:
        features = torch.randn(batch, FRAMES, FEATURES, generator=generator)
        tokens = model.encode(features)
        both: dict[str, tuple[nn.Module, Callable[[], object]]] = {
            "encode": (model.encoder, lambda features=features: model.encode(features)),
            "decode": (model.decoder, lambda tokens=tokens: model.decode(tokens)),
        }
        for direction, (network, run) in both.items():
            stack, work = plain_stack(network, run)
            best = fastest({"ours": run, "stack": stack}, seconds)
            ours, bare = (batch * FRAMES / best[name] for name in ("ours", "stack"))
            peer = PEER[direction, batch]
            beside = f"{peer:,} | {ours / peer:.2f}" if size == "paper" else "- | -"
            print(
                f"| {direction} | {batch} | {ours:,.0f} | {bare:,.0f} | {ours / bare:.2f} | {beside} | "
                f"{work / best['ours'] / 1e9:.0f} |",
                flush=True,
            )


def lookup(seconds: float) -> None:
    """Print the table of the lookup, and how many codes are the same."""
    generator = torch.Generator().manual_seed(0)
    library = VectorQuantize(dim=8, codebook_size=4096, rotation_trick=False).eval()
    library.codebook = torch.randn(4096, 8, generator=generator)
    vectors = torch.randn(1, VECTORS, 8, generator=generator)
    codebook = library.codebook
    same = (library(vectors)[1] == nearest_codes(vectors, codebook)).sum()
    runs = {"library": lambda: library(vectors), "ours": lambda: nearest_codes(vectors, codebook)}
    best = fastest(runs, seconds)
    print(f"\n{VECTORS} vectors, 4096 x 8 codes; {int(same)} indices are the same\n")
    print("| lookup | ms | times as fast |\n|---|---|---|")
    print(f"| vector-quantize-pytorch | {best['library'] * 1e3:.0f} | 1 |")
    print(f"| ours | {best['ours'] * 1e3:.1f} | {best['library'] / best['ours']:.1f} |")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="paper", choices=("tiny", "lite", "paper"))
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default 1)")
    parser.add_argument("--seconds", type=float, default=6.0, help="how long each line is measured (default 6)")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    print(f"torch {torch.__version__}, {given.threads} thread(s)")
    with torch.inference_mode():
        networks(given.size, given.seconds)
        lookup(given.seconds)


if __name__ == "__main__":
    main()
