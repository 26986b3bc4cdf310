// Whole runs on disks that fill up, refuse single operations, or lose power: what is on the disk
// afterwards goes on to the same bits as a run to which nothing happened.
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tiny_run.h"
#include "sgatlin_train.h"

static sg_train_options options;
static tiny_end expected;
static int64_t operations, used_before, used_at_most;
static int64_t stride = 5; // only every so many operations; all with SG_CRASH_ROUNDS >= 50

// A run with few steps and much saving.
static int set_up(void **state)
{
    (void)state;
    const char *rounds = getenv("SG_CRASH_ROUNDS");
    if (rounds != NULL && atoi(rounds) >= 50) stride = 1;
    options = tiny_options("sgatlin");
    options.steps = 6;
    options.checkpoint_every = 2;
    options.eval_every = 3;
    options.sample_every = 4;
    memory_fs *fs = tiny_disk();
    used_before = memory_fs_used(fs);
    int64_t before = memory_fs_operations(fs);
    tiny_life life = {0};
    tiny_must(&life, "/run", &options);
    operations = memory_fs_operations(fs) - before;
    used_at_most = memory_fs_used(fs);
    expected = tiny_end_of("/run");
    tiny_disk_free(fs);
    print_message("a run of %d operations\n", (int)operations);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    tiny_end_free(&expected);
    return 0;
}

// Goes on with whatever there is on the disk in use, or begins when there is nothing.
static void goes_on(const char *where)
{
    tiny_life life = {0};
    sg_status status = tiny_train(&life, "/run", NULL);
    if (status == SG_ERR_NOT_FOUND && strstr(life.err.message, "holds no run") != NULL)
        status = tiny_train(&life, "/run", &options);
    if (status != SG_OK) fail_msg("%s: %s", where, life.err.message);
    tiny_end end = tiny_end_of("/run");
    tiny_same(&end, &expected, where);
    tiny_end_free(&end);
    char names[512];
    tiny_names("/run/checkpoints", names, sizeof names);
    if (strchr(names, '.') != NULL) fail_msg("%s: left behind: %s", where, names);
}

// Full at this many bytes above the data; then made larger.
static void test_full(void **state)
{
    (void)state;
    for (int64_t room = 0; room < used_at_most - used_before; room += 1 + room * stride / 40) {
        char where[80];
        snprintf(where, sizeof where, "a disk with room for %lld bytes", (long long)room);
        memory_fs *fs = tiny_disk();
        memory_fs_limit(fs, used_before + room);
        tiny_life life = {0};
        sg_status status = tiny_train(&life, "/run", &options);
        if (status != SG_ERR_IO || strstr(life.err.message, "No space left") == NULL)
            fail_msg("%s: %s: %s", where, sg_status_name(status), life.err.message);
        assert_int_equal(memory_fs_open_handles(fs), 0);
        memory_fs_limit(fs, -1);
        goes_on(where);
        tiny_disk_free(fs);
    }
}

// Each operation refused, once or from then on.
static void test_refused_operations(void **state)
{
    (void)state;
    static const int errors[] = {EIO, EACCES, ENOSPC};
    int survived = 0;
    for (int64_t n = 0; n < operations; n += stride)
        for (int on = 0; on <= 1; on++) {
            int error = errors[n / stride % 3];
            char where[80];
            snprintf(where, sizeof where, "operation %d fails with %s%s", (int)n, strerror(error),
                     on ? " from then on" : "");
            memory_fs *fs = tiny_disk();
            memory_fs_fail(fs, n, error, on);
            tiny_life life = {0};
            sg_status status = tiny_train(&life, "/run", &options);
            if (status != SG_OK && status != SG_ERR_IO)
                fail_msg("%s: %s: %s", where, sg_status_name(status), life.err.message);
            if (status != SG_OK && strstr(life.err.message, strerror(error)) == NULL)
                fail_msg("%s: \"%s\" does not tell why", where, life.err.message);
            survived += status == SG_OK;
            memory_fs_fail(fs, -1, 0, false);
            goes_on(where);
            tiny_disk_free(fs);
        }
    // Giving back space and closing may fail without harm, little else may.
    if (survived > operations / 5) fail_msg("%d failures went unnoticed", survived);
}

static void test_power_cuts(void **state)
{
    (void)state;
    for (int64_t n = 0; n < operations; n += stride) {
        memory_fs *fs = tiny_disk();
        memory_fs_cut_power(fs, n);
        tiny_life life = {0};
        tiny_train(&life, "/run", &options);
        int kind = (int)(n / stride % MEMORY_CRASH_KINDS);
        memory_fs *after = memory_fs_reboot(fs, (memory_crash)kind, (uint64_t)n);
        tiny_disk_free(fs);
        tiny_use(after);
        char where[80];
        snprintf(where, sizeof where, "power cut at operation %d, kind %d", (int)n, kind);
        goes_on(where);
        tiny_disk_free(after);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_refused_operations),
        cmocka_unit_test(test_power_cuts),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
