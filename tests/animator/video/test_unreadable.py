"""A file that cannot be read is one clear line, whatever is wrong with it."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from animator.errors import XNeMoError
from animator.video import VideoReader
from tests.animator.media import clicks, make_video


def bad_file(kind: str, folder: Path, frames: NDArray[np.uint8], clip: Path) -> tuple[Path, str]:
    """A file of a kind and what the error must say."""
    path = folder / "bad.mp4"
    if kind == "missing":
        return path, "no such file"
    if kind == "folder":
        path.mkdir()
        return path, "is a folder"
    if kind == "empty":
        path.touch()
        return path, "is empty"
    if kind == "text":
        path.write_text("This is no video at all.\n" * 200)
        return path, "cannot be read as video"
    if kind == "playlist":
        path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{clip}\n#EXT-X-ENDLIST\n")
        return path, "cannot be read as video"
    if kind == "cut, index in front":
        path.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
        return path, "is cut off: at least"
    if kind == "cut, index behind":
        whole = make_video(folder / "whole.mp4", frames, tone=1.0).read_bytes()
        path.write_bytes(whole[: len(whole) * 2 // 3])
        return path, "moov atom not found"
    if kind == "index lost":
        whole = make_video(folder / "whole.mp4", frames).read_bytes()
        path.write_bytes(whole[: whole.rindex(b"moov") - 4])
        return path, "moov atom not found"
    if kind == "sound only":
        with av.open(str(path), "w") as output:
            stream = output.add_stream("aac", rate=48000, layout="mono")
            frame = av.AudioFrame.from_ndarray(clicks(1.0, 48000)[None], format="flt", layout="mono")
            frame.sample_rate = 48000
            output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
        return path, "holds sound only"
    if kind == "2 x 2":
        return make_video(path, frames[:3], size=(2, 2)), "is 2 x 2 pixels"
    raise AssertionError(kind)


@pytest.mark.parametrize(
    "kind",
    ["missing", "folder", "empty", "text", "playlist", "cut, index in front", "cut, index behind", "index lost",
     "sound only", "2 x 2"],
)  # fmt: skip
@pytest.mark.parametrize("backend", ["auto", "pyav", "decord"])
def test_bad_file_is_one_clear_line(
    tmp_path: Path, frames: NDArray[np.uint8], clip: Path, kind: str, backend: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path, expected = bad_file(kind, tmp_path, frames, clip)
    capfd.readouterr()  # the encoder's chatter
    with pytest.raises(XNeMoError) as caught:
        VideoReader(path, backend)  # type: ignore[arg-type]
    assert str(caught.value).startswith(f"{path}: ")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")
