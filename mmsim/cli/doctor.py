"""mmsim doctor: what is installed, and how to get what is missing."""

from __future__ import annotations

import click

from mmsim.cli.output import answer, json_option


@click.command()
@json_option
def command(as_json: bool) -> None:
    """What mmsim finds on this machine: libraries, back ends, a GPU; and how to get what is missing.

    Nothing here is needed for tracing, the built-in models and their reports.
    """
    from mmsim.backends import doctor

    findings = doctor.findings()
    value = {
        finding.name: {"found": finding.found, "detail": finding.detail, "for": finding.use, "get": finding.get}
        for finding in findings
    }

    def table() -> None:
        from mmsim.report.table import show

        show(
            "What is installed",
            ("", "", "for", "found, or how to get it"),
            [(f.name, "yes" if f.found else "no", f.use, f.detail if f.found else f.get) for f in findings],
        )

    answer(value, table, as_json=as_json)
