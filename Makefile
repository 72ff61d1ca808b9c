# qep_mpi: one Makefile, no configure step. `make help` lists the targets; site settings go into config.mk.
# SPDX-License-Identifier: Apache-2.0

# --- tools and flags -----------------------------------------------------------------
MPICC   ?= mpicc
BUILD   ?= release
VERSION := 0.1.0
O       := build/$(BUILD)
PKGS    ?= scalapack-openmpi hdf5-openmpi jansson
BLAS_LIBS ?= -lopenblas
DNNL_LIBS ?= -ldnnl
PREFIX  ?= /usr/local

STD      := -std=c11 -D_POSIX_C_SOURCE=200809L
WARN     := -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wdouble-promotion -Wshadow -Wvla \
            -Wstrict-prototypes -Wmissing-prototypes -Wwrite-strings -Wcast-qual -Wundef -Wformat=2 -Werror
# -ffp-contract=off: the same rounding in every inlined copy of a formula; kernels that want FMA ask for it.
FP       := -ffp-contract=off -fno-math-errno
ARCH     ?= -march=x86-64-v3
OPT_release := -O3 -g $(ARCH)
OPT_debug   := -O0 -g -DQEP_DEBUG
OPT_asan    := -O1 -g $(ARCH) -fsanitize=address,undefined -fno-omit-frame-pointer -fno-sanitize-recover=undefined
-include config.mk
CFLAGS_ALL = $(STD) $(WARN) $(FP) $(OPT_$(BUILD)) -fopenmp $(CFLAGS)
PKG_CFLAGS := $(subst -I,-isystem ,$(shell pkg-config --cflags $(PKGS) 2>/dev/null))
LIBS     = $(shell pkg-config --libs $(PKGS) 2>/dev/null) $(BLAS_LIBS) $(DNNL_LIBS) -ldl -lm

# --- modules: floor by floor; each may use only what stands in its row (make lint, and the link of its tests) ---
MODULES := base par tensor config store safetensors linalg nn quant dmat data model solve export layer eval run
USES_base        :=
USES_par         := base
USES_tensor      := base
USES_config      := base
USES_store       := base par tensor
USES_safetensors := base tensor
USES_linalg      := base tensor
USES_nn          := base tensor linalg
USES_quant       := base tensor linalg
USES_dmat        := base par tensor linalg
USES_data        := base par tensor config store
USES_model       := base par tensor config safetensors linalg nn
USES_solve       := base par tensor config linalg dmat
USES_export      := base par tensor config safetensors quant
USES_layer       := base par tensor config linalg safetensors quant dmat model solve export
USES_eval        := base par tensor config linalg nn data model
USES_run         := base par tensor config store safetensors linalg nn quant dmat data model solve export layer eval

SRC      = $(sort $(wildcard src/$(1)/*.c))
OBJ      = $(patsubst src/%.c,$(O)/%.o,$(filter-out src/run/main.c,$(call SRC,$(1))))
LIB      = $(O)/lib/libqep_$(1).a
LIBS_OF  = $(foreach m,$(1) $(USES_$(1)),$(call LIB,$(m)))
ALL_LIBS := $(foreach m,$(MODULES),$(call LIB,$(m)))

# --- programs ------------------------------------------------------------------------
.DELETE_ON_ERROR:
.SECONDARY:
SHELL := /bin/sh
.PHONY: all
all: $(O)/qep_mpi   ## build the program (BUILD=release|debug|asan)

$(O)/qep_mpi: $(O)/run/main.o $(ALL_LIBS)
	$(MPICC) $(CFLAGS_ALL) -o $@ $(O)/run/main.o -Wl,--start-group $(ALL_LIBS) -Wl,--end-group $(LIBS) $(LDFLAGS)

$(O)/%.o: src/%.c $(O)/flags
	@mkdir -p $(@D)
	$(MPICC) $(CFLAGS_ALL) -Iinclude -I$(O)/gen $(PKG_CFLAGS) -MMD -MP -c -o $@ $<

$(O)/base/version.o: $(O)/gen/version_gen.h

define LIB_RULE
$(call LIB,$(1)): $(call OBJ,$(1))
	@mkdir -p $$(@D)
	@rm -f $$@
	ar rcs $$@ $$^
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
FORCE:

# --- tests: tests/unit/<module>/test_x.c and tests/mpi/<module>/test_x.c link only what the module may use ---
UNIT_SRC := $(sort $(wildcard tests/unit/*/test_*.c))
MPI_SRC  := $(sort $(wildcard tests/mpi/*/test_*.c))
UNIT_BIN := $(patsubst tests/%.c,$(O)/tests/%,$(UNIT_SRC))
MPI_BIN  := $(patsubst tests/%.c,$(O)/tests/%,$(MPI_SRC))
TEST_CFLAGS := -Wno-missing-prototypes -Wno-conversion -Wno-sign-conversion -Wno-double-promotion
module_of = $(word 2,$(subst /, ,$(1)))

define TEST_RULE
$(O)/tests/$(1): tests/$(1).c $(wildcard tests/support/*.c tests/support/*.h) $(call LIBS_OF,$(call module_of,$(1))) $(sort $(call LIB,safetensors) $(call LIB,tensor) $(call LIB,base))
	@mkdir -p $$(@D)
	$(MPICC) $(CFLAGS_ALL) $(TEST_CFLAGS) -Iinclude -Itests/support $(PKG_CFLAGS) -MMD -MP -o $$@ $$< $$(wildcard tests/support/*.c) \
	  -Wl,--start-group $$(filter %.a,$$^) -Wl,--end-group -lcmocka $(LIBS) $(LDFLAGS)
endef
$(foreach t,$(patsubst tests/%.c,%,$(UNIT_SRC) $(MPI_SRC)),$(eval $(call TEST_RULE,$(t))))

# run one: make test T=unit/quant/test_grid   make test T=mpi/par/test_par NP=3
NP ?= 1
.PHONY: test
test: $(O)/tests/$(T)   ## build and run one test: T=unit/MODULE/test_X [NP=n]
	@tests/support/run_test.sh $(NP) $(O)/tests/$(T)

-include $(wildcard $(O)/*/*.d $(O)/tests/*/*/*.d)
