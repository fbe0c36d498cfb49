"""The CPU at hand: calibrated, the nine workloads measured on it, and the tables of two pages written from the files.

    python benchmarks/host_cpu.py --measure    # 25 minutes on a machine that does nothing else; then the tables
    python benchmarks/host_cpu.py              # the tables alone, from the committed files

`--measure` writes arch_specs/host_cpu.yaml and measurements/host_cpu; the tables stand between marks in
measurements/host_cpu/README.md and docs/measuring.md.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import fmean
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

from mmsim import files, measurement  # noqa: E402
from mmsim.arch import load  # noqa: E402
from mmsim.layer_dump import load as load_dump  # noqa: E402
from mmsim.measurement import Measurement  # noqa: E402
from mmsim.validate_network import Comparison, compare, record  # noqa: E402

FOLDER, SPEC = ROOT / "measurements" / "host_cpu", ROOT / "arch_specs" / "host_cpu.yaml"
PAGES = FOLDER / "README.md", ROOT / "docs" / "measuring.md"
CONCAT = ("av_mnist", "vision_touch", "mujoco_push", "cmu_mosei", "mustard", "mm_imdb")
TRANSFORMER = ("medical_vqa", "transfuser", "medical_seg")
RUNS = [
    (name, variant, batch)
    for batch in (1, 40)
    for variant, names in (("concat", CONCAT), ("transformer", TRANSFORMER))
    for name in names
    if (name, batch) != ("medical_seg", 40)  # 8 minutes a pass
]
SHORT_S = 20e-6
"""Stages of less are a few dispatches, in which one cache miss more shows."""


def measure() -> None:
    """Calibrate, then measure all; nothing else should run."""
    mmsim = shutil.which("mmsim") or "mmsim"
    with tempfile.TemporaryDirectory() as scratch:  # what is calibrated is measured against, once all is there
        fresh = Path(scratch) / "host_cpu.yaml"
        subprocess.run([mmsim, "measure", "--calibrate", "-o", str(fresh)], check=True)
        for name, variant, batch in RUNS:
            path = FOLDER.relative_to(ROOT) / f"{name}.{variant}.b{batch}.float32.eager.json"
            line = [name, "--batch", str(batch), "--repeats", "20", "--seconds", "4", "-o", str(path)]
            print(path.name, flush=True)
            subprocess.run([mmsim, "measure", *line], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
        files.write_text(SPEC, fresh.read_text())


def compared() -> list[tuple[Measurement, Comparison]]:
    """Each committed file beside its prediction."""
    host = load("host_cpu")
    found = [measurement.load(path) for path in sorted(FOLDER.glob("*.json"))]
    dumps = ROOT / "layer_dumps"
    return [(one, compare(one, load_dump(dumps / one.workload / f"{one.variant}.json"), host)) for one in found]


def networks(pairs: list[tuple[Measurement, Comparison]]) -> str:
    """One row a file."""
    names = ("network", "batch", "measured", "predicted", "error", "noise", "sum of layers over the whole", "runs")
    return _table(names, [_network(one, found) for one, found in pairs])


def _network(one: Measurement, found: Comparison) -> tuple[str, ...]:
    whole = found.network
    times = _ms(whole.measured_s), _ms(whole.predicted_s), f"{100 * whole.error:+.0f} %"
    quality = f"{100 * one.device_s.relative:.1f} %", f"{100 * one.overhead:+.1f} %", f"{one.wall_s.runs}"
    return (one.name, f"{one.batch}", *times, *quality)


def errors(pairs: list[tuple[Measurement, Comparison]]) -> str:
    """The errors of all networks, stages and layers, and what the machine did meanwhile."""
    every = record([found for _, found in pairs])
    rows = [_errors(kind, every["all"][kind]) for kind in ("networks", "stages", "layers")]
    for batch in (1, 40):
        part = record([found for one, found in pairs if one.batch == batch])["all"]
        rows.append(_errors(f"stages at batch {batch}", part["stages"]))
    names = ("of", "rows", "MAPE", "median error", "bias", "by time", "rank correlation")
    return "\n".join([_table(names, rows), "", *_said(pairs, every["claims"])])


def _said(pairs: list[tuple[Measurement, Comparison]], claims: list[dict[str, Any]]) -> list[str]:
    stages = [stage for _, found in pairs for stage in found.stages]
    near = sum(abs(stage.error) <= 0.25 for stage in stages)
    longer = fmean(abs(stage.error) for stage in stages if stage.measured_s > SHORT_S)
    worst = max(stages, key=lambda stage: abs(stage.error))
    noise = _range([100 * one.device_s.relative for one, _ in pairs], ".1f")
    overhead = _range([100 * one.overhead for one, _ in pairs], "+.1f")
    pace = [_range([found.pace[what] for _, found in pairs], ".2f") for what in ("arithmetic", "dispatch", "data")]
    alike = sum(claim["holds_measured"] == claim["holds_predicted"] for claim in claims)
    return [
        f"{near} of the {len(stages)} stages are within 25 %; those of more than {1e6 * SHORT_S:.0f} us are "
        f"{100 * longer:.1f} % off in the mean;",
        f"the worst, of {1e6 * worst.measured_s:.0f} us, {100 * worst.error:+.0f} %.",
        f"Noise (half the middle half over the median) was {noise} %, the sum of layers {overhead} % from the whole.",
        f"The calibration's own programs took {pace[0]} times as long for arithmetic, {pace[1]} for dispatch and",
        f"{pace[2]} for moving data.",
        f"{alike} of the {len(claims)} claims of the paper that these files can speak about come out alike measured "
        "and predicted.",
    ]


def written(page: str, name: str, text: str) -> str:
    """`page` with `text` between the marks called `name`."""
    begin, end = f"<!-- {name}: benchmarks/host_cpu.py -->\n", f"\n<!-- end of {name} -->"
    return re.sub(re.escape(begin) + ".*?" + re.escape(end), lambda _: begin + text + end, page, flags=re.DOTALL)


def pages() -> dict[Path, str]:
    """Both pages with today's tables."""
    pairs = compared()
    texts = {"networks": networks(pairs), "errors": errors(pairs)}
    found = {}
    for path in PAGES:
        found[path] = path.read_text()
        for name, text in texts.items():
            found[path] = written(found[path], name, text)
    return found


def _errors(kind: str, figures: dict[str, Any]) -> tuple[str, ...]:
    shown = [f"{figures[f'{what}_percent']:{how}} %" for what, how in
             (("mape", ".1f"), ("median", ".1f"), ("bias", "+.1f"), ("weighted", ".1f"))]  # fmt: skip
    return (kind, f"{figures['rows']}", *shown, f"{figures['spearman']:.3f}")


def _table(names: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (names, ("---",) * len(names), *rows))


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.4g} ms" if seconds < 10 else f"{seconds:.4g} s"


def _range(values: list[float], how: str) -> str:
    return f"{min(values):{how}} to {max(values):{how}}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true")
    if parser.parse_args().measure:
        measure()
    for path, text in pages().items():
        files.write_text(path, text)


if __name__ == "__main__":
    main()
