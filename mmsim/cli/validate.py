"""mmsim validate: predictions beside measurements that others, or `mmsim measure`, made."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from mmsim.cli.output import json_option, plot_option
from mmsim.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mmsim.kernel_table import KernelMode
    from mmsim.validate import Pair

FILE = click.Path(path_type=Path, dir_okay=False)


@click.group()
def command() -> None:
    """How far predictions are from measurements: MAPE, median, 90th percentile, bias and rank correlation."""


@command.command()
@click.argument("table", metavar="FILE.csv", type=FILE)
@click.option(
    "--op", required=True, help="gemm, linear, bmm, conv, attention, add, relu, gelu, softmax, ln, ... or vector."
)
@click.option("--dtype", required=True, help="fp32, tf32, fp16, bf16 or int8.")
@click.option("--arch", "arch_name", required=True, help="A GPU: a built-in architecture's name or a file.")
@click.option(
    "--mode",
    type=click.Choice(["eager", "graph"]),
    default="eager",
    show_default=True,
    help="One op between two events, host included; or one kernel inside a CUDA graph.",
)
@json_option
@click.option("-o", "--output", type=FILE, help="Write the rows with their predictions as CSV.")
@plot_option("predicted over measured")
def kernels(
    table: Path, op: str, dtype: str, arch_name: str, mode: str, as_json: bool, output: Path | None, plot: Path | None
) -> None:
    """Predict each row of a table of measured kernels and print the errors.

    \b
    columns, with latency_ms in each:
      gemm                m, n, k
      linear, bmm         batch, m, k_reduction, n
      conv                batch, in_channels, out_channels, kernel, input_size, stride, padding
      attention           batch, seq_len, num_heads, head_dim
      vector, add, ln ... op, rows, cols
    """
    from mmsim import files, validate
    from mmsim.arch import load

    pairs = validate.kernels(table, op, dtype, load(arch_name), cast("KernelMode", mode))
    value = asdict(validate.errors(pairs))
    floor = validate.NOISE_FLOOR_PERCENT.get((op, arch_name))
    if output is not None:
        files.write_text(output, _csv(pairs))
    if plot is not None:
        from mmsim.report.scatter import scatter

        scatter({op: [(p.measured_s, p.predicted_s) for p in pairs]}, f"{op} {dtype} on {arch_name}, {mode}", plot)
    if as_json:
        click.echo(files.to_json(value | ({"noise_floor_percent": floor} if floor is not None else {})))
        return
    _show(pairs, f"{op} {dtype} on {arch_name}, {mode}", floor)


def _show(pairs: Sequence[Pair], title: str, floor: float | None) -> None:
    from mmsim import validate
    from mmsim.report.table import show, si

    columns = ("rows", "MAPE %", "median %", "p90 %", "bias %", "rank correlation")

    def cells(found: validate.Errors) -> tuple[str, ...]:
        percent = (found.mape_percent, found.median_percent, found.p90_percent, found.bias_percent)
        return (f"{found.rows}", *(f"{x:.1f}" for x in percent), f"{found.spearman:.4f}")

    rows = [("all", *cells(validate.errors(pairs)))]
    rows += [(name, *cells(found)) for name, found in validate.by_size(pairs).items()]
    note = f"noise floor: {floor} % between two frameworks" if floor is not None else ""
    show(title, ("measured", *columns), rows, note=note)
    worst = sorted(pairs, key=lambda pair: -abs(pair.error))[:10]
    show(
        "Worst rows",
        ("row", "measured", "predicted", "error"),
        [(p.label, si(p.measured_s, "s"), si(p.predicted_s, "s"), f"{100 * p.error:+.0f} %") for p in worst],
    )


def _csv(pairs: Sequence[Pair]) -> str:
    lines = ["row,measured_s,predicted_s,error_percent"]
    lines += [f'"{p.label}",{p.measured_s:.6g},{p.predicted_s:.6g},{100 * p.error:.2f}' for p in pairs]
    return "\n".join(lines) + "\n"


@command.command()
@click.argument("measurements", metavar="FILE.json...", type=FILE, nargs=-1, required=True)
@click.option("--arch", "arch_name", required=True, help="What predicts: a built-in architecture's name or a file.")
@click.option("--graph", "dump", type=FILE, help="The network's layer dump (default: traced again, as measured).")
@json_option
@click.option("-o", "--output", type=FILE, help="Write the JSON to this file as well.")
@plot_option("predicted over measured: layers, stages, networks")
def network(
    measurements: tuple[Path, ...], arch_name: str, dump: Path | None, as_json: bool, output: Path | None,
    plot: Path | None,
) -> None:  # fmt: skip
    """Predict what `mmsim measure` measured: errors per layer, stage and network, the worst layers and why.

    Several files together also say which of the MMBench paper's claims hold, measured and predicted.
    """
    from mmsim import measurement, validate_network
    from mmsim.arch import load
    from mmsim.cli.networks import comparisons, draw, tables
    from mmsim.cli.output import answer

    found = comparisons({path: measurement.load(path) for path in measurements}, load(arch_name), dump)
    if plot is not None:
        draw(found, plot)
    value = validate_network.record(found)
    answer(value, lambda: tables(found, value), as_json=as_json, output=output)


@command.command()
@click.argument("first", metavar="FIRST.json", type=FILE)
@click.argument("second", metavar="SECOND.json", type=FILE)
@json_option
def repeat(first: Path, second: Path, as_json: bool) -> None:
    """How far two measurements of one network are apart, and what timing it layer by layer added to each."""
    from mmsim import measurement
    from mmsim.cli.networks import show_repeat
    from mmsim.cli.output import answer
    from mmsim.repeat import repeat as beside

    runs = measurement.load(first), measurement.load(second)
    try:
        value = beside(*runs)
    except InputError as error:
        raise InputError(error.message, file=f"{first}, {second}", field=error.field) from None
    answer(value, lambda: show_repeat(value), as_json=as_json)
