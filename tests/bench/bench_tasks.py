"""Tasks and sleeping requests: what they cost one worker. A section of run.py.

Usage: python tests/bench/bench_tasks.py [--check]
"""

import asyncio
import sys

import report
import servers
from process import MIB, Server
from section import arguments, main

APP = servers.HERE / "tasks.lua"
SLEEPERS = 10_000
SPAWN_NS = 1000
SLEEPERS_MIB = 25
LATE_MS = 5


async def request(port, target):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {target} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode())
    return reader, writer


async def answer(reader, writer):
    data = await reader.read()
    writer.close()
    return data.split(b"\r\n\r\n", 1)[1].decode()


async def fetch(port, target):
    return await answer(*await request(port, target))


async def crowd(server):
    """(MiB that the sleepers take, ms that the median and the last but one in a thousand wake late)."""
    await fetch(server.port, "/late/0")
    before = server.memory().rss
    gate = asyncio.Semaphore(200)

    async def begin(i):
        async with gate:
            return await request(server.port, f"/late/{6000 + 2000 * i // SLEEPERS}")

    begun = await asyncio.gather(*map(begin, range(SLEEPERS)))
    while int(await fetch(server.port, "/asleep")) < SLEEPERS:
        await asyncio.sleep(0.05)
    grown = server.memory().rss - before
    late = sorted([float(text) for text in await asyncio.gather(*(answer(*pair) for pair in begun))])
    return grown / MIB, late[len(late) // 2], late[int(len(late) * 0.999)]


def section():
    """A Markdown table, and the promises as Bounds."""
    argv = [*servers.HEART, "serve", APP, "--workers", 1, "--port", 0, "--no-access-log"]
    with Server("heart", argv) as server:
        asyncio.run(fetch(server.port, "/spawn"))
        spawn = min(float(asyncio.run(fetch(server.port, "/spawn"))) for _ in range(5))
        grown, median, last = asyncio.run(crowd(server))
    bounds = [
        report.Bound("spawn + join", spawn, SPAWN_NS, "ns"),
        report.Bound("10,000 sleeping requests", grown, SLEEPERS_MIB, "MiB"),
        report.Bound("they wake late, 99.9 %", last, LATE_MS, "ms"),
    ]
    rows = [(bound.title, f"{bound.value:.1f} {bound.unit}") for bound in bounds]
    rows.append(("they wake late, median", f"{median:.1f} ms"))
    return report.table(("Tasks", "one worker"), rows), bounds


if __name__ == "__main__":
    sys.exit(main(section, arguments(__doc__)))
