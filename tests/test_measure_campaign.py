"""benchmarks/measurements.py: all there is to measure on a GPU, by one command that goes on where it stopped."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from benchmarks import measurements


@pytest.fixture
def campaign(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[list[str], float]]:
    """Its commands write a file each instead of measuring: (command, seconds it may take)."""
    called: list[tuple[list[str], float]] = []

    def run(command: list[str], *, timeout: float, **_: Any) -> Any:
        folder = Path(command[-1])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{len(called)}.json").write_text("{}")
        called.append((command[3:], timeout))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(measurements, "ROOT", root := tmp_path / "checkout")
    for name in ("mmsim", "workloads", "arch_specs"):
        (root / name).mkdir(parents=True)
    monkeypatch.setattr(measurements.subprocess, "run", run)
    return called


def test_kernels_first_for_a_third_of_the_time_then_all_networks(
    campaign: list[tuple[list[str], float]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "argv", ["x", "h200", "--within", "300", "--pack", str(tmp_path / "out")])
    assert measurements.main() == 0
    (kernels, kernels_s), (networks, networks_s) = campaign
    assert kernels[:2] == ["measure", "--kernels"] and networks[:2] == ["measure", "--all"]
    assert kernels[kernels.index("--within") + 1] == "100" and networks[networks.index("--within") + 1] == "300"
    assert (kernels_s, networks_s) == pytest.approx((250, 450), abs=2)
    with tarfile.open(tmp_path / "out" / "h200.tar.gz") as archive:
        assert {"h200/1.json", "h200/kernels/0.json"} <= set(archive.getnames())


def test_what_hangs_is_ended_and_what_was_measured_is_packed(
    campaign: list[tuple[list[str], float]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any
) -> None:
    real = measurements.subprocess.run

    def hangs(command: list[str], *, timeout: float, **how: Any) -> Any:
        real(command, timeout=timeout, **how)
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(measurements.subprocess, "run", hangs)
    monkeypatch.setattr(sys, "argv", ["x", "h200", "--within", "30", "--pack", str(tmp_path / "out")])
    assert measurements.main() == 124
    assert "ended after 180 s: mmsim measure --all" in capsys.readouterr().err
    assert (tmp_path / "out" / "h200.tar.gz").exists()


def test_what_is_missing_is_said_at_once_with_what_to_type(
    campaign: list[tuple[list[str], float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measurements, "NEEDED", {"torch": "torch", "no_such_module": "no-such-package"})
    monkeypatch.setattr(sys, "argv", ["x", "h200"])
    with pytest.raises(SystemExit) as error:
        measurements.main()
    line = str(error.value)
    assert line.startswith("this Python lacks no-such-package. ") and "-d wheels no-such-package;" in line
    assert "\n" not in line and campaign == []


def test_wheels_stand_in_for_what_is_missing(
    campaign: list[tuple[list[str], float]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "no_such-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("no_such_module.py", "answer = 42\n")
    monkeypatch.setattr(measurements, "NEEDED", {"no_such_module": "no-such-package"})
    monkeypatch.setattr(sys, "argv", ["x", "h200", "--wheels", str(tmp_path)])
    assert measurements.main() == 0 and len(campaign) == 2
