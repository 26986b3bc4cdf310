// The promise of checkpoints, model folders and atomic files: whatever moment the power goes, the
// old state or the new one is found whole, and the new one for certain once the call has returned.
// Every scenario below is cut at every one of its file operations and looked at in every way the
// disk may come back; then with each operation failing, and on disks of every size.
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/publish.h"
#include "format/json.h"
#include "format/jsonl_log.h"
#include "memory_fs.h"
#include "train/checkpoint.h"

// Mixed crashes looked at for each operation; SG_CRASH_ROUNDS asks for more.
static uint64_t mixed_seeds = 3;

typedef struct scenario {
    const char *name;
    void (*before)(void);          // makes the old state; must succeed
    sg_status (*act)(sg_error *e); // goes to the new state; what is under test
    int (*look)(void);             // 0: the old state, whole; 1: the new one; fails otherwise
} scenario;

static char where[200]; // for messages

static void must(sg_status status, const sg_error *err)
{
    if (status != SG_OK) fail_msg("%s: %s", where, err->message);
}

// ---- contents ---------------------------------------------------------------------------------

enum { weights = 70, pool = 69000 };

// How much of the pool is saved: little, or more than fits a write buffer.
static int pool_rows = 3;

typedef struct content {
    float w[weights], m[weights];
    uint8_t odd[3];
    char config[64];
    float pool[pool];
    sg_tensor_view model[3], optimizer[1];
} content;

// Everything in it depends on `version`.
static const content *content_of(int version)
{
    static content all[8];
    content *c = &all[version];
    for (int i = 0; i < weights; i++) {
        c->w[i] = (float)(i + 1) / (float)(version + 3);
        c->m[i] = (float)(version * 1000 + i);
    }
    for (int i = 0; i < pool && c->pool[pool - 1] == 0; i++)
        c->pool[i] = (float)(i % 97 + version + 1);
    memset(c->odd, 17 + version, sizeof c->odd);
    snprintf(c->config, sizeof c->config, "{\"version\": %d}", version);
    c->model[0] = sg_tensor_view_make("odd", SG_DTYPE_U8, 1, (int64_t[]){3}, c->odd);
    c->model[1] = sg_tensor_view_make("w", SG_DTYPE_F32, 2, (int64_t[]){7, 10}, c->w);
    c->model[2] =
        sg_tensor_view_make("pool", SG_DTYPE_F32, 2, (int64_t[]){pool_rows, 300}, c->pool);
    c->optimizer[0] = sg_tensor_view_make("w.m", SG_DTYPE_F32, 1, (int64_t[]){weights}, c->m);
    return c;
}

static bool same_tensors(const sg_safetensors *file, const sg_tensor_view *views, size_t count)
{
    if (sg_safetensors_count(file) != count) return false;
    for (size_t i = 0; i < count; i++) {
        const sg_tensor_view *found = sg_safetensors_find(file, views[i].name);
        if (found == NULL || found->bytes != views[i].bytes ||
            memcmp(found->data, views[i].data, found->bytes) != 0)
            return false;
    }
    return true;
}

// ---- checkpoints ------------------------------------------------------------------------------

static sg_status save_step(int64_t step, int version, sg_error *err)
{
    const content *c = content_of(version);
    sg_tensor_group groups[] = {{"model.safetensors", c->model, 3},
                                {"optimizer.safetensors", c->optimizer, 1}};
    sg_named_bytes file = {"config.json", c->config, strlen(c->config)};
    sg_json_setup();
    json_t *state = json_pack("{s:i, s:f}", "version", version, "lr", 0.1 / (version + 3));
    sg_checkpoint_content all = {step, groups, 2, &file, 1, state};
    sg_status status = sg_checkpoint_save("/run", &all, err);
    json_decref(state);
    return status;
}

// The version of an open checkpoint; fails unless every bit of it is of that version.
static int checkpoint_version(const sg_checkpoint *checkpoint)
{
    sg_error err;
    json_t *state = sg_checkpoint_state(checkpoint);
    int version = (int)json_integer_value(json_object_get(state, "version"));
    const content *c = content_of(version);
    assert_true(json_real_value(json_object_get(state, "lr")) == 0.1 / (version + 3));
    const sg_safetensors *group;
    must(sg_checkpoint_group(checkpoint, "model.safetensors", &group, &err), &err);
    assert_true(same_tensors(group, c->model, 3));
    must(sg_checkpoint_group(checkpoint, "optimizer.safetensors", &group, &err), &err);
    assert_true(same_tensors(group, c->optimizer, 1));
    char *text;
    size_t bytes;
    must(sg_checkpoint_file(checkpoint, "config.json", &text, &bytes, &err), &err);
    assert_string_equal(text, c->config);
    sg_free(text);
    return version;
}

static int64_t latest(int *version)
{
    sg_error err;
    sg_checkpoint *checkpoint;
    sg_status status = sg_checkpoint_find_latest("/run", NULL, &checkpoint, &err);
    if (status == SG_ERR_NOT_FOUND) return -1;
    must(status, &err);
    int64_t step = sg_checkpoint_step(checkpoint);
    *version = checkpoint_version(checkpoint);
    sg_checkpoint_close(checkpoint);
    return step;
}

static void make_run(void)
{
    sg_error err;
    must(sg_folder_make("/run", &err), &err);
}

// With files of several writes.
static void before_large(void)
{
    sg_error err;
    pool_rows = 230;
    make_run();
    must(save_step(9, 0, &err), &err);
}

static void before_second(void)
{
    sg_error err;
    make_run();
    must(save_step(9, 0, &err), &err);
}

static sg_status act_second(sg_error *err)
{
    return save_step(10, 1, err);
}

static int look_second(void)
{
    int version = -1;
    int64_t step = latest(&version);
    if (step != 9 + version) fail_msg("%s: step %d, version %d", where, (int)step, version);
    return version;
}

static int look_first(void)
{
    int version = -1;
    int64_t step = latest(&version);
    if (step >= 0 && (step != 10 || version != 1)) fail_msg("%s: step %d", where, (int)step);
    return step >= 0;
}

static void before_replaced(void)
{
    sg_error err;
    make_run();
    must(save_step(10, 0, &err), &err);
}

static int look_replaced(void)
{
    int version = -1;
    if (latest(&version) != 10) fail_msg("%s: the step is lost", where);
    return version;
}

// Saves and prunes as a training loop does.
static void before_pruned(void)
{
    sg_error err;
    make_run();
    for (int i = 0; i < 4; i++)
        must(save_step(7 + i, i, &err), &err);
}

static sg_status act_pruned(sg_error *err)
{
    SG_TRY(save_step(11, 4, err));
    return sg_checkpoint_prune("/run", 11, 2, 8, err);
}

// The new state is: 11, 10 and the best, 8, are there and nothing else.
static int look_pruned(void)
{
    sg_error err;
    sg_checkpoint *checkpoint;
    int version = -1;
    int64_t step = latest(&version);
    if (step != 7 + version || step < 10) fail_msg("%s: step %d", where, (int)step);
    const char *kept[] = {"/run/checkpoints/step-8", "/run/checkpoints/step-10"};
    for (int i = 0; i < 2; i++) {
        must(sg_checkpoint_open(kept[i], &checkpoint, &err), &err);
        assert_int_equal(checkpoint_version(checkpoint), i == 0 ? 1 : 3);
        sg_checkpoint_close(checkpoint);
    }
    char **names;
    size_t count;
    must(sg_folder_list("/run/checkpoints", &names, &count, &err), &err);
    sg_names_free(names, count);
    return step == 11 && count == 3;
}

// ---- model folders ----------------------------------------------------------------------------

static sg_status save_model(int version, int64_t shard, sg_error *err)
{
    const content *c = content_of(version);
    sg_named_bytes files[] = {{"config.json", c->config, strlen(c->config)},
                              {"tokenizer.json", c->odd, sizeof c->odd}};
    return sg_model_folder_save("/out/model", shard, c->model, 3, NULL, 0, files, 2, err);
}

static sg_status read_published(const char *name, char **text)
{
    char path[SG_PATH_MAX];
    size_t bytes;
    SG_TRY(sg_published_path(path, sizeof path, "/out/model", name, NULL, NULL));
    return sg_file_read(path, 100, text, &bytes, NULL);
}

// As a reader finds it, who changes nothing.
static int look_model(void)
{
    sg_error err;
    sg_safetensors *file;
    char *config, *tokenizer;
    must(sg_safetensors_open("/out/model", &file, &err), &err);
    must(read_published("config.json", &config), &err);
    must(read_published("tokenizer.json", &tokenizer), &err);
    int version = config[12] - '0';
    assert_in_range(version, 0, 1);
    const content *c = content_of(version);
    if (!same_tensors(file, c->model, 3)) fail_msg("%s: a mixture", where);
    assert_memory_equal(tokenizer, c->odd, 3);
    sg_free(config);
    sg_free(tokenizer);
    sg_safetensors_close(file);
    return version;
}

// The stranger stands for the other things in a run folder.
static void before_model(int64_t shard)
{
    sg_error err;
    must(save_model(0, shard, &err), &err);
    must(sg_file_write_atomic("/out/model/stranger", "x", 1, &err), &err);
}

static void before_single(void)
{
    before_model(0);
}

static void before_sharded(void)
{
    before_model(100);
}

static sg_status act_single(sg_error *err)
{
    return save_model(1, 0, err);
}

static sg_status act_sharded(sg_error *err)
{
    return save_model(1, 100, err);
}

static int look_new_model(void)
{
    sg_error err = {0};
    char *config;
    sg_status status = read_published("config.json", &config);
    if (status == SG_ERR_NOT_FOUND) return 0;
    must(status, &err);
    sg_free(config);
    return look_model();
}

// ---- files ------------------------------------------------------------------------------------

static void before_atomic(void)
{
    sg_error err;
    must(sg_folder_make("/d", &err), &err);
    must(sg_file_write_atomic("/d/file", "old bytes", 9, &err), &err);
}

static sg_status act_atomic(sg_error *err)
{
    return sg_file_write_atomic("/d/file", "new", 3, err);
}

static int look_atomic(void)
{
    sg_error err;
    char *text;
    size_t bytes;
    must(sg_file_read("/d/file", 100, &text, &bytes, &err), &err);
    bool is_new = strcmp(text, "new") == 0;
    if (!is_new) assert_string_equal(text, "old bytes");
    sg_free(text);
    return is_new;
}

static sg_status put_steps(sg_jsonl_log *log, int first, int last, sg_error *err)
{
    for (int i = first; i <= last; i++) {
        json_t *record = json_pack("{s:i, s:f}", "step", i, "loss", 1.0 / i);
        sg_status status = sg_jsonl_log_put(log, record, err);
        json_decref(record);
        SG_TRY(status);
    }
    return sg_jsonl_log_sync(log, NULL, err);
}

static sg_status write_log(int resumed, int last, sg_error *err)
{
    sg_jsonl_log *log;
    sg_json_setup();
    SG_TRY(sg_jsonl_log_open("/d/metrics.jsonl", resumed, &log, NULL, err));
    sg_status status = put_steps(log, resumed + 1, last, err);
    sg_status closed = sg_jsonl_log_close(log, status == SG_OK ? err : NULL);
    return status == SG_OK ? closed : status;
}

static void before_log(void)
{
    sg_error err;
    must(sg_folder_make("/d", &err), &err);
    must(write_log(0, 5, &err), &err);
}

static sg_status act_log(sg_error *err)
{
    return write_log(5, 9, err);
}

// Whatever lies behind step 5, opening for step 5 finds just what was synced before it.
static int look_log(void)
{
    sg_error err;
    sg_jsonl_log *log;
    char *text;
    size_t bytes;
    int last = 0;
    must(sg_file_read("/d/metrics.jsonl", 10000, &text, &bytes, &err), &err);
    for (char *line = strstr(text, "{\"step\":9,"); line != NULL; line = NULL)
        last = strchr(line, '\n') != NULL;
    sg_free(text);
    memory_fs *probe = (memory_fs *)sg_fs_get()->user, *copy = memory_fs_clone(probe);
    sg_fs_set(memory_fs_table(copy));
    must(sg_jsonl_log_open("/d/metrics.jsonl", 5, &log, NULL, &err), &err);
    must(sg_jsonl_log_close(log, &err), &err);
    must(sg_file_read("/d/metrics.jsonl", 10000, &text, &bytes, &err), &err);
    assert_string_equal(text, "{\"step\":1,\"loss\":1.0}\n{\"step\":2,\"loss\":0.5}\n"
                              "{\"step\":3,\"loss\":0.33333333333333331}\n"
                              "{\"step\":4,\"loss\":0.25}\n"
                              "{\"step\":5,\"loss\":0.20000000000000001}\n");
    sg_free(text);
    sg_fs_set(memory_fs_table(probe));
    memory_fs_free(copy);
    return last;
}

// ---- the loops --------------------------------------------------------------------------------

static const scenario scenarios[] = {
    {"the first checkpoint", make_run, act_second, look_first},
    {"a second checkpoint", before_second, act_second, look_second},
    {"a large checkpoint", before_large, act_second, look_second},
    {"a checkpoint in place of one", before_replaced, act_second, look_replaced},
    {"a checkpoint and pruning", before_pruned, act_pruned, look_pruned},
    {"a new model", make_run, act_single, look_new_model},
    {"a model for a model", before_single, act_single, look_model},
    {"shards for a model", before_single, act_sharded, look_model},
    {"a model for shards", before_sharded, act_single, look_model},
    {"shards for shards", before_sharded, act_sharded, look_model},
    {"an atomic file", before_atomic, act_atomic, look_atomic},
    {"a log", before_log, act_log, look_log},
};
enum { scenario_count = sizeof scenarios / sizeof *scenarios };

static memory_fs *base_of(const scenario *s)
{
    memory_fs *base = memory_fs_new();
    sg_fs_set(memory_fs_table(base));
    snprintf(where, sizeof where, "%s: before", s->name);
    pool_rows = 3;
    s->before();
    return base;
}

static int64_t operations_of(const scenario *s, const memory_fs *base)
{
    sg_error err;
    memory_fs *fs = memory_fs_clone(base);
    sg_fs_set(memory_fs_table(fs));
    must(s->act(&err), &err);
    if (s->look() != 1) fail_msg("%s: did nothing", s->name);
    int64_t operations = memory_fs_operations(fs);
    memory_fs_free(fs);
    // Looking took some of them: count again without.
    fs = memory_fs_clone(base);
    sg_fs_set(memory_fs_table(fs));
    must(s->act(&err), &err);
    assert_true(memory_fs_operations(fs) < operations);
    operations = memory_fs_operations(fs);
    memory_fs_free(fs);
    return operations;
}

static void check_clean(const memory_fs *fs, int64_t live)
{
    if (memory_fs_open_handles(fs) != 0) fail_msg("%s: a file is left open", where);
    if (memory_fs_open_maps(fs) != 0) fail_msg("%s: a mapping is left open", where);
    if (sg_alloc_live() != live) fail_msg("%s: a leak", where);
}

// After a crash the state is whole, and the same action succeeds in the new life.
static void check_life_after(const scenario *s, memory_fs *fs, bool acted)
{
    sg_error err;
    sg_fs_set(memory_fs_table(fs));
    int found = s->look();
    if (acted && found != 1) fail_msg("%s: success was reported, and is lost", where);
    must(s->act(&err), &err);
    if (s->look() != 1) fail_msg("%s: acting again did nothing", where);
}

static void cut_everywhere(const scenario *s)
{
    memory_fs *base = base_of(s);
    int64_t operations = operations_of(s, base), live = sg_alloc_live();
    for (int64_t n = 0; n <= operations; n++) {
        memory_fs *fs = memory_fs_clone(base);
        sg_fs_set(memory_fs_table(fs));
        memory_fs_cut_power(fs, n);
        sg_error err = {0};
        snprintf(where, sizeof where, "%s: power cut at operation %d", s->name, (int)n);
        bool acted = s->act(&err) == SG_OK;
        if (!acted && err.message[0] == '\0') fail_msg("%s: no message", where);
        check_clean(fs, live);
        for (int kind = 0; kind < MEMORY_CRASH_KINDS; kind++)
            for (uint64_t seed = 0; seed < (kind == MEMORY_CRASH_MIXED ? mixed_seeds : 1); seed++) {
                snprintf(where, sizeof where, "%s: power cut at operation %d, kind %d, seed %d",
                         s->name, (int)n, kind, (int)seed);
                memory_fs *after =
                    memory_fs_reboot(fs, (memory_crash)kind, seed * 1000 + (uint64_t)n);
                check_life_after(s, after, acted);
                check_clean(after, live);
                sg_fs_set(NULL);
                memory_fs_free(after);
            }
        memory_fs_free(fs);
    }
    memory_fs_free(base);
    print_message("%s: %d operations\n", s->name, (int)operations);
}

static void fail_everywhere(const scenario *s)
{
    static const int errors[] = {EIO, ENOSPC, EACCES, EIO};
    memory_fs *base = base_of(s);
    int64_t operations = operations_of(s, base), live = sg_alloc_live();
    for (int64_t n = 0; n < 4 * operations; n++) {
        int64_t at = n / 4;
        int error = errors[n % 4];
        bool on = n % 4 == 3;
        memory_fs *fs = memory_fs_clone(base);
        sg_fs_set(memory_fs_table(fs));
        memory_fs_fail(fs, at, error, on);
        sg_error err = {0};
        snprintf(where, sizeof where, "%s: operation %d fails with %s%s", s->name, (int)at,
                 strerror(error), on ? " from then on" : "");
        sg_status status = s->act(&err);
        if (status != SG_OK && status != SG_ERR_IO)
            fail_msg("%s: %s: %s", where, sg_status_name(status), err.message);
        if (status != SG_OK && strstr(err.message, strerror(error)) == NULL)
            fail_msg("%s: \"%s\" does not tell why", where, err.message);
        check_clean(fs, live);
        memory_fs_fail(fs, -1, 0, false);
        check_life_after(s, fs, status == SG_OK);
        check_clean(fs, live);
        sg_fs_set(NULL);
        memory_fs_free(fs);
    }
    memory_fs_free(base);
}

static void fill_everywhere(const scenario *s)
{
    memory_fs *base = base_of(s);
    int64_t live = sg_alloc_live(), used = memory_fs_used(base);
    for (int64_t room = 0;; room = room * 5 / 4 + 1) {
        memory_fs *fs = memory_fs_clone(base);
        sg_fs_set(memory_fs_table(fs));
        memory_fs_limit(fs, used + room);
        sg_error err = {0};
        snprintf(where, sizeof where, "%s: a disk with room for %d bytes", s->name, (int)room);
        sg_status status = s->act(&err);
        bool full = status != SG_OK;
        if (full && (status != SG_ERR_IO || strstr(err.message, "No space left") == NULL))
            fail_msg("%s: %s: %s", where, sg_status_name(status), err.message);
        check_clean(fs, live);
        if (s->look() != (full ? 0 : 1)) fail_msg("%s: the wrong state", where);
        // The log is the one thing that grows by what did fit.
        if (full && s->act != act_log && memory_fs_used(fs) != used)
            fail_msg("%s: %d bytes are not given back", where, (int)(memory_fs_used(fs) - used));
        memory_fs_limit(fs, -1);
        check_life_after(s, fs, !full);
        sg_fs_set(NULL);
        memory_fs_free(fs);
        if (!full) break;
    }
    memory_fs_free(base);
}

static void test_power_cuts(void **state)
{
    (void)state;
    for (int i = 0; i < scenario_count; i++)
        cut_everywhere(&scenarios[i]);
}

static void test_failing_operations(void **state)
{
    (void)state;
    for (int i = 0; i < scenario_count; i++)
        fail_everywhere(&scenarios[i]);
}

static void test_full_disks(void **state)
{
    (void)state;
    for (int i = 0; i < scenario_count; i++)
        fill_everywhere(&scenarios[i]);
}

int main(void)
{
    const char *rounds = getenv("SG_CRASH_ROUNDS");
    if (rounds != NULL && atoi(rounds) > 0) mixed_seeds = (uint64_t)atoi(rounds);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_power_cuts),
        cmocka_unit_test(test_failing_operations),
        cmocka_unit_test(test_full_disks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
