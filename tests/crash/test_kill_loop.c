// The command itself, killed. A run is ended by SIGKILL at moments spread over its whole life
// (steps, checkpoints, the final save), gone on with by --resume each time, and must end with the
// weights and the metrics of the run that was left alone. SG_CRASH_ROUNDS is the number of kills.
// Also: a polite signal, two processes on one run, and killed packs.
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/rng.h"
#include "crash/command.h"
#include "sgatlin_data.h"
#include "tiny_run.h"

#define STEPS "120"
enum { steps = 120, kills_a_run = 5 };

static char run[96];
static tiny_end expected;
static int64_t log_bytes; // of metrics.jsonl, left alone: the measure of how far a run is

// ---- processes --------------------------------------------------------------------------------

static void command(const char *const *arguments)
{
    ends_with(start(arguments, 0), 0);
}

#define COMMAND(...) command((const char *const[]){"sgatlin", __VA_ARGS__, NULL})

static void nap(double seconds)
{
    if (seconds <= 0) return;
    struct timespec time = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    nanosleep(&time, NULL);
}

// Begins the run, or goes on with it.
static pid_t start_run(void)
{
    static const char *const resume[] = {"sgatlin",   "train", "--resume", "run",
                                         "--threads", "2",     NULL};
    static const char *const begin[] = {"sgatlin",
                                        "train",
                                        "--data",
                                        "data",
                                        "--out",
                                        "run",
                                        "--threads",
                                        "2",
                                        "--steps",
                                        STEPS,
                                        "--seq-len",
                                        "16",
                                        "--batch-size",
                                        "4",
                                        "--hidden-size",
                                        "16",
                                        "--head-dim",
                                        "8",
                                        "--num-attention-heads",
                                        "2",
                                        "--num-hidden-layers",
                                        "2",
                                        "--ffn-channels",
                                        "2",
                                        "--ffn-neurons",
                                        "16",
                                        "--ffn-top-k",
                                        "2",
                                        "--ffn-key-size",
                                        "4",
                                        "--warmup-steps",
                                        "5",
                                        "--checkpoint-every",
                                        "3",
                                        "--eval-every",
                                        "25",
                                        "--eval-sequences",
                                        "16",
                                        "--log-every",
                                        "1",
                                        "--sample-every",
                                        "40",
                                        NULL};
    char path[128];
    snprintf(path, sizeof path, "%s/run.json", run);
    return start(sg_path_exists(path) ? resume : begin, 0);
}

// Lives of the run so far: each makes an event file once it has loaded everything.
static int lives(void)
{
    char **names;
    size_t count;
    int found = 0;
    if (sg_folder_list(run, &names, &count, NULL) != SG_OK) return 0;
    for (size_t i = 0; i < count; i++)
        found += strstr(names[i], "tfevents") != NULL;
    sg_names_free(names, count);
    return found;
}

static bool has_ended(pid_t child)
{
    siginfo_t info = {0};
    return waitid(P_PID, (id_t)child, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid == child;
}

// Waits until the process has begun to train; false when it ended first.
static bool has_begun(pid_t child, int before)
{
    while (lives() == before) {
        if (has_ended(child)) return false;
        nap(0.0005);
    }
    return true;
}

static int64_t logged(void)
{
    char path[128];
    int64_t bytes = 0;
    snprintf(path, sizeof path, "%s/metrics.jsonl", run);
    sg_path_bytes(path, &bytes, NULL);
    return bytes;
}

// Waits until a process that has begun has logged so many bytes, or has ended.
static void wait_until(pid_t child, int64_t bytes)
{
    while (logged() < bytes && !has_ended(child))
        nap(0.0005);
}

// Share of the steps that the newest checkpoint has.
static double share_done(void)
{
    char path[128], **names;
    size_t count;
    int newest = 0;
    snprintf(path, sizeof path, "%s/checkpoints", run);
    if (sg_folder_list(path, &names, &count, NULL) != SG_OK) return 0;
    for (size_t i = 0; i < count; i++) {
        int step = 0;
        if (sscanf(names[i], "step-%d", &step) == 1 && step > newest) newest = step;
    }
    sg_names_free(names, count);
    return (double)newest / steps;
}

static void remove_run(void)
{
    assert_int_equal(sg_tree_remove(run, NULL), SG_OK);
}

static uint64_t checksum(const tiny_end *end)
{
    return sg_hash(end->weights, end->bytes);
}

static void same_end(const char *where)
{
    tiny_end end = tiny_end_of(run);
    tiny_same(&end, &expected, where);
    print_message("%s: model.safetensors %016llx, left alone %016llx\n", where,
                  (unsigned long long)checksum(&end), (unsigned long long)checksum(&expected));
    tiny_end_free(&end);
}

// ---- tests ------------------------------------------------------------------------------------

static int set_up(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/sg-kill-XXXXXX");
    if (mkdtemp(folder) == NULL) return -1;
    snprintf(run, sizeof run, "%s/run", folder);
    snprintf(output, sizeof output, "%s/output", folder);
    COMMAND("data", "synth", "--stories", "60", "--out", "stories.txt");
    COMMAND("data", "tokenizer", "--out", "tokenizer", "--vocab-size", "320", "stories.txt");
    COMMAND("data", "pack", "--tokenizer", "tokenizer", "--out", "data", "--seq-len", "16",
            "--val-fraction", "0.1", "stories.txt");
    pid_t child = start_run();
    if (!has_begun(child, 0)) fail_msg("%s", said());
    ends_with(child, 0);
    expected = tiny_end_of(run);
    log_bytes = logged();
    print_message("left alone: model.safetensors %016llx\n",
                  (unsigned long long)checksum(&expected));
    remove_run();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    tiny_end_free(&expected);
    return sg_tree_remove(folder, NULL) == SG_OK ? 0 : -1;
}

static void test_kills(void **state)
{
    (void)state;
    const char *said_rounds = getenv("SG_CRASH_ROUNDS");
    int rounds = said_rounds != NULL ? atoi(said_rounds) : 8, kills = 0, ends = 0, here = 0;
    int least = 1 << 30, most = 0;
    // The last ones need not hit: a run may always end before the kill.
    for (uint64_t draw = 0; kills < rounds; draw++) {
        assert_true(draw < 20u * (unsigned)rounds + 100);
        uint32_t stream = sg_rng_stream("kill.moment");
        double part = sg_rng_uniform(7, stream, 2 * draw);
        double jitter = sg_rng_uniform(7, stream, 2 * draw + 1);
        double at = share_done();
        int before = lives();
        pid_t child = start_run();
        if (here == kills_a_run) {
            // Enough of this one.
        } else if (draw % 8 == 7) { // while it loads, before there is a trace of this life
            nap(0.5 * part);
        } else if (has_begun(child, before)) {
            // Every third one at the end: the last checkpoint, the evaluation, the model folder.
            bool late = draw % 3 == 2;
            at = late ? 1 : at + (1 - at) * 0.6 * part;
            wait_until(child, (int64_t)(at * (double)log_bytes));
            nap(late ? 0.03 * jitter : 0.01 * jitter);
        }
        if (here < kills_a_run) kill(child, SIGKILL);
        int code = wait_for(child);
        if (code == -SIGKILL) {
            kills++;
            here++;
            int newest = (int)(share_done() * steps + 0.5);
            least = newest < least ? newest : least;
            most = newest > most ? newest : most;
            continue;
        }
        if (code != 0) fail_msg("after %d kills ended with %d: %s", here, code, said());
        char where[64];
        snprintf(where, sizeof where, "killed %d times", here);
        same_end(where);
        remove_run();
        ends++;
        here = 0;
    }
    ends_with(start_run(), 0);
    char where[64];
    snprintf(where, sizeof where, "killed %d times", here);
    same_end(where);
    remove_run();
    print_message("%d kills over %d runs, with newest checkpoints from step %d to %d\n", kills,
                  ends + 1, least, most);
}

static void test_signals(void **state)
{
    (void)state;
    static const int signals[] = {SIGINT, SIGTERM};
    for (int i = 0; i < 2; i++) {
        pid_t child = start_run();
        if (!has_begun(child, 0)) fail_msg("%s", said());
        wait_until(child, log_bytes / 4);
        kill(child, signals[i]);
        int code = wait_for(child);
        if (code != 1) fail_msg("signal %d: ended with %d: %s", signals[i], code, said());
        if (strstr(said(), "what was done is saved") == NULL ||
            strstr(said(), "go on with: sgatlin train --resume run") == NULL)
            fail_msg("signal %d: said: %s", signals[i], said());
        double done = share_done();
        assert_true(done > 0 && done < 1);
        ends_with(start_run(), 0);
        same_end(signals[i] == SIGINT ? "interrupted" : "terminated");
        remove_run();
    }
}

static void test_two_processes(void **state)
{
    (void)state;
    pid_t child = start_run();
    if (!has_begun(child, 0)) fail_msg("%s", said());
    kill(child, SIGSTOP);
    int code = wait_for(start_run());
    kill(child, SIGCONT); // before anything fails: who waits for the test waits for it too
    if (code != 1 ||
        strstr(said(), "another process is working on this: sgatlin, process ") == NULL)
        fail_msg("the second ended with %d: %s", code, said());
    ends_with(child, 0);
    same_end("two processes");
    remove_run();
}

// Packing over packed data and killed: what is there is the old data or the new, whole, and it is
// always there. The last one, left alone, tidies up.
static void test_killed_packs(void **state)
{
    (void)state;
    const char *said_rounds = getenv("SG_CRASH_ROUNDS");
    const int rounds = said_rounds != NULL ? atoi(said_rounds) : 8;
    char path[128], length[8], **names;
    const char *const arguments[] = {
        "sgatlin", "data",      "pack", "--tokenizer", "tokenizer", "--out",       "again",
        "--force", "--seq-len", length, "--threads",   "1",         "stories.txt", NULL};
    size_t count;
    sg_data *data;
    sg_error err = {0};
    int kills = 0, seen[2] = {0};
    snprintf(path, sizeof path, "%s/again", folder);
    strcpy(length, "16");
    const double begun = sg_clock_seconds();
    ends_with(start(arguments, 0), 0);
    const double whole = sg_clock_seconds() - begun;
    for (int i = 0; i < rounds + 4; i++) {
        snprintf(length, sizeof length, "%d", i % 2 ? 16 : 32);
        pid_t child = start(arguments, 0);
        const double part = sg_rng_uniform(7, sg_rng_stream("kill.pack"), (uint64_t)i);
        // At any time, while it writes, and while what it has written moves up.
        const char *const mark = i % 3 == 1 ? ".incoming.tmp" : ".incoming";
        char seen_path[160];
        snprintf(seen_path, sizeof seen_path, "%s/%s", path, mark);
        if (i % 3 == 0) nap(whole * part);
        while (i % 3 != 0 && !sg_path_exists(seen_path) && !has_ended(child))
            ;
        if (i % 3 == 1) nap(0.2 * whole * part);
        kill(child, SIGKILL);
        kills += wait_for(child) == -SIGKILL;
        if (sg_data_open(path, SG_VERIFY_FULL, &data, &err) != SG_OK) fail_msg("%s", err.message);
        seen[sg_data_get_info(data)->seq_len == 32]++;
        sg_data_free(data);
    }
    strcpy(length, "16");
    ends_with(start(arguments, 0), 0);
    if (sg_folder_list(path, &names, &count, &err) != SG_OK) fail_msg("%s", err.message);
    for (size_t i = 0; i < count; i++)
        if (names[i][0] == '.') fail_msg("%s is left", names[i]);
    sg_names_free(names, count);
    print_message("%d kills of %d packs: rows of 16 found %d times, of 32 %d times\n", kills,
                  rounds + 4, seen[0], seen[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kills),
        cmocka_unit_test(test_signals),
        cmocka_unit_test(test_two_processes),
        cmocka_unit_test(test_killed_packs),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
