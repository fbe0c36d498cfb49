"""The verbs emit, energy, crosscheck and doctor, from a layer dump: what programs and people read, and refusals."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from mmsim import cli, files
from mmsim.backends import accelforge, timeloop
from mmsim.layer_dump import dump
from tests.toy import toy


@pytest.fixture
def toy_dump(tmp_path: Path) -> str:
    return str(dump(toy(), tmp_path / "toy.json"))


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["mmsim", *arguments])
    return cli._run()


def answer(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert run(monkeypatch, *arguments, "--json") == 0
    return json.loads(capsys.readouterr().out)


def test_emit(
    toy_dump: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The toy has three multiply-accumulate layers; relu and cat stand in the index without a file."""
    out = tmp_path / "out"
    found = answer(monkeypatch, capsys, "emit", toy_dump, "--arch", "eyeriss_like", "--batch", "2", "-o", str(out))
    rows = files.read_yaml(out / "index.yaml")["problems"]
    assert (found["problems"], found["files"], found["format"]) == (len(rows), 3, "timeloop")
    assert set(found["without_file"]) == {row["family"] for row in rows if not row["file"]}
    conv = next(row for row in rows if row["family"] == "conv")
    assert (conv["dims"]["N"], conv["uses"][0]["stage"], conv["operations"]) == (2, "encoder:image", 2 * 4 * 3 * 9 * 64)
    assert {path.name for path in out.iterdir()} == {
        "index.yaml", "arch.yaml", "components.yaml", "ERT.yaml", "ART.yaml", "mapper.yaml", "problems",
    }  # fmt: skip


def test_emit_prints_a_table(
    toy_dump: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("emit", toy_dump, "--arch", "eyeriss_like", "-o", str(tmp_path / "out"), "--format", "accelforge")
    assert run(monkeypatch, *arguments) == 0
    said = capsys.readouterr().out
    assert "accelforge files" in said and "encoder:image" in said and "problems/conv_" in said


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("--arch", "eyeris_like"), "unknown architecture 'eyeris_like'; did you mean eyeriss_like"),
        (("--arch", "eyeriss_like", "--format", "vhdl"), "'vhdl' is not one of"),
        (("--arch", "eyeriss_like", "--dtype", "float7"), "unknown format 'float7'"),
    ],
)
def test_emit_refuses(
    arguments: tuple[str, ...],
    message: str,
    toy_dump: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(monkeypatch, "emit", toy_dump, "-o", str(tmp_path / "out"), *arguments) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


ARCH = """
architecture:
  version: 0.4
  nodes:
  - !Container
    name: system
    attributes: {global_cycle_seconds: 1.0e-9, technology: "45nm"}
  - !Component
    name: DRAM
    class: DRAM
    attributes: {type: "LPDDR4", width: 64, datawidth: 16, depth: 1048576}
  - !Component
    name: glb
    class: SRAM
    subclass: smart_glb
    attributes: {width: 64, datawidth: 16, depth: 1024}
  - !Component
    name: mac
    class: intmac
    attributes: {datawidth: 16}
components:
  version: 0.4
  classes:
  - name: smart_glb
    attributes: {width: 64, depth: 1024, n_banks: 1}
    subcomponents:
    - {name: storage, class: SRAM, attributes: {width: width, depth: depth, n_banks: n_banks}}
    actions:
    - {name: read, subcomponents: [{name: storage, actions: [{name: read, energy_scale: 3}]}]}
    - {name: write, subcomponents: [{name: storage, actions: [{name: write}]}]}
    - {name: update, subcomponents: [{name: storage, actions: [{name: write}]}]}
"""


def test_energy_of_a_users_timeloop_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Compound components of the file count, and the tables written are Accelergy's."""
    path = files.write_text(tmp_path / "arch.yaml", ARCH)
    compound = answer(monkeypatch, capsys, "energy", str(path), "-o", str(tmp_path / "out"))
    files.write_text(path, ARCH.replace("energy_scale: 3", "energy_scale: 1"))
    plain = answer(monkeypatch, capsys, "energy", str(path))
    assert compound["energy_pj"]["glb"]["read"] == pytest.approx(3 * plain["energy_pj"]["glb"]["read"])
    assert compound["energy_pj"]["DRAM"]["read"] == 64 * 8
    tables = files.read_yaml(tmp_path / "out" / "ERT.yaml")["ERT"]["tables"]
    assert [table["name"].split(".", 1)[1] for table in tables] == ["DRAM[1..1]", "glb[1..1]", "mac[1..1]"]
    assert (tmp_path / "out" / "ART.yaml").exists()


def test_energy_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    path = files.write_text(tmp_path / "arch.yaml", ARCH.replace('"LPDDR4"', '"HBM9"'))
    assert run(monkeypatch, "energy", str(path)) == 2
    assert "DRAM: unknown DRAM type 'HBM9'" in capsys.readouterr().err


def test_doctor(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(timeloop, "front_end", lambda: None)
    monkeypatch.setattr(accelforge, "missing", lambda: "nothing there")
    found = answer(monkeypatch, capsys, "doctor")
    assert found["torch"]["found"] and not found["AccelForge"]["found"]
    assert all(finding["found"] or finding["get"] for finding in found.values())


def test_crosscheck(toy_dump: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("crosscheck", toy_dump, "--arch", "eyeriss_like", "--backend", "builtin", "--limit", "1")
    found = answer(monkeypatch, capsys, *arguments)
    answers = [row["answers"]["builtin"] for row in found["problems"]]
    assert len(answers) == 1
    assert found["totals"]["builtin"]["energy_j"] == pytest.approx(sum(one["energy_j"] for one in answers))


def test_crosscheck_names_what_is_missing(
    toy_dump: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(timeloop, "missing", lambda: "timeloop-model not found")
    assert run(monkeypatch, "crosscheck", toy_dump, "--arch", "eyeriss_like", "--backend", "timeloop") == 2
    assert "back end timeloop: timeloop-model not found; build" in capsys.readouterr().err
