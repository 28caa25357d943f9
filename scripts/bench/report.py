"""The result of a bench: a table for people, or one JSON object for scripts."""

import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

Row = dict[str, str | int | float]


@dataclass(frozen=True, slots=True)
class Aim:
    """A measured value and its target: at most ``aim``, or else at least ``aim``."""

    name: str
    value: float
    aim: float
    unit: str
    at_most: bool

    @property
    def met(self) -> bool:
        """Whether the value is on the right side of the aim, or on it."""
        return self.value <= self.aim if self.at_most else self.value >= self.aim

    def body(self) -> dict[str, Any]:
        """Return the aim in types that JSON has."""
        return {"name": self.name, "value": self.value, "aim": self.aim, "unit": self.unit, "met": self.met}


@dataclass(slots=True)
class BenchReport:
    """The rows, aims and notes of a run. The table shows ``columns``, or all if there are none."""

    bench: str
    rows: list[Row] = field(default_factory=list[Row])
    aims: list[Aim] = field(default_factory=list[Aim])
    notes: list[str] = field(default_factory=list[str])
    columns: tuple[str, ...] = ()

    def body(self) -> dict[str, Any]:
        """Return the whole result and the machine in types that JSON has."""
        return {
            "bench": self.bench,
            "machine": machine(),
            "rows": self.rows,
            "aims": [aim.body() for aim in self.aims],
            "notes": self.notes,
        }

    def print(self, console: Console) -> None:
        """Print the table, each aim with its verdict, and the notes."""
        console.print(f"[bold]{self.bench}[/] on {machine()}", highlight=False)
        columns = self.columns or tuple(dict.fromkeys(name for row in self.rows for name in row))
        table = Table(*columns)
        for row in self.rows:
            table.add_row(*(_cell(row.get(name, "")) for name in columns))
        console.print(table)
        for aim in self.aims:
            side = "≤" if aim.at_most else "≥"
            verdict = "[green]met[/]" if aim.met else "[red]missed[/]"
            value, target = _cell(aim.value), _cell(aim.aim)
            console.print(f"{aim.name}: {value} {aim.unit} (aim {side} {target}) {verdict}", highlight=False)
        for note in self.notes:
            console.print(f"[dim]{note}[/]", highlight=False)


def machine() -> str:
    """Return a line with the processor, the usable cores, the memory, and Python's version."""
    memory_gib = round(psutil.virtual_memory().total / 2**30)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{_processor()}, {cores} cores, {memory_gib} GiB, Python {platform.python_version()}"


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the value below which ``percent`` % of the values lie, interpolated linearly to 0.1 %."""
    if len(values) == 1:
        return values[0]
    cuts = statistics.quantiles(values, n=1000, method="inclusive")
    return cuts[min(int(percent * 10), 999) - 1]


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:  # noqa: PTH123
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _cell(value: str | float) -> str:
    if isinstance(value, float):
        return f"{value:,.3f}" if abs(value) < 10 else f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else value
