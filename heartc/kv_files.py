"""Folders of databases: made new, copied, moved, and on the disk when a function returns."""

import contextlib
import os
import shutil

from .kv_backend import StoreError


def refuse_existing(path):
    """An error if there is something."""
    if os.path.lexists(path) and not (os.path.isdir(path) and not os.listdir(path)):
        raise StoreError(f"{path}: exists already; name a new folder, or move this one away")


@contextlib.contextmanager
def new_folder(target):
    """Gives a folder to fill, which becomes `target`, where nothing may be. It is whole or is not there."""
    refuse_existing(target)
    partial = target + ".partial"
    shutil.rmtree(partial, ignore_errors=True)
    os.makedirs(os.path.dirname(os.path.abspath(target)), exist_ok=True)
    try:
        yield partial
        sync_folder(partial)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    with contextlib.suppress(FileNotFoundError):
        os.rmdir(target)
    os.rename(partial, target)
    sync_path(os.path.dirname(os.path.abspath(target)))


def take_folder(source, target, tell):
    """Move a folder, or copy it where it can not be moved to."""
    with new_folder(target) as folder:
        try:
            os.rename(source, folder)
        except OSError:
            copy_folder(source, folder, tell)


def copy_folder(source, target, tell):
    """Copy the files of a database, for its owner alone."""
    os.makedirs(target, mode=0o700)
    try:
        names = sorted(os.listdir(source))
        for n, name in enumerate(names):
            path = os.path.join(source, name)
            if os.path.isfile(path) and name != "LOCK":
                shutil.copy(path, os.path.join(target, name))
            tell(n, len(names), "files")
    except OSError as error:
        shutil.rmtree(target, ignore_errors=True)
        raise StoreError(f"{target}: {error.strerror}: {error.filename}") from None


def sync_folder(folder):
    """All files of a folder are on the disk when this returns."""
    for name in os.listdir(folder):
        sync_path(os.path.join(folder, name))
    sync_path(folder)


def sync_path(path):
    """A file or folder is on the disk when this returns."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
