"""Pages made from the code: every command with its options, and every error with its cure."""

from __future__ import annotations

import argparse
import inspect
import re
from pathlib import Path

from openmm_nequip import errors
from openmm_nequip.app.cli import make_parser

MARK = "<!-- made by docs/machinery/generated.py; changes here are lost -->\n"


def write_pages(docs: Path) -> None:
    """Write the pages that are made; those that are as they were are left alone, so that nothing is read anew."""
    for name, text in {"reference/commands.md": commands(), "reference/errors.md": error_classes()}.items():
        path = docs / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of the commands by name."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def short_helps(parser: argparse.ArgumentParser) -> dict[str, str]:
    """What ``--help`` says of each command in its list."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return {choice.dest: choice.help or "" for choice in action._choices_actions}
    return {}


def plain(text: str) -> str:
    """Help text for a cell of a table or a paragraph: nothing in it is markup."""
    text = re.sub(r"\s+", " ", text.replace("``", "`")).strip()
    return re.sub(r"([\\*_<>|\[\]])", r"\\\1", text) if "`" not in text else text.replace("|", "\\|")


def written(action: argparse.Action) -> str:
    """An option or argument as it is typed."""
    metavar = action.metavar or (
        "{" + ",".join(map(str, action.choices)) + "}" if action.choices else action.dest.upper()
    )
    if isinstance(metavar, tuple):
        value = " ".join(metavar)
    elif action.nargs == 0:
        value = ""
    elif action.nargs in ("+", "*"):
        value = f"{metavar} ..."
    else:
        value = metavar
    names = ", ".join(action.option_strings)
    return f"{names} {value}".strip() if names else value


def rows(parser: argparse.ArgumentParser, common: set[str]) -> list[str]:
    """Rows of a table of a command's options, without those that every command has."""
    found = []
    for action in parser._actions:
        if action.dest == "help" or action.dest in common or action.help == argparse.SUPPRESS:
            continue
        text = (action.help or "") % {**vars(action), "prog": parser.prog}
        found.append(f"| `{written(action).replace('|', chr(92) + '|')}` | {plain(text)} |")
    return found


def commands() -> str:
    """The page of all commands."""
    parser = make_parser()
    chosen = subcommands(parser)
    common = {"json", "quiet", "debug"}
    helps = short_helps(parser)
    lines = [MARK, "# Every command and option", ""]
    lines += ["Made from the parser itself. What the commands do, by task: [command line](../command-line.md).", ""]
    lines += ["| command | |", "|---|---|", *(f"| [`{n}`](#{n}) | {plain(helps.get(n, ''))} |" for n in chosen), ""]
    lines += ["All take `--json` (one JSON document on stdout), `--quiet`, `--debug` and `--help`. Exit codes: 0 done,"]
    lines += ["1 an error, 2 wrong usage, 3 a run that is not to be trusted, 130 after Ctrl-C.", ""]
    for name, sub in chosen.items():
        where = " ".join(written(action) for action in sub._actions if not action.option_strings)
        lines += [f"## {name}", "", plain(sub.description or helps.get(name, "")), ""]
        lines += [f"`openmm-nequip {name} {where}`".replace(" `", "`"), ""]
        found = rows(sub, common)
        if found:
            lines += ["| option | |", "|---|---|", *found, ""]
    return "\n".join(lines)


def error_classes() -> str:
    """The page of all errors: first sentence, facts, builtin base."""
    lines = [MARK, "# Errors by class", ""]
    lines += ["What a message means and what to do: [troubleshooting](../guides/troubleshooting.md). All derive from"]
    lines += ["`OpenMMNequIPError`, and each from the builtin that fits, so that `except ValueError` holds.", ""]
    lines += ["```{eval-rst}", ".. automodule:: openmm_nequip.errors", "   :no-members:", "```", ""]
    own = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, Exception)]
    for error in sorted(own, key=lambda value: (value is not errors.OpenMMNequIPError, value.__name__)):
        lines += ["```{eval-rst}", f".. autoexception:: openmm_nequip.errors.{error.__name__}"]
        lines += ["   :show-inheritance:", "```", ""]
    return "\n".join(lines)
