"""Tells a service manager (systemd, or who speaks its protocol: sd_notify(3)) how the server is.

One datagram to NOTIFY_SOCKET for each change. Where a watchdog is asked for (WATCHDOG_USEC), a keep-alive follows at
half of its time, but only when the loop of every worker has answered: a worker that is stuck in a handler ends the
keep-alives, and the manager restarts the server. Without a manager nothing here opens, sends or wakes anything.
"""

import os
import socket
import sys
import time

SEND_TIMEOUT = 1.0  # seconds; a manager that does not read must not hold up the server for long
MICRO = 1_000_000
LATE = 0.75  # of an interval: then the log names the worker, a little before the manager loses patience


class Notifier:
    """Sends states to the service manager; does nothing if there is none."""

    def __init__(self, address=""):
        self.address = address
        self.socket = None
        self.lost = False  # the last message
        if address:
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self.socket.settimeout(SEND_TIMEOUT)

    def ready(self, status):
        """All workers serve, after the start or after a reload."""
        self.send("READY=1", f"MAINPID={os.getpid()}", status_line(status))

    def reloading(self):
        """A reload begins; ready() ends it."""
        self.send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self, status):
        """The server ends by itself or was told to."""
        self.send("STOPPING=1", status_line(status))

    def status(self, text):
        """One line for people, shown by `systemctl status`."""
        self.send(status_line(text))

    def send(self, *lines):
        """Send one datagram. That a manager cannot be reached is told once, on stderr; the server goes on, and the
        next message is tried again: the manager may have been busy."""
        if self.socket is None:
            return
        try:
            if self.address[0] not in "/@":
                raise OSError("expected /PATH or @NAME")
            # A name that begins with @ is an abstract one: it begins with a NUL in the kernel's notation.
            where = "\0" + self.address[1:] if self.address[0] == "@" else self.address
            self.socket.sendto("\n".join(lines).encode("utf-8", "surrogateescape"), where)
        except OSError as error:
            if not self.lost:
                reason = error.strerror or error
                where = f"NOTIFY_SOCKET={self.address}"
                print(f"heart: {where}: cannot tell the service manager: {reason}", file=sys.stderr)
            self.lost = True
        else:
            self.lost = False


class Watchdog:
    """Asks the workers for a sign of life every `interval` seconds, and passes it on when all have given one.

    The supervisor calls look() whenever it wakes, and sleeps no longer than limit() allows; answers wake it as well.
    """

    def __init__(self, notifier, engine, interval):
        self.notifier = notifier
        self.engine = engine
        self.interval = interval
        self.due = time.monotonic()
        self.waiting = False  # for answers
        self.told = False  # that they are late

    def limit(self, seconds):
        """How long the supervisor may sleep that wants to sleep `seconds` (None: for ever)."""
        if self.waiting and self.told:
            return seconds
        left = max(0, (self.late() if self.waiting else self.due) - time.monotonic())
        return left if seconds is None else min(seconds, left)

    def late(self):
        """When answers that are waited for are late."""
        return self.due - (1 - LATE) * self.interval

    def look(self):
        """Ask, pass on the answers, or say who is late: whatever is due."""
        now = time.monotonic()
        if self.waiting:
            late = [i for i in range(self.engine.workers()) if not self.engine.alive(i)]
            if not late:
                self.notifier.send("WATCHDOG=1")
                self.waiting = self.told = False
            elif now >= self.late() and not self.told:
                self.complain(late)
        if not self.waiting and now >= self.due:
            self.waiting = True
            self.due = now + self.interval
            self.engine.ask()

    def complain(self, late):
        """Leave in the log why the manager is going to restart the server."""
        self.told = True
        names = ", ".join(f"worker {i}" for i in late)
        self.engine.log(
            "error", f"{names} did not answer within {LATE * self.interval:g} s: the service manager gets no keep-alive"
        )


def from_environment():
    """(Notifier, seconds between keep-alives or None). The variables are taken away, so that no child speaks for the
    server."""
    names = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
    address, usec, pid = (os.environ.pop(name, "") for name in names)
    wanted = address and usec.isascii() and usec.isdigit() and int(usec) > 0 and pid in ("", str(os.getpid()))
    return Notifier(address), int(usec) / MICRO / 2 if wanted else None


def status_line(text):
    """The STATUS field: the first line of `text`."""
    return "STATUS=" + text.partition("\n")[0]
