#!/bin/bash
# Builds dist/heart-aarch64, and the wheel for aarch64, in a Debian of that architecture, and tests the file.
#
# usage: packaging/arm/build.sh [root|binary|wheel|test|more|shell] ...      (the first four when none is named)
#
#   root     make the Debian root, unless it is there (10 minutes; then it is kept)
#   binary   make binary inside; leaves dist/heart-aarch64
#   wheel    make wheel inside; leaves dist/heart-*aarch64.whl
#   test     run the core tests of this source tree with the file and with the wheel
#   more     run all tests of the server, the command line and the file with the file (an hour)
#   shell    a shell inside
#
# On x86-64 everything of aarch64 runs under qemu-user: the kernel hands such programs to it (binfmt_misc). An entry for
# that is made here if there is none, and taken away at the end. Needs root, and debootstrap and qemu-user-static.
#
#   HEART_ARM_ROOT    the folder of the root      (build/arm64/root)
#   DEBIAN_MIRROR     where Debian comes from     (http://deb.debian.org/debian)
set -euo pipefail
cd "$(dirname "$0")/../.."

readonly SUITE=bookworm ENTRY=heart-aarch64
readonly REGISTRY=/proc/sys/fs/binfmt_misc
readonly TRUSTED=/etc/ssl/certs/ca-certificates.crt
readonly PACKAGES=gcc,libc6-dev,libpcre2-8-0,libssl-dev,libzstd-dev,make,python3-dev,python3-venv,zlib1g-dev
readonly MIRROR=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
root=$(realpath -m "${HEART_ARM_ROOT:-build/arm64/root}")

say() { printf 'arm: %s\n' "$*"; }
fail() {
  printf 'arm: %s\n' "$*" >&2
  exit 1
}

# ---- Running programs of aarch64 -------------------------------------------------------------------------

# The header of an ELF file: 64 bits, little-endian, a program or a library, machine 183. F: the emulator is opened now,
# so that it is found from inside the root, too; P: programs see their own argv[0].
entry() {
  local magic='\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
  local mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
  printf '%s' ":$ENTRY:M::$magic:$mask:$1:PF"
}

emulation_is_there() {
  [ "$(uname -m)" = aarch64 ] || grep -qs '^magic 7f454c460201010000000000000000000200b700' "$REGISTRY"/qemu-aarch64 \
    "$REGISTRY/$ENTRY"
}

emulation_start() {
  [ -e "$REGISTRY/register" ] || mount -t binfmt_misc none "$REGISTRY" 2>/dev/null \
    || fail "this kernel has no binfmt_misc, through which programs of aarch64 are run (modprobe binfmt_misc)"
  trap 'emulation_stop' EXIT
  exec {users}>/run/lock/heart-aarch64
  flock --shared "$users"
  emulation_is_there && return
  local qemu
  qemu=$(command -v qemu-aarch64-static) || fail "qemu-aarch64-static is missing: apt-get install qemu-user-static"
  entry "$qemu" >"$REGISTRY/register" || fail "$REGISTRY/register: the kernel does not take an entry for qemu"
}

# The last run that needs the entry takes it away.
emulation_stop() {
  if [ -e "$REGISTRY/$ENTRY" ] && flock --nonblock "$users"; then
    echo -1 >"$REGISTRY/$ENTRY"
  fi
}

# ---- The root --------------------------------------------------------------------------------------------

# What the root was made of. More packages are put into the one that is there; another Debian is another root.
root_stamp() { echo "$SUITE $PACKAGES"; }

root_make() {
  local made
  made=$(cat "$root/heart-stamp" 2>/dev/null) || true
  [ "$made" != "$(root_stamp)" ] || return 0
  [ "${made%% *}" = "$SUITE" ] || root_bootstrap
  say "installing packages into $root"
  root_update >>"$root.log" 2>&1 || fail "updating the root failed: see $root.log"
  root_stamp >"$root/heart-stamp"
}

root_bootstrap() {
  say "making $root: about 10 minutes under qemu"
  command -v debootstrap >/dev/null || fail "debootstrap is missing: apt-get install debootstrap"
  rm -rf "$root.new" "$root"
  mkdir -p "$root.new"
  debootstrap --arch=arm64 --variant=minbase "$SUITE" "$root.new" "$MIRROR" >"$root.log" 2>&1 \
    || fail "debootstrap failed: $(tail -n 1 "$root.log") (all of it: $root.log)"
  echo "$SUITE" >"$root.new/heart-stamp"
  mv "$root.new" "$root"
}

# Python and the C library go into the file: they come with Debian's security updates.
root_update() {
  cat >"$root/etc/apt/sources.list" <<LIST
deb $MIRROR $SUITE main
deb $MIRROR $SUITE-updates main
deb ${MIRROR%/debian}/debian-security $SUITE-security main
LIST
  within "$root" env DEBIAN_FRONTEND=noninteractive sh -c '
    apt-get -qq update && apt-get -qq -y upgrade && apt-get -qq -y --no-install-recommends install "$@" && apt-get clean
  ' sh ${PACKAGES//,/ }
}

# Run a command in a root. Mounts are those of this script alone (see the end): they are gone when it ends.
within() {
  local where=$1
  shift
  mountpoint -q "$where/proc" || mount -t proc proc "$where/proc"
  mountpoint -q "$where/dev" || mount --rbind /dev "$where/dev"
  cp -L /etc/resolv.conf "$where/etc/resolv.conf"
  local more=()
  # Whom this machine trusts is trusted inside: a proxy of one's own may be on the way to the packages.
  if [ -e "$TRUSTED" ]; then
    install -D -m 644 "$TRUSTED" "$where$TRUSTED"
    more+=(PIP_CERT="$TRUSTED")
  fi
  env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 TERM="${TERM:-dumb}" \
    PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore "${more[@]}" chroot "$where" "$@"
}

# The files that git knows and those it would take, as they are now; what the last build left in build/ stays.
copy_source() {
  mkdir -p "$root/src/build"
  find "$root/src" -mindepth 1 -maxdepth 1 ! -name build -exec rm -rf {} +
  git -c safe.directory="$PWD" ls-files -z --cached --others --exclude-standard \
    | tar --create --null --files-from=- --ignore-failed-read 2>/dev/null \
    | tar --extract --no-same-owner --directory "$root/src"
}

# ---- Steps -----------------------------------------------------------------------------------------------

step_root() { root_make; }

step_binary() {
  root_make
  say "building dist/heart-aarch64"
  copy_source
  within "$root" make -C /src binary PYTHON=/usr/bin/python3
  mkdir -p dist
  install -m 755 "$root/src/dist/heart" dist/heart-aarch64
  ls -l dist/heart-aarch64
}

step_wheel() {
  root_make
  say "building the wheel"
  copy_source
  within "$root" make -C /src wheel PYTHON=/usr/bin/python3
  mkdir -p dist
  rm -f dist/heart-*aarch64.whl
  cp "$root"/src/dist/heart-*aarch64.whl dist/
}

# The server runs emulated with its own C library, since this machine has none for it; pytest and its clients do not.
step_test() {
  local core_set wheel
  mapfile -t core_set <packaging/wheel/core-set.txt
  file_install
  say "running the core tests with the file"
  tests_run "$PWD/dist/heart-aarch64" packaging/arm/test_file.py "${core_set[@]}"
  wheel=$(wheel_command)
  say "running the core tests with the wheel"
  tests_run "$wheel" "${core_set[@]}"
}

step_more() {
  [ -e .venv/stamp-native ] || fail "the modules of tests/native are missing: make .venv/stamp-native first"
  file_install
  tests_run "$PWD/dist/heart-aarch64" packaging/arm/test_file.py tests/lua tests/cli tests/http tests/reload
}

# Python in the root meets the host's loader: its glibc is as new as the one inside, and is used.
file_install() {
  [ -x dist/heart-aarch64 ] || fail "dist/heart-aarch64 is missing: packaging/arm/build.sh binary"
  install -D -m 755 dist/heart-aarch64 "$root/usr/local/bin/heart"
  within "$root" heart version
}

# $1: the words that start Heart; the others: what is tested
tests_run() {
  local words=$1 without=() name
  shift
  [ -x .venv/bin/pytest ] || fail ".venv/bin/pytest is missing: make arm, or make .venv/stamp-tests first"
  while read -r name _; do
    without+=(--deselect "$name")
  done < <(grep '^tests/' packaging/arm/not-under-qemu.txt)
  [ "$(uname -m)" != aarch64 ] || without=()
  HEART_BIN=$words .venv/bin/pytest -q -n 2 --dist loadfile "${without[@]}" "$@"
}

# The words that run the wheel, installed for the Python of the root without being in it: the server sees the folders of
# this machine's tests, and the root's libraries.
wheel_command() {
  local platforms=() folder=build/arm64/wheel wheels=(dist/heart-*aarch64.whl) glibc
  [ -e "${wheels[0]}" ] || fail "dist/heart-*aarch64.whl is missing: packaging/arm/build.sh wheel"
  for glibc in 2014 _2_17 _2_28 _2_34 _2_36; do
    platforms+=(--platform "manylinux${glibc}_aarch64")
  done
  rm -rf "$folder"
  .venv/bin/pip install --quiet --target "$folder" --only-binary=:all: --implementation cp --python-version 3.11 \
    "${platforms[@]}" "${wheels[0]}" >&2
  echo "env QEMU_LD_PREFIX=$root PYTHONPATH=$PWD/$folder $root/usr/bin/python3 -P -m heartc"
}

step_shell() { within "$root" bash -i; }

# ---- Start -----------------------------------------------------------------------------------------------

[ "$(id -u)" = 0 ] || fail "needs root, for chroot and mounts: sudo packaging/arm/build.sh"
[ $# -gt 0 ] || set -- root binary wheel test
for step in "$@"; do
  [ "$(type -t "step_$step")" = function ] || fail "$step: no such step (root, binary, wheel, test, more, shell)"
done
if [ -z "${HEART_ARM_MOUNTS:-}" ]; then
  exec env HEART_ARM_MOUNTS=private unshare --mount --propagation private "$0" "$@"
fi
mkdir -p "$(dirname "$root")"
exec {lock}>"$root.lock"
flock --nonblock "$lock" || fail "$root is in use by another run"
emulation_start
for step in "$@"; do
  "step_$step"
done
