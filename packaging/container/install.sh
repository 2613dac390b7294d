#!/bin/sh
# Installs what packaging/build.py needs, on Alpine and on Debian. For the build stage of Dockerfile.alpine.
set -eu

if command -v apk >/dev/null; then
  apk add --no-cache binutils ca-certificates-bundle gcc linux-headers musl-dev openssl-dev pcre2 python3 python3-dev \
    zlib-dev zstd-dev zstd-static
elif command -v apt-get >/dev/null; then
  export DEBIAN_FRONTEND=noninteractive
  apt-get -qq update
  apt-get -qq install -y --no-install-recommends \
    binutils ca-certificates gcc libc6-dev libpcre2-8-0 libssl-dev libzstd-dev python3 python3-dev python3-venv \
    zlib1g-dev
  rm -rf /var/lib/apt/lists/*
else
  echo "install.sh: neither apk nor apt-get: BUILDER must be an Alpine or a Debian" >&2
  exit 1
fi
