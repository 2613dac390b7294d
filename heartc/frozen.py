"""What the one-file executable hands to its Python: where the file is, and variables that no child may see.

The launcher (packaging/launcher) sets HEART_FILE, the absolute path of the file that was started; HEART_FD, a
descriptor of that file, whose path may lead to another one by now; HEART_LOCK, a descriptor whose lock keeps the
unpacked files in the cache; and HEART_LD_PRELOAD, the LD_PRELOAD of the user, where it was not for our own C library.
"""

import os
import sys

HEART = "--heart"  # asks an executable with an application in it, as the first word, for the heart command

_file = None
_descriptor = None


def clean_environment():
    """Give the environment back as the user has set it. To be called before anything else.

    In a source tree HEART_FILE stands for the launcher, so that bundles can be tried without the executable."""
    global _file, _descriptor
    _file = os.environ.pop("HEART_FILE", None) or None
    if not getattr(sys, "frozen", False):
        return
    take_descriptor("HEART_LOCK")
    _descriptor = take_descriptor("HEART_FD")
    preload = os.environ.pop("HEART_LD_PRELOAD", None)
    if preload is not None:
        os.environ["LD_PRELOAD"] = preload


def take_descriptor(name):
    """The descriptor that a variable of the launcher names, from now on hidden from children."""
    text = os.environ.pop(name, None)
    if text is None:
        return None
    os.set_inheritable(int(text), False)
    return int(text)


def executable():
    """The path of the one-file executable, None where Heart runs from a source tree or a wheel."""
    return _file


def descriptor():
    """The descriptor of that file, None where there is only the path. To be closed by who calls this, once."""
    global _descriptor
    fd, _descriptor = _descriptor, None
    return fd
