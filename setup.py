"""Builds the Cython core, heartc._core, and TLS, heartc._tls, which needs the headers of OpenSSL 3.

The environment variable HEART_BUILD chooses the variant:
  release   (default) -O3: 3 % fewer instructions a request than -O2, 33 KB more
  debug     -O0 -g, Cython line information
  asan      AddressSanitizer and UBSan; run it with libasan preloaded (see `make asan`)
  coverage  gcov counters

HEART_TLS=no leaves heartc._tls out, for a system without OpenSSL.
"""

import os
import shlex
import subprocess

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


def extension(name, source, libraries=()):
    """An extension of the sources in pyx."""
    return Extension(
        name,
        [source],
        include_dirs=["pyx"],
        depends=[os.path.join(folder, name) for folder, _, names in os.walk("pyx") for name in names],
        libraries=list(libraries),
        extra_compile_args=compile_args + quiet,
        extra_link_args=link_args,
    )


def require(header, debian, fedora, alpine):
    """End the build with a clear message if the compiler does not find a header."""
    words = [os.environ.get("CC") or "cc", os.environ.get("CPPFLAGS", ""), os.environ.get("CFLAGS", ""), "-E", "-"]
    command = shlex.split(" ".join(words))
    found = subprocess.run(command, input=f"#include <{header}>\n", text=True, capture_output=True)
    if found.returncode:
        raise SystemExit(f"{header} is missing: install {debian} (Debian), {fedora} (Fedora) or {alpine} (Alpine)")


require("zlib.h", "zlib1g-dev", "zlib-devel", "zlib-dev")
extensions = [extension("heartc._core", "pyx/core.pyx", ["z"])]
if os.environ.get("HEART_TLS") != "no":
    require("openssl/ssl.h", "libssl-dev", "openssl-devel", "openssl-dev")
    extensions.append(extension("heartc._tls", "pyx/tls.pyx", ["ssl", "crypto"]))

setup(
    ext_modules=cythonize(
        extensions,
        include_path=["pyx"],
        build_dir="build/cython",
        compiler_directives={"language_level": 3},
        emit_linenums=variant in ("debug", "coverage"),
    )
)
