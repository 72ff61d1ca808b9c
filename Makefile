# qep_mpi: one Makefile, no configure step. `make help` lists the targets; site settings go into config.mk.
# SPDX-License-Identifier: Apache-2.0

# --- tools and flags -----------------------------------------------------------------
BUILD   ?= release
VERSION := 0.1.0
# MPI=mpich: Debian's other MPI, with its own builds of ScaLAPACK and HDF5, in a build folder of its own. (Debian's scalapack-mpich.pc asks
# for whatever MPI is the system's default, so the library is named here.)
MPI     ?= openmpi
ifeq ($(MPI),mpich)
MPICC   ?= mpicc.mpich
O       := build/$(BUILD)-mpich
MPI_PKGS  := hdf5-mpich
BLAS_LIBS ?= -lscalapack-mpich -lopenblas
export QEP_MPIRUN ?= mpirun.mpich -bind-to none
export QEP_TEST_PRELOAD := $(CURDIR)/$(O)/tests/support/libyield.so
else
MPICC   ?= mpicc
O       := build/$(BUILD)
MPI_PKGS  := scalapack-openmpi hdf5-openmpi
BLAS_LIBS ?= -lopenblas
endif
PKGS    ?= $(MPI_PKGS) jansson libpcre2-8 libutf8proc zlib
DNNL_LIBS ?= -ldnnl
PREFIX  ?= /usr/local
JOBS    ?= $(shell nproc 2>/dev/null || echo 2)

STD      := -std=c11 -D_POSIX_C_SOURCE=200809L
WARN     := -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wdouble-promotion -Wshadow -Wvla \
            -Wstrict-prototypes -Wmissing-prototypes -Wwrite-strings -Wcast-qual -Wundef -Wformat=2 -Werror
# -ffp-contract=off: the same rounding in every inlined copy of a formula; kernels that want FMA ask for it.
FP       := -ffp-contract=off -fno-math-errno
ARCH     ?= -march=x86-64-v3
OPT_release := -O3 -g $(ARCH)
OPT_debug   := -O0 -g -DQEP_DEBUG
OPT_asan    := -O1 -g $(ARCH) -fsanitize=address,undefined -fno-omit-frame-pointer -fno-sanitize-recover=undefined
# BUILD=fuzz: by clang (make fuzz)
OPT_fuzz    := -O1 -g $(ARCH) -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -w
-include config.mk
CFLAGS_ALL = $(STD) $(WARN) $(FP) $(OPT_$(BUILD)) -fopenmp $(CFLAGS)
PKG_CFLAGS := $(subst -I,-isystem ,$(shell pkg-config --cflags $(PKGS) 2>/dev/null))
LIBS     = $(shell pkg-config --libs $(PKGS) 2>/dev/null) $(BLAS_LIBS) $(DNNL_LIBS) -ldl -lm

# --- modules: floor by floor; each may use only what stands in its row (make lint, and the link of its tests) ---
MODULES := base par tensor report store safetensors tokenizer linalg nn quant config dmat tasks data gguf packed model solve export layer eval run
USES_base        :=
USES_par         := base
USES_tensor      := base
USES_report      := base
USES_store       := base par tensor
USES_safetensors := base tensor
USES_tokenizer   := base
USES_linalg      := base tensor
USES_nn          := base tensor linalg
USES_quant       := base tensor linalg
USES_config      := base tensor quant
USES_dmat        := base par tensor linalg
USES_tasks       := base par tokenizer
USES_data        := base par tensor config store tokenizer tasks
USES_gguf        := base tensor safetensors
USES_packed      := base tensor safetensors quant gguf
USES_model       := base par tensor config safetensors linalg nn quant packed
USES_solve       := base par tensor linalg dmat
USES_export      := base par tensor config safetensors tokenizer quant gguf packed
USES_layer       := base par tensor config linalg safetensors tokenizer quant dmat packed model solve export
USES_eval        := base par tensor config linalg nn quant tokenizer tasks data packed model
USES_run         := base par tensor config report store safetensors tokenizer linalg nn quant dmat tasks data packed model solve export layer eval

SRC      = $(sort $(wildcard src/$(1)/*.c))
OBJ      = $(patsubst src/%.c,$(O)/%.o,$(filter-out src/run/main.c,$(call SRC,$(1))))
LIB      = $(O)/lib/libqep_$(1).a
# a module with all that it and the modules it uses need at link time
$(foreach m,$(MODULES),$(eval WITH_$(m) := $(sort $(m) $(foreach u,$(USES_$(m)),$(WITH_$(u))))))
LIBS_OF  = $(foreach m,$(WITH_$(1)),$(call LIB,$(m)))
ALL_LIBS := $(foreach m,$(MODULES),$(call LIB,$(m)))

# short lines instead of whole commands; make V=1 shows these
say = $(if $(V),,@echo '  $(1)' &&)

# --- programs ------------------------------------------------------------------------
.DELETE_ON_ERROR:
.SECONDARY:
SHELL := /bin/sh
.PHONY: all
all: $(O)/qep_mpi   ## build the program: build/release/qep_mpi (BUILD=release|debug|asan)

$(O)/qep_mpi: $(O)/run/main.o $(ALL_LIBS)
	$(call say,link $@) $(MPICC) $(CFLAGS_ALL) -o $@ $(O)/run/main.o -Wl,--start-group $(ALL_LIBS) -Wl,--end-group $(LIBS) $(LDFLAGS)

$(O)/%.o: src/%.c $(O)/flags
	@mkdir -p $(@D)
	$(call say,cc   $<) $(MPICC) $(CFLAGS_ALL) -Iinclude -I$(O)/gen $(PKG_CFLAGS) -MMD -MP -c -o $@ $<

$(O)/base/version.o: $(O)/gen/version_gen.h

define LIB_RULE
$(call LIB,$(1)): $(call OBJ,$(1))
	@mkdir -p $$(@D)
	@rm -f $$@
	@ar rcs $$@ $$^
endef
$(foreach m,$(MODULES),$(eval $(call LIB_RULE,$(m))))

# remade only when flags or version change
$(O)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(MPICC) $(CFLAGS_ALL)' | cmp -s - $@ || echo '$(MPICC) $(CFLAGS_ALL)' > $@
$(O)/gen/version_gen.h: FORCE
	@mkdir -p $(@D)
	@printf '#define QEP_VERSION_TEXT "%s"\n#define QEP_BUILD_TEXT "%s, %s, %s"\n' '$(VERSION)' \
	  "$$(git describe --always --dirty 2>/dev/null || echo unknown)" "$$($(MPICC) --version | head -n 1)" '$(OPT_$(BUILD))' > $@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@
.PHONY: FORCE
FORCE:

# --- tests: tests/unit/<module>/test_x.c and tests/mpi/<module>/test_x.c link only what the module may use ---
UNIT_SRC := $(sort $(wildcard tests/unit/*/test_*.c))
MPI_SRC  := $(sort $(wildcard tests/mpi/*/test_*.c))
UNIT_BIN := $(patsubst tests/%.c,$(O)/tests/%,$(UNIT_SRC))
MPI_BIN  := $(patsubst tests/%.c,$(O)/tests/%,$(MPI_SRC))
TEST_CFLAGS := -Wno-missing-prototypes -Wno-conversion -Wno-sign-conversion -Wno-double-promotion
module_of = $(word 2,$(subst /, ,$(1)))

# Compiled apart from the link: a change in a library links the tests again, no more.
SUPPORT_OBJ := $(patsubst tests/%.c,$(O)/tests/%.o,$(filter-out tests/support/yield.c,$(wildcard tests/support/*.c)))
$(O)/tests/%.o: tests/%.c $(O)/flags
	@mkdir -p $(@D)
	$(call say,cc   $<) $(MPICC) $(CFLAGS_ALL) $(TEST_CFLAGS) -Iinclude -Itests/support $(PKG_CFLAGS) -MMD -MP -c -o $@ $<

# waiting ranks of MPICH give up their core (yield.c)
YIELD := $(if $(QEP_TEST_PRELOAD),$(O)/tests/support/libyield.so)
$(O)/tests/support/libyield.so: tests/support/yield.c
	@mkdir -p $(@D)
	$(call say,link $@) $(MPICC) -O1 -shared -fPIC -o $@ $< -ldl

define TEST_RULE
$(O)/tests/$(1): $(O)/tests/$(1).o $(SUPPORT_OBJ) $(call LIBS_OF,$(call module_of,$(1))) $(sort $(call LIB,safetensors) $(call LIB,tensor) $(call LIB,base))
	$$(call say,link $$@) $(MPICC) $(CFLAGS_ALL) -o $$@ $$(filter %.o,$$^) -Wl,--start-group $$(filter %.a,$$^) -Wl,--end-group -lcmocka $(LIBS) $(LDFLAGS)
endef
$(foreach t,$(patsubst tests/%.c,%,$(UNIT_SRC) $(MPI_SRC)),$(eval $(call TEST_RULE,$(t))))

# run one: make test T=unit/quant/test_grid   make test T=mpi/par/test_par NP=3
NP ?= 1
.PHONY: test
test: $(O)/tests/$(T) $(YIELD)   ## build and run one test: T=unit/MODULE/test_X [NP=n]
	@tests/support/run_test.sh $(NP) $(O)/tests/$(T)

# --- checks --------------------------------------------------------------------------
# Targets that install what is missing build in a second make, which sees the installed libraries.
NPS       ?= 1 2 3 4
RUN_TESTS := $(sort $(wildcard tests/run/test_*.sh))
LONG_TESTS := $(sort $(wildcard tests/long/test_*.sh))
LINT_ENV   = O=$(O) MPICC='$(MPICC)' PKG_CFLAGS='$(PKG_CFLAGS)'
RUN_ALL    = $(LINT_ENV) NPS="$(NPS)" tests/support/run_all.sh
FLAG_J     = $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(JOBS))
AGAIN      = $(MAKE) --no-print-directory $(FLAG_J)

.PHONY: deps check checked programs check-unit check-mpi check-run check-long quickstart
deps:   ## install the Debian packages that are missing (asks apt-get; quiet when all are there)
	@MPI='$(MPI)' MPICC='$(MPICC)' CFLAGS='$(CFLAGS)' PKGS='$(PKGS)' BLAS_LIBS='$(BLAS_LIBS)' DNNL_LIBS='$(DNNL_LIBS)' tests/support/deps.sh

programs: all $(YIELD) bench-programs $(UNIT_BIN) $(MPI_BIN) $(O)/tests/fuzz/replay

check: deps   ## install what is missing, build, run every test and lint
	@$(AGAIN) checked
checked: programs
	@$(RUN_ALL) lint tests/lint/*.sh unit $(UNIT_BIN) run tests/fuzz/replay.sh $(RUN_TESTS) tests/quickstart/quickstart.sh mpi $(MPI_BIN)

check-unit: $(UNIT_BIN) $(YIELD)   ## tests of one process
	@$(RUN_ALL) unit $^
check-mpi: $(MPI_BIN) $(YIELD)   ## tests of several ranks, each on 1, 2, 3 and 4 (NPS="1 3")
	@$(RUN_ALL) mpi $^
check-run: all $(YIELD) bench-programs   ## the whole program on small models
	@$(RUN_ALL) run $(RUN_TESTS)

check-long: deps   ## hours: whole-program tests in full and comparisons with Python libraries (needs QEP_SHARED)
	@$(AGAIN) programs
	@QEP_LONG=1 QEP_TEST_TIMEOUT=3600 QEP_SCRIPT_TIMEOUT=14400 $(RUN_ALL) unit $(UNIT_BIN) run $(RUN_TESTS) long $(LONG_TESTS)

quickstart: deps   ## RTN, GPTQ, QEP+GPTQ and the defaults at 3 bits on the bundled model, and a table of what they cost
	@$(AGAIN) all
	@O=$(O) tests/quickstart/quickstart.sh

.PHONY: uses lint check-slurm asan asan-programs
uses:   # "module: modules it may use", for lint
	@$(foreach m,$(MODULES),echo '$(m): $(USES_$(m))';)
lint: $(ALL_LIBS)   ## floors, doors, banned calls, headers, symbols, long functions, shell scripts
	@$(LINT_ENV) tests/lint/lint.sh

check-slurm: deps   ## the Slurm job script on a real Slurm that is started for it (installs slurm-wlm and munge)
	@$(AGAIN) all
	@O=$(O) tests/slurm/check_slurm.sh

asan: deps   ## unit and MPI tests with AddressSanitizer, LeakSanitizer and UBSan
	@$(AGAIN) BUILD=asan asan-programs
asan-programs: $(UNIT_BIN) $(MPI_BIN) $(O)/tests/asan/leak
	@O=$(O) NPS="1 3" QEP_TEST_TIMEOUT=$(or $(QEP_TEST_TIMEOUT),300) tests/support/run_all.sh \
	  run tests/asan/canary.sh unit $(UNIT_BIN) mpi $(MPI_BIN)
$(O)/tests/asan/leak: tests/asan/leak.c $(O)/flags
	@mkdir -p $(@D)
	$(call say,test $@) $(MPICC) $(CFLAGS_ALL) $(PKG_CFLAGS) -o $@ $< $(LDFLAGS)

# Every parser against random bytes: libFuzzer on the targets of tests/fuzz/targets.c, and their corpus replayed as part of make check.
FUZZ_SECONDS ?= 600
CLANG        ?= clang-14
FUZZ_PACKAGES = $(CLANG) $(CLANG:clang%=libclang-rt%-dev) $(CLANG:clang%=libomp%-dev)
.PHONY: fuzz fuzz-programs
fuzz:   ## libFuzzer with sanitizers on every parser, FUZZ_SECONDS=600 each, one per core at a time (installs clang); FUZZ="ini npy": only these
	@ALSO='$(FUZZ_PACKAGES)' tests/support/deps.sh
	@OMPI_CC=$(CLANG) MPICH_CC=$(CLANG) $(AGAIN) BUILD=fuzz fuzz-programs
	@O=build/fuzz FUZZ_SECONDS='$(FUZZ_SECONDS)' FUZZ='$(FUZZ)' sh tests/fuzz/fuzz.sh
fuzz-programs: $(O)/tests/fuzz/fuzz
$(O)/tests/fuzz/fuzz: FUZZ_LINK := -fsanitize=fuzzer
$(O)/tests/fuzz/fuzz $(O)/tests/fuzz/replay: $(O)/tests/fuzz/%: $(O)/tests/fuzz/%.o $(O)/tests/fuzz/targets.o $(ALL_LIBS)
	$(call say,link $@) $(MPICC) $(CFLAGS_ALL) $(FUZZ_LINK) -o $@ $(filter %.o,$^) -Wl,--start-group $(ALL_LIBS) -Wl,--end-group $(LIBS) $(LDFLAGS)

.PHONY: hosts
hosts: all   ## ranks on several hosts over TCP, in network namespaces; one of them dies (needs root and iproute2)
	@O=$(O) sh tests/hosts/check_hosts.sh

.PHONY: soak
soak: all   ## a run killed 200 times in a row (KILLS=n), each time resumed on another number of ranks
	@O=$(O) QEP_KILLS=$(or $(KILLS),200) sh tests/run/test_kills.sh

.PHONY: check-clients
check-clients: all   ## opens our outputs with transformers, GPTQModel, compressed-tensors and gguf from PyPI (minutes, 3 GB of packages)
	@O=$(O) sh tests/clients/check_clients.sh

include tests/bench/bench.mk

# --- install -------------------------------------------------------------------------
.PHONY: install clean help
SHARE := $(DESTDIR)$(PREFIX)/share
install: all   ## program, man page, examples of configurations and job scripts (PREFIX, DESTDIR)
	install -D -m 755 $(O)/qep_mpi $(DESTDIR)$(PREFIX)/bin/qep_mpi
	install -D -m 644 man/qep_mpi.1 $(SHARE)/man/man1/qep_mpi.1
	install -d $(SHARE)/qep_mpi/config/paper $(SHARE)/qep_mpi/jobs
	install -m 644 $(wildcard config/*.ini) $(SHARE)/qep_mpi/config
	$(if $(wildcard config/paper/*.ini),install -m 644 $(wildcard config/paper/*.ini) $(SHARE)/qep_mpi/config/paper)
	install -m 755 $(wildcard jobs/*.sh) $(SHARE)/qep_mpi/jobs

clean:   ## remove build/
	rm -rf build

help:   ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' Makefile tests/bench/bench.mk
	@echo 'Variables (command line or config.mk): V BUILD MPI MPICC CFLAGS LDFLAGS ARCH PKGS BLAS_LIBS DNNL_LIBS PREFIX DESTDIR NPS JOBS'

-include $(wildcard $(O)/*/*.d $(O)/tests/*/*.d $(O)/tests/*/*/*.d)
