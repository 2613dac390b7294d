# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: nonecheck=False
"""Static files for Python tests. Every text is read flush against an unmapped page."""

include "c/lua.pxd"
include "core.pxd"
include "c/linux.pxd"
include "c/file.pxd"
include "mem.pxi"
include "url.pxi"
include "log_line.pxi"
include "static.pxi"
include "guard.pxi"

import os


def open_file(int dirfd, bytes rel):
    """(fd, size, mtime, media type), or None if there is nothing to serve; OSError when the system fails."""
    cdef StaticFile f
    cdef Span s = guarded(rel)
    cdef int rc = static_open(dirfd, s.p, s.n, &f)
    if rc == ERR_SYSTEM:
        raise OSError(errno, os.strerror(errno))
    if rc != OK:
        return None
    return f.fd, f.size, f.mtime, f.mime.p[:f.mime.n].decode()


def clean_path(bytes rel):
    """What is opened for a path; None if it is not to be served."""
    cdef char out[STATIC_PATH_MAX]
    cdef Span s = guarded(rel)
    cdef ptrdiff_t n = static_path(s.p, s.n, out)
    return None if n < 0 else out[:n]


def open_walk(int dirfd, bytes path):
    """The open for systems without openat2: a descriptor, or a negative errno."""
    cdef int fd = static_open_walk(dirfd, path)
    return fd if fd >= 0 else -errno


def mime_type(bytes path):
    cdef Span m = static_mime(guarded(path))
    return m.p[:m.n].decode()


def mime_table():
    return [(mime_types[i].extension[:mime_types[i].extension_n].decode(),
             mime_types[i].type[:mime_types[i].type_n].decode()) for i in range(MIME_TYPES)]


def date_text(int64_t seconds):
    cdef char out[29]
    http_date_put(seconds, out)
    return out[:29].decode()


def date_seconds(bytes text):
    """Unix time; None if the text is no date."""
    cdef int64_t seconds = 0
    return seconds if http_date_parse(guarded(text), &seconds) == OK else None


def not_modified(bytes since, int64_t mtime):
    return bool(static_not_modified(guarded(since), mtime))
