# make bench, included by the Makefile: the benchmark of the parts, and the generator of random models.
# make bench [NP=ranks] [BENCH_ARGS="--preset 7b --threads 4"]; threads per rank: --threads or OMP_NUM_THREADS.
# SPDX-License-Identifier: Apache-2.0
BENCH_DIR    := $(O)/tests/bench
BENCH_PARTS  := bench_parts options table machine noise part_kernels part_streams part_solve part_quantize part_transforms part_output part_files part_text
BENCH_OBJ    := $(BENCH_PARTS:%=$(BENCH_DIR)/%.o)
BENCH_MODEL  := $(BENCH_DIR)/tiny_model.o
BENCH_CFLAGS := -Iinclude -Itests/support $(PKG_CFLAGS) -MMD -MP
BENCH_ARGS   ?=

$(BENCH_OBJ) $(BENCH_DIR)/make_model.o: $(BENCH_DIR)/%.o: tests/bench/%.c $(O)/flags
	@mkdir -p $(@D)
	$(call say,cc   $<) $(MPICC) $(CFLAGS_ALL) $(BENCH_CFLAGS) -c -o $@ $<
$(BENCH_MODEL): tests/support/tiny_model.c $(O)/flags
	@mkdir -p $(@D)
	$(call say,cc   $<) $(MPICC) $(CFLAGS_ALL) $(TEST_CFLAGS) $(BENCH_CFLAGS) -c -o $@ $<

BENCH_LINK = $(MPICC) $(CFLAGS_ALL) -o $@ $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(LIBS) $(LDFLAGS)
$(BENCH_DIR)/bench_parts: $(BENCH_OBJ) $(BENCH_MODEL) $(ALL_LIBS)
	$(call say,link $@) $(BENCH_LINK)
$(BENCH_DIR)/make_model: $(BENCH_DIR)/make_model.o $(BENCH_MODEL) $(call LIB,safetensors) $(call LIB,tensor) $(call LIB,base)
	$(call say,link $@) $(BENCH_LINK)

.PHONY: bench bench-programs
bench-programs: $(BENCH_DIR)/bench_parts $(BENCH_DIR)/make_model
bench: bench-programs   ## time each part against the machine's ceilings [NP=n BENCH_ARGS="--preset 7b"]
	@tests/bench/run_bench.sh $(NP) $(BENCH_DIR)/bench_parts $(BENCH_ARGS)

.PHONY: block
block: all bench-programs   ## a run on three blocks, by phases, against the floor of its flops [RUNS="1x2 2x1" TYPES="f32 bf16"]
	@tests/bench/block.sh $(O)/qep_mpi $(BENCH_DIR)/bench_parts $(BENCH_DIR)/make_model

.PHONY: versus
versus: all bench-programs   ## QEP+GPTQ against the code of the paper's authors, PUBLISHED=folder of its llama.py (makes a Python environment with torch)
	@tests/bench/versus.sh $(O)/qep_mpi $(BENCH_DIR)/make_model '$(PUBLISHED)'

.PHONY: scaling
SCALING ?=
scaling:   ## the plan for 64 to 4,096 ranks against SimGrid, which it installs [SCALING="7b:64:8 70b:512:64"]
	@command -v smpirun >/dev/null 2>&1 || MPI='$(MPI)' ALSO=libsimgrid-dev tests/support/deps.sh
	@$(AGAIN) all bench-programs
	@tests/bench/scaling.sh $(O)/qep_mpi $(BENCH_DIR)/make_model $(SCALING)
