"""A sweep writes one file a run, survives an interruption, and does not repeat what stands."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from mmsim import cli
from mmsim.errors import InputError
from mmsim.measure import sweep
from mmsim.measure.rule import Rule
from mmsim.measure.session import Options, measure
from mmsim.measure.subject import prepare
from mmsim.measure.sweep import Planned
from mmsim.measurement import Machine, Measurement, dump, load

PLANNED = sweep.plan(("av_mnist",), (40, 1), ("float32",), ("eager",))
QUICK = Rule(repeats=2, least_runs=1, warmup_runs=1, warmup_s=0.0, budget_s=0.1)


def toy(planned: Planned) -> Measurement:
    module = torch.nn.Linear(4, 4)
    subject = prepare(module, {"input": torch.randn(2, 4)}, {"": "head"}, "float32", torch.device("cpu"))
    found = measure(subject, QUICK, Options(planned.batch, planned.dtype, planned.source))
    return msgspec.structs.replace(found, workload=planned.source.network)


def test_the_plan_holds_every_variant_once_the_papers_own_first() -> None:
    from mmsim.workloads import get

    assert len({p.file for p in PLANNED}) == len(PLANNED) == 2 * len(get("av_mnist").variants())
    assert PLANNED[0].file == "av_mnist.concat.b1.float32.eager.json"
    assert [(p.variant, p.batch) for p in PLANNED[:3]] == [("concat", 1), ("concat", 40), ("tensor", 1)]
    assert PLANNED[-1].batch == 40
    assert {p.variant: p.source.knobs for p in PLANNED}["uni_image_6"] == {"uni_image_channels": 6}


def test_an_interrupted_sweep_resumes(tmp_path: Path) -> None:
    calls: list[str] = []

    def interrupted(planned: Planned) -> Measurement:
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(planned.file)
        return toy(planned)

    with pytest.raises(KeyboardInterrupt):
        sweep.run(PLANNED[:6], tmp_path, interrupted)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(calls)  # three whole files and nothing else
    damaged = tmp_path / calls[1]
    damaged.write_text(damaged.read_text()[:100])
    outcome = sweep.run(PLANNED[:6], tmp_path, toy)
    assert outcome.stood == [calls[0], calls[2]]
    assert len(outcome.measured) == 4 and calls[1] in outcome.measured
    assert all(load(path).workload == "av_mnist" for path in tmp_path.iterdir())


def test_a_sweep_with_no_time_begins_nothing_and_says_what_is_left(tmp_path: Path) -> None:
    sweep.run(PLANNED[:1], tmp_path, toy)
    outcome = sweep.run(PLANNED[:4], tmp_path, toy, within_s=-1.0)
    assert (outcome.stood, outcome.measured, outcome.left) == ([PLANNED[0].file], [], 3)


def test_what_does_not_fit_is_reported_and_the_rest_goes_on(tmp_path: Path) -> None:
    def crowded(planned: Planned) -> Measurement:
        if planned is PLANNED[0]:
            raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 20 GiB")
        if planned is PLANNED[2]:
            raise InputError("a CUDA graph needs --device cuda", field="--mode")
        return toy(planned)

    outcome = sweep.run([PLANNED[0], *PLANNED[2:4]], tmp_path, crowded)
    assert list(outcome.failed.values()) == [
        "out of memory: CUDA out of memory. Tried to allocate 20 GiB", "--mode: a CUDA graph needs --device cuda",
    ]  # fmt: skip
    assert outcome.measured == [PLANNED[3].file]
    assert json.loads((tmp_path / sweep.FAILED).read_text()) == outcome.failed


def test_what_does_not_fit_in_a_graph_may_fit_op_by_op(tmp_path: Path) -> None:
    planned = sweep.plan(("av_mnist",), (1, 40), ("float32",), ("eager", "graph"))[:4]
    assert [(p.batch, p.mode) for p in planned] == [(1, "eager"), (1, "graph"), (40, "eager"), (40, "graph")]

    def crowded(one: Planned) -> Measurement:
        if one.mode == "graph":
            raise RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be reported later")
        return toy(one)

    outcome = sweep.run(planned, tmp_path, crowded)
    assert outcome.measured == [planned[0].file, planned[2].file]
    assert outcome.failed[planned[1].file].startswith("out of memory: CUDA error")
    assert outcome.failed[planned[3].file] == f"out of memory: {planned[1].file} does not fit either"


@pytest.mark.parametrize("changes", [{"batch": 3}, {"workload": "mustard"}, {"machine": Machine("cuda", "H200")}])
def test_a_file_of_something_else_is_neither_taken_nor_written_over(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = tmp_path / PLANNED[1].file
    dump(msgspec.structs.replace(toy(PLANNED[1]), **changes), path)
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"is a measurement of .*, not of av_mnist 40 float32 eager cpu: take another"):
        sweep.run(PLANNED[:3], tmp_path, toy)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("content", ["", "[]", '{"a.json": 3}', '{"a.json"', "\x00"])
def test_a_damaged_list_of_what_failed_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / sweep.FAILED).write_text(content)
    with pytest.raises(InputError, match=r"failed\.json") as caught:
        sweep.run(PLANNED[:1], tmp_path, toy)
    assert "\n" not in str(caught.value)


def test_by_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from mmsim.workloads import get

    two = {
        name: variant
        for name, variant in get("vision_touch").variants().items()
        if name in ("uni_force", "uni_proprio")
    }
    monkeypatch.setattr(type(get("vision_touch")), "variants", lambda self: two)
    folder = str(tmp_path / "runs")
    quick = ("--repeats", "1", "--seconds", "0.1", "--threads", "1", "--json")
    for expected in ("measured", "stood"):
        monkeypatch.setattr(sys, "argv", ["mmsim", "measure", "vision_touch", "--all", "-o", folder, *quick])
        assert cli._run() == 0
        found = json.loads(capsys.readouterr().out)
        assert len(found[expected]) == 2 and not found["failed"]
    assert load(tmp_path / "runs" / "vision_touch.uni_force.b1.float32.eager.json").source.modality == "force"


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("--all",), "-o: --all needs a folder"),
        ((), "give a network or --all"),
        (("av_mnist", "--batch", "1", "--batch", "2"), "--batch: only one, unless with --all"),
        (("av_mnist", "--all", "--fusion", "sum", "-o", "x"), "--all takes every variant"),
        (("nothing", "--all", "-o", "x"), "nothing"),
        (("--all", "--device", "tpu", "-o", "x"), "--device: unknown device 'tpu'"),
        (("--all", "--dtype", "int8", "-o", "x"), "--dtype: unknown floating format 'int8'"),
        (("--all", "--mode", "eager", "--mode", "graph", "-o", "x"), "--mode graph, --streams and --counters need"),
        (("--all", "--counters", "-o", "x"), "--mode graph, --streams and --counters need --device cuda"),
    ],
)
def test_bad_requests_are_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...], message: str,
) -> None:  # fmt: skip
    """At once: nothing is written, no run is noted as failed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["mmsim", "measure", *arguments])
    assert cli._run() == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and list(tmp_path.iterdir()) == []
