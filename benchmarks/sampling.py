"""How fast motion tokens are drawn, beside Hugging Face's `generate` and the machine's own limit.

    python benchmarks/sampling.py                # the paper's size, 1 thread, 224 tokens; takes some minutes
    python benchmarks/sampling.py --size tiny    # to try the script out

At batch 1 a token costs at least the reading of all weights once. So the limit is the rate at which this machine
multiplies a matrix that is in no cache with a vector, divided by the bytes of the weights: measured here, in the same
run and in turns with the rest, in the faster of the two layouts. Compiled code packs the weights and can be above it;
the rate of mere reading is given as well. Hugging Face's `generate` gets the same weights, the same prefix, the same
filters and its default cache (dynamic). A step of guidance computes two rows; a step of 8 candidates makes 8 tokens.

Weights are random; time does not depend on them. Other work on the machine takes memory bandwidth away: look at the
load that is printed, and take the best of several repeats. The first call of compiled code is not timed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import GPT2LMHeadModel

from motion_gpt.builders import build_gpt
from motion_gpt.config import gpt_config
from motion_gpt.decoder import Decoder
from motion_gpt.models.motion_gpt import MotionGpt
from motion_gpt.sampling import generate
from motion_gpt.settings import Sampling
from motion_gpt.vocabulary import Condition

CODES = 4096
CONDITION = Condition("happy", 3)
SETTINGS = Sampling()
GUIDED = replace(SETTINGS, guidance_scale=2.0)


@dataclass
class Entry:
    """One line of the table.

    Attributes:
        run: what is timed.
        count: steps, or bytes, in one run.
        dtype: format whose limit it is compared with; None for no comparison.
        wall: seconds of each timed run.
        cpu: the same in processor time, which other work on the machine lengthens less.
    """

    run: Callable[[], object]
    count: float
    dtype: torch.dtype | None = None
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def measure(self) -> None:
        """Time one run."""
        wall, cpu = time.perf_counter(), time.process_time()
        self.run()
        self.wall.append(time.perf_counter() - wall)
        self.cpu.append(time.process_time() - cpu)

    @property
    def best(self) -> float:
        """Highest rate, in counts a second."""
        return self.count / min(self.wall)


def weight_bytes(model: MotionGpt, dtype: torch.dtype) -> int:
    """Bytes that a step must read: the blocks and the output layer."""
    blocks = sum(parameter.numel() for parameter in model.transformer.h.parameters())
    return (blocks + CODES * model.config.width) * dtype.itemsize


def vector_products(dtype: torch.dtype, megabytes: int) -> dict[str, Entry]:
    """Matrix-vector products over more weights than caches hold, in both layouts."""
    columns = 768
    rows = megabytes * 2**20 // dtype.itemsize // columns // 12
    matrices = [torch.randn(rows, columns).to(dtype) for _ in range(12)]
    turned = [matrix.t().contiguous() for matrix in matrices]
    x = torch.randn(1, columns).to(dtype)
    count = 12.0 * rows * columns * dtype.itemsize
    return {
        f"matrix-vector, {dtype_name(dtype)}, (out, in)": Entry(lambda: [F.linear(x, w) for w in matrices], count),
        f"matrix-vector, {dtype_name(dtype)}, (in, out)": Entry(lambda: [torch.mm(x, w) for w in turned], count),
    }


def hugging_face(model: MotionGpt, prefix: Tensor, length: int) -> Callable[[], object]:
    """transformers' own sampling with the same network."""
    peer = GPT2LMHeadModel(model.transformer.config).eval()
    peer.transformer = model.transformer
    peer.tie_weights()
    ids = torch.cat([model.vocabulary.condition(CONDITION.emotion, CONDITION.intensity), prefix[:, 0]])[None]

    def run() -> object:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return peer.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=True,
                top_k=SETTINGS.top_k,
                top_p=SETTINGS.top_p,
                temperature=SETTINGS.temperature,
                min_new_tokens=length,
                max_new_tokens=length,
                use_cache=True,
            )

    return run


def ours(
    decoder: Decoder, prefix: Tensor, length: int, settings: Sampling, candidates: int = 1
) -> Callable[[], object]:
    """Our sampling."""
    return lambda: generate(decoder, prefix, CONDITION, length, settings, candidates)


def dtype_name(dtype: torch.dtype) -> str:
    """Without the name of the library."""
    return str(dtype).removeprefix("torch.")


def entries(model: MotionGpt, length: int, with_compiled: bool) -> dict[str, Entry]:
    """What is timed for a network."""
    prefix = torch.randint(0, CODES, (12, 1), generator=torch.Generator().manual_seed(0))
    single, half = torch.float32, torch.bfloat16
    exact, rounded = Decoder(model), Decoder(model, half)
    found = {
        "Hugging Face generate, float32": Entry(hugging_face(model, prefix, length), length, single),
        "float32": Entry(ours(exact, prefix, length, SETTINGS), length, single),
        "float32, guidance": Entry(ours(exact, prefix, length, GUIDED), length, single),
        "float32, 8 candidates": Entry(ours(exact, prefix, length, SETTINGS, 8), length, single),
        "bfloat16": Entry(ours(rounded, prefix, length, SETTINGS), length, half),
        "bfloat16, guidance": Entry(ours(rounded, prefix, length, GUIDED), length, half),
        "bfloat16, 8 candidates": Entry(ours(rounded, prefix, length, SETTINGS, 8), length, half),
    }
    if with_compiled:
        compiled = Decoder(model, half, compiled=True)
        found["bfloat16, compiled"] = Entry(ours(compiled, prefix, length, SETTINGS), length, half)
        found["bfloat16, compiled, guidance"] = Entry(ours(compiled, prefix, length, GUIDED), length, half)
    return found


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="gpt2-small", choices=("gpt2-small", "lite", "tiny"))
    parser.add_argument("--tokens", type=int, help="new tokens; 224, or what the context holds")
    parser.add_argument("--repeats", type=int, default=5, help="timed rounds, after one that warms up")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch")
    parser.add_argument(
        "--megabytes", type=int, default=384, help="of the matrices of the limit; more than caches hold"
    )
    parser.add_argument("--no-compiled", action="store_true", help="leave compiled code out (it needs a C++ compiler)")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    config = gpt_config(given.size)
    model = build_gpt(config, CODES)
    length = given.tokens or min(224, config.context - 15)
    load = os.getloadavg()[0]

    limits = {dtype: vector_products(dtype, given.megabytes) for dtype in (torch.float32, torch.bfloat16)}
    memory = torch.randn(given.megabytes * 2**18)
    reading = Entry(memory.sum, memory.numel() * 4.0)
    samplers = entries(model, length, not given.no_compiled)
    everything = [*(entry for group in limits.values() for entry in group.values()), reading, *samplers.values()]
    for repeat in range(given.repeats + 1):
        for entry in everything:
            entry.run() if repeat == 0 else entry.measure()

    print(f"{given.size}, {length} tokens, {given.threads} thread(s), {given.repeats} rounds, ", end="")
    print(f"load {load:.1f} at the start and {os.getloadavg()[0]:.1f} at the end\n")
    print("| limit | GB/s |\n|---|---|")
    for group in limits.values():
        for name, entry in group.items():
            print(f"| {name} | {entry.best / 1e9:.1f} |")
    print(f"| reading | {reading.best / 1e9:.1f} |\n")
    print("| sampler | steps/s, best | median | best, CPU time | share of the limit | of mere reading |")
    print("|---|---|---|---|---|---|")
    for name, entry in samplers.items():
        assert entry.dtype is not None
        size = weight_bytes(model, entry.dtype)
        limit = max(product.best for product in limits[entry.dtype].values()) / size
        median, cpu = length / statistics.median(entry.wall), length / min(entry.cpu)
        shares = f"{entry.best / limit:.0%} | {entry.best / (reading.best / size):.0%}"
        print(f"| {name} | {entry.best:.1f} | {median:.1f} | {cpu:.1f} | {shares} |", flush=True)


if __name__ == "__main__":
    main()
