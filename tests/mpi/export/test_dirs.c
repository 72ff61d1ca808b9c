/* The output directory: what is refused, kills and errors at any moment, resuming, room on the disk.
 * SPDX-License-Identifier: Apache-2.0 */
#include "export_fixture.h"

static const qep_qspec four = {.method = &qep_method_gptq, .bits = 4, .group_size = 32, .zero_min = 1};

static qep_export *planned(const fixture *f)
{
    qep_export *e = NULL;
    assert_ok(qep_export_plan(&f->rq, &e));
    return e;
}

/* Arms (or with NULL disarms) fault injection on all ranks. */
static void arm(const char *spec)
{
    if (spec) setenv("QEP_FAULT", spec, 1);
    else unsetenv("QEP_FAULT");
    qep_fault_init(qep_rank(world));
}

static void rename_in(const char *dir, const char *from, const char *to)
{
    char *a = qep_path_join(dir, from), *b = qep_path_join(dir, to);
    bool ok = !is_root() || rename(a, b) == 0;
    assert_all(world, ok);
    qep_free(a);
    qep_free(b);
}

static void remove_in(const char *dir, const char *name)
{
    char *a = qep_path_join(dir, name);
    root_ok(qep_file_remove(a));
    qep_free(a);
}

static void check_refused(const fixture *f, qep_status want, const char *text)
{
    qep_export *e = planned(f);
    assert_fails(qep_export_check_dir_all(world, e, false, false), want, text);
    qep_export_destroy(&e);
}

static void refused_directories(void **state)
{
    (void)state;
    fixture f = open_fixture(&small, false, four);
    qep_export *e = planned(&f);
    assert_ok(qep_export_check_dir_all(world, e, false, false));
    assert_all(world, !qep_dir_exists(f.out)); /* a dry run makes nothing */
    qep_barrier_all(world);
    assert_ok(qep_export_check_dir_all(world, e, false, true));
    assert_all(world, qep_dir_exists(f.out));
    qep_export_destroy(&e);
    const char *const foreign[] = {"config.json", "model.safetensors", "x.safetensors", "model.safetensors.index.json",
                                   "quantize_config.json"};
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
        put_text(f.out, foreign[i], "{}");
        check_refused(&f, QEP_E_CONFIG, foreign[i]);
        check_refused(&f, QEP_E_CONFIG, "exists: set [output] overwrite = yes or choose another path");
        e = planned(&f);
        assert_ok(qep_export_check_dir_all(world, e, true, false));
        qep_export_destroy(&e);
        remove_in(f.out, foreign[i]);
    }
    put_text(f.out, "notes.txt", "mine");
    put_text(f.out, "model-00001-of-00009.safetensors.partial", "left by a run");
    e = planned(&f);
    assert_ok(qep_export_check_dir_all(world, e, false, false));
    qep_export_destroy(&e);
    f.rq.output_dir = f.source;
    check_refused(&f, QEP_E_CONFIG, "is the model's own directory");
    char *file = qep_path_join(f.out, "notes.txt"), *below = qep_path_join(file, "x");
    f.rq.output_dir = file;
    check_refused(&f, QEP_E_CONFIG, "is a file, not a directory");
    f.rq.output_dir = below;
    e = planned(&f);
    qep_status st = qep_export_check_dir_all(world, e, false, true);
    assert_all(world, st == QEP_E_IO || st == QEP_E_CONFIG);
    qep_export_destroy(&e);
    qep_free(file);
    qep_free(below);
    if (geteuid() == 0) {
        print_message("unwritable directory: skipped, root may write anywhere\n");
    } else {
        if (is_root()) assert_int_equal(chmod(f.out, 0500), 0);
        f.rq.output_dir = f.out;
        check_refused(&f, QEP_E_IO, "cannot write to");
        qep_barrier_all(world);
        if (is_root()) assert_int_equal(chmod(f.out, 0700), 0);
    }
    close_fixture(&f);
}

/* The former output stays as it is until the new one is complete, whatever goes wrong. */
static void former_output_untouched(void **state)
{
    (void)state;
    fixture f = open_fixture(&small, true, four);
    put_text(f.source, "tokenizer.json", "{\"a\": 1}");
    f.rq.shard_bytes = 1 << 20; /* one file: model.safetensors */
    assert_ok(write_output(&f, false, false, false));
    const char *const names[] = {"model.safetensors", "config.json", "quantize_config.json", "tokenizer.json"};
    uint64_t before[4];
    for (int i = 0; i < 4; i++) before[i] = file_hash(f.out, names[i]);
    put_text(f.out, "qep_mpi.log", "a log");
    f.rq.meta_json = NULL;
    f.linears[3].spec.bits = 8;
    put_text(f.source, "tokenizer.json", "{\"b\": 2}");
    char last_write[64];
    snprintf(last_write, sizeof last_write, "safetensors.write:3@%d", qep_size(world) - 1);
    const struct {
        const char *fault;
        qep_status want;
    } cases[] = {{"safetensors.create:1", QEP_E_RESOURCE}, {last_write, QEP_E_IO},     {"safetensors.read:1", QEP_E_IO},
                 {"file.write:1", QEP_E_IO},               {"file.write:2", QEP_E_IO}, {"export.side:1", QEP_E_IO},
                 {"export.rename:1", QEP_E_IO},            {"export.rename:2", QEP_E_IO},
                 {"export.rename:4", QEP_E_IO},            {"export.rename:5", QEP_E_IO}, /* 4 step aside, then 4 are renamed */
                 {"export.rename:6", QEP_E_IO},            {"export.rename:7", QEP_E_IO}, {"export.rename:8", QEP_E_IO}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        arm(cases[k].fault);
        qep_status st = write_output(&f, true, false, false);
        arm(NULL);
        if (st != cases[k].want) fail_msg("%s: status %d (%s)", cases[k].fault, (int)st, qep_error_text());
        for (int i = 0; i < 4; i++) assert_all(world, file_hash(f.out, names[i]) == before[i]);
        check_digest(&(fixture){.n_linears = 0}, f.source); /* nothing but a sound dense model there */
    }
    /* and then it works, with other files: the old weights go, the log stays */
    f.rq.shard_bytes = 40000;
    qep_export *e = planned(&f);
    assert_ok(qep_export_discard_all(world, e));
    qep_export_destroy(&e);
    assert_ok(write_output(&f, true, false, false));
    check_digest(&f, f.out);
    assert_all(world, !has_file(f.out, "model.safetensors") && has_file(f.out, "model.safetensors.index.json"));
    assert_all(world, has_file(f.out, "qep_mpi.log"));
    assert_all(world, file_hash(f.out, "tokenizer.json") == file_hash(f.source, "tokenizer.json"));
    /* dense over it: nothing may say quantized any more */
    f.rq.format = "dense";
    f.rq.shard_bytes = 1 << 20;
    assert_ok(write_output(&f, true, false, false));
    assert_all(world, !has_file(f.out, "model.safetensors.index.json") && !has_file(f.out, "quantize_config.json"));
    assert_all(world, has_file(f.out, "model.safetensors") && !has_file(f.out, "model-00001-of-00003.safetensors"));
    check_digest(&(fixture){.n_linears = 0}, f.out);
    close_fixture(&f);
}

/* What a kill in the middle of publishing leaves: the first n shards have their final names. */
static void publish_shards(fixture *f, int files, int n)
{
    qep_export *e = planned(f);
    for (int i = 0; i < files && i < n && qep_rank(world) == 0; i++) {
        char *path = qep_path_join(f->out, qep_st_layout_file(qep_export_layout(e), i));
        char *partial = qep_strf("test", "%s.partial", path);
        if (rename(partial, path) != 0) fprintf(stderr, "cannot rename %s\n", partial);
        qep_free(partial);
        qep_free(path);
    }
    qep_barrier_all(world);
    qep_export_destroy(&e);
}

/* Ended between any two renames, the same command goes on and finishes. */
static void killed_between_renames(void **state)
{
    (void)state;
    fixture f = open_fixture(&small, true, four);
    put_text(f.source, "tokenizer.json", "{}");
    qep_export *e = planned(&f);
    int files = qep_st_layout_n_files(qep_export_layout(e));
    assert_true(files > 2);
    qep_export_destroy(&e);
    for (int k = 1; k <= files + 5; k++) { /* shards, index, quantize_config, checksums, tokenizer, config */
        char spec[32];
        snprintf(spec, sizeof spec, "export.rename:%d", k);
        arm(spec);
        assert_fails(write_output(&f, false, false, false), QEP_E_IO, "cannot rename");
        arm(NULL);
        assert_all(world, !has_file(f.out, "config.json"));
        assert_all(world, !has_file(f.out, "model-00001-of-00003.safetensors")); /* a failure is taken back */
        publish_shards(&f, files, k - 1);                                         /* a kill would not have been */
        assert_ok(write_output(&f, false, true, false));
        check_digest(&f, f.out);
        remove_in(f.out, "config.json");
        remove_in(f.out, "quantize_config.json");
        remove_in(f.out, "model.safetensors.index.json");
        remove_in(f.out, "qep_mpi.json");
        remove_in(f.out, "tokenizer.json");
        e = planned(&f);
        for (int i = 0; i < files; i++) remove_in(f.out, qep_st_layout_file(qep_export_layout(e), i));
        qep_export_destroy(&e);
    }
    close_fixture(&f);
}

/* Killed in the middle of publishing, then started anew: the directory is clean again. */
static void killed_then_anew(void **state)
{
    (void)state;
    fixture f = open_fixture(&small, true, four);
    put_text(f.source, "tokenizer.json", "{}");
    arm("export.rename:5");
    assert_fails(write_output(&f, false, false, false), QEP_E_IO, "cannot rename");
    arm(NULL);
    qep_export *e = planned(&f);
    assert_ok(qep_export_check_dir_all(world, e, false, true));
    assert_ok(qep_export_discard_all(world, e));
    assert_ok(qep_export_check_dir_all(world, e, false, true));
    for (int i = 0; i < qep_st_layout_n_files(qep_export_layout(e)); i++)
        assert_all(world, !has_file(f.out, qep_st_layout_file(qep_export_layout(e), i)));
    assert_all(world, !has_file(f.out, "config.json.partial") && !has_file(f.out, "tokenizer.json.partial"));
    qep_export_destroy(&e);
    assert_ok(write_output(&f, false, false, false));
    check_digest(&f, f.out);
    close_fixture(&f);
}

/* A whole publishing was done, but the run ended before it knew: names are given back. */
static void resumed_after_publishing(void **state)
{
    (void)state;
    fixture f = open_fixture(&small, false, four);
    assert_ok(write_output(&f, false, false, false));
    qep_export *e = planned(&f);
    const char *first = qep_st_layout_file(qep_export_layout(e), 0);
    char partial[80];
    snprintf(partial, sizeof partial, "%s.partial", first);
    rename_in(f.out, first, partial);
    qep_barrier_all(world);
    assert_ok(qep_export_open_all(world, e, true));
    assert_all(world, !has_file(f.out, first));
    assert_ok(qep_export_publish_all(world, e));
    check_digest(&f, f.out);
    qep_export_destroy(&e);
    close_fixture(&f);
}

static void resume_refused(void **state)
{
    (void)state;
    fixture f = open_fixture(&small, false, four);
    qep_export *e = planned(&f);
    assert_ok(qep_export_check_dir_all(world, e, false, true));
    assert_fails(qep_export_open_all(world, e, true), QEP_E_CHECKPOINT, "are missing, cut short or belong to another run");
    assert_ok(qep_export_open_all(world, e, false));
    qep_export_destroy(&e);
    f.linears[3].spec.bits = 8; /* another plan */
    e = planned(&f);
    assert_fails(qep_export_open_all(world, e, true), QEP_E_CHECKPOINT, "--restart no");
    assert_ok(qep_export_discard_all(world, e));
    assert_all(world, !has_file(f.out, "model-00001-of-00003.safetensors.partial"));
    /* a file of the same name that is not ours is not taken */
    put_text(f.out, qep_st_layout_file(qep_export_layout(e), 0), "not safetensors");
    assert_fails(qep_export_open_all(world, e, true), QEP_E_CHECKPOINT, "belong to another run");
    assert_all(world, has_file(f.out, qep_st_layout_file(qep_export_layout(e), 0)));
    qep_export_destroy(&e);
    close_fixture(&f);
}

/* --- a small file system of its own --------------------------------------------------------------------------- */

static bool mount_small(const char *dir, const char *size)
{
    char command[512];
    int64_t ok = 0;
    if (is_root() && geteuid() == 0 && qep_dir_make(dir) == QEP_OK) {
        snprintf(command, sizeof command, "mount -t tmpfs -o size=%s qep_test '%s' 2>/dev/null", size, dir);
        ok = system(command) == 0;
    }
    qep_max_i64_all(world, &ok, 1);
    return ok;
}

static void unmount(const char *dir)
{
    char command[512];
    qep_barrier_all(world);
    snprintf(command, sizeof command, "umount '%s'", dir);
    bool ok = !is_root() || system(command) == 0;
    assert_all(world, ok);
}

static void full_disk(void **state)
{
    (void)state;
    fixture f = open_fixture(&small, true, four);
    if (!mount_small(f.out, "256k")) {
        print_message("full disk: skipped, a small file system cannot be mounted here\n");
        close_fixture(&f);
        skip();
    }
    qep_export *e = planned(&f);
    int64_t need = qep_export_disk_bytes(e);
    assert_true(need < 200000);
    assert_ok(qep_export_check_dir_all(world, e, false, true));
    /* the weights fit, a side file does not: seen before the work, and as an error of publishing */
    assert_ok(qep_export_open_all(world, e, false));
    assert_ok(qep_export_copy_all(world, e));
    char *big = qep_alloc("test", 300000, 1);
    memset(big, 'x', 299999);
    put_text(f.source, "tokenizer.json", big);
    qep_free(big);
    assert_fails(qep_export_check_dir_all(world, e, false, true), QEP_E_RESOURCE, "free space");
    assert_fails(qep_export_publish_all(world, e), QEP_E_RESOURCE, "tokenizer.json.partial");
    assert_all(world, !has_file(f.out, "config.json"));
    assert_ok(qep_export_discard_all(world, e));
    remove_in(f.source, "tokenizer.json");
    /* what our own .partial files occupy counts as free */
    assert_ok(qep_export_open_all(world, e, false));
    put_text(f.out, "fill", "");
    char command[512];
    snprintf(command, sizeof command, "head -c 60000 /dev/zero > '%s/fill'", f.out);
    bool filled = !is_root() || system(command) == 0;
    assert_all(world, filled);
    assert_ok(qep_export_check_dir_all(world, e, false, true));
    assert_ok(qep_export_discard_all(world, e));
    qep_export_destroy(&e);
    /* the plan is larger than what is left: 256k - 60k */
    f.rq.format = "dense";
    e = planned(&f);
    assert_true(qep_export_disk_bytes(e) > 200000);
    assert_fails(qep_export_check_dir_all(world, e, false, true), QEP_E_RESOURCE, "are free on its file system");
    assert_fails(qep_export_open_all(world, e, false), QEP_E_RESOURCE, "no space for");
    qep_export_destroy(&e);
    unmount(f.out);
    close_fixture(&f);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(refused_directories), cmocka_unit_test(former_output_untouched), cmocka_unit_test(killed_between_renames),
    cmocka_unit_test(killed_then_anew),    cmocka_unit_test(resumed_after_publishing), cmocka_unit_test(resume_refused),
    cmocka_unit_test(full_disk),
};

QEP_TEST_MAIN_MPI(tests)
