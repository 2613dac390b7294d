"""The bench: Heart against the least a C server can do, and against nginx with Lua.

Usage: python tests/bench/run.py [--quick] [--rounds N] [--case NAME] [--servers NAMES] [--write] [--check]
                                   [--instructions | --binary]

CPU time per request is what is compared, not requests per second: on a small machine the client is the bottleneck.
All servers of a case are up while it runs, and take turns in short rounds.
"""

import argparse
import sys

import allocations
import bench_broadcast
import bench_disk
import bench_fcgi
import bench_kv
import bench_tasks
import bench_upstream
import bench_ws
import binary
import case
import instructions
import memory
import report
import servers
from process import MIB, machine_times
from section import status

SECTIONS = bench_kv, bench_disk, bench_upstream, bench_fcgi, bench_tasks, bench_ws, bench_broadcast
ROUNDS, SECONDS = 7, 2
QUICK_ROUNDS, QUICK_SECONDS = 1, 1
IDLE_MIB, CROWD_MIB, KEPT_MIB = 20, 3, 1
BUSY = 0.05  # share of the processors that others may use before figures suffer


def options_read(argv):
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [one.name for one in case.CASES]
    parser.add_argument("--quick", action="store_true", help="one round of one second: a smoke test, not a figure")
    parser.add_argument("--write", action="store_true", help="put the tables between the markers of README.md")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a promise is missed")
    parser.add_argument("--case", action="append", choices=names, help="only this case, and no memory; repeatable")
    parser.add_argument("--servers", default=",".join(servers.NAMES), help="comma-separated, by default all three")
    parser.add_argument("--rounds", type=int, help=f"rounds of {SECONDS} s for each server, by default {ROUNDS}")
    parser.add_argument("--instructions", action="store_true", help="only count instructions, with valgrind (slow)")
    parser.add_argument("--binary", action="store_true", help="only size, start and memory of dist/heart")
    options = parser.parse_args(argv)
    options.servers = options.servers.split(",")
    if unknown := set(options.servers) - set(servers.NAMES):
        parser.error(f"no such server: {', '.join(sorted(unknown))}")
    partial = options.quick or options.case or options.instructions or options.binary
    partial = partial or set(options.servers) != set(servers.NAMES)
    if options.write and partial:
        parser.error("--write needs a full run")
    if "heart" in options.servers:
        options.servers.append("heart-logs")
    return options


def say(lines):
    """Print `lines` and an empty one."""
    print(*lines, "", sep="\n", flush=True)


def cases_run(options):
    """Measure the chosen cases. Returns their Results."""
    rounds = QUICK_ROUNDS if options.quick else options.rounds or ROUNDS
    seconds = QUICK_SECONDS if options.quick else SECONDS
    results = []
    for one in case.CASES:
        if options.case and one.name not in options.case:
            continue
        if one.subject == "heart-logs" and "heart" not in options.servers:
            continue
        results.append(case.measure(one, options.servers, rounds, seconds))
        say(report.details(results[-1]))
    return results


def others_warn(before, after):
    """What to say about how busy others kept the machine between two machine_times(); None if they did not."""
    share = (after[1] - before[1]) / (after[0] - before[0])
    if share < BUSY:
        return None
    return f"Other processes used {share:.0%} of the processors meanwhile: repeat this on a quiet machine."


def memory_bounds():
    """Measure Heart's memory and allocations. Returns Bounds."""
    with servers.heart_start(2) as server:
        footprint = memory.measure(server)
    few, many = allocations.measure()
    say(
        [
            f"Heart with 2 workers: {footprint.fresh / MIB:.1f} MiB RSS when started, {footprint.warm / MIB:.1f} after "
            f"{memory.WARM_UP} requests, {footprint.held / MIB:.1f} with {footprint.crowd} connections, "
            f"{footprint.released / MIB:.1f} after they closed",
            f"malloc calls while answering {allocations.WINDOWS}: {few}, {many}",
        ]
    )
    return [
        report.Bound("idle, 2 workers: RSS", footprint.fresh / MIB, IDLE_MIB, "MiB"),
        report.Bound(f"{footprint.crowd:,} keep-alive connections add", footprint.added, CROWD_MIB, "MiB"),
        report.Bound("of that kept after they closed", footprint.kept, KEPT_MIB, "MiB"),
        report.Bound(f"malloc calls for {allocations.WINDOWS[0]:,} more requests", abs(many - few), 0, "calls"),
    ]


def binary_bounds():
    """Measure dist/heart. Returns its Bounds and the table of its memory beside others'."""
    figures = binary.measure()
    head = "RSS with 2 workers, MiB", "idle", "10,000 connections"
    compared = report.table(head, binary.peers(figures))
    say(["Size, start and memory of dist/heart; the others as they were measured on one machine", "", *compared])
    return [report.Bound(*promise) for promise in binary.promises(figures)], compared


def bench(options):
    """Measure, print, write. Returns the Bounds."""
    say([report.machine()])
    if options.instructions:
        names = [name for name in servers.NAMES if name in options.servers]
        rows = [(report.TITLES[name], f"{instructions.measure(name):,.0f}") for name in names]
        say(report.table(("/hello", "instructions/request"), rows))
        return []
    if options.binary:
        bounds, _ = binary_bounds()
        say(report.promises(bounds))
        return bounds
    before = machine_times()
    results = cases_run(options)
    if warning := others_warn(before, machine_times()):
        say([warning])
    bounds = [bound for result in results for bound in report.bounds(result)]
    compared = []
    if "heart" in options.servers and not options.case:
        bounds += memory_bounds()
        kept, compared = binary_bounds()
        bounds += kept
        for module in SECTIONS:
            lines, kept = module.section()
            say(lines)
            bounds += kept
            compared += ["", *lines]
    if bounds:
        say(report.promises(bounds))
    if options.write:
        report.readme_write(results, bounds, compared)
    return bounds


def main(argv):
    """Returns the exit status."""
    options = options_read(argv)
    return status(options, lambda: bench(options))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
