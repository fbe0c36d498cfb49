"""The command line: one file a verb, loaded when it is called, each calling one function of the library."""

from __future__ import annotations

import errno
import importlib
import os
import sys
from typing import NoReturn

import click

from mmsim import __version__
from mmsim.errors import InputError

VERBS = {
    "list": "workloads, architectures and what stands around them",
    "trace": "a network -> its stage-annotated layer graph",
    "dump": "layer dumps, tables and Timeloop problems of one or all workloads",
    "emit": "a network on an architecture -> Timeloop and Accelergy files",
    "run": "latency and energy per layer, stage and modality",
    "explore": "the best accelerator for each stage beside one shared by all",
    "evaluate": "one mapping of one problem, as timeloop-model does",
    "map": "the best mapping of one problem, as timeloop-mapper does",
    "energy": "energy and area tables of an architecture",
    "measure": "the traced network timed on a real device",
    "validate": "predicted beside measured: kernels, networks",
    "crosscheck": "the installed back ends side by side",
    "doctor": "what is installed, and how to get what is missing",
}

MAX_LINE = 1000  # characters of an error


class Verbs(click.Group):
    """Verbs by name; a verb's file is imported when that verb is called, so that `--help` is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"mmsim.cli.{cmd_name if cmd_name != 'list' else 'list_'}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in VERBS:
            from difflib import get_close_matches

            near = get_close_matches(args[0], VERBS, n=1)
            raise click.UsageError(f"no verb {args[0]!r}" + (f": did you mean {near[0]}?" if near else ""), ctx)
        return super().resolve_command(ctx, args)


@click.command(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="A network is a workload's name (mmsim list), a layer dump (.json), or FILE.py:factory. "
    "Each verb has its own --help.",
)
@click.version_option(__version__, message="mmsim %(version)s")
def cli() -> None:
    """How a multi-modal PyTorch network runs on hardware: per layer, modality and stage.

    \b
    mmsim run av_mnist --arch rtx_2080_ti --arch jetson_nano
    mmsim dump mm_imdb -o mm_imdb/          layer shapes and Timeloop problems
    mmsim run my_model.py:build --input image=Bx3x224x224:float32 --arch eyeriss_like
    """


def main() -> NoReturn:
    """Entry point: 0 on success, 2 on bad input with one line, 1 when mmsim itself is at fault."""
    sys.exit(_run())


def _run() -> int:
    try:
        status = cli.main(prog_name="mmsim", standalone_mode=False)
        return status if isinstance(status, int) else 0
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        where = context.command_path if context else "mmsim"
        return _refuse(f"{where}: {_one_line(error.format_message())} (see {where} --help)")
    except InputError as error:
        return _refuse(f"mmsim: {_one_line(str(error))}")
    except (click.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:  # the reader of our output left, as in `mmsim list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return _refuse("mmsim: standard output cannot be written: no space left")
    except ModuleNotFoundError as error:  # an installation without its dependencies
        return _refuse(f"mmsim: {error.name} is not installed (mmsim doctor says what is)")


def _refuse(line: str) -> int:
    print(line, file=sys.stderr)
    return 2


def _one_line(text: str) -> str:
    """Text without line breaks, what it quotes of a hostile file cut short."""
    line = " ".join(text.split())
    return line if len(line) <= MAX_LINE else f"{line[: MAX_LINE // 2]} ... {line[-MAX_LINE // 2 :]}"
