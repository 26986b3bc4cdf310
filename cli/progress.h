// A progress bar on stderr: label, share done, rate, time left and a free text such as the loss. On
// a terminal it is one line, redrawn a few times a second and removed at the end; elsewhere it is a
// plain line every half minute, so that a log shows life without drowning.
#ifndef SGATLIN_CLI_PROGRESS_H
#define SGATLIN_CLI_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>

#include "cli/options.h"

typedef struct cli_progress {
    const char *label;
    const char *unit; // what is counted, for the rate: "stories", "B"; NULL shows no rate
    bool counted;     // steps are named, not their share, and the time left stands before the bar
    bool enabled;     // false with --quiet
    bool terminal;
    bool drawn;            // the bar stands on the line now
    int lines;             // that it takes, if more than one
    double (*clock)(void); // seconds; tests put their own here
    double start;
    double base; // work done before this run began (a resumed run), not counted in the rate
    bool have_base;
    double last_draw;
    double done, total;
    char suffix[160];
} cli_progress;

// label and unit must outlive the bar.
void cli_progress_begin(cli_progress *bar, const cli_args *args, const char *label,
                        const char *unit);
// Cheap enough to call for every record. total <= 0: not known. suffix may be NULL.
void cli_progress_update(cli_progress *bar, double done, double total, const char *suffix);
// In the place of update: several lines on a terminal, cut to its width, and elsewhere the last of
// them now and then. Control characters of theirs are shown as ?.
void cli_progress_lines(cli_progress *bar, const char *const *lines, int count);
// Removes the bar. Safe after a failure, and twice.
void cli_progress_end(cli_progress *bar);

// Takes the bar off the line so that other text can be written; it comes back with the next update.
void cli_progress_hide(void);

// The text of the bar for a terminal of `width` columns; never wider than width - 1. `elapsed` are
// seconds since the start, `base` the work that was done before it.
void cli_progress_text(char *out, size_t capacity, int width, const cli_progress *bar,
                       double elapsed);

// What rounds to nothing with so many decimals is 0, without the sign that -0.0000 would have.
double cli_unsigned_zero(double value, int decimals);
// 1234567 -> "1.23M", 5 -> "5"
void cli_short_number(char *out, size_t capacity, double value);
// 75 -> "1:15", 3700 -> "1:01:40"
void cli_short_time(char *out, size_t capacity, double seconds);

#endif
