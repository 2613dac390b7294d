"""How far long work is: a line on a terminal that is written over, a summary at the end. On the standard error."""

import sys
import time

PERIOD = 0.1  # seconds between two looks of the line
BAR = "◐◓◑◒"


class Progress:
    """The progress of one work. `quiet`: nothing is said."""

    def __init__(self, quiet, out=None):
        self.out = out or sys.stderr
        self.quiet = quiet
        self.live = not quiet and self.out.isatty()
        self.begun = self.shown = time.monotonic()
        self.looks = 0
        self.open = False

    def tell(self, text):
        """Show how far it is, unless that was shown just now."""
        now = time.monotonic()
        if not self.live or now < self.shown + PERIOD:
            return
        self.shown = now
        self.looks += 1
        mark = BAR[self.looks % len(BAR)]
        self.out.write(f"\r\033[K{mark} {text}, {now - self.begun:.0f} s")
        self.out.flush()
        self.open = True

    def records(self, number):
        """Show a number of records."""
        self.tell(f"{number} records")

    def end(self, summary=None):
        """Take the line away, and say what was done."""
        if self.open:
            self.out.write("\r\033[K")
            self.open = False
        if summary and not self.quiet:
            self.out.write(summary + "\n")
        self.out.flush()
