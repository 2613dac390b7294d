# inotify for --watch. Called by the main thread, with the GIL; not on any request's way.


def inotify_open():
    """A new inotify descriptor. Raises OSError."""
    cdef int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC)
    if fd < 0:
        raise OSError(errno, "inotify is not available (fs.inotify.max_user_instances)")
    return fd


def inotify_add(int fd, str folder not None):
    """Watch the entries of a folder; returns the watch descriptor. Raises OSError."""
    cdef bytes path = folder.encode("utf-8", "surrogateescape")
    cdef int wd = inotify_add_watch(fd, path, IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE)
    if wd < 0:
        raise OSError(errno, f"cannot watch {folder}")
    return wd


def inotify_read(int fd):
    """The waiting events as a list of (watch descriptor, name)."""
    cdef char buffer[16384]
    cdef ptrdiff_t n = read(fd, buffer, sizeof(buffer))
    cdef ptrdiff_t at = 0
    cdef inotify_event *event
    found = []
    while at < n:
        event = <inotify_event *>(buffer + at)
        if event.len:
            name = <bytes>(buffer + at + sizeof(inotify_event))
            found.append((event.wd, name.decode("utf-8", "surrogateescape")))
        at += sizeof(inotify_event) + event.len
    return found
