"""The one error that users are meant to read."""

from __future__ import annotations


class XNeMoError(Exception):
    """A failure that the user can act on; the command line prints it as `error: ...` and exits with 1.

    Args:
        message: names the file or thing, the value that is wrong and, where there is one, the way out. It is folded
            to a single line, because it may quote a library's message or a file name that holds line breaks.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))
