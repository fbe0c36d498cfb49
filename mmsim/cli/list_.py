"""mmsim list: the workloads with their variants, and the architectures."""

from __future__ import annotations

import click

from mmsim.cli.output import answer, json_option


@click.command()
@json_option
def command(as_json: bool) -> None:
    """The nine workloads with their fusion variants, modalities and knobs, and the built-in architectures."""
    from mmsim.arch import catalogue
    from mmsim.workloads import get, names

    workloads = [get(name) for name in names()]
    architectures = catalogue()
    value = {
        "workloads": {
            w.name: {
                "title": w.title,
                "domain": w.domain,
                "task": w.task,
                "fusions": list(w.fusions),
                "modalities": list(w.modalities),
                "knobs": dict(w.knobs),
            }
            for w in workloads
        },
        "architectures": {a.name: a.description for a in architectures},
    }

    def tables() -> None:
        from mmsim.report.table import show

        show(
            "Workloads (the first fusion is the paper's)",
            ("name", "task", "modalities", "fusions", "knobs"),
            [
                (
                    w.name,
                    w.title,
                    ", ".join(w.modalities),
                    ", ".join(w.fusions),
                    ", ".join(f"{k}={v}" for k, v in w.knobs.items()),
                )
                for w in workloads
            ],
        )
        show("Architectures", ("name", "what it is"), [(a.name, a.description) for a in architectures])

    answer(value, tables, as_json=as_json)
