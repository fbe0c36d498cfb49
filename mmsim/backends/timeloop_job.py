"""Run by another Python, where Timeloop's v0.4 front end is installed: a job as JSON in, its outcome as JSON out.

Job: ``{"action": "check" | "model" | "mapper", "files": [...], "out": FOLDER, "seconds": S}``; after S seconds the
search is asked to end, and answers with the best so far. It imports nothing of mmsim, so that Timeloop may live in
an environment of its own.
"""

import contextlib
import io
import json
import logging
import os
import signal
import subprocess
import sys
import time
from importlib import import_module
from typing import Any


def front_end() -> Any:
    """The v0.4 front end under whichever of its two names is installed."""
    try:
        return import_module("pytimeloop.timeloopfe.v4")
    except ImportError:
        return import_module("timeloopfe.v4")


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Parse and transpile the files; then, unless the action is ``check``, run Timeloop on them."""
    v4 = front_end()
    package = v4.__name__.rpartition(".")[0]
    backend = import_module(f"{package}.common.backend_calls")
    specification = v4.Specification.from_yaml_files(*job["files"])
    if job["action"] == "check":
        flat = backend._specification_to_yaml_string(specification, for_model=bool(job.get("for_model")))
        return {"front_end": package, "characters": len(flat)}
    call = v4.call_model if job["action"] == "model" else v4.call_mapper
    start = time.perf_counter()
    with open(os.path.join(job["out"], "log.txt"), "w") as log:
        process = call(specification, output_dir=job["out"], log_to=log, return_proc=True)
        try:
            code = process.wait(job.get("seconds"))
        except subprocess.TimeoutExpired:
            # The whole group, since the front end puts a shell between; but not this process.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            os.killpg(os.getpgid(process.pid), signal.SIGINT)
            code = process.wait()
    return {"front_end": package, "seconds": time.perf_counter() - start, "exit": code}


def main() -> None:
    """Answer one job; errors are answered too, as one line."""
    logging.disable(logging.WARNING)
    job = json.load(sys.stdin)
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            answer = run(job)
    except Exception as error:  # whatever the front end raises is the answer
        lines = [line for line in str(error).splitlines() if line.strip(" =")]
        answer = {"error": (lines or [type(error).__name__])[0][:500], "type": type(error).__name__}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
