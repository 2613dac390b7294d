"""Notices changed files, by inotify. Folders are watched, not files: editors replace a file by renaming another."""

import os
import time

from . import _core

SETTLE = 0.05  # seconds without a change before it counts: editors write in several steps


class Watcher:
    """Follows a set of files."""

    def __init__(self):
        self.fd = _core.inotify_open()
        self.folders = {}  # watch descriptor -> folder
        self.files = set()

    def fileno(self):
        """The descriptor that becomes readable when something happened."""
        return self.fd

    def follow(self, paths):
        """Watch these files, in addition to those watched before."""
        for path in paths:
            path = os.path.realpath(path)
            self.files.add(path)
            folder = os.path.dirname(path)
            if folder not in self.folders.values():
                self.folders[_core.inotify_add(self.fd, folder)] = folder

    def changed(self):
        """Whether a followed file has changed since the last call. Waits until the changes have settled."""
        found = False
        while self.take():
            found = True
            time.sleep(SETTLE)
        return found

    def take(self):
        """Read the waiting events; whether one was about a followed file."""
        found = False
        for descriptor, name in _core.inotify_read(self.fd):
            folder = self.folders.get(descriptor)
            if folder is not None and os.path.join(folder, name) in self.files:
                found = True
        return found
