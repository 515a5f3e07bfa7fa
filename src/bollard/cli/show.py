"""The only place that prints: replies, tables and JSON."""

import os
import sys
import time
from collections.abc import Container, Sequence
from typing import Any, TextIO

import msgspec
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

_WIDTH_OF_FILES = 200
_BORDERS = 5
_ERROR = 0xC000000000000000
_STYLES = {"ERROR": "bold red", "WARNING": "bold yellow", "INFO": "bold cyan", "SUCCESS": "bold green"}

Cell = str | Text


def severity(ret_code: int) -> str:
    """ERROR, WARNING, INFO or SUCCESS: the two highest bits of a return code."""
    match ret_code & _ERROR:
        case 0xC000000000000000:
            return "ERROR"
        case 0x8000000000000000:
            return "WARNING"
        case 0x4000000000000000:
            return "INFO"
        case _:
            return "SUCCESS"


class Show:
    """Output of one command line run."""

    def __init__(
        self,
        *,
        color: bool = True,
        utf8: bool = True,
        verbose: bool = False,
        pages: bool = False,
        out: TextIO | None = None,
    ) -> None:
        """`pages`: tables that are longer than the screen go through the pager of the environment."""
        self._pages = pages
        self._utf8 = utf8
        self._verbose = verbose
        file = out or sys.stdout
        width = None if file.isatty() or "COLUMNS" in os.environ else _WIDTH_OF_FILES
        self.console = Console(file=file, no_color=not color, highlight=False, soft_wrap=True, width=width)
        self.errors = Console(stderr=True, no_color=not color, highlight=False, soft_wrap=True)

    def line(self, text: Cell = "") -> None:
        """One line as it is."""
        self.console.print(text, markup=False)

    def error(self, text: str) -> None:
        """One line to standard error."""
        self.errors.print(text, markup=False)

    def json(self, value: object) -> None:
        """A value as indented JSON."""
        self.console.out(msgspec.json.format(msgspec.json.encode(value), indent=2).decode(), highlight=False)

    def table(
        self,
        columns: Sequence[str],
        rows: Sequence[Sequence[Cell]],
        *,
        pastable: bool = False,
        ends: Container[int] = (),
    ) -> None:
        """A table that fits the terminal: long cells fold. A line is drawn after the rows in `ends`."""
        plain = pastable or not self._utf8
        table = Table(*columns, box=box.ASCII if plain else box.ROUNDED, header_style="bold")
        for column in table.columns:
            column.overflow = "fold"
            column.min_width = len(str(column.header))
        for index, row in enumerate(rows):
            table.add_row(*row, end_section=index in ends)
        if self._pages and len(rows) > self.console.height - _BORDERS:
            with self.console.pager(styles=True):
                self.console.print(table, soft_wrap=False)
        else:
            self.console.print(table, soft_wrap=False)

    def entries(self, entries: Sequence[dict[str, Any]]) -> None:
        """The entries of a reply, one block each."""
        for entry in entries:
            word = severity(entry["ret_code"])
            loud = self._verbose or word in {"ERROR", "WARNING"}
            sections = [
                ("Cause", entry.get("cause")),
                ("Correction", entry.get("correction")),
                ("Details", entry.get("details") if loud else None),
                *(("Placement", explained(row)) for row in entry.get("explanation", ())),
                *(
                    ("Show reports", f"bollard error-reports show {one}")
                    for one in entry.get("error_report_ids") or ()
                ),
            ]
            head = Text(word + ":", style=_STYLES[word])
            self.console.print(head.append(f" {entry.get('message', '')}", style="not bold default"))
            for title, text in sections:
                self._section(title, text)

    def _section(self, title: str, text: str | None) -> None:
        if text:
            first, *more = text.splitlines()
            self.line(f"    {title}: {first}")
            for part in more:
                self.line("        " + part)


def explained(row: dict[str, Any]) -> str:
    """Why a pool was chosen or not, as one line."""
    mark = "chosen" if row.get("chosen") else "not chosen"
    score = f", score {row['score']:.3f}" if row.get("score") is not None else ""
    reasons = "; ".join(row.get("reasons") or ())
    return f"{row.get('node', '')}/{row.get('pool', '')}: {mark}{score}" + (f": {reasons}" if reasons else "")


def last_report(heard_ms: int | None) -> str:
    """How old what is shown is, to stand behind a state; empty when nothing was ever heard."""
    if heard_ms is None:
        return ""
    return f" (last report {max(0.0, time.time() - heard_ms / 1000):.0f} s ago)"
