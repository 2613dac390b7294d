"""How much processor time the control group of this process may use, as containers and systemd (CPUQuota=) limit it."""

import os

OWN = "/proc/self/cgroup"
ROOT = "/sys/fs/cgroup"


def quota(own=OWN, root=ROOT):
    """Processors' worth of time, or None. The tightest limit counts: that of the group or of one above it.

    In a container the groups may be named as the host sees them; then only the topmost one is there, which is its own.
    """
    found = []
    for base, path, read in hierarchies(own, root):
        while True:
            limit = read(os.path.join(base, path))
            if limit is not None:
                found.append(limit)
            if not path:
                break
            path = os.path.dirname(path)
    return min(found, default=None)


def hierarchies(own, root):
    """(folder, group, reader) for version 2 and for version 1's cpu controller, whichever there is."""
    try:
        with open(own) as file:
            lines = file.read().splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        group = path.strip("/")
        if not controllers:
            yield root, group, read_v2
        elif "cpu" in controllers.split(","):
            yield os.path.join(root, "cpu"), group, read_v1


def read_v2(folder):
    """The limit that a folder of version 2 sets."""
    try:
        with open(os.path.join(folder, "cpu.max")) as file:
            limit, period = file.read().split()
        return None if limit == "max" else int(limit) / int(period)
    except (OSError, ValueError):
        return None


def read_v1(folder):
    """The limit that a folder of version 1 sets."""
    try:
        with open(os.path.join(folder, "cpu.cfs_quota_us")) as file:
            limit = int(file.read())
        with open(os.path.join(folder, "cpu.cfs_period_us")) as file:
            return limit / int(file.read()) if limit > 0 else None
    except (OSError, ValueError):
        return None
