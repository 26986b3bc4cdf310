// What a terminal is shown of texts that hold control characters.
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/cli.h"
#include "cli/visible.h"

static void check(const char *text, size_t bytes, bool lines, const char *expected)
{
    char *made = NULL;
    size_t made_bytes = 0;
    FILE *file = open_memstream(&made, &made_bytes);
    assert_non_null(file);
    cli_put_visible(file, text, bytes, lines);
    fclose(file);
    assert_string_equal(made, expected);
    free(made);
}

static void test_visible(void **state)
{
    (void)state;
    check("a\x1b[31mred\x07", 10, false, "a\\x1b[31mred\\x07");
    check("a\nb\tc\rd", 7, false, "a\\x0ab\\x09c\\x0dd");
    check("a\nb\tc\rd", 7, true, "a\nb\tc\\x0dd");
    check("\xc2\x9b"
          "31m \x7f",
          7, true, "\\x9b31m \\x7f");
    check("\x9b"
          "31m \xff",
          6, true, "\\x9b31m \\xff");
    check("\xe2\x80\xae x", 5, true, "\\u202e x");
    check("\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", 11, true, "é € 😀");
    check("\xe0\x80\x80\xc0\x80", 5, true, "\\xe0\\x80\\x80\\xc0\\x80");
    check("\xf0\x9f", 2, true, "\\xf0\\x9f");
    check("a\0b", 3, true, "a\\x00b");
}

// Errors, warnings and talk, whose texts are of files.
static void test_talk(void **state)
{
    (void)state;
    static const cli_command command = {.name = "try"};
    const cli_args args = {.command = &command};
    int ends[2];
    char said[512] = "";
    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    pid_t id = fork();
    if (id == 0) {
        dup2(ends[1], STDERR_FILENO);
        sg_error err = {SG_ERR_FORMAT, "a\x1b[1m"};
        cli_fail(&args, SG_ERR_FORMAT, &err);
        cli_warn(&args, "%s", "b\x1b[1m");
        cli_note(&args, "%s", "c\x1b[1m\nd");
        cli_wrong(&args, "%s", "e\x07");
        _exit(0);
    }
    close(ends[1]);
    for (size_t at = 0; at + 1 < sizeof said;) {
        ssize_t got = read(ends[0], said + at, sizeof said - 1 - at);
        if (got <= 0) break;
        at += (size_t)got;
    }
    close(ends[0]);
    waitpid(id, NULL, 0);
    assert_string_equal(said, "sgatlin: try: a\\x1b[1m\nsgatlin: try: warning: b\\x1b[1m\n"
                              "try: c\\x1b[1m\\x0ad\nsgatlin: try: e\\x07\n"
                              "try 'sgatlin try --help'\n");
}

// A pseudo-terminal as stdout: characters that come in two writes stay whole.
static void test_terminal(void **state)
{
    (void)state;
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0) skip();
    int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
    if (slave < 0) skip();
    fflush(NULL);
    pid_t id = fork();
    if (id == 0) {
        dup2(slave, STDOUT_FILENO);
        cli_guard_stdout();
        fputs("a\x1b[2J\xc3", stdout);
        fflush(stdout);
        fputs("\xa9\xc2", stdout);
        fflush(stdout);
        fputs("\x9b\n", stdout);
        fflush(stdout);
        _exit(0);
    }
    waitpid(id, NULL, 0);
    char shown[128] = "";
    ssize_t got = read(master, shown, sizeof shown - 1);
    close(slave);
    close(master);
    assert_true(got > 0);
    assert_string_equal(shown, "a\\x1b[2Jé\\x9b\r\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_visible), cmocka_unit_test(test_talk),
                                       cmocka_unit_test(test_terminal)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
