# Every goal works from a clean clone: what it needs is made in .venv and build, once.
# Debian packages: .ci/run lists them; a goal that misses one names it.

PYTHON  ?= $(firstword $(wildcard /usr/bin/python3) python3)
VENV    := .venv
BIN     := $(VENV)/bin
CORE    := setup.py pyproject.toml $(shell find pyx -type f)
NATIVE  := $(wildcard tests/native/*)
PACKAGE := $(wildcard packaging/*.* packaging/launcher/* packaging/program/*) \
           $(shell find heartc lua_stdlib -type f -not -name '*.pyc' -not -name '*.so')
LUA     := lua_stdlib heartc/template packaging/deb/welcome examples tests
SHELLS  := $(shell find packaging -name '*.sh')
STYLUA  := @johnnymorganz/stylua@2.5.2
SECONDS := 30

asan_lib  = $(shell gcc -print-file-name=libasan.so)
asan_bin  = env LD_PRELOAD=$(asan_lib) PYTHONPATH=$(CURDIR)/build/asan/lib $(CURDIR)/$(BIN)/python -P -m heartc
asan_env  = HEART_SANITIZED=$(CURDIR)/build/asan/lib HEART_BIN="$(asan_bin)" \
            ASAN_OPTIONS=detect_leaks=0:detect_stack_use_after_return=0:allocator_may_return_null=1 \
            UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1

# $(call need,command,Debian package)
need = @command -v $(1) >/dev/null || { echo "make $@: $(1) is missing: apt-get install $(2)" >&2; exit 1; }

.PHONY: run core build test lint format asan fuzz binary wheel deb arm bench nightly clean

run: core
	$(BIN)/heart serve examples/hello-world/main.lua --workers auto

core: $(VENV)/stamp-core

# All that the tests of .ci/run need; on two processors in half the time with `make -j 2 build`.
build: binary wheel deb $(VENV)/stamp-native build/asan/stamp

test: $(VENV)/stamp-core $(VENV)/stamp-native
	$(BIN)/pytest -n 3 --dist loadfile $(ARGS)

lint: $(VENV)/stamp-tests build/stylua/stamp
	$(call need,luacheck,lua-check)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PATH="$(CURDIR)/$(BIN):$$PATH" cython-lint pyx tests/native
	luacheck --quiet $(LUA)
	node tests/tools/stylua.mjs --check $(LUA)
	$(call need,shellcheck,shellcheck)
	shellcheck .ci/run $(SHELLS)
	$(BIN)/hadolint Dockerfile.alpine

format: $(VENV)/stamp-tests build/stylua/stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	node tests/tools/stylua.mjs $(LUA)

asan: $(VENV)/stamp-core build/asan/stamp
	$(asan_env) $(BIN)/pytest -n 3 --dist loadfile --ignore tests/http/test_allocations.py tests/http tests/kv tests/task tests/client tests/tls tests/socket tests/os tests/compat tests/ws tests/channel tests/fcgi $(ARGS)

fuzz: $(VENV)/stamp-tests
	$(call need,clang,clang)
	$(BIN)/python tests/fuzz/run.py --seconds $(SECONDS)

binary: dist/heart

bench: $(VENV)/stamp-core dist/heart
	$(call need,wrk,wrk)
	$(call need,h2load,nghttp2-client)
	$(BIN)/python tests/bench/run.py --write

# Needs, beside the packages of .ci/run: chromium, debootstrap, php-cgi, qemu-user-static, systemd-container.
nightly: binary test asan
	$(BIN)/pytest -m nightly
	$(MAKE) arm
	packaging/arm/build.sh more
	$(MAKE) fuzz SECONDS=600
	$(MAKE) bench

wheel:
	packaging/wheel/build.sh $(PYTHON)

# The package of what `make binary` has left in dist.
deb: dist/heart
	$(call need,dpkg-deb,dpkg)
	$(PYTHON) packaging/deb/build.py

# dist/heart-aarch64 and its wheel, built and tested in a Debian of that architecture; needs root.
arm: $(VENV)/stamp-tests
	packaging/arm/build.sh

clean:
	rm -rf build dist $(VENV) *.egg-info heartc/*.so
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

dist/heart: $(CORE) $(PACKAGE)
	$(call need,gcc,gcc)
	$(PYTHON) packaging/build.py --output $@

$(VENV)/stamp-venv:
	$(call need,gcc,gcc)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	@test -e "$$($(PYTHON) -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" \
	  || { echo "make: Python.h is missing: apt-get install python3-dev" >&2; exit 1; }
	@echo '#include <zlib.h>' | gcc -E -o /dev/null - 2>/dev/null \
	  || { echo "make: zlib.h is missing: apt-get install zlib1g-dev" >&2; exit 1; }
	@echo '#include <openssl/ssl.h>' | gcc -E -o /dev/null - 2>/dev/null \
	  || { echo "make: openssl/ssl.h is missing: apt-get install libssl-dev" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null \
	  || { echo "make: venv is missing: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

# The tools that pyproject.toml names for an isolated build live in the environment, so that a rebuild is quick.
$(VENV)/stamp-build: pyproject.toml $(VENV)/stamp-venv
	$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' \
	  | $(BIN)/pip install --quiet --requirement /dev/stdin
	@touch $@

$(VENV)/stamp-core: $(CORE) $(VENV)/stamp-build
	$(BIN)/pip install --quiet --no-build-isolation --editable .
	@touch $@

$(VENV)/stamp-tests: tests/requirements.txt $(VENV)/stamp-build
	$(BIN)/pip install --quiet --requirement $<
	@touch $@

$(VENV)/stamp-native: $(CORE) $(NATIVE) $(VENV)/stamp-core $(VENV)/stamp-tests
	$(BIN)/python tests/native/setup.py
	@touch $@

build/asan/stamp: $(CORE) $(shell find heartc lua_stdlib -name '*.py' -o -name '*.lua') $(VENV)/stamp-core $(VENV)/stamp-tests
	HEART_BUILD=asan $(BIN)/python setup.py --quiet build --build-base build/asan --build-lib build/asan/lib
	@touch $@

build/stylua/stamp: Makefile
	$(call need,npm,nodejs npm)
	npm install --silent --no-save --prefix build/stylua $(STYLUA)
	@touch $@
