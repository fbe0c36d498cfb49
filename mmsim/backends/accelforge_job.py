"""Run by another Python (3.12 or newer) where AccelForge is installed: a job as JSON in, its outcome as JSON out.

Job: ``{"file": PATH, "metric": "ENERGY" | "LATENCY" | "ENERGY_DELAY_PRODUCT"}``. It imports nothing of mmsim.
"""

import contextlib
import json
import logging
import os
import sys
import time
import warnings
from importlib import import_module, metadata
from typing import Any


def run(job: dict[str, Any]) -> dict[str, Any]:
    """The best mapping of the file's workload on its architecture, as AccelForge finds and judges it."""
    accelforge = import_module("accelforge")
    mapper = import_module("accelforge.mapper.FFM.main")
    # After its search AccelForge draws the mapping for its developers, which takes Graphviz; nobody sees the drawing.
    import_module("accelforge.mapper.FFM.mappings").Mappings.render = lambda *_, **__: ""
    accelforge.set_n_parallel_jobs(1)
    spec = accelforge.Spec.from_yaml(job["file"])
    start = time.process_time()
    metrics = accelforge.mapper.Metrics
    spec.mapper.metrics = getattr(metrics, job["metric"])
    found = mapper.map_workload_to_arch(spec, print_progress=False)
    return {
        "cpu_seconds": time.process_time() - start,
        "energy_j": float(found.energy()),
        "latency_s": float(found.latency()),
        "mapping": " | ".join(n.compact_str() for n in found.mapping().nodes if type(n).__name__ != "Reservation"),
        "version": metadata.version("accelforge"),
    }


def main() -> None:
    """Answer one job; errors are answered too, as one line."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    job = json.load(sys.stdin)
    with open(os.devnull, "w") as silent, contextlib.redirect_stdout(silent):
        try:
            answer = run(job)
        except Exception as error:  # whatever AccelForge raises is the answer
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            answer = {"error": (lines or [type(error).__name__])[-1][:500], "type": type(error).__name__}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
