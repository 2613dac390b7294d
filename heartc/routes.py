"""Finds routes that no request reaches: duplicates, and patterns behind one that takes everything first.

The engine's own router is asked, with paths that stand for all that a pattern matches: each parameter takes several
values that no pattern has as its text. A route is reported only if another one answers every one of them, for every
method of the route.
"""

import itertools

# Control characters: the literals of an earlier pattern do not match them.
VALUES = {
    "param": (b"\x01", b"\x02\x03\x02"),
    "star": (b"", b"\x01", b"\x02\x03/\x02"),
    "plus": (b"\x01", b"\x02\x03/\x02"),
}
PATHS_MAX = 512  # for a pattern with many parameters the first of all combinations must do


class Route:
    """A registered route; `place` is (file, line), or None."""

    def __init__(self, order, method, bits, path, segments, place):
        self.order = order
        self.method = method
        self.bits = bits
        self.path = path.decode("utf-8", "replace")
        self.segments = segments
        self.place = place

    def __str__(self):
        return f"{self.method} {self.path}"

    def methods(self):
        """The numbers of the methods that it answers."""
        return [number for number in range(self.bits.bit_length()) if self.bits >> number & 1]

    def paths(self):
        """Paths that stand for all that the pattern matches."""
        choices = [self.choices(*segment) for segment in self.segments]
        return [b"".join(parts) for parts in itertools.islice(itertools.product(*choices), PATHS_MAX)]

    @staticmethod
    def choices(kind, text, optional):
        """The texts that stand for a segment."""
        if kind == "literal":
            return (text,)
        return (b"", *VALUES[kind]) if optional else VALUES[kind]


def read_place(text):
    """(file, line) of "@file:line", or None."""
    source, _, line = text.decode("utf-8", "surrogateescape").rpartition(":")
    return (source[1:], int(line)) if source.startswith("@") and line.isdigit() else None


def registered(engine):
    """The routes of an engine whose worker has loaded the script."""
    return [Route(order, *route, read_place(place)) for order, (*route, place) in enumerate(engine.routes())]


def blocking(engine, route):
    """The positions of the earlier routes that answer all that `route` could; empty if it answers something."""
    found = []
    for method in route.methods():
        for path in route.paths():
            first = engine.first_route(method, path)
            if not 0 <= first < route.order:
                return []
            if first not in found:
                found.append(first)
    return found


def unreachable(engine):
    """(route, earlier route that takes its requests) of every route that is never reached."""
    routes = registered(engine)
    for route in routes:
        before = blocking(engine, route)
        if before:
            same = [n for n in before if routes[n].bits == route.bits]
            yield route, routes[(same or before)[0]]
