"""heart/cron.lua against croniter, and cron() in a server."""

import random
import time
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter
from heart_server import ROOT, wait_until
from redis_server import RedisServer

lua = pytest.importorskip("lupa.luajit21")

SOURCE = (ROOT / "lua_stdlib/heart/cron.lua").read_text()


@pytest.fixture(scope="module")
def cron():
    runtime = lua.LuaRuntime()
    module = runtime.execute(SOURCE)

    def times(text, start, n):
        schedule = module.parse(text)
        assert not isinstance(schedule, tuple), schedule
        found = []
        for _ in range(n):
            start = schedule.next(schedule, start)
            found.append(int(start))
        return found

    times.parse = module.parse
    return times


def reference(text, start, n):
    """croniter's times; days as crontab(5) has them."""
    moments = croniter(text, datetime.fromtimestamp(start, UTC), implement_cron_bug=True)
    return [int(moments.get_next(float)) for _ in range(n)]


FIXED = [
    "* * * * *", "*/5 * * * *", "0 0 1 1 *", "30 4 1,15 * 5", "0 22 * * 1-5", "23 0-20/2 * * *", "0 0 29 2 *",
    "0 0 31 * *", "5 4 * * sun", "0 12 * jan,JUL mon-fri", "59 23 31 12 *", "0 0 * * 7", "15 10 13 * 5", "@hourly",
    "@daily", "@weekly", "@monthly", "@yearly", "10-50/20 3 * * *",
]  # fmt: skip


@pytest.mark.parametrize("text", FIXED)
def test_times_are_those_of_croniter(cron, text):
    for start in (0, 951782400, 1709164799, 1735689600, 4102444800):
        assert cron(text, start, 20) == reference(text, start, 20)


def test_step_of_days_begins_again_with_each_month(cron):
    days = [datetime.fromtimestamp(t, UTC).strftime("%m-%d") for t in cron("0 0 */10 * *", 0, 7)]
    assert days == ["01-11", "01-21", "01-31", "02-01", "02-11", "02-21", "03-01"]


def random_field(rng, low, high):
    kind = rng.randrange(5)
    if kind == 0:
        return "*"
    if kind == 1:
        return f"*/{rng.randint(1, 12)}"
    if kind == 2:
        return ",".join(str(v) for v in sorted(rng.sample(range(low, high + 1), rng.randint(1, 4))))
    first = rng.randint(low, high - 1)
    last = rng.randint(first + 1, high)
    return f"{first}-{last}" if kind == 3 else f"{first}-{last}/{rng.randint(1, 5)}"


def test_random_schedules_are_those_of_croniter(cron):
    rng = random.Random(5)
    for _ in range(250):
        days = random_field(rng, 1, 28).replace("*/", "1-28/")  # croniter 6.0.0 leaves out the 1st after "*/10"
        weekdays = random_field(rng, 0, 6)
        text = " ".join([random_field(rng, 0, 59), random_field(rng, 0, 23), days, random_field(rng, 1, 12), weekdays])
        start = rng.randrange(0, 4102444800)
        assert cron(text, start, 8) == reference(text, start, 8), text


@pytest.mark.parametrize(
    "text",
    [
        "", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * 32 * *", "* * * 13 *", "* * * * 8",
        "*/0 * * * *", "5-1 * * * *", "1,,2 * * * *", ",1 * * * *", "1, * * * *", "a * * * *", "* * * foo *",
        "-1 * * * *", "1-2-3 * * * *", "*/ * * * *", "1/2/3 * * * *", "0 0 30 2 *", "0 0 31 4,6 *", "@never",
        "1.5 * * * *", "+1 * * * *",
    ],
)  # fmt: skip
def test_what_is_no_schedule_is_refused_with_the_reason(cron, text):
    schedule, reason = cron.parse(text)
    assert schedule is None
    assert reason


@pytest.mark.parametrize(
    ("text", "day", "expected"),
    [
        ("30 2 * * *", (2026, 3, 29), ["30T02:30"]),  # 02:30 does not exist on the 29th: left out
        ("30 2 * * *", (2026, 10, 25), ["25T02:30", "26T02:30"]),  # it comes twice: runs once
        ("30 * * * *", (2026, 10, 25), ["25T00:30", "25T01:30", "25T02:30", "25T02:30", "25T03:30"]),
        ("0 3 * * *", (2026, 3, 29), ["29T03:00", "30T03:00"]),
    ],
)
def test_local_time_where_clocks_are_changed(serve, text, day, expected):
    zone = ZoneInfo("Europe/Berlin")
    if not Path("/usr/share/zoneinfo/Europe/Berlin").exists():
        pytest.skip("tzdata is missing: apt-get install tzdata")
    start = int(datetime(*day, tzinfo=zone).timestamp()) - 1
    server = serve(
        f"""
        local plan = require("heart.cron").parse("{text}", "local")
        local time, found = {start}, {{}}
        for i = 1, {len(expected)} do
          time = plan:next(time)
          found[i] = os.date("%dT%H:%M", time)
        end
        require("heart.v1").get("/", function() return table.concat(found, " ") end)
        """,
        env={"TZ": "Europe/Berlin"},
    )
    assert server.get("/").text.split() == expected


# A clock that jumps: each worker believes that the next minute, 1735689660, begins now.
JUMP = """
local core = require("heart.core")
local clock, ran = core.task.clock, require("heart.v1.shared")("ran")
local start = (clock())
function core.task.clock()
  local monotonic = (clock())
  return monotonic, 1735689660 - %s + (monotonic - start)
end
local task = require("heart.v1.task")
require("heart.v1").get("/:name", function(ctx)
  return ran.get(ctx.pathParam("name") .. 1735689660)
end)
"""


SETTLED = 0.5  # seconds


def settles(read, expected):
    """The value comes, however long a store takes to open, and nobody who is late changes it."""
    wait_until(lambda: read() == expected, read)
    time.sleep(SETTLED)
    assert read() == expected


def test_cron_runs_once_per_cluster_over_all_workers(serve):
    code = """
        task.cron("* * * * *", function(due) ran.incr("each" .. due) end)
        task.cron("* * * * *", function(due) ran.incr("once" .. due) end, { once_per_cluster = true })
    """
    server = serve(JUMP % 0.2 + code, workers=3)
    wait_until(lambda: server.get("/each").text == "3", lambda: server.get("/each").text)
    settles(lambda: server.get("/once").text, "1")


def test_cron_of_servers_that_share_a_store_runs_once(serve):
    """Two folders, as of two releases; and functions that come from one place are schedules of their own."""
    code = """
        for _, name in ipairs({ "one", "two", "three" }) do
          task.cron("* * * * *", function(due)
            ran.incr(name .. due)
          end, { once_per_cluster = true })
        end
        task.cron("* * * * *", function(due) ran.incr("each" .. due) end)
    """
    with RedisServer() as place:
        servers = [serve(JUMP % 2 + code, "--kv", place.url, workers=2) for _ in range(2)]

        def ran(name):
            return [server.get(f"/{name}").text for server in servers]

        wait_until(lambda: ran("each") == ["2", "2"], lambda: ran("each"))
        settles(lambda: [sorted(ran(name)) for name in ("one", "two", "three")], [["", "1"]] * 3)
