"""The `model_index.json` of a weights folder, looked at before diffusers reads it.

diffusers imports whatever module that file names. A folder of weights may come from anybody, so that only the modules
and classes that weights of this project are made of may stand there.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from animator.errors import XNeMoError

INDEX = "model_index.json"
PIPELINE = "XNeMoPipeline"
_MODULE = re.compile(r"diffusers|transformers|animator(\.[a-z0-9_]+)*")
_CLASS = re.compile(r"[A-Z][A-Za-z0-9]*")


def check_weights_index(folder: Path) -> None:
    """Refuse an index that names other code than that of diffusers, transformers and this project.

    Raises:
        XNeMoError: it does, or is no index.
    """
    path = folder / INDEX
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise XNeMoError(f"{path}: cannot be read as an index of weights: {str(error)[:200]}") from error
    if not isinstance(content, dict) or content.get("_class_name") != PIPELINE:
        raise XNeMoError(f"{path}: is not of a {PIPELINE}")
    for name, value in content.items():
        if not isinstance(value, list):
            continue  # a setting of the pipeline
        if value == [None, None]:
            continue  # a part that is not there
        known = len(value) == 2 and all(isinstance(word, str) for word in value)
        if not (known and _MODULE.fullmatch(value[0]) and _CLASS.fullmatch(value[1])):
            said = str(value)[:100]
            raise XNeMoError(
                f"{path}: {name} is of {said}, which is no part of this project's weights; nothing was loaded"
            )
