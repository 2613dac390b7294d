"""What this process has open below a folder. Its other descriptors come and go: objects of other tests are freed, and
threads of theirs end, at any moment."""

import os


def open_below(folder):
    """The files below `folder` that this process has open, one for each descriptor, in order."""
    found = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            name = os.readlink(f"/proc/self/fd/{fd}")
        except FileNotFoundError:
            continue  # closed since it was listed
        if name.startswith(f"{folder}/"):
            found.append(name)
    return sorted(found)
