"""torch -> Graph: capture, stages, symbolic sizes, lowering.

`trace` does all of it in one call. `capture` gives the executable fx graph alone, `staged` its layers with stages, one
for each node by name; `run` executes it. `load_model` and `trace_source` find a network by name.
"""

from mmsim.tracing.capture import ROUTES, capture, run
from mmsim.tracing.lowering import lower
from mmsim.tracing.models import load_model
from mmsim.tracing.pipeline import staged, trace
from mmsim.tracing.source import trace_source

__all__ = ["ROUTES", "capture", "load_model", "lower", "run", "staged", "trace", "trace_source"]
