"""Peak memory of whole commands does not grow with the clip: each in a process of its own, a short and a long one.

    python benchmarks/memory_commands.py                     # animate, extract, outpaint; 500 and 10,000 frames
    python benchmarks/memory_commands.py --command extract --frames 500 2000

Networks of size tiny with random weights. The driving clip is a second of a real face, there and back, again and again.
`outpaint` continues a clip of 25 frames to so many. Needs a system that counts a process's memory (not Windows).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

FPS, SIDE = 25, 128
LOOP = 25  # frames
WEIGHTS = ("weights=weights", "device=cpu")
COMMANDS = {
    "animate": ("animate", "portrait.png", "{clip}", "-o", "out.mp4", "--preview", *WEIGHTS),
    "extract": ("extract", "{clip}", "-o", "out", *WEIGHTS),
    "outpaint": (
        "outpaint", f"clip_{LOOP}.mp4", "--seconds", "{seconds}", "longest={seconds}", "-o", "out.mp4", "renderer=gan",
        "tokenizer_weights=tokenizer", "gpt_weights=gpt", *WEIGHTS,
    ),
}  # fmt: skip


def prepare(lengths: list[int]) -> None:
    """Write weights, a portrait, and clips of so many frames into this folder."""
    write_weights()
    from animator.assets import asset_path
    from animator.image import resize, write_image
    from animator.video import VideoReader, VideoWriter

    with VideoReader(asset_path("single-face-video")) as reader:
        frames = next(reader.chunks(LOOP // 2 + 1))
    left = (frames.shape[2] - frames.shape[1]) // 2
    pictures = [resize(frame[:, left : left + frames.shape[1]], (SIDE, SIDE)) for frame in frames]
    write_image("portrait.png", pictures[0])
    with VideoWriter(f"clip_{LOOP}.mp4", FPS) as writer:
        for picture in [*pictures, *pictures[-2::-1]]:
            writer.write(picture)
    for length in {*lengths} - {LOOP}:
        write_repeated(f"clip_{LOOP}.mp4", f"clip_{length}.mp4", length // LOOP)


def write_weights() -> None:
    """Write networks of size tiny: `weights`, `tokenizer`, `gpt`."""
    import torch

    from animator.builders import animator_config, build_pipeline
    from motion_gpt.builders import build_gpt
    from motion_gpt.config import gpt_config
    from motion_gpt.weights import save_gpt
    from motion_tokenizer.builders import build_model, tokenizer_config
    from motion_tokenizer.features import FEATURES
    from motion_tokenizer.tokenizer import MotionTokenizer

    pipeline = build_pipeline(animator_config("tiny"), seed=0)
    pipeline.save_pretrained("weights")
    generator = torch.Generator().manual_seed(0)
    model = build_model(tokenizer_config("tiny"), seed=0)
    drawn = torch.randn(40, 128, FEATURES, generator=generator)
    model.set_statistics(drawn.mean(dim=(0, 1)), drawn.std(dim=(0, 1)))
    with torch.no_grad():
        model.bottleneck.initialise(model.encode_continuous(drawn).flatten(0, 1), generator)
    tokenizer = MotionTokenizer(model, pipeline.encoder_id)
    tokenizer.save_pretrained("tokenizer")
    speaker = build_gpt(gpt_config("tiny"), tokenizer.codes, tokenizer.levels, tokenizer.id)
    speaker.detail.fit(*([0.1 * torch.randn(200, FEATURES, generator=generator)] for _ in range(2)))
    save_gpt(speaker, "gpt")


def write_repeated(source: str, target: str, times: int) -> None:
    """Write a clip so many times in a row; its packets are copied, not encoded."""
    import av

    with av.open(source) as container, av.open(target, "w") as output:
        stream = container.streams.video[0]
        copy = output.add_stream_from_template(stream)
        assert stream.duration is not None
        for number in range(times):
            container.seek(0)
            for packet in container.demux(stream):
                if packet.pts is None or packet.dts is None:  # the last one, which is empty
                    continue
                shift = number * stream.duration
                packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, copy
                output.mux(packet)


def measure(words: list[str]) -> tuple[float, float]:
    """Run a command; its largest resident memory in MiB, and its processor time in seconds."""
    process = subprocess.Popen([sys.executable, "-m", "apps.cli", *words], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"xnemo {' '.join(words)}: failed")
    peak = used.ru_maxrss / 2**20 if sys.platform == "darwin" else used.ru_maxrss / 1024
    return peak, used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description="Peak memory of commands for short and long clips.")
    parser.add_argument("--command", nargs="+", default=list(COMMANDS), choices=list(COMMANDS))
    parser.add_argument("--frames", nargs="+", type=int, default=[500, 10_000], help=f"multiples of {LOOP}")
    parser.add_argument("--prepare", action="store_true", help="only write clips and weights, into this folder")
    given = parser.parse_args()
    if any(frames < LOOP or frames % LOOP for frames in given.frames):
        parser.error(f"--frames must be multiples of {LOOP}")
    if given.prepare:
        prepare(given.frames)
        return
    os.environ["PYTHONPATH"] = str(Path(__file__).resolve().parents[1])
    script = str(Path(__file__).resolve())
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ["XNEMO_CONFIG"] = str(Path(folder) / "settings")
        # In a process of its own: one that is started by a large process counts that one's memory as its own peak.
        subprocess.run([sys.executable, script, "--prepare", "--frames", *map(str, given.frames)], check=True)
        print("| command | frames | peak, MiB | processor time, s |")
        print("|---|---|---|---|", flush=True)
        for command in given.command:
            for frames in given.frames:
                words = [w.format(clip=f"clip_{frames}.mp4", seconds=frames / FPS) for w in COMMANDS[command]]
                peak, seconds = measure(words)
                print(f"| {command} | {frames:,} | {peak:.0f} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
