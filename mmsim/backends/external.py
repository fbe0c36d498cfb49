"""Tools that live in an environment of their own: where their Python is, and jobs for it as JSON.

``MMSIM_TIMELOOP_PYTHON`` and ``MMSIM_ACCELFORGE_PYTHON`` name the interpreters; without them mmsim's own is tried.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

from mmsim import files
from mmsim.errors import InputError


def python(variable: str) -> str:
    """The interpreter that the environment variable names, or mmsim's own."""
    return os.environ.get(variable) or sys.executable


@lru_cache(maxsize=16)
def can_import(interpreter: str, module: str) -> bool:
    """Whether that interpreter finds `module` (a dotted name)."""
    code = f"import importlib; importlib.import_module({module!r})"
    try:
        return subprocess.run([interpreter, "-c", code], capture_output=True, timeout=120).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def run_job(interpreter: str, script: Path, job: dict[str, Any], timeout_s: float | None = None) -> dict[str, Any]:
    """The JSON answer of `script` to `job`; raises `InputError` with the tool's own words when it fails.

    It runs in an empty folder: some tools leave files where they stand, and no module here may hide
    one of theirs.
    """
    command = [interpreter, "-c", files.read_text(script)]
    try:
        with tempfile.TemporaryDirectory(prefix="mmsim-") as folder:
            code, out, said = _communicate(command, json.dumps(job), folder, timeout_s)
    except OSError as error:
        raise InputError(f"cannot run {interpreter}: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise InputError(f"{script.stem}: no answer in {timeout_s:g} s") from None
    try:
        answer: dict[str, Any] = json.loads(out)
    except ValueError:
        lines = (said or out).strip().splitlines() or [f"exit {code}"]
        raise InputError(f"{script.stem} failed: {lines[-1][:300]}") from None
    if "error" in answer:
        raise InputError(f"{script.stem}: {answer['error']}")
    return answer


def _communicate(command: list[str], text: str, folder: str, timeout_s: float | None) -> tuple[int, str, str]:
    """Exit status, standard output and error; when it is cut short, so are the processes that it started."""
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        start_new_session=True,
    ) as process:
        try:
            out, said = process.communicate(text, timeout_s)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        return process.returncode, out, said
