"""What the sections of the bench have in common: run.py prints all of them, and each may run alone.

A section is a module bench_X with a function section(), which measures and returns the lines to print and the Bounds.
"""

import argparse
import statistics
import sys

import report
from process import BenchError


def arguments(doc, **numbers):
    """The parser of a section that runs alone. `doc`: the module's docstring; `numbers`: those arguments of its
    section() that are whole numbers, with what they are by default."""
    parser = argparse.ArgumentParser(description=doc.split("\n\n")[0])
    for name, default in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--check", action="store_true", help="exit with 1 when a promise is missed")
    return parser


def status(options, measure):
    """The exit status after measure() has returned the Bounds."""
    try:
        kept = measure()
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    return int(options.check and not all(bound.kept for bound in kept))


def main(section, parser):
    """Run a section alone, with the command line's options as its arguments. Returns the exit status."""
    options = parser.parse_args()

    def measure():
        lines, kept = section(**{name: value for name, value in vars(options).items() if name != "check"})
        print(*lines, "", *report.promises(kept), sep="\n")
        return kept

    return status(options, measure)


def medians(known):
    """The medians of the columns of `known`, a list of tuples, one for each round."""
    return [statistics.median(values) for values in zip(*known, strict=True)]


def rows(found, titles):
    """Cells of a table. `found`: lists of (CPU, rate), one for each round, by the keys of `titles`."""
    return [
        (titles[key], *(format(n, form) for n, form in zip(medians(known), (".2f", ",.0f"), strict=True)))
        for key, known in found.items()
    ]


def ratio(found, one, other):
    """Median over neighbouring rounds of the CPU time of `one` as a multiple of that of `other`."""
    return statistics.median(a[0] / b[0] for a, b in zip(found[one], found[other], strict=True))
