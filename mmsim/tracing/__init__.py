"""torch -> Graph: capture, stages, symbolic sizes, lowering."""

from mmsim.tracing.capture import ROUTES, capture, run
from mmsim.tracing.lowering import lower
from mmsim.tracing.pipeline import staged, trace

__all__ = ["ROUTES", "capture", "lower", "run", "staged", "trace"]
