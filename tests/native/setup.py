"""Builds the test modules of this folder: each includes codecs of the core and shows them to Python.

Usage: python tests/native/setup.py [module ...]      (all of them without a name)
They land in build/native, which tests/conftest.py puts on the import path.
"""

import os
import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Distribution, Extension

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


# Without optimization a module is built in half the time, and its tests run about as long.
QUICK = ("-O0", "-g", "-U_FORTIFY_SOURCE")


def build(names, out, compile_args=QUICK, link_args=()):
    """Compile the modules `names` of this folder into the folder `out`, on all processors."""
    os.chdir(ROOT)
    extensions = [
        Extension(
            name,
            [str((HERE / f"{name}.pyx").relative_to(ROOT))],
            include_dirs=["pyx"],
            depends=[str(p) for p in Path("pyx").rglob("*.p*")] + ["pyx/c/lua_api.h"],
            extra_compile_args=["-Wno-unused-function", *compile_args],
            extra_link_args=list(link_args),
        )
        for name in names
    ]
    modules = cythonize(extensions, include_path=["pyx"], build_dir=f"{out}/c", quiet=True, nthreads=os.cpu_count())
    command = Distribution({"name": "native", "ext_modules": modules}).get_command_obj("build_ext")
    command.build_lib = str(out)
    command.build_temp = f"{out}/o"
    command.parallel = os.cpu_count()
    command.ensure_finalized()
    command.run()


if __name__ == "__main__":
    build(sys.argv[1:] or sorted(p.stem for p in HERE.glob("*.pyx")), "build/native")
