// Drawing the progress bar. It asks the clock only, draws a few times a second at most, and counts
// the columns of UTF-8 text, so that a line never wraps.
#include "cli/progress.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

// The bar that stands on the terminal's line now: other text must take it off first, whoever
// writes it. There is one terminal, so there is one.
static cli_progress *progress_shown;

static double progress_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static int progress_width(void)
{
    struct winsize size;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
    return 80;
}

double cli_unsigned_zero(double value, int decimals)
{
    char text[64];
    snprintf(text, sizeof text, "%.*f", decimals, value);
    return strspn(text, "-0.") == strlen(text) ? 0 : value;
}

void cli_short_number(char *out, size_t capacity, double value)
{
    static const char letters[] = "kMGTPE";
    int power = -1;
    double size = fabs(value);
    while (size >= 999.5 && power < 5) {
        size /= 1000;
        value /= 1000;
        power++;
    }
    int decimals = power < 0 && size == floor(size) ? 0 : size < 9.995 ? 2 : size < 99.95 ? 1 : 0;
    if (power < 0)
        snprintf(out, capacity, "%.*f", decimals, value);
    else
        snprintf(out, capacity, "%.*f%c", decimals, value, letters[power]);
}

void cli_short_time(char *out, size_t capacity, double seconds)
{
    if (!(seconds >= 0) || seconds > 3.6e7) {
        snprintf(out, capacity, "-:--");
        return;
    }
    long whole = lround(seconds);
    if (whole >= 3600)
        snprintf(out, capacity, "%ld:%02ld:%02ld", whole / 3600, whole / 60 % 60, whole % 60);
    else
        snprintf(out, capacity, "%ld:%02ld", whole / 60, whole % 60);
}

// Cuts UTF-8 text to at most `columns` characters, never inside one.
static void progress_cut(char *text, int columns)
{
    for (char *at = text; *at != '\0'; at++) {
        if (((unsigned char)*at & 0xc0) == 0x80) continue;
        if (columns-- <= 0) {
            *at = '\0';
            return;
        }
    }
}

static int progress_columns(const char *text)
{
    int columns = 0;
    for (; *text != '\0'; text++)
        columns += ((unsigned char)*text & 0xc0) != 0x80;
    return columns;
}

void cli_progress_text(char *out, size_t capacity, int width, const cli_progress *bar,
                       double elapsed)
{
    char number[32], rate_text[64] = "", time_text[48] = "", share_text[96] = "", tail[512];
    double fraction = bar->total > 0 ? bar->done / bar->total : -1;
    if (fraction > 1) fraction = 1;
    double rate = elapsed > 0 ? (bar->done - bar->base) / elapsed : 0;
    if (bar->unit != NULL && rate > 0) {
        cli_short_number(number, sizeof number, rate);
        snprintf(rate_text, sizeof rate_text, "  %s %s/s", number, bar->unit);
    }
    if (fraction >= 0) {
        if (bar->counted)
            snprintf(share_text, sizeof share_text, " %.0f/%.0f", bar->done, bar->total);
        else
            snprintf(share_text, sizeof share_text, " %3d%%", (int)(100 * fraction));
        cli_short_time(number, sizeof number, rate > 0 ? (bar->total - bar->done) / rate : NAN);
        snprintf(time_text, sizeof time_text, "  %s left", number);
    } else {
        cli_short_number(number, sizeof number, bar->done);
        snprintf(share_text, sizeof share_text, " %s", number);
        cli_short_time(number, sizeof number, elapsed);
        snprintf(time_text, sizeof time_text, "  %s", number);
    }
    if (bar->counted) {
        const size_t used = strlen(share_text);
        snprintf(share_text + used, sizeof share_text - used, "%s", time_text);
        time_text[0] = '\0';
    }
    snprintf(tail, sizeof tail, "%s%s%s%s", time_text, rate_text, bar->suffix[0] ? "  " : "",
             bar->suffix);

    // The bar takes what the words leave over; on a narrow terminal it goes first, then the words
    // from the right.
    int room = width - 1 - progress_columns(bar->label) - progress_columns(share_text) -
               progress_columns(tail) - 3;
    char blocks[48] = "";
    if (fraction >= 0 && room >= 8) {
        int length = room < 30 ? room : 30;
        int full = (int)(fraction * length);
        blocks[0] = ' ';
        blocks[1] = '[';
        memset(blocks + 2, '.', (size_t)length);
        memset(blocks + 2, '#', (size_t)full);
        blocks[2 + length] = ']';
        blocks[3 + length] = '\0';
    }
    snprintf(out, capacity, "%s%s%s%s", bar->label, share_text, blocks, tail);
    progress_cut(out, width > 1 ? width - 1 : 0);
}

void cli_progress_hide(void)
{
    cli_progress *bar = progress_shown;
    if (bar == NULL) return;
    if (bar->lines > 1) fprintf(stderr, "\033[%dA", bar->lines - 1);
    fputs(bar->lines > 1 ? "\r\033[J" : "\r\033[K", stderr);
    fflush(stderr);
    bar->lines = 0;
    bar->drawn = false;
    bar->last_draw = 0;
    progress_shown = NULL;
}

void cli_progress_begin(cli_progress *bar, const cli_args *args, const char *label,
                        const char *unit)
{
    cli_progress_hide();
    const char *kind = getenv("TERM");
    bool dumb = kind != NULL && strcmp(kind, "dumb") == 0;
    *bar = (cli_progress){.label = label,
                          .unit = unit,
                          .enabled = !args->quiet,
                          .terminal = isatty(STDERR_FILENO) == 1 && !dumb,
                          .clock = progress_now,
                          .start = progress_now()};
    bar->last_draw = bar->terminal ? 0 : bar->start;
}

// Whether it is time to draw again.
static bool progress_due(cli_progress *bar)
{
    enum { PLAIN_SECONDS = 30 };
    const double now = bar->clock();
    if (now - bar->last_draw < (bar->terminal ? 0.1 : (double)PLAIN_SECONDS)) return false;
    bar->last_draw = now;
    return true;
}

void cli_progress_update(cli_progress *bar, double done, double total, const char *suffix)
{
    if (!bar->enabled) return;
    if (!bar->have_base) {
        // A first report far into the work means that a former run did that part.
        bar->base = total > 0 && done > total / 100 ? done : 0;
        bar->have_base = true;
    }
    bar->done = done;
    bar->total = total;
    if (suffix != NULL) snprintf(bar->suffix, sizeof bar->suffix, "%s", suffix);
    if (!progress_due(bar)) return;
    char text[768];
    cli_progress_text(text, sizeof text, bar->terminal ? progress_width() : 160, bar,
                      bar->last_draw - bar->start);
    if (!bar->terminal) {
        fprintf(stderr, "%s\n", text);
        return;
    }
    if (progress_shown != bar) cli_progress_hide();
    fprintf(stderr, "\r%s\033[K", text);
    fflush(stderr);
    bar->drawn = true;
    progress_shown = bar;
}

static void progress_line(const char *line, int width)
{
    char text[768];
    snprintf(text, sizeof text, "%s", line);
    for (char *c = text; *c != '\0'; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f) *c = '?';
    progress_cut(text, width > 1 ? width - 1 : 0);
    fputs(text, stderr);
}

void cli_progress_lines(cli_progress *bar, const char *const *lines, int count)
{
    if (!bar->enabled || count < 1 || !progress_due(bar)) return;
    if (!bar->terminal) {
        progress_line(lines[count - 1], 160);
        fputc('\n', stderr);
        return;
    }
    cli_progress_hide();
    for (int i = 0; i < count; i++) {
        progress_line(lines[i], progress_width());
        fputs(i + 1 < count ? "\n" : "", stderr);
    }
    fflush(stderr);
    bar->lines = count;
    bar->drawn = true;
    progress_shown = bar;
}

void cli_progress_end(cli_progress *bar)
{
    if (progress_shown == bar) cli_progress_hide();
    bar->enabled = false;
}
