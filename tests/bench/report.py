"""The tables: all figures for the terminal, the short form for the README, and what was promised and kept."""

import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path

from process import MIB, ROOT, BenchError

TITLES = {"floor": "C floor", "heart": "Heart", "nginx": "nginx + Lua", "heart-logs": "Heart, logs on"}
README = ROOT / "README.md"
BEGIN, END = "<!-- bench -->", "<!-- /bench -->"


@dataclass(frozen=True)
class Bound:
    """A promise: `value` is at most `limit`."""

    title: str
    value: float
    limit: float
    unit: str = "x"

    @property
    def kept(self):
        return self.value <= self.limit

    def row(self):
        """Its cells, as text."""
        verdict = "ok" if self.kept else "MISSED"
        value, limit = (f"{n:,}" if isinstance(n, int) else f"{n:.2f}" for n in (self.value, self.limit))
        return self.title, f"{value} {self.unit}", f"{limit} {self.unit}", verdict


def table(head, rows):
    """Markdown lines with aligned columns, the first one to the left."""
    cells = [head, *rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    lines = []
    for row in cells:
        padded = [text.rjust(width) for text, width in zip(row, widths, strict=True)]
        padded[0] = row[0].ljust(widths[0])
        lines.append(f"| {' | '.join(padded)} |")
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return [lines[0], f"| {' | '.join(rule)} |", *lines[1:]]


def number(value, form=".2f"):
    """`value` as text, a dash for None."""
    return "-" if value is None else format(value, form)


def details(result):
    """Every server's figures of one case; memory in MiB, idle and after the rounds."""
    rows = []
    for name in result.rounds:
        low, high = result.spread(name)
        memory = result.idle[name], result.loaded[name]
        rows.append(
            (
                TITLES[name],
                number(result.cpu(name)),
                f"{low:.2f} to {high:.2f}",
                number(result.median(name, "rate"), ",.0f"),
                number(result.median(name, "p99")),
                " / ".join(f"{m.rss / MIB:.1f}" for m in memory),
                " / ".join(f"{m.pss / MIB:.1f}" for m in memory),
            )
        )
    head = result.case.title, "CPU us/request", "range", "requests/s", "p99 ms", "RSS idle / after", "PSS idle / after"
    return table(head, rows)


def bounds(result):
    """The Bounds of one case, of those servers that ran."""
    title, subject = result.case.title, TITLES[result.case.subject]
    ratios = {base: result.ratio(base) for base in result.case.bounds}
    return [
        Bound(f"{title}: CPU of {subject} / {TITLES[base]}", ratio, result.case.bounds[base])
        for base, ratio in ratios.items()
        if ratio is not None
    ]


def promises(kept):
    """The table of Bounds."""
    return table(("Promise", "measured", "at most", ""), [bound.row() for bound in kept])


def machine():
    """One line about where this ran."""
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    model = found[1] if found else platform.machine()
    return f"{model}, {os.cpu_count()} processors, Linux {platform.release()}"


def short(results):
    """One row for each case in which all three servers ran."""
    rows = []
    for result in results:
        if len(result.rounds) < len(result.case.servers) or result.case.subject != "heart":
            continue
        rows.append(
            (
                result.case.title,
                *(number(result.cpu(name)) for name in ("floor", "heart", "nginx")),
                number(result.ratio("floor")),
                number(result.ratio("nginx")),
                number(result.median("heart", "rate"), ",.0f"),
                number(result.median("heart", "p99")),
            )
        )
    head = ("CPU us per request", "C floor", "Heart", "nginx + Lua", "/ floor", "/ nginx", "requests/s", "p99 ms")
    return table(head, rows)


def readme_write(results, kept, compared):
    """Replace what stands between the markers of the README. `compared`: what is said besides."""
    text = README.read_text()
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise BenchError(f"{README.name} needs the markers {BEGIN} and {END}, once each")
    lines = [f"Measured on {machine()}.", "", *short(results), "", *compared, "", *promises(kept)]
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    README.write_text(before + BEGIN + "\n" + "\n".join(lines) + "\n" + END + after)
