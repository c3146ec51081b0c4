"""The command ``openmm-nequip``: parses arguments, calls a command, prints its answer."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from .._version import __version__
from ..errors import UsageError
from . import compile_ahead, demo, energy, info
from .accuracy import accuracy_command
from .answer import FAILED, PROGRAM, Answer, printable
from .bench import bench_command
from .check import check_command
from .export import export_command
from .many import many_command
from .parity import parity_command
from .pmf import pmf_command
from .run import run_command
from .select import select_command

#: In the order in which ``--help`` lists them.
_COMMANDS = (
    info, energy, accuracy_command, check_command, run_command, many_command, demo, pmf_command, select_command,
    bench_command, parity_command, compile_ahead, export_command,
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments; those of the process by default.

    Returns
    -------
    int
        Exit code: 0 done, 1 failed, 3 a run that is not to be trusted, 128 + n ended by signal n. Wrong usage exits
        with 2.
    """
    parser = make_parser()
    arguments = parser.parse_args(argv)
    # After the arguments: --help and --version need neither logging nor JSON.
    import json
    import signal
    import traceback

    from .console import console
    from .error_text import one_line

    try:
        with console(arguments.quiet, arguments.debug):
            answer: Answer = arguments.command(arguments)
    except UsageError as error:
        parser.error(printable(str(error)))
    except KeyboardInterrupt:
        sys.stderr.write(f"{PROGRAM}: interrupted\n")
        return 128 + signal.SIGINT
    except Exception as error:
        if arguments.debug:
            traceback.print_exc()
        sys.stderr.write(printable(f"{PROGRAM}: error: {one_line(error)}\n"))
        return FAILED
    text = json.dumps(answer.document, indent=2) if arguments.json else printable(answer.text)
    sys.stdout.write(text + "\n")
    return answer.code


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(prog=PROGRAM, description="NequIP and Allegro models in OpenMM.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print one JSON document on stdout and nothing else there")
    common.add_argument("--quiet", action="store_true", help="only warnings on stderr")
    common.add_argument("--debug", action="store_true", help="show tracebacks and what goes on inside")
    for command in _COMMANDS:
        command.add_parser(commands, common)
    return parser


if __name__ == "__main__":
    sys.exit(main())
