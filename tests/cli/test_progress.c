// The progress bar: its text at every width, and what reaches a terminal, a file, or nobody.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/cli.h"

static void test_numbers(void **state)
{
    (void)state;
    static const struct {
        double value;
        const char *text;
    } cases[] = {{0, "0"},
                 {5, "5"},
                 {999, "999"},
                 {1000, "1.00k"},
                 {1234, "1.23k"},
                 {12345, "12.3k"},
                 {999499, "999k"},
                 {999999, "1.00M"},
                 {1.5e9, "1.50G"},
                 {2.5, "2.50"},
                 {1e30, "1000000000000E"}};
    char text[64];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cli_short_number(text, sizeof text, cases[i].value);
        assert_string_equal(text, cases[i].text);
    }
    cli_short_time(text, sizeof text, 75);
    assert_string_equal(text, "1:15");
    cli_short_time(text, sizeof text, 3700);
    assert_string_equal(text, "1:01:40");
    cli_short_time(text, sizeof text, -1);
    assert_string_equal(text, "-:--");
    cli_short_time(text, sizeof text, 1e300);
    assert_string_equal(text, "-:--");
}

static void test_zeros(void **state)
{
    (void)state;
    static const struct {
        double value;
        int decimals;
        const char *text;
    } cases[] = {{-1e-9, 4, "0.0000"},     {-0.0, 2, "0.00"},   {0.00004, 4, "0.0000"},
                 {-0.00006, 4, "-0.0001"}, {-0.4, 0, "0"},      {-1.5, 1, "-1.5"},
                 {-0.0004, 4, "-0.0004"},  {NAN, 4, "nan"},     {-INFINITY, 4, "-inf"},
                 {-1e99, 4, NULL},         {-100, 2, "-100.00"}};
    char text[64];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const double value = cli_unsigned_zero(cases[i].value, cases[i].decimals);
        snprintf(text, sizeof text, "%.*f", cases[i].decimals, value);
        if (cases[i].text != NULL)
            assert_string_equal(text, cases[i].text);
        else
            assert_true(value == cases[i].value);
    }
}

static void test_text(void **state)
{
    (void)state;
    char text[768];
    cli_progress bar = {.label = "pack", .unit = "tok", .done = 2500, .total = 10000};
    snprintf(bar.suffix, sizeof bar.suffix, "loss 3.21");
    cli_progress_text(text, sizeof text, 100, &bar, 5);
    assert_string_equal(text, "pack  25% [#######.......................]  0:15 left  500 tok/s  "
                              "loss 3.21");
    cli_progress_text(text, sizeof text, 40, &bar, 5);
    assert_string_equal(text, "pack  25%  0:15 left  500 tok/s  loss 3");
    // The rate of a resumed run counts what this run did.
    bar.base = 2000;
    cli_progress_text(text, sizeof text, 40, &bar, 5);
    assert_string_equal(text, "pack  25%  1:15 left  100 tok/s  loss 3");
    bar.total = 0;
    bar.base = 0;
    cli_progress_text(text, sizeof text, 100, &bar, 65);
    assert_string_equal(text, "pack 2.50k  1:05  38.5 tok/s  loss 3.21");
    bar.total = 100; // more done than announced
    cli_progress_text(text, sizeof text, 30, &bar, 5);
    assert_string_equal(text, "pack 100%  -:-- left  500 tok");
}

// Of a run: the step and the time left come first, and 40 columns hold them.
static void test_counted(void **state)
{
    (void)state;
    char text[768];
    cli_progress bar = {.label = "train", .counted = true, .done = 2500, .total = 10000};
    snprintf(bar.suffix, sizeof bar.suffix, "loss 3.2100  7.6k tok/s");
    cli_progress_text(text, sizeof text, 40, &bar, 5);
    assert_string_equal(text, "train 2500/10000  0:15 left  loss 3.210");
    cli_progress_text(text, sizeof text, 100, &bar, 5000);
    assert_string_equal(text, "train 2500/10000  4:10:00 left [#######.......................]  "
                              "loss 3.2100  7.6k tok/s");
}

static void test_widths(void **state)
{
    (void)state;
    char text[768];
    cli_progress bar = {.label = "Z\303\274ge", .unit = "B", .done = 1, .total = 3};
    memset(bar.suffix, 'x', sizeof bar.suffix - 1);
    for (int width = 0; width < 300; width++) {
        cli_progress_text(text, sizeof text, width, &bar, 1);
        int columns = 0;
        for (const char *at = text; *at != '\0'; at++)
            columns += ((unsigned char)*at & 0xc0) != 0x80;
        assert_true(columns <= (width > 1 ? width - 1 : 0));
        // Never cut inside a character.
        size_t length = strlen(text);
        assert_true(length == 0 || (unsigned char)text[length - 1] != 0xc3);
    }
}

static double test_time;
static double test_clock(void)
{
    return test_time;
}

// Runs a bar with stderr on `fd`, a thousand updates within `seconds`.
static void test_draw(int fd, bool quiet, double seconds)
{
    int saved = dup(STDERR_FILENO);
    assert_true(saved >= 0 && dup2(fd, STDERR_FILENO) == STDERR_FILENO);
    static const cli_command command = {.name = "try"};
    cli_args args = {.command = &command, .quiet = quiet};
    cli_progress bar;
    cli_progress_begin(&bar, &args, "try", NULL);
    bar.clock = test_clock;
    bar.start = test_time = 1000;
    bar.last_draw = bar.terminal ? 0 : bar.start;
    cli_progress_update(&bar, 0, 10, NULL);
    for (int i = 0; i < 1000; i++) {
        test_time += seconds / 1000;
        cli_progress_update(&bar, 5, 10, "half");
    }
    cli_note(&args, "a note");
    cli_progress_update(&bar, 10, 10, NULL);
    cli_progress_end(&bar);
    cli_progress_end(&bar);
    cli_progress_update(&bar, 10, 10, NULL);
    fflush(stderr);
    dup2(saved, STDERR_FILENO);
    close(saved);
}

// Several lines, drawn again in place; a terminal of 50 columns cuts them.
static void test_draw_lines(int fd)
{
    static const char *const first[] = {"one", "two\033[2J", "three"};
    char wide[80];
    memset(wide, 'w', sizeof wide - 1);
    wide[sizeof wide - 1] = '\0';
    const char *const second[] = {wide, "four"};
    int saved = dup(STDERR_FILENO);
    assert_true(saved >= 0 && dup2(fd, STDERR_FILENO) == STDERR_FILENO);
    static const cli_command command = {.name = "try"};
    cli_args args = {.command = &command};
    cli_progress bar;
    cli_progress_begin(&bar, &args, "try", NULL);
    bar.clock = test_clock;
    bar.start = test_time = 1000;
    bar.last_draw = bar.terminal ? 0 : bar.start;
    cli_progress_lines(&bar, first, 3);
    cli_progress_lines(&bar, first, 3); // too soon
    test_time += 40;
    cli_progress_lines(&bar, second, 2);
    cli_note(&args, "a note");
    test_time += 40;
    cli_progress_lines(&bar, second + 1, 1);
    cli_progress_end(&bar);
    cli_progress_lines(&bar, first, 3);
    fflush(stderr);
    dup2(saved, STDERR_FILENO);
    close(saved);
}

// A terminal of 50 columns; -1: there is none.
static int test_terminal_open(int *slave)
{
    setenv("TERM", "xterm", 1);
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0) return -1;
    *slave = open(ptsname(master), O_RDWR | O_NOCTTY);
    assert_true(*slave >= 0);
    struct winsize size = {.ws_row = 24, .ws_col = 50};
    assert_int_equal(ioctl(*slave, TIOCSWINSZ, &size), 0);
    return master;
}

// What was written stays readable when the other end is closed, then comes an error.
static void test_terminal_read(int master, int slave, char *text, size_t capacity)
{
    size_t length = 0;
    close(slave);
    for (ssize_t n; (n = read(master, text + length, capacity - 1 - length)) > 0;)
        length += (size_t)n;
    text[length] = '\0';
    close(master);
}

static void test_terminal_lines(void **state)
{
    (void)state;
    char text[8192], wide[50];
    int slave, master = test_terminal_open(&slave);
    if (master < 0) skip();
    test_draw_lines(slave);
    test_terminal_read(master, slave, text, sizeof text);
    memset(wide, 'w', 49);
    wide[49] = '\0';
    char expected[512];
    snprintf(expected, sizeof expected,
             "one\r\ntwo?[2J\r\nthree\033[2A\r\033[J%s\r\nfour\033[1A\r\033[Jtry: a note\r\n"
             "four\r\033[K",
             wide);
    assert_string_equal(text, expected);
}

static void test_terminal(void **state)
{
    (void)state;
    char text[8192];
    int slave, master = test_terminal_open(&slave);
    if (master < 0) skip();
    test_draw(slave, false, 0.05);
    test_terminal_read(master, slave, text, sizeof text);
    // Drawn at once, not drawn a thousand times, off the line for the note, and gone at the end.
    assert_string_equal(text, "\rtry   0% [...........................]  -:-- left\033[K"
                              "\r\033[Ktry: a note\r\n"
                              "\rtry 100% [#####################]  0:00 left  half\033[K"
                              "\r\033[K");
}

static void test_file(void **state)
{
    (void)state;
    FILE *file = tmpfile();
    assert_non_null(file);
    test_draw(fileno(file), false, 29);
    char text[1024] = "";
    rewind(file);
    size_t length = fread(text, 1, sizeof text - 1, file);
    text[length] = '\0';
    assert_string_equal(text, "try: a note\n"); // no bar within the first half minute
    fclose(file);
    file = tmpfile();
    assert_non_null(file);
    test_draw(fileno(file), false, 61);
    rewind(file);
    length = fread(text, 1, sizeof text - 1, file);
    text[length] = '\0';
    int lines = 0;
    for (const char *at = text; *at != '\0'; at++)
        lines += *at == '\n';
    assert_int_equal(lines, 3); // one each half minute, and the note
    assert_null(strchr(text, '\033'));
    fclose(file);
    file = tmpfile();
    assert_non_null(file);
    test_draw(fileno(file), true, 500);
    rewind(file);
    assert_int_equal(fread(text, 1, sizeof text, file), 0);
    fclose(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),        cmocka_unit_test(test_zeros),
        cmocka_unit_test(test_text),           cmocka_unit_test(test_counted),
        cmocka_unit_test(test_widths),         cmocka_unit_test(test_terminal),
        cmocka_unit_test(test_terminal_lines), cmocka_unit_test(test_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
