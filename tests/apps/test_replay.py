"""`xnemo replay` makes of the same clips, byte for byte, what the edits made of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from animator.builders import animator_config, build_pipeline
from motion_tokenizer.edit_history import EditHistory
from motion_tokenizer.editing import Delete, Replace, Swap, TokenKind
from motion_tokenizer.tokenizer import MotionTokenizer
from tests.apps.conftest import Outcome
from tests.motion_tokenizer import tiny


def test_a_replayed_history_gives_the_same_bytes(xnemo: Callable[..., Outcome]) -> None:
    tokenizer = MotionTokenizer(tiny.model(), build_pipeline(animator_config("tiny"), seed=0).encoder_id)
    folder = f"tokenizer_weights={tokenizer.save_pretrained('tokenizer')}"
    motions = [tiny.motion(frames, seed, tokenizer.encoder_id) for frames, seed in ((23, 1), (16, 2))]
    first, second = (tokenizer.encode(motion) for motion in motions)
    edits = [Replace(0, 1, ((3,), (4,))), Swap(0, 0, 2, 1, 3, 4), Delete(1, 0, 1)]
    history = EditHistory(TokenKind.of(tokenizer), (first, second))
    for edit in edits:
        history = history.do(edit)
    history.save("h.edits.json")
    first.save("a.tokens.json")
    motions[1].save("b.motion.safetensors")

    done = xnemo("replay", "h.edits.json", "a.tokens.json", "b.motion.safetensors", folder)
    assert done.code == 0, done.err
    wanted = history.result().save("wanted.tokens.json").read_bytes()
    assert Path("outputs/h.edited.tokens.json").read_bytes() == wanted
    words = ("replay", "h.edits.json", "b.motion.safetensors", "a.tokens.json", folder)
    assert xnemo(*words, "--clip", "2", "-o", "second.motion.safetensors").code == 0
    wanted = tokenizer.decode(history.result(1)).save("wanted.motion.safetensors").read_bytes()
    assert Path("second.motion.safetensors").read_bytes() == wanted

    missing = xnemo("replay", "h.edits.json", "a.tokens.json", folder)
    assert missing.code == 1 and "its source 2" in missing.error
    assert xnemo(*words, "--clip", "3").error == "there is no clip 3; the history has 2"
    assert "name a file in" in xnemo(*words, "-o", "x.mp4").error
    assert "one of the inputs" in xnemo(*words, "-o", "a.tokens.json").error
    assert xnemo("replay", "nothing.json", "a.tokens.json").error == "nothing.json: no such history file"
    assert xnemo(*words, "--clip", "0").code == 2
