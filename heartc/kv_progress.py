"""How far long work is: a bar on a terminal, or a wheel if nobody knows how much there is, and a summary at the end. On
the standard error."""

import sys
import time

PERIOD = 0.1  # seconds between two looks of the line
WHEEL = "◐◓◑◒"
WIDTH = 20  # of the bar


class Progress:
    """The progress of one work. `quiet`: nothing is said."""

    def __init__(self, quiet, out=None):
        self.out = out or sys.stderr
        self.quiet = quiet
        self.live = not quiet and self.out.isatty()
        self.begun = self.shown = time.monotonic()
        self.looks = 0
        self.open = False

    def tell(self, text, part=None):
        """Show how far it is, unless that was shown just now. `part`: of the whole, from 0 to 1, if that is known."""
        now = time.monotonic()
        if not self.live or now < self.shown + PERIOD:
            return
        self.shown = now
        self.looks += 1
        mark = WHEEL[self.looks % len(WHEEL)] if part is None else bar(part)
        self.out.write(f"\r\033[K{mark} {text}, {now - self.begun:.0f} s")
        self.out.flush()
        self.open = True

    def step(self, done, total, unit):
        """Show a number of things that are done. `total` may be an estimate, 0: not known."""
        self.tell(f"{done} {unit}", done / total if total else None)

    def end(self, summary=None):
        """Take the line away, and say what was done."""
        if self.open:
            self.out.write("\r\033[K")
            self.open = False
        if summary and not self.quiet:
            self.out.write(summary + "\n")
        self.out.flush()


def bar(part):
    """A bar and a percentage. It is full only when the work is done, which an estimate does not know."""
    part = min(max(part, 0), 0.99)
    full = int(part * WIDTH)
    return f"{'█' * full}{'░' * (WIDTH - full)} {part:3.0%}"
