"""The front door: a dump goes in, figures come out, without torch; bad input gives one line and exit code 2."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mmsim import cli
from mmsim.layer_dump import dump
from mmsim.report import table
from tests.toy import toy

TORCHLESS = "import sys; sys.modules['torch'] = None; from mmsim.cli import main; main()"


@pytest.fixture
def toy_dump(tmp_path: Path) -> str:
    return str(dump(toy(), tmp_path / "toy.json"))


def mmsim(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["mmsim", *arguments])
    return cli._run()


def answer(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert mmsim(monkeypatch, *arguments, "--json") == 0
    return json.loads(capsys.readouterr().out)


def without_torch(*arguments: str) -> str:
    command = [sys.executable, "-c", TORCHLESS, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def test_from_dump_to_figures_without_torch(toy_dump: str) -> None:
    command = [
        sys.executable,
        "-c",
        TORCHLESS,
        "run",
        toy_dump,
        "--arch",
        "rtx_2080_ti",
        "--arch",
        "jetson_nano",
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    figures = json.loads(done.stdout)["architectures"]
    assert figures["jetson_nano"]["latency_s"] > figures["rtx_2080_ti"]["latency_s"] > 0
    for run in figures.values():
        assert set(run["by_stage"]) == {"encoder:image", "encoder:text", "fusion", "head"}
        assert set(run["by_modality"]) == {"image", "text", "fusion", "head"}
        parts = sum(stage["latency_s"] for stage in run["by_stage"].values()) + run["overhead_s"]
        assert parts == pytest.approx(run["latency_s"])
        assert sum(layer["latency_s"] for layer in run["layers"]) + run["overhead_s"] == pytest.approx(run["latency_s"])


def test_trace_contract(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], toy_dump: str) -> None:
    found = answer(monkeypatch, capsys, "trace", toy_dump, "--batch", "4")
    assert found["workload"] == "toy" and found["variant"] == "concat" and found["batch"] == 4
    assert found["macs"] == 4 * 10304 and found["flops"] == 2 * found["macs"]
    assert found["parameters"] == 108 + 512 + 2880
    assert found["layers"] == 5 and found["distinct_problems"] == 5
    assert found["by_stage"]["encoder:image"]["macs"] == 4 * 6912


def test_list_needs_no_torch() -> None:
    done = subprocess.run(
        [sys.executable, "-c", TORCHLESS, "list", "--json"], capture_output=True, text=True, timeout=60
    )
    assert len(json.loads(done.stdout)["workloads"]) == 9


def test_a_dump_of_one_batch_is_run_at_that_batch(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    four = str(dump(toy().at(B=4), tmp_path / "four.json"))
    assert answer(monkeypatch, capsys, "run", four, "--arch", "t4")["batch"] == 4
    assert answer(monkeypatch, capsys, "trace", four)["batch"] == 4
    assert mmsim(monkeypatch, "run", four, "--arch", "t4", "--batch", "16") == 2
    assert "it is of batch 4 alone" in capsys.readouterr().err


BAD: dict[str, tuple[list[str], str]] = {
    "verb": (["rn"], "did you mean run?"),
    "option": (["run", "DUMP", "--arc", "x"], "--arc"),
    "no architecture given": (["run", "DUMP"], "--arch"),
    "workload": (["trace", "av_mnits"], "av_mnist"),
    "architecture": (["run", "DUMP", "--arch", "rtx_2080"], "rtx_2080_ti"),
    "no dump": (["run", "none.json", "--arch", "t4"], "none.json: no such file"),
    "architecture twice": (["run", "DUMP", "--arch", "t4", "--arch", "t4"], "--arch: 2 architectures are called t4"),
    "batch": (["run", "DUMP", "--arch", "t4", "--batch", "0"], "--batch"),
    "format": (["run", "DUMP", "--arch", "t4", "--dtype", "float33"], "float33"),
    "fusion of a dump": (["trace", "DUMP", "--fusion", "tensor"], "--fusion"),
    "every variant of one fusion": (["dump", "--all", "--fusion", "concat"], "--all: every variant"),
    "dump's fusion": (["dump", "DUMP", "--fusion", "concat"], "--fusion does not go with a layer dump"),
    "no figure": (["explore", "DUMP", "--arch", "tpu_like", "--plot", "x.xlsx"], "x.xlsx: must end in .png, .pdf or"),
    "no such folder": (["run", "DUMP", "--arch", "nowhere/x.yaml"], "nowhere/x.yaml: no such file"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], toy_dump: str, what: str
) -> None:
    arguments, message = BAD[what]
    assert mmsim(monkeypatch, *(toy_dump if a == "DUMP" else a for a in arguments)) == 2
    printed = capsys.readouterr()
    assert message in printed.err and printed.err.count("\n") == 1 and printed.out == ""


@pytest.mark.parametrize("verb", sorted(cli.VERBS))
def test_every_verb_explains_itself(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    assert mmsim(monkeypatch, verb, "--help") == 0
    assert "Usage: mmsim" in capsys.readouterr().out


def test_counters_of_a_gpu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], toy_dump: str) -> None:
    """Per stage and in total, for programs and for people; an accelerator that is no GPU has none."""
    arguments = ("run", toy_dump, "--arch", "rtx_2080_ti", "--arch", "eyeriss_like", "--mappings", "10")
    found = answer(monkeypatch, capsys, *arguments)["architectures"]
    counters = found["rtx_2080_ti"]["counters"]
    assert set(counters) == {"encoder:image", "encoder:text", "fusion", "head", "total"}
    assert sum(counters["total"]["size_bins"]) == counters["total"]["kernels"] == found["rtx_2080_ti"]["kernels"]
    assert sum(counters["total"]["stalls"].values()) == pytest.approx(1)
    assert "counters" not in found["eyeriss_like"]
    assert mmsim(monkeypatch, *arguments, "--counters") == 0
    assert "occupancy" in capsys.readouterr().out


def test_autocast_halves_the_products(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], toy_dump: str
) -> None:
    found = answer(monkeypatch, capsys, "run", toy_dump, "--arch", "rtx_2080_ti", "--autocast", "float16")
    assert found["dtype"] == "autocast float16"
    assert any(layer["op"] == "torch.Tensor.to" for layer in found["architectures"]["rtx_2080_ti"]["layers"])


@pytest.mark.parametrize(
    "arch, batch, said", [("rtx_2080_ti", "1", True), ("rtx_2080_ti", "12", False), ("jetson_nano", "1", False)]
)
def test_a_run_of_one_sample_says_where_no_error_of_one_is_known(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    toy_dump: str,
    arch: str,
    batch: str,
    said: bool,
) -> None:
    assert mmsim(monkeypatch, "run", toy_dump, "--arch", arch, "--batch", batch) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert f"{arch}: mean error on published measurements: latency of networks of" in printed
    assert ("of networks of one sample unknown" in printed) is said


def test_a_table_gives_up_gaps_before_it_breaks_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], toy_dump: str
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes it for a terminal then
    monkeypatch.setenv("COLUMNS", "80")
    assert mmsim(monkeypatch, "run", toy_dump, "--arch", "rtx_2080_ti", "--batch", "64") == 0
    lines = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line) for line in capsys.readouterr().out.splitlines()]
    assert max(map(len, lines)) <= 80
    assert any(line.startswith("encoder:image ") and line.split()[-1] in ("launch", "latency") for line in lines)


def test_nothing_is_folded_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    table.show("title", ("name", "text"), [("a", "word " * 100)])
    assert "word " * 99 + "word" in capsys.readouterr().out


def test_errors_and_memory_are_those_of_the_machine_given(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], toy_dump: str, tmp_path: Path
) -> None:
    """A changed copy of a GPU's file was never compared with a measurement; and it may hold too little."""
    own = tmp_path / "own.yaml"
    text = (Path(__file__).parents[1] / "arch_specs" / "rtx_2080_ti.yaml").read_text()
    own.write_text(text.replace("size_bytes: 11 * 2**30", "size_bytes: 2**12"))
    assert mmsim(monkeypatch, "run", toy_dump, "--arch", str(own), "--batch", "64") == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert ", more than the 4.096 kB of DRAM" in printed and "mean error" not in printed
    found = answer(monkeypatch, capsys, "run", toy_dump, "--arch", str(own))["architectures"]["rtx_2080_ti"]
    assert found["stated_errors"] is None
    own.write_text(text)
    assert mmsim(monkeypatch, "run", toy_dump, "--arch", str(own)) == 0
    printed = capsys.readouterr().out
    assert "mean error" in printed and "more than" not in printed


def test_what_cannot_be_written_is_printed_all_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], toy_dump: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    assert mmsim(monkeypatch, "run", toy_dump, "--arch", "t4", "--json", "-o", str(tmp_path / "file" / "run.json")) == 2
    printed = capsys.readouterr()
    assert "t4" in json.loads(printed.out)["architectures"] and "cannot be written" in printed.err


def test_a_reader_that_leaves_is_no_fault() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([sys.executable, "-c", TORCHLESS, "list"], stdout=writing, stderr=subprocess.PIPE, timeout=60)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


def test_what_is_not_installed_is_named(toy_dump: str) -> None:
    code = "import sys; sys.modules['networkx'] = None; from mmsim.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "trace", toy_dump, "--graphml", "never.graphml"], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (2, "mmsim: networkx is not installed (mmsim doctor says what is)\n")


def test_dump_of_a_network_of_ones_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Its files have its name where it has no variant; an open size is refused before anything is written."""
    own = str(dump(replace(toy(), workload="clip", variant=""), tmp_path / "own.json"))
    assert mmsim(monkeypatch, "dump", own, "-o", str(tmp_path / "out")) == 0
    found = {path.name for path in (tmp_path / "out" / "own").iterdir()}
    assert found == {"clip.json", "clip.csv", "clip.problems.yaml", "problems"}
    text = Path(own).read_text().replace('"B"', '"L"')
    Path(own).write_text(text)
    assert mmsim(monkeypatch, "dump", own, "-o", str(tmp_path / "none")) == 2
    assert "size L is open" in capsys.readouterr().err and not (tmp_path / "none").exists()


def test_constraints_on_other_data_spaces_name_the_level(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    spaces = "[{name: A, projection: [[[M]]]}, {name: Z, projection: [[[M]]], read_write: true}]"
    shape = f"{{name: copy, dimensions: [M], data_spaces: {spaces}}}"
    (tmp_path / "p.yaml").write_text(f"problem: {{version: 0.4, shape: {shape}, instance: {{M: 4}}}}\n")
    assert mmsim(monkeypatch, "map", "eyeriss_like", str(tmp_path / "p.yaml")) == 2
    assert "glb.constraints.keep: unknown data space 'Inputs'; this problem has A, Z" in capsys.readouterr().err
