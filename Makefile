# The front door. CMake does the work; these are the things one wants to do, and each installs the
# packages it needs first (tools/deps). `make help` lists them.
BUILD ?= build
CMAKE_FLAGS ?=
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
PREFIX ?= /usr/local
SECONDS ?= 60
GENERATOR ?= Ninja
CTEST = ctest --output-on-failure -j $(JOBS)
AVX512_TESTS = test_kernels test_select test_quant test_narrow test_screen test_models test_session
AMX_TESTS = test_kinds test_entropy_kinds test_attention_kinds test_memory_kinds
space := $(subst ,, )
SOURCES = find $(wildcard src cli include tests examples bench) -name '*.[ch]' -print0

# A first `make` or `make demo` leaves the tests out, so that it asks for fewer packages.
build: tools-build
	@cmake -S . -B $(BUILD) -G $(GENERATOR) $(if $(wildcard $(BUILD)/CMakeCache.txt),,-DSG_TESTS=OFF) $(CMAKE_FLAGS) >/dev/null
	@cmake --build $(BUILD) -j $(JOBS) --target sgatlin sgatlin_shared sgatlin_command completions

demo: build ## make stories, train sgatlin and its dense rival, compare them, look inside (3 minutes)
	@tools/demo.sh $(BUILD)/sgatlin

test: tools-test ## build everything and run all tests
	@cmake -S . -B $(BUILD) -G $(GENERATOR) -DSG_TESTS=ON $(CMAKE_FLAGS) >/dev/null
	@cmake --build $(BUILD) -j $(JOBS)
	@$(CTEST) --test-dir $(BUILD)

test-san: tools-test ## the tests with AddressSanitizer and UndefinedBehaviorSanitizer
	@cmake -S . -B build-san -G $(GENERATOR) -DSG_SANITIZE=address,undefined $(CMAKE_FLAGS) >/dev/null
	@cmake --build build-san -j $(JOBS)
	@$(CTEST) --test-dir build-san

test-tsan: tools-test ## the tests with ThreadSanitizer, without oneDNN (it is not instrumented)
	@cmake -S . -B build-tsan -G $(GENERATOR) -DSG_SANITIZE=thread -DSG_ONEDNN=OFF $(CMAKE_FLAGS) >/dev/null
	@cmake --build build-tsan -j $(JOBS)
	@$(CTEST) --test-dir build-tsan -LE "fuzz|crash|house" -E test_alloc_torture

test-crash: tools-test ## kill and power-cut loops over checkpoints, 50 kills and more
	@cmake -S . -B $(BUILD) -G $(GENERATOR) -DSG_TESTS=ON $(CMAKE_FLAGS) >/dev/null
	@cmake --build $(BUILD) -j $(JOBS)
	@SG_CRASH_ROUNDS=$${SG_CRASH_ROUNDS:-50} ctest --test-dir $(BUILD) -L crash -V

test-avx512: tools-test tools-emulate ## the kernels of AVX-512, emulated where the processor has AVX2
	@cmake -S . -B build-avx512 -G $(GENERATOR) -DSG_TESTS=ON -DSG_EMULATE_AVX512=ON $(CMAKE_FLAGS) >/dev/null
	@cmake --build build-avx512 -j $(JOBS) --target $(AVX512_TESTS)
	@$(CTEST) --test-dir build-avx512 -R '^($(subst $(space),|,$(AVX512_TESTS)))$$'

test-amx: tools-test ## products in bf16 as on a processor with AMX, its instructions emulated
	@cmake -S . -B $(BUILD) -G $(GENERATOR) -DSG_TESTS=ON $(CMAKE_FLAGS) >/dev/null
	@cmake --build $(BUILD) -j $(JOBS) --target sgatlin_command $(AMX_TESTS) $(if $(filter x86_64,$(shell uname -m)),sg_emulated_amx)
	@tools/test_amx.sh $(BUILD) || [ $$? -eq 77 ]

bench: build ## measure layers, steps and decoding here, against goals (6 minutes; MODEL=F16.gguf: its prefill too)
	@tools/bench.sh $(BUILD)/sgatlin $(if $(MODEL),--model "$(MODEL)")

bench-kernels: tools-build ## build and run the benchmarks of the inner loops (bench/bench_*.c)
	@cmake -S . -B $(BUILD) -G $(GENERATOR) $(if $(wildcard $(BUILD)/CMakeCache.txt),,-DSG_TESTS=OFF) $(CMAKE_FLAGS) >/dev/null
	@cmake --build $(BUILD) -j $(JOBS) --target bench
	@for program in $(BUILD)/bench/bench_*; do \
	    if [ -f $$program ] && [ -x $$program ]; then echo "== $$program"; $$program || exit 1; fi; done

count-kernels: tools-bench ## count the kernels' instructions, compare with bench/kernel_counts.txt (RECORD=1: write it)
	@cmake -S . -B $(BUILD) -G $(GENERATOR) $(if $(wildcard $(BUILD)/CMakeCache.txt),,-DSG_TESTS=OFF) $(CMAKE_FLAGS) >/dev/null
	@cmake --build $(BUILD) -j $(JOBS) --target count_kernels
	@tools/callgrind.sh $(BUILD) $(if $(RECORD),--record)

fuzz: tools-dev ## run every fuzz target for SECONDS=60 each
	@cmake -S . -B build-fuzz -G $(GENERATOR) -DCMAKE_C_COMPILER=clang -DSG_FUZZ=ON $(CMAKE_FLAGS) >/dev/null
	@tools/fuzz.sh build-fuzz $(SECONDS) $(JOBS)

format: tools-dev ## clang-format every source file
	@$(SOURCES) | xargs -0 clang-format -i

format-check: tools-dev ## fail where clang-format would change something
	@$(SOURCES) | xargs -0 clang-format --dry-run -Werror

script-check: tools-dev ## fail where shellcheck finds something in a script
	@tools/check_scripts.sh

cross-aarch64: build ## build for aarch64, run the tests of kernels and models there under qemu (2 minutes)
	@tools/cross_aarch64.sh build-aarch64 $(BUILD)/sgatlin $(JOBS)

next-debian: ## tests and demo on Debian 12 and 13, each in a chroot (as root, an hour)
	@tools/deps next
	@tools/next_debian.sh

man: build ## write docs/sgatlin.1 from the help of the command
	@tools/man.sh $(BUILD)/sgatlin >docs/sgatlin.1.new && mv docs/sgatlin.1.new docs/sgatlin.1

coverage: tools-test ## run the tests counting lines; print the share executed per file
	@cmake -S . -B build-cov -G $(GENERATOR) -DSG_COVERAGE=ON -DCMAKE_BUILD_TYPE=Debug $(CMAKE_FLAGS) >/dev/null
	@cmake --build build-cov -j $(JOBS)
	@$(CTEST) --test-dir build-cov >/dev/null; tools/coverage.sh build-cov

install: build ## install header, libraries, command and man page under PREFIX=/usr/local
	@cmake --install $(BUILD) --prefix $(PREFIX)

clean: ## remove what was built (demo/ stays)
	@rm -rf $(BUILD) build-san build-tsan build-fuzz build-cov build-aarch64

help: ## this list
	@echo "make               build the library and the command in $(BUILD)/"
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/\1|\2/p' Makefile | awk -F'|' '{printf "make %-13s %s\n", $$1, $$2}'

tools-build:
	@tools/deps build
tools-test:
	@tools/deps build test
tools-dev:
	@tools/deps build test dev
tools-emulate:
	@tools/deps emulate
tools-bench:
	@tools/deps build bench

.PHONY: build demo test test-san test-tsan test-crash test-avx512 test-amx bench bench-kernels count-kernels fuzz format format-check script-check coverage cross-aarch64 next-debian man install clean help tools-build tools-test tools-dev tools-bench tools-emulate
.DEFAULT_GOAL := build
