"""An evaluation as plain values, under the names that Timeloop's statistics have."""

from __future__ import annotations

from typing import Any

from mmsim.arch.model import Arch
from mmsim.arch.tables import area_um2
from mmsim.nest.evaluate import Evaluation


def as_dict(evaluation: Evaluation, arch: Arch) -> dict[str, Any]:
    """What ``mmsim evaluate --json`` prints; energy or area is None when `arch` has no table of it.

    Reads, fills and updates are words of one instance, energies are of all instances.
    """
    known = bool(arch.energy_pj)
    return {
        "cycles": evaluation.cycles,
        "utilization_percent": 100 * evaluation.utilization,
        "energy_pj": evaluation.energy_pj if known else None,
        "edp_pj_cycles": evaluation.edp if known else None,
        "area_um2": area_um2(arch) if arch.area_um2 else None,
        "computes": evaluation.computes,
        "bound": evaluation.bound,
        "compute": {"cycles": evaluation.compute_cycles, "energy_pj": evaluation.compute_pj if known else None},
        "levels": {
            name: {
                "cycles": cost.cycles,
                "bandwidth_throttling": cost.throttling,
                "leak_pj": cost.leak_pj if known else None,
                "data_spaces": {
                    space: {
                        "reads": access.reads,
                        "fills": access.fills,
                        "updates": access.updates,
                        "temporal_reductions": access.temporal_reductions,
                        "utilized_capacity": access.utilized_capacity,
                        "utilized_instances": access.utilized_instances,
                        "energy_pj": access.energy_pj if known else None,
                    }
                    for space, access in cost.data_spaces.items()
                },
            }
            for name, cost in evaluation.levels.items()
        },
    }
