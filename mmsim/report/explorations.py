"""Tables of an exploration: the candidates, and which of them each stage runs on."""

from __future__ import annotations

import math

from mmsim.explore import Assignment, Exploration, assigned, gain
from mmsim.report.table import percent, show, si

MOST_ROWS = 24
OBJECTIVES = {"latency": "latency", "energy": "energy", "edp": "EDP"}


def candidates(found: Exploration) -> None:
    """Print the candidates, the best shared one first, by the numbers that `assignments` uses."""
    machines = [{"architecture": one.candidate.base, **one.candidate.varied} for one in found.candidates]
    fields = list(dict.fromkeys(field for machine in machines for field in machine))
    columns = [field for field in fields if len({machine.get(field) for machine in machines}) > 1]
    alike = [machines[0][field] if field == "architecture" else f"{field}={machines[0][field]}"
             for field in fields if field not in columns]  # fmt: skip
    totals = [assigned(dict.fromkeys(found.stages, one)) for one in found.candidates]
    ranked = sorted(range(len(totals)), key=lambda i: totals[i].figure(found.objective))
    bounds = [max(one.stages.values(), key=lambda cost: cost.latency_s).bound for one in found.candidates]
    show(
        f"{found.graph.title}: {' '.join([f'{len(totals)} x', *alike]) if alike else f'{len(totals)} accelerators'}, "
        "each shared by all stages",
        ("#", *columns, "latency", "energy", "EDP", "area", "bound"),
        [
            [str(i + 1), *(machines[i].get(field, "-") for field in columns), *_figures(totals[i]), bounds[i]]
            for i in ranked[:MOST_ROWS]
        ],
        note="; ".join(_notes(found)),
    )


def assignments(found: Exploration) -> None:
    """Print what each stage runs on in the assignments worth a look, and what the network then takes."""
    chosen = _chosen(found)
    shared = found[found.shared.accelerators[found.stages[0]]]
    number = {one.name: str(i + 1) for i, one in enumerate(found.candidates)}
    rows = [
        [
            stage,
            percent(shared.stages[stage].latency_s / found.shared.latency_s if found.shared.latency_s else 0.0),
            *(number[one.accelerators[stage]] for one in chosen.values()),
        ]
        for stage in found.stages
    ]
    sums = zip(*(_sums(found, one) for one in chosen.values()), strict=True)
    names = ("latency", "energy", "EDP", "area", "side by side", f"{OBJECTIVES[found.objective]} gain")
    rows += [[""] * (len(chosen) + 2), *([name, "", *row] for name, row in zip(names, sums, strict=True))]
    limit = "" if math.isinf(found.area_limit_mm2) else f" within {found.area_limit_mm2:g} mm2"
    show(
        f"The accelerator of each stage{limit}",
        ("stage", "share", *chosen),
        rows,
        note=f"{len(found.front)} assignments are on the Pareto front of latency, energy and area; side by side: "
        "stages that do not wait for each other at once, where they are on different accelerators",
    )


def _chosen(found: Exploration) -> dict[str, Assignment]:
    """The assignments worth a look; one that stands already is left out."""
    named = {
        "shared": found.shared,
        "same area": found.within_shared,
        "best": found.best,
        "each alone": found.alone,
        "fastest": found.front[0],
        "least energy": min(found.front, key=lambda one: (one.energy_j, one.area_mm2)),
        "smallest": min(found.front, key=lambda one: (one.area_mm2, one.figure(found.objective))),
    }
    seen: dict[tuple[str, ...], str] = {}
    for name, one in named.items():
        seen.setdefault(tuple(one.accelerators.values()), name)
    return {name: named[name] for name in seen.values()}


def _figures(one: Assignment) -> list[str]:
    return [si(one.latency_s, "s"), si(one.energy_j, "J"), si(one.edp_js, "Js"), f"{one.area_mm2:.4g} mm2"]


def _sums(found: Exploration, one: Assignment) -> list[str]:
    times = gain(found.shared, one)[found.objective]
    return [
        *_figures(one),
        si(found.side_by_side_s(one), "s"),
        "-" if times is None else f"{times:.2f} x",
    ]


def _notes(found: Exploration) -> list[str]:
    notes = ["area is that of memories and arithmetic alone"]
    if len(found.candidates) > MOST_ROWS:
        notes.insert(0, f"the best {MOST_ROWS}; --json has all")
    rescaled = sorted({name for one in found.candidates for name in one.candidate.rescaled})
    if rescaled:
        notes.append(f"the stated figures of {', '.join(rescaled)} follow what was varied, as the energy models do")
    proven = min(one.proven for one in found.candidates)
    if proven < 1:
        notes.append(f"mappings proven optimal: at least {percent(proven)} of the latency")
    if found.left_out:
        name, why = next(iter(found.left_out.items()))
        notes.append(f"{len(found.left_out)} left out (the first: {name}: {why})")
    if found.most_accelerators:
        notes.append(f"at most {found.most_accelerators} different accelerators at once")
    return notes
