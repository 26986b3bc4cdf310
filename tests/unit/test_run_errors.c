// What a run refuses, says, and leaves behind when it cannot go on: wrong options, a loss that is
// no number, damaged checkpoints, a lock, a folder that cannot be written.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "tiny_run.h"
#include "train/checkpoint.h"
#include "sgatlin_train.h"

static void must(sg_status status, const sg_error *err)
{
    if (status != SG_OK) fail_msg("%s: %s", sg_status_name(status), err->message);
}

static void expect(const tiny_life *life, sg_status status, const char *words)
{
    if (life->status != status || strstr(life->err.message, words) == NULL)
        fail_msg("found %s: %s\nexpected %s: … %s …", sg_status_name(life->status),
                 life->err.message, sg_status_name(status), words);
}

// ---- refused options --------------------------------------------------------------------------

// Asserts that a run is refused before anything is written.
static void refused(const sg_train_options *options, const char *data, sg_status status,
                    const char *words)
{
    memory_fs *fs = tiny_disk();
    int64_t used = memory_fs_used(fs);
    tiny_life life = {.data = data};
    tiny_train(&life, "/run", options);
    expect(&life, status, words);
    assert_int_equal(memory_fs_used(fs), used);
    assert_false(sg_path_exists("/run"));
    assert_int_equal(life.events[SG_EVENT_START], 0);
    tiny_disk_free(fs);
}

static void test_refused(void **state)
{
    (void)state;
    sg_train_options o = tiny_options("sgatlin");
    const sg_train_options good = o;
    refused(&good, "/nowhere", SG_ERR_NOT_FOUND, "/nowhere");
#define REFUSED(change, status, words)                                                             \
    do {                                                                                           \
        o = good;                                                                                  \
        change;                                                                                    \
        refused(&o, NULL, status, words);                                                          \
    } while (0)
    REFUSED(o.config.max_position_embeddings = 32, SG_ERR_MISMATCH, "--seq-len 16");
    REFUSED(memcpy(o.optimizer_rows, "most", 5), SG_ERR_ARGUMENT,
            "optimizer-rows: found \"most\", expected one of exact, lazy, auto");
    REFUSED(o.config.vocab_size = 999, SG_ERR_MISMATCH, "the run is to have 999");
    REFUSED(o.steps = 0, SG_ERR_ARGUMENT, "found 0 budgets");
    REFUSED(o.tokens = 5000, SG_ERR_ARGUMENT, "found 2 budgets");
    REFUSED((o.steps = 0, o.tokens = 63), SG_ERR_ARGUMENT, "tokens: the budget buys 0 steps");
    REFUSED((o.steps = 0, o.epochs = 1e-6), SG_ERR_ARGUMENT, "epochs: the budget buys 0 steps");
    REFUSED((o.steps = 0, o.flops = NAN), SG_ERR_ARGUMENT, "flops: found nan");
    REFUSED(o.steps = INT64_MAX, SG_ERR_ARGUMENT, "steps: found");
    REFUSED(o.checkpoint_minutes = -1, SG_ERR_ARGUMENT, "checkpoint-minutes: found -1");
    REFUSED(o.grad_accum = 3, SG_ERR_ARGUMENT, "grad-accum: found 3, expected a divisor");
    REFUSED(o.grad_accum = 0, SG_ERR_ARGUMENT, "grad-accum");
    REFUSED(o.batch_size = 0, SG_ERR_ARGUMENT, "batch-size: found 0");
    REFUSED((o.warmup_share = 1, o.warmup_steps = -1), SG_ERR_ARGUMENT, "warmup-steps: found -1");
    REFUSED((o.warmup_share = 1, o.warmup_steps = 11), SG_ERR_ARGUMENT, "do not fit into 12 steps");
    REFUSED((o.warmup_share = 1, o.warmup_steps = 100), SG_ERR_ARGUMENT,
            "warmup-steps: found 100, expected 0 to 12 steps");
    REFUSED(o.warmup_share = 1.5, SG_ERR_ARGUMENT, "warmup-share: found 1.5");
    REFUSED(o.decay_fraction = NAN, SG_ERR_ARGUMENT, "decay-fraction");
    REFUSED(o.lr = NAN, SG_ERR_ARGUMENT, "lr: found");
    REFUSED(o.lr = -1, SG_ERR_ARGUMENT, "lr: found -1");
    REFUSED(o.beta2 = 1, SG_ERR_ARGUMENT, "beta2");
    REFUSED(o.clip = INFINITY, SG_ERR_ARGUMENT, "clip");
    REFUSED(o.keep_last = 0, SG_ERR_ARGUMENT, "keep-last");
    REFUSED(o.checkpoint_every = -1, SG_ERR_ARGUMENT, "checkpoint-every");
    REFUSED(strcpy(o.schedule, "stairs"), SG_ERR_ARGUMENT, "found \"stairs\"");
    REFUSED(strcpy(o.config.ffn, "sparse"), SG_ERR_ARGUMENT, "sparse");
    REFUSED(strcpy(o.sample_prompt, "The \xff"), SG_ERR_ARGUMENT, "sample-prompt");
    REFUSED(strcpy(o.sample_prompt, "once upon a time there was a dog that was not in a lake"),
            SG_ERR_ARGUMENT, "expected at most 14");
#undef REFUSED
}

static void test_folder_is_taken(void **state)
{
    (void)state;
    static const char *const names[] = {
        "run.json",       "summary.json",      "config.json",
        "tokenizer.json", "model.safetensors", "model.safetensors.index.json",
        "data.json",      "metrics.jsonl",     ".incoming"};
    sg_train_options options = tiny_options("mlp");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        memory_fs *fs = tiny_disk();
        char path[64];
        sg_error err;
        snprintf(path, sizeof path, "/run/%s", names[i]);
        must(sg_folder_make("/run", &err), &err);
        must(sg_file_write_atomic("/run/notes.txt", "hello", 5, &err), &err);
        must(sg_file_write_atomic(path, "{}", 2, &err), &err);
        int64_t used = memory_fs_used(fs);
        tiny_life life = {0};
        tiny_train(&life, "/run", &options);
        expect(&life, SG_ERR_ARGUMENT, i ? "would replace" : "--resume /run");
        assert_int_equal(memory_fs_used(fs), used);
        // Other things in the folder are nobody's business.
        must(sg_path_remove(path, &err), &err);
        options.steps = 3;
        options.warmup_steps = 0;
        tiny_must(&life, "/run", &options);
        assert_true(sg_path_exists("/run/notes.txt"));
        tiny_disk_free(fs);
    }
}

static void test_resume_refused(void **state)
{
    (void)state;
    memory_fs *fs = tiny_disk();
    sg_error err;
    sg_train_options options = tiny_options("mlp");
    tiny_life life = {.stop_at = 4};
    tiny_train(&life, "/nothing", NULL);
    expect(&life, SG_ERR_NOT_FOUND, "/nothing: holds no run");
    assert_int_equal(tiny_train(&life, "/run", &options), SG_ERR_STOPPED);
    // Data of the same tokenizer, but other rows.
    life.data = TINY_PAD;
    tiny_train(&life, "/run", NULL);
    expect(&life, SG_ERR_MISMATCH, "the run began with");
    life.data = "/nowhere";
    tiny_train(&life, "/run", NULL);
    expect(&life, SG_ERR_NOT_FOUND, "/nowhere");
    // The same data, moved.
    must(sg_path_rename(TINY_CONCAT, "/moved", &err), &err);
    life.data = NULL;
    tiny_train(&life, "/run", NULL);
    expect(&life, SG_ERR_NOT_FOUND, TINY_CONCAT);
    life.data = "/moved";
    life.stop_at = 0;
    tiny_must(&life, "/run", NULL);

    must(sg_path_rename("/moved", TINY_CONCAT, &err), &err);
    life.data = NULL;
    static const char *const broken[] = {"", "{", "[]", "{}", "{\"options\": {\"seed\": \"x\"}}"};
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        must(sg_file_write_atomic("/run/run.json", broken[i], strlen(broken[i]), &err), &err);
        tiny_train(&life, "/run", NULL);
        expect(&life, SG_ERR_FORMAT, "/run/run.json");
    }
    tiny_disk_free(fs);
}

static void test_lock(void **state)
{
    (void)state;
    memory_fs *fs = tiny_disk();
    sg_error err;
    sg_run_lock *lock;
    sg_train_options options = tiny_options("mlp");
    tiny_life life = {.stop_at = 4};
    must(sg_folder_make("/run", &err), &err);
    must(sg_run_lock_take("/run", &lock, &err), &err);
    tiny_train(&life, "/run", &options);
    expect(&life, SG_ERR_IO, "another process is working on this: sgatlin, process ");
    assert_false(sg_path_exists("/run/run.json"));
    sg_run_lock_release(lock);
    assert_int_equal(tiny_train(&life, "/run", &options), SG_ERR_STOPPED);
    must(sg_run_lock_take("/run", &lock, &err), &err);
    tiny_train(&life, "/run", NULL);
    expect(&life, SG_ERR_IO, "another process is working on this: sgatlin, process ");
    sg_run_lock_release(lock);
    life.stop_at = 0;
    tiny_must(&life, "/run", NULL);
    tiny_disk_free(fs);
}

// ---- numbers ----------------------------------------------------------------------------------

static void test_not_a_number(void **state)
{
    (void)state;
    memory_fs *fs = tiny_disk();
    sg_train_options options = tiny_options("mlp");
    options.lr = 1e3;
    options.clip = options.spike_limit = 0;
    options.weight_decay = 1e3; // weights grow a millionfold a step
    options.warmup_steps = 6;   // but not before there are checkpoints
    options.steps = 200;
    options.checkpoint_every = 1;
    options.eval_every = options.sample_every = 0;
    tiny_life life = {0};
    tiny_train(&life, "/run", &options);
    char words[64];
    snprintf(words, sizeof words, "step %d: the loss is", (int)life.last_step + 1);
    expect(&life, SG_ERR_NUMERIC, words);
    assert_true(life.last_step >= 1 && life.last_step < 200);
    assert_non_null(strstr(life.err.message, "lower --lr"));
    sg_checkpoint *checkpoint;
    must(sg_checkpoint_find_latest("/run", NULL, &checkpoint, &life.err), &life.err);
    assert_int_equal(sg_checkpoint_step(checkpoint), life.last_step);
    sg_checkpoint_close(checkpoint);
    tiny_train(&life, "/run", NULL); // it is there again, at the same step
    expect(&life, SG_ERR_NUMERIC, words);
    assert_int_equal(life.resumed_from, life.last_step);
    tiny_disk_free(fs);
}

static void test_spikes(void **state)
{
    (void)state;
    memory_fs *fs = tiny_disk();
    sg_train_options options = tiny_options("mlp");
    // A step far too large spoils the weights; every loss after it is a spike.
    options.lr = 100;
    options.clip = 0;
    options.spike_limit = 2;
    options.steps = 100;
    options.sample_every = 0;
    tiny_life life = {0};
    tiny_train(&life, "/run", &options);
    expect(&life, SG_ERR_NUMERIC, "for the 11th time in a row");
    assert_int_equal(life.warnings, 10);
    assert_non_null(strstr(life.log, "this update is skipped"));
    // A loss that only now and then is above the limit: the run goes on, and counts.
    options = tiny_options("mlp");
    options.spike_limit = 0.02;
    options.warmup_steps = 9;
    options.lr = 1e-3;
    tiny_must(&life, "/jumpy", &options);
    assert_true(life.result.skipped_updates > 0 && life.result.skipped_updates < TINY_STEPS);
    assert_int_equal(life.result.skipped_updates, life.warnings);
    tiny_disk_free(fs);
}

// ---- damage -----------------------------------------------------------------------------------

typedef enum damage { DAMAGE_FLIP, DAMAGE_TRUNCATE, DAMAGE_DELETE, DAMAGE_KINDS } damage;

static void spoil(memory_fs *fs, const char *path, damage kind, int place)
{
    size_t bytes;
    sg_error err;
    unsigned char *data = memory_fs_bytes(fs, path, &bytes);
    assert_non_null(data);
    if (kind == DAMAGE_FLIP) data[bytes * (size_t)place / 4 - (place == 4)] ^= 0x04;
    if (kind == DAMAGE_TRUNCATE) memory_fs_resize(fs, path, bytes * (size_t)place / 5);
    if (kind == DAMAGE_DELETE) must(sg_path_remove(path, &err), &err);
}

static const char *const files[] = {"model.safetensors", "optimizer.safetensors", "config.json",
                                    "tokenizer.json", "manifest.json"};
enum { file_count = sizeof files / sizeof *files };

// A run stopped after step 8, with checkpoints of steps 6 and 8.
static memory_fs *stopped(void)
{
    memory_fs *fs = tiny_disk();
    sg_train_options options = tiny_options("sgatlin");
    options.eval_every = 0;
    tiny_life life = {.stop_at = 8};
    assert_int_equal(tiny_train(&life, "/run", &options), SG_ERR_STOPPED);
    char names[256];
    tiny_names("/run/checkpoints", names, sizeof names);
    assert_string_equal(names, "step-6 step-8");
    return fs;
}

static void test_damaged(void **state)
{
    (void)state;
    memory_fs *base = stopped();
    tiny_life life = {0};
    tiny_must(&life, "/run", NULL);
    tiny_end expected = tiny_end_of("/run");
    tiny_disk_free(base);
    base = stopped();
    for (int kind = 0; kind < DAMAGE_KINDS; kind++)
        for (int file = 0; file < file_count; file++)
            for (int place = 0; place < (kind == DAMAGE_DELETE ? 1 : 5); place++) {
                memory_fs *fs = memory_fs_clone(base);
                tiny_use(fs);
                char path[128], where[160];
                snprintf(path, sizeof path, "/run/checkpoints/step-8/%s", files[file]);
                snprintf(where, sizeof where, "%s: damage %d at %d", path, kind, place);
                spoil(fs, path, (damage)kind, place);
                tiny_must(&life, "/run", NULL);
                if (life.resumed_from != 6 || life.warnings != 1 ||
                    strstr(life.log, "checkpoint of step 8 is not usable") == NULL ||
                    strstr(life.log, path) == NULL)
                    fail_msg("%s: resumed from %d, saying: %s", where, (int)life.resumed_from,
                             life.log);
                tiny_end end = tiny_end_of("/run");
                tiny_same(&end, &expected, where);
                tiny_end_free(&end);
                tiny_disk_free(fs);
            }
    // Both: nothing is begun anew behind one's back, and nothing is removed.
    for (int file = 0; file < file_count; file++) {
        memory_fs *fs = memory_fs_clone(base);
        tiny_use(fs);
        for (int step = 6; step <= 8; step += 2) {
            char path[128];
            snprintf(path, sizeof path, "/run/checkpoints/step-%d/%s", step, files[file]);
            spoil(fs, path, DAMAGE_FLIP, 2);
        }
        int64_t used = memory_fs_used(fs);
        tiny_train(&life, "/run", NULL);
        expect(&life, SG_ERR_FORMAT, "none of 2 checkpoints is usable");
        assert_int_equal(life.warnings, 2);
        assert_int_equal(memory_fs_used(fs), used);
        assert_int_equal(life.events[SG_EVENT_START], 0);
        tiny_disk_free(fs);
    }
    tiny_use(base);
    tiny_disk_free(base);
    tiny_end_free(&expected);
}

// A damaged checkpoint that is newer than where the run is now is written over, not believed.
static void test_damage_is_overtaken(void **state)
{
    (void)state;
    memory_fs *fs = stopped();
    spoil(fs, "/run/checkpoints/step-8/model.safetensors", DAMAGE_FLIP, 3);
    tiny_life life = {.stop_at = 7};
    assert_int_equal(tiny_train(&life, "/run", NULL), SG_ERR_STOPPED);
    assert_int_equal(life.resumed_from, 6);
    life.stop_at = 0;
    tiny_must(&life, "/run", NULL);
    assert_int_equal(life.resumed_from, 7);
    char names[256];
    tiny_names("/run/checkpoints", names, sizeof names);
    assert_string_equal(names, "step-12 step-9");
    tiny_disk_free(fs);
}

static void test_unwritable(void **state)
{
    (void)state;
    sg_error err;
    sg_train_options options = tiny_options("mlp");
    memory_fs *fs = tiny_disk();
    must(sg_file_write_atomic("/file", "x", 1, &err), &err);
    tiny_life life = {0};
    tiny_train(&life, "/file", &options); // no folder, and cannot become one
    expect(&life, SG_ERR_IO, "/file");
    tiny_train(&life, "/file/run", &options);
    expect(&life, SG_ERR_NOT_FOUND, "/file/run: cannot make the folder: Not a directory");
    tiny_disk_free(fs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused),        cmocka_unit_test(test_folder_is_taken),
        cmocka_unit_test(test_resume_refused), cmocka_unit_test(test_lock),
        cmocka_unit_test(test_not_a_number),   cmocka_unit_test(test_spikes),
        cmocka_unit_test(test_damaged),        cmocka_unit_test(test_damage_is_overtaken),
        cmocka_unit_test(test_unwritable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
