# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: nonecheck=False
"""Static files, media types and dates for Python tests. Every text is read flush against an unmapped page."""

include "c/lua.pxd"
include "core.pxd"
include "c/linux.pxd"
include "c/file.pxd"
include "mem.pxi"
include "url.pxi"
include "log_line.pxi"
include "archive.pxi"
include "mime.pxi"
include "http_date.pxi"
include "static.pxi"
include "guard.pxi"

from libc.stdlib cimport calloc

import os
from collections import namedtuple


Found = namedtuple("Found", "fd at size mtime mime coding negotiated slashless tag recent")
CODING_NAMES = [None, "br", "zstd", "gzip"]


cdef object found(StaticFile *f):
    return Found(f.fd, f.at, f.size, f.version.mtime, f.mime.p[:f.mime.n].decode(), CODING_NAMES[f.coding],
                 bool(f.negotiated), bool(f.slashless), f.version.tag, bool(f.version.recent))


def open_file(int dirfd, bytes rel, names=None):
    """A Found, or None if there is nothing to serve; OSError when the system fails. `names` are the codings that the
    client takes; None: there is no negotiation."""
    cdef StaticFile f
    cdef Span s = guarded(rel)
    cdef Folder folder = Folder(dirfd, NULL, Span(NULL, 0))
    cdef Codings codings
    cdef int rc
    codings.n = 0
    for name in names or ():
        codings.order[codings.n] = CODING_NAMES.index(name)
        codings.n += 1
    rc = static_open(&folder, s.p, s.n, &codings if names is not None else NULL, &f)
    if rc == ERR_SYSTEM:
        raise OSError(errno, os.strerror(errno))
    if rc != OK:
        return None
    assert f.at == 0 and not f.kept
    return found(&f)


cdef class Archived:
    """The files of a heartc.archive.Archive as the engine has them. Their names lie flush against an unmapped page,
    one archive's at a time."""

    cdef Archive archive
    cdef object kept

    def __cinit__(self, archive):
        cdef Span names = guarded_name(b"".join([entry.name for entry in archive.entries]))
        cdef Archive *a = &self.archive
        self.kept = archive
        a.fd = archive.fd
        a.files = <ArchiveFile *>calloc(len(archive.entries) or 1, sizeof(ArchiveFile))
        if a.files == NULL:
            raise MemoryError
        for entry in archive.entries:
            a.files[a.n].name = Span(names.p, len(entry.name))
            a.files[a.n].at, a.files[a.n].size, a.files[a.n].mtime = entry.at, entry.size, entry.mtime
            a.files[a.n].digest = int.from_bytes(entry.digest[:8], "little")
            names.p += len(entry.name)
            a.n += 1

    def __dealloc__(self):
        free(self.archive.files)

    def find(self, bytes path):
        """The name of the file that an application means by a path, or None."""
        cdef ArchiveFile *f = archive_find_path(&self.archive, guarded(path))
        return f.name.p[:f.name.n] if f != NULL else None

    def open_file(self, bytes folder, bytes rel, bint gzip=False):
        """The Found for `rel` below `folder`, or None; KeyError if there is no such folder."""
        cdef Folder where
        cdef StaticFile f
        cdef Codings codings
        cdef Span s
        cdef int rc
        if archive_folder(&self.archive, guarded(folder), &where) != OK:
            raise KeyError(folder)
        s = guarded(rel)
        codings.n = gzip
        codings.order[0] = CODING_GZIP
        rc = static_open(&where, s.p, s.n, &codings, &f)
        folder_close(&where)
        if rc != OK:
            assert rc == ERR_MISSING
            return None
        assert f.fd == self.archive.fd and f.kept
        return found(&f)

    def read(self, bytes path):
        """The content of a file; OSError when it is not all there."""
        cdef ArchiveFile *f = archive_find_path(&self.archive, guarded(path))
        cdef bytes out = bytes(f.size)
        if archive_read(&self.archive, f, out) != OK:
            raise OSError(errno, "cut short" if errno == 0 else os.strerror(errno))
        return out

    def copy(self, bytes path, bint keep):
        """A descriptor of a copy in memory."""
        cdef ArchiveFile *f = archive_find_path(&self.archive, guarded(path))
        cdef int fd = archive_copy_kept(&self.archive, f) if keep else archive_copy(&self.archive, f)
        if fd < 0:
            raise OSError(errno, "cut short" if errno == 0 else os.strerror(errno))
        return fd


def join_path(bytes within, bytes path):
    """`path` below a folder of the archive as a name; None if it leads out."""
    cdef char out[ARCHIVE_NAME_MAX]
    cdef Span before = Span(<char *>within, len(within))
    cdef ptrdiff_t n = archive_join(before, guarded(path), out)
    return None if n < 0 else out[:n]


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
    cdef const mime *m = mime_find(guarded(path))
    return m.type[:m.type_n].decode()


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
