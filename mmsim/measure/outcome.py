"""What became of a sweep."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Outcome:
    """Files written, those that stood, what could not be measured and why, how many are left for want of time."""

    measured: list[str] = field(default_factory=list)
    stood: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    left: int = 0
