"""Starts a command in a process of its own, does something to it, and looks at what is left."""

from __future__ import annotations

import ctypes
import os
import random
import re
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.faults.jobs import Job

HIDDEN = re.compile(r"\.xnemo-[0-9a-f]{12}")  # names of files that are not whole yet
PATIENCE = 120.0  # seconds on the clock without any work after which a run counts as hung
CALM = 3.0  # seconds that an interrupted command may take to end
LOOK = 0.01  # seconds between two looks at a running command

_CLONE_NEWNS, _MS_RDONLY, _MS_REMOUNT, _MS_REC, _MS_PRIVATE = 0x20000, 1, 32, 16384, 1 << 18
_PR_SET_PDEATHSIG = 1
CANNOT_MOUNT = 77


class Defect(AssertionError):
    """A fault that was not survived."""


@dataclass(frozen=True)
class End:
    """How a command ended.

    Attributes:
        code: exit code, or minus the signal's number.
        text: what it wrote on standard error.
        seconds: from the fault, or from the start where there was none, on the clock.
        busy: processor time from then on, in seconds; on a busy machine the clock says little.
    """

    code: int
    text: str
    seconds: float
    busy: float

    @property
    def reason(self) -> str:
        """The one line that says why it failed; "" where there is none."""
        lines = [line for line in self.text.splitlines() if line.startswith("error: ")]
        return lines[-1] if len(lines) == 1 else ""


@dataclass
class Bench:
    """A folder for one run of a job, with fresh copies of what it reads."""

    job: Job
    shop: Path
    folder: Path
    before: Callable[[], None] | None = None
    log: Path = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        for name in self.job.reads:
            source, target = self.shop / name, self.folder / name
            if source.is_dir():
                shutil.copytree(source, target)
            else:
                shutil.copy(source, target)
        self.log = self.folder.with_suffix(".log")

    @property
    def output(self) -> Path:
        return self.folder / self.job.output

    def start(self) -> int:
        """Fork; the child runs the command. Everything is imported already, so that it begins at once."""
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid:
            return pid
        code = 120
        try:
            os.setsid()
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # it does not outlive the tests
            signal.signal(signal.SIGINT, signal.default_int_handler)
            out = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(out, 1)
            os.dup2(out, 2)
            os.chdir(self.folder)
            if self.before is not None:
                self.before()
            from apps.cli import main

            code = main(self.job.words)
            sys.stdout.flush()
            sys.stderr.flush()
        except SystemExit as leaving:
            code = int(leaving.code or 0)
        finally:
            os._exit(code)

    def end(self, pid: int, since: float, spent: float = 0.0) -> End:
        """Wait for the child, and end it where it hangs."""
        worked, at = spent, time.monotonic()
        while True:
            done, status, used = os.wait4(pid, os.WNOHANG)
            if done:
                break
            if time.monotonic() - at > PATIENCE:
                if worked == (now := busy(pid)):
                    os.killpg(pid, signal.SIGKILL)
                    os.wait4(pid, 0)
                    raise Defect(f"hangs: {' '.join(self.job.words)}")
                worked, at = now, time.monotonic()
            time.sleep(LOOK)
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        code = os.waitstatus_to_exitcode(status)
        return End(code, text, time.monotonic() - since, used.ru_utime + used.ru_stime - spent)

    def run(self) -> End:
        """Run the command through."""
        began = time.monotonic()
        return self.end(self.start(), began)

    def hidden(self) -> list[str]:
        """Files of this program that are not whole."""
        return [path.name for path in self.folder.rglob("*") if HIDDEN.match(path.name)]

    def hit(self, seconds: float, blow: Callable[[int], None]) -> End:
        """Run the command, and do something to it after some seconds of processor time, unless it has ended."""
        pid = self.start()
        while (spent := busy(pid)) < seconds and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(LOOK)
        began = time.monotonic()
        blow(pid)
        return self.end(pid, began, spent)


def busy(pid: int) -> float:
    """Processor time of a process and of all that it has started, in seconds: a clock that other load does not turn."""
    total = 0.0
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        times = process.cpu_times()
        total = times.user + times.system + times.children_user + times.children_system
        for child in process.children(recursive=True):
            with suppress(psutil.Error):
                times = child.cpu_times()
                total += times.user + times.system
    return total


def check_failed_well(bench: Bench, end: End, codes: tuple[int, ...] = (1,)) -> None:
    """Insist on one line, the right exit code, and no half-written file."""
    if end.code not in codes:
        raise Defect(f"exit code {end.code}: {end.text[-600:]}")
    if end.code != 0 and not end.reason:
        raise Defect(f"not one line: {end.text[-600:]}")
    if "Traceback" in end.text:
        raise Defect(f"a traceback: {end.text[-600:]}")
    if bench.hidden():
        raise Defect(f"left behind: {bench.hidden()}")


def check_whole_or_nothing(bench: Bench, truth: str) -> None:
    """Insist that what stands under the output's name is the whole result, or, of jobs that resume, a part of it."""
    if bench.job.resumes or not bench.output.exists():
        return
    if bench.job.digest(bench.output) != truth:
        raise Defect(f"{bench.job.output} is half-written")


def check_goes_on(bench: Bench, truth: str) -> None:
    """Insist that the same command, given again, ends with the result of an undisturbed run."""
    if not bench.job.resumes and bench.output.is_dir():
        return  # it was finished before the fault came, and finished folders are not written over
    bench.before = None
    end = bench.run()
    if end.code != 0:
        raise Defect(f"does not go on: {end.text[-600:]}")
    if bench.job.digest(bench.output) != truth:
        raise Defect("goes on to another result")
    if bench.hidden():
        raise Defect(f"leaves behind what the first run left: {bench.hidden()}")


# The faults. Each takes a bench, the truth, how long an undisturbed run takes (in processor time, by which moments are
# drawn), random numbers, and that run's output.


def killed(bench: Bench, truth: str, lasts: float, drawn: random.Random, whole: Path) -> None:
    """SIGKILL at a random moment."""
    bench.hit(drawn.uniform(0.05, 0.95) * lasts, lambda pid: os.killpg(pid, signal.SIGKILL))
    check_whole_or_nothing(bench, truth)
    check_goes_on(bench, truth)


def interrupted(bench: Bench, truth: str, lasts: float, drawn: random.Random, whole: Path) -> None:
    """SIGINT at a random moment, as Ctrl-C."""
    end = bench.hit(drawn.uniform(0.05, 0.9) * lasts, lambda pid: os.killpg(pid, signal.SIGINT))
    check_failed_well(bench, end, (0, 130))
    if end.code == 130 and not re.search(r"error: interrupted; .+", end.text):
        raise Defect(f"does not say what is kept: {end.text[-300:]}")
    if end.seconds > CALM and end.busy > CALM:
        raise Defect(f"took {end.seconds:.1f} s to end")
    check_whole_or_nothing(bench, truth)
    check_goes_on(bench, truth)


def full_disk(bench: Bench, truth: str, lasts: float, drawn: random.Random, whole: Path) -> None:
    """A disk with room for a part of the output."""
    files = [whole] if whole.is_file() else [path for path in whole.rglob("*") if path.is_file()]
    room = max(4096, int(drawn.uniform(0.2, 0.6) * sum(path.stat().st_size for path in files)))
    end = _on_a_disk(bench, f"size={room}", read_only=False)
    check_failed_well(bench, end)
    if not re.search("No space left|disk full|are free there", end.reason):
        raise Defect(f"does not name the disk: {end.reason}")


def read_only(bench: Bench, truth: str, lasts: float, drawn: random.Random, whole: Path) -> None:
    """A folder that cannot be written."""
    end = _on_a_disk(bench, "size=1m", read_only=True)
    check_failed_well(bench, end)
    if not re.search("Read-only|cannot be written", end.reason):
        raise Defect(f"does not name the folder: {end.reason}")


def vanished(bench: Bench, truth: str, lasts: float, drawn: random.Random, whole: Path) -> None:
    """A source that is removed at a random moment."""
    end = bench.hit(drawn.uniform(0.0, 0.7) * lasts, lambda pid: (bench.folder / bench.job.source).unlink())
    check_failed_well(bench, end, (0, 1))
    if end.code == 1 and Path(bench.job.source).name.split(".")[0] not in end.text:
        raise Defect(f"does not name the source: {end.reason}")
    check_whole_or_nothing(bench, truth)


def little_memory(bench: Bench, truth: str, lasts: float, drawn: random.Random, whole: Path) -> None:
    """A limit of memory (RLIMIT_AS) not far above what the program takes to start."""
    room = int(drawn.uniform(8, 160) * 2**20)

    def limit() -> None:
        in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (in_use + room, in_use + room))

    bench.before = limit
    end = bench.run()
    if end.code not in (-signal.SIGSEGV, -signal.SIGABRT):  # a native library may give up before Python can
        check_failed_well(bench, end, (0, 1))
    check_whole_or_nothing(bench, truth)
    check_goes_on(bench, truth)


def worker_killed(bench: Bench, truth: str, lasts: float, drawn: random.Random, whole: Path) -> None:
    """SIGKILL to a worker process: its task is done again; before it has one, the command ends, and goes on."""

    def blow(pid: int) -> None:
        # Not the resource tracker, which keeps no part of the work.
        children = [c for c in psutil.Process(pid).children() if "spawn_main" in " ".join(c.cmdline())]
        if children:
            drawn.choice(children).kill()

    end = bench.hit(drawn.uniform(0.3, 0.8) * lasts, blow)
    check_failed_well(bench, end, (0, 1))
    if end.code == 0 and bench.job.digest(bench.output) != truth:
        raise Defect("ends with another result")
    check_goes_on(bench, truth)


FAULTS = {
    "SIGKILL": killed,
    "SIGINT": interrupted,
    "full disk": full_disk,
    "read-only target": read_only,
    "vanished source": vanished,
    "little memory": little_memory,
    "killed worker": worker_killed,
}


class CannotMount(Exception):
    """This machine does not let the tests mount a disk of their own."""


def _on_a_disk(bench: Bench, options: str, read_only: bool) -> End:
    """Run the command with the folder of its output on a small disk, which is there for its process alone."""
    target = bench.folder / "made"

    def mount() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        target.mkdir()
        name = os.fsencode(target)
        failed = libc.unshare(_CLONE_NEWNS) or libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None)
        failed = failed or libc.mount(b"none", name, b"tmpfs", 0, options.encode())
        if not failed and read_only:
            failed = libc.mount(b"none", name, b"tmpfs", _MS_REMOUNT | _MS_RDONLY, options.encode())
        if failed:
            raise SystemExit(CANNOT_MOUNT)

    bench.before = mount
    end = bench.run()
    if end.code == CANNOT_MOUNT:
        raise CannotMount
    return end
