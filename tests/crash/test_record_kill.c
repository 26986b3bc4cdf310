// Recordings that are killed: whenever it comes, what was committed is gone on with, and the end is
// that of a recording that nobody touched. SG_CRASH_ROUNDS is the number of kills.
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>
#include <time.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/rng.h"
#include "unit/record_helpers.h"

enum { kill_rounds = 12, kill_lines = 3000, kill_length = 32 };

// In a process of its own, with a model and threads of its own: the record, or the rest of it.
static int record_in_child(const fixture *f, const char *name)
{
    sg_data *data;
    sg_error err = {0};
    char path[SG_PATH_MAX];
    snprintf(path, sizeof path, "%s/data", f->folder);
    if (sg_data_open(path, SG_VERIFY_QUICK, &data, &err) != SG_OK) return 3;
    sg_context *context = context_on(2);
    sg_model *model = model_of(context, "sgatlin", 3);
    snprintf(path, sizeof path, "%s/%s", f->folder, name);
    sg_record_options o = options_of(path, data);
    o.micro_batch = 8;
    o.resume = sg_path_exists(path);
    const sg_status status = sg_probe_record(model, &o, NULL, &err);
    // The last kill may have come behind the last commit.
    const bool complete = status == SG_OK || strstr(err.message, "is complete") != NULL;
    if (!complete) fprintf(stderr, "%s\n", err.message);
    sg_model_free(model);
    sg_context_free(context);
    sg_data_free(data);
    return complete ? 0 : 1;
}

static pid_t start(const fixture *f, const char *name)
{
    fflush(NULL);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) _exit(record_in_child(f, name));
    return child;
}

// True: it came to its end before the kill did.
static bool ended(pid_t child)
{
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFSIGNALED(status)) {
        assert_int_equal(WTERMSIG(status), SIGKILL);
        return false;
    }
    assert_int_equal(WEXITSTATUS(status), 0);
    return true;
}

static int rounds(void)
{
    const char *text = getenv("SG_CRASH_ROUNDS");
    return text != NULL ? atoi(text) : kill_rounds;
}

static void test_kill_loop(void **state)
{
    const fixture *f = *state;
    sg_data_free(data_of(f, kill_lines, kill_length, false));
    const double begin = sg_clock_seconds();
    assert_true(ended(start(f, "whole.db")));
    const double life = sg_clock_seconds() - begin;
    const uint64_t whole = digest_of(path_in(f, "whole.db"));
    int kills = 0, records = 0;
    for (uint64_t i = 0; kills < rounds() && i < 10 * (uint64_t)rounds(); i++) {
        const double wait = life * sg_rng_uniform(1, 2, i);
        const struct timespec time = {(time_t)wait, (long)((wait - (double)(time_t)wait) * 1e9)};
        const pid_t child = start(f, "r.db");
        nanosleep(&time, NULL);
        kill(child, SIGKILL);
        if (!ended(child)) {
            kills++;
            continue;
        }
        assert_true(digest_of(path_in(f, "r.db")) == whole);
        assert_int_equal(sg_path_remove(path_in(f, "r.db"), NULL), SG_OK);
        records++;
    }
    if (sg_path_exists(path_in(f, "r.db"))) {
        assert_true(ended(start(f, "r.db")));
        assert_true(digest_of(path_in(f, "r.db")) == whole);
        records++;
    }
    assert_true(kills > 0 && records > 0);
}

// Two at once: one works, the other says who does.
static void test_two_writers(void **state)
{
    const fixture *f = *state;
    sg_error err = {0};
    sg_data *data = data_of(f, kill_lines, kill_length, false);
    assert_true(ended(start(f, "whole.db")));
    sg_database *holder;
    const sg_database_kind kind = {
        .name = "a record of gates", .application = 0x73677263, .version = 1};
    must(sg_database_continue(path_in(f, "whole.db"), &kind, &holder, &err), &err);
    sg_context *context = context_on(1);
    sg_model *model = model_of(context, "sgatlin", 3);
    sg_record_options o = options_of(path_in(f, "whole.db"), data);
    o.force = true;
    assert_int_equal(sg_probe_record(model, &o, NULL, &err), SG_ERR_IO);
    assert_non_null(strstr(err.message, "another process is working on this"));
    sg_database_free(holder);
    must(sg_probe_record(model, &o, NULL, &err), &err);
    sg_model_free(model);
    sg_context_free(context);
    sg_data_free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {FILE_TEST(test_kill_loop), FILE_TEST(test_two_writers)};
    return cmocka_run_group_tests_name("record_kill", tests, NULL, NULL);
}
