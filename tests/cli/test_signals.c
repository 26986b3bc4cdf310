// What becomes of signals and of JSON results, each in a process of its own.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "cli/cli.h"

static const cli_command command = {.name = "try"};

// Runs `child` with stdout and stderr in pipes; returns its wait status.
static int test_fork(void (*child)(void), char *out, size_t out_size, char *err, size_t err_size)
{
    FILE *files[2] = {tmpfile(), tmpfile()};
    assert_non_null(files[0]);
    assert_non_null(files[1]);
    fflush(NULL);
    pid_t id = fork();
    assert_true(id >= 0);
    if (id == 0) {
        dup2(fileno(files[0]), STDOUT_FILENO);
        dup2(fileno(files[1]), STDERR_FILENO);
        child();
        fflush(NULL);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(id, &status, 0), id);
    rewind(files[0]);
    rewind(files[1]);
    out[fread(out, 1, out_size - 1, files[0])] = '\0';
    err[fread(err, 1, err_size - 1, files[1])] = '\0';
    fclose(files[0]);
    fclose(files[1]);
    return status;
}

static void child_one_signal(void)
{
    cli_catch_signals();
    printf("%d", cli_stop_requested());
    raise(SIGINT);
    printf("%d", cli_stop_requested());
}

static void child_two_signals(void)
{
    cli_catch_signals();
    raise(SIGINT);
    raise(SIGTERM);
    _exit(9); // not reached
}

// What saves hears a second signal without dying of it.
static void child_saves(void)
{
    cli_catch_signals();
    cli_save_on_signals();
    raise(SIGINT);
    raise(SIGINT);
    printf("%d", cli_stop_requested());
}

static void child_three_signals(void)
{
    child_saves();
    raise(SIGINT);
    _exit(9); // not reached
}

static void test_signals(void **state)
{
    (void)state;
    char out[256], err[256];
    int status = test_fork(child_one_signal, out, sizeof out, err, sizeof err);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_string_equal(out, "01");
    assert_non_null(strstr(err, "stopping"));
    status = test_fork(child_two_signals, out, sizeof out, err, sizeof err);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
    status = test_fork(child_saves, out, sizeof out, err, sizeof err);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_string_equal(out, "1");
    assert_non_null(strstr(err, "saving, then stopping"));
    assert_non_null(strstr(err, "still saving; once more"));
    status = test_fork(child_three_signals, out, sizeof out, err, sizeof err);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT);
}

// No handler runs where the stack register points: in oneDNN's long products that is the heap.
static void child_stack(void)
{
    static const int handled[] = {SIGINT, SIGTERM, SIGBUS};
    struct sigaction action;
    stack_t own;
    cli_start();
    cli_catch_signals();
    for (size_t i = 0; i < sizeof handled / sizeof *handled; i++)
        if (sigaction(handled[i], NULL, &action) != 0 || !(action.sa_flags & SA_ONSTACK)) _exit(7);
    if (sigaltstack(NULL, &own) != 0 || own.ss_flags != 0 || own.ss_size < 1 << 16) _exit(8);
    raise(SIGTERM);
    if (!cli_stop_requested()) _exit(9);
}

static void test_stack(void **state)
{
    (void)state;
    char out[256], err[256];
    int status = test_fork(child_stack, out, sizeof out, err, sizeof err);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

// A mapped file becomes shorter: the page that is read is no more.
static void child_bus(void)
{
    sg_error err = {0};
    char path[64];
    sg_map map;
    snprintf(path, sizeof path, "/tmp/sgatlin-bus-%ld", (long)getpid());
    FILE *file = fopen(path, "w");
    for (int i = 0; file != NULL && i < 10000; i++)
        fputc('x', file);
    if (file == NULL || fclose(file) != 0) _exit(7);
    cli_start();
    if (sg_map_open(path, &map, &err) != SG_OK || map.data[9999] != 'x') _exit(8);
    if (sg_mapped_file(map.data + 9999) == NULL || sg_mapped_file(map.data + 10000) != NULL)
        _exit(9);
    if (truncate(path, 0) != 0) _exit(10);
    remove(path);
    printf("%d", map.data[9999]); // not reached
}

static void test_bus(void **state)
{
    (void)state;
    char out[256], err[256];
    int status = test_fork(child_bus, out, sizeof out, err, sizeof err);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == CLI_FAILED);
    assert_string_equal(out, "");
    assert_non_null(strstr(err, "sgatlin: /tmp/sgatlin-bus-"));
    assert_non_null(strstr(err, ": became shorter while it was read\n"));
}

static void child_large_file(void)
{
    const struct rlimit limit = {1000, 1000};
    static char bytes[2000];
    FILE *file = tmpfile();
    cli_start();
    if (file == NULL || setrlimit(RLIMIT_FSIZE, &limit) != 0) _exit(7);
    if (fwrite(bytes, 1, sizeof bytes, file) == sizeof bytes && fflush(file) == 0) _exit(8);
    _exit(errno == EFBIG ? 0 : 9);
}

static void test_large_file(void **state)
{
    (void)state;
    char out[256], err[256];
    int status = test_fork(child_large_file, out, sizeof out, err, sizeof err);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

// Whose reader has gone says nothing, also where the write that failed was long before the end.
static int unread_code;

static void child_unread(void)
{
    int ends[2];
    cli_start();
    if (pipe(ends) != 0) _exit(7);
    dup2(ends[1], STDOUT_FILENO);
    close(ends[0]);
    close(ends[1]);
    printf("lost");
    if (fflush(stdout) == 0) _exit(8);
    if (cli_finish("try", unread_code) == (unread_code ? unread_code : CLI_UNREAD)) _exit(0);
    _exit(9);
}

static void test_unread(void **state)
{
    (void)state;
    char out[256], err[256];
    for (unread_code = 0; unread_code < 3; unread_code++) {
        int status = test_fork(child_unread, out, sizeof out, err, sizeof err);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        assert_string_equal(err, "");
    }
}

static void child_json(void)
{
    cli_args args = {.command = &command};
    json_t *value =
        json_pack("{s:o, s:o, s:o, s:i, s:s}", "a", cli_json_number(0.1), "b", cli_json_number(NAN),
                  "c", cli_json_number(INFINITY), "d", 3, "e", "\"\303\274");
    if (cli_print_json(&args, value) != CLI_DONE) _exit(1);
    if (cli_print_json(&args, NULL) != CLI_FAILED) _exit(2);
}

static void test_json(void **state)
{
    (void)state;
    char out[256], err[256];
    int status = test_fork(child_json, out, sizeof out, err, sizeof err);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_string_equal(out, "{\n  \"a\": 0.1,\n  \"b\": null,\n  \"c\": null,\n  \"d\": 3,\n"
                             "  \"e\": \"\\\"\303\274\"\n}\n");
    assert_string_equal(err, "sgatlin: try: out of memory for the JSON result\n");
}

static void child_talk(void)
{
    cli_args args = {.command = &command};
    sg_error err = {SG_ERR_FORMAT, "FILE: size: found 3, expected 4"};
    if (cli_fail(&args, err.code, &err) != CLI_WRONG) _exit(1);
    if (cli_fail(&args, SG_ERR_IO, NULL) != CLI_FAILED) _exit(2);
    cli_note(&args, "%d stories", 5);
    args.quiet = true;
    cli_note(&args, "unheard");
    cli_warn(&args, "odd");
    sg_context *context = NULL;
    if (cli_context_new(&args, &context, &err) != SG_OK) _exit(3);
    sg_context_free(context);
    args.kernel = "none";
    if (cli_context_new(&args, &context, &err) == SG_OK) _exit(4);
}

static void test_talk(void **state)
{
    (void)state;
    char out[256], err[512];
    int status = test_fork(child_talk, out, sizeof out, err, sizeof err);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_string_equal(out, "");
    assert_string_equal(err, "sgatlin: try: FILE: size: found 3, expected 4\n"
                             "sgatlin: try: input/output error\n"
                             "try: 5 stories\n"
                             "sgatlin: try: warning: odd\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_signals), cmocka_unit_test(test_stack),
        cmocka_unit_test(test_bus),     cmocka_unit_test(test_large_file),
        cmocka_unit_test(test_unread),  cmocka_unit_test(test_json),
        cmocka_unit_test(test_talk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
