"""How often something runs before and while it is timed, and what is noted where it fails."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from mmsim.errors import InputError
from mmsim.tracing.capture import uncollected

T = TypeVar("T")


@dataclass(frozen=True)
class Rule:
    """Warm up for at least `warmup_runs` and `warmup_s`; then `repeats` runs, fewer once `budget_s` are used.

    The warm-up ends after half the budget.
    """

    repeats: int = 50
    least_runs: int = 3
    warmup_runs: int = 3
    warmup_s: float = 0.3
    budget_s: float = 10.0

    def __str__(self) -> str:
        return (
            f"warm-up of {self.warmup_runs} runs and {self.warmup_s:g} s, then {self.repeats} runs "
            f"(at least {self.least_runs}; no new one after {self.budget_s:g} s); median and quartiles"
        )

    def samples(self, run: Callable[[], T], warmed_s: float = 0.0) -> list[T]:
        """What `run` returned in each counted call; passes that came before have warmed up for `warmed_s` already."""
        with uncollected():  # as `timeit` does: no collection falls into a timed run
            self._warm(run, warmed_s)
            start = time.perf_counter()
            out: list[T] = []
            while len(out) < self.repeats:
                out.append(run())
                if len(out) >= self.least_runs and time.perf_counter() - start > self.budget_s:
                    break
        return out

    def _warm(self, run: Callable[[], Any], warmed_s: float) -> None:
        start = time.perf_counter() - warmed_s
        done = 0
        while (spent := time.perf_counter() - start) <= self.budget_s / 2:
            if done >= self.warmup_runs and spent >= self.warmup_s:
                break
            run()
            done += 1


@dataclass(frozen=True)
class Notes:
    """What a reader of the measurement should know, and what could not be measured and why."""

    lines: list[str]

    def attempt(self, what: str, call: Callable[[], T]) -> T | None:
        """What `call` gives; if it fails, None and a note."""
        try:
            return call()
        except Exception as error:  # of torch, CUDA, NVML, a profiler: the rest of the measurement stands
            self.lines.append(f"{what} not measured: {reason(error)}")
            return None


def reason(error: Exception) -> str:
    """An error on one line."""
    text = " ".join(str(error).split())[:300]
    return text if isinstance(error, InputError) and text else f"{type(error).__name__}: {text}"
