"""The line of user code that runs now, or that raised."""

from __future__ import annotations

import sys
import traceback
from functools import lru_cache
from pathlib import Path

import torch

_TORCH = str(Path(torch.__file__).parent) + "/"
_OWN = str(Path(__file__).parent) + "/"
_MMSIM = str(Path(__file__).parents[1]) + "/"


def call_site() -> str:
    """``file.py:line`` of the innermost frame outside torch and mmsim's tracing.

    A network made of torch's own modules alone has no such frame: then it is the line in ``torch/nn``.
    """
    frame = sys._getframe(1)
    layer = ""
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(_TORCH):
            if not layer and "/nn/modules/" in file and not file.endswith("/module.py"):
                layer = f"{short(file)}:{frame.f_lineno}"
        elif not file.startswith(_OWN):
            return f"{short(file)}:{frame.f_lineno}"
        elif layer:
            return layer
        frame = frame.f_back  # type: ignore[assignment]
    return layer


def raised_at(error: BaseException) -> str:
    """``file.py:line`` of the innermost frame outside torch and mmsim that `error` came through; "" for none."""
    frames = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    own = [f"{short(file)}:{line}" for file, line in frames if not file.startswith((_TORCH, _MMSIM, "<"))]
    return own[-1] if own else ""


@lru_cache(maxsize=4096)
def short(file: str) -> str:
    """`file` as it would be imported: without the folder on Python's path that it was found in.

    A dump that is made on one machine then reads the same on another.
    """
    roots = [str(Path(root).resolve()) for root in sys.path] + [str(Path.cwd())]
    inside = [root for root in roots if file.startswith(root + "/")]
    return file[len(max(inside, key=len)) + 1 :] if inside else "/".join(Path(file).parts[-2:])
