// sgatlin sweep time: seconds of a step of each shape of a sweep, on a machine that does nothing
// else.
#include <math.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/visible.h"
#include "sgatlin_sweep.h"

static struct {
    const char *family, *data;
    int64_t rounds, steps;
    bool busy;
} timing = {.rounds = 5, .steps = 3};

static const cli_option options[] = {
    {.name = "rounds",
     .kind = CLI_INT,
     .value = &timing.rounds,
     .argument = "N",
     .low = 1,
     .high = 1000,
     .help = "times over all shapes, each of them a figure; those that are there count"},
    {.name = "steps",
     .kind = CLI_INT,
     .value = &timing.steps,
     .argument = "N",
     .low = 1,
     .high = 1000,
     .help =
         "of training that a figure is the median of, at least, and for half a second, after one "
         "that warms up"},
    {.name = "family",
     .kind = CLI_STRING,
     .value = &timing.family,
     .argument = "NAME",
     .shown = "all",
     .help = "shapes of this one alone"},
    {.name = "data",
     .kind = CLI_STRING,
     .value = &timing.data,
     .argument = "DIR",
     .shown = "the sweep's",
     .help = "the same packed data at another place"},
    {.name = "busy",
     .kind = CLI_FLAG,
     .value = &timing.busy,
     .help = "measure though others use more than a tenth of the processors"},
    {0}};

typedef struct timing_talk {
    const cli_args *args;
    cli_progress bar;
} timing_talk;

static bool timing_progress(void *user, const sg_sweep_time_progress *p)
{
    timing_talk *talk = user;
    char suffix[160] = "";
    if (p->said != NULL && p->warning) cli_warn(talk->args, "%s", p->said);
    if (p->said != NULL && !p->warning) cli_note(talk->args, "%s", p->said);
    if (p->what[0] != '\0') snprintf(suffix, sizeof suffix, "%.150s", p->what);
    cli_progress_update(&talk->bar, (double)p->measured, (double)p->planned, suffix);
    return !cli_stop_requested();
}

static json_t *timing_json(const sg_sweep_timing *timings, size_t count)
{
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        const sg_sweep_timing *t = &timings[i];
        json_array_append_new(
            list,
            json_pack("{s:s, s:s, s:o, s:I, s:I, s:I, s:o, s:o, s:o}", "family", t->family,
                      "settings", t->settings, "scale", cli_json_number(t->scale), "parameters",
                      (json_int_t)t->parameters, "runs", (json_int_t)t->runs, "rounds",
                      (json_int_t)t->rounds, "step_seconds", cli_json_number(t->seconds), "low",
                      cli_json_number(t->low), "high", cli_json_number(t->high)));
    }
    return list;
}

static void timing_print(const sg_sweep_timing *timings, size_t count)
{
    printf("%-12s %6s %10s %5s %7s %12s %12s %12s\n", "family", "scale", "parameters", "runs",
           "rounds", "s/step", "10 %", "90 %");
    for (size_t i = 0; i < count; i++) {
        const sg_sweep_timing *t = &timings[i];
        char family[80], scale[32] = "-", size[32];
        snprintf(family, sizeof family, "%-12s", t->family);
        cli_put_visible(stdout, family, strlen(family), false);
        if (!isnan(t->scale)) snprintf(scale, sizeof scale, "%.6g", t->scale);
        cli_short_number(size, sizeof size, (double)t->parameters);
        printf(" %6s %10s %5lld %7lld %12.5g %12.5g %12.5g", scale, size, (long long)t->runs,
               (long long)t->rounds, t->seconds, t->low, t->high);
        if (strcmp(t->settings, "{}") != 0) {
            printf("  ");
            cli_put_visible(stdout, t->settings, strlen(t->settings), false);
        }
        printf("\n");
    }
}

static int timing_run(const cli_args *args)
{
    sg_error err = {0};
    sg_context *context;
    sg_sweep_timing *timings;
    size_t count;
    timing_talk talk = {.args = args};
    sg_sweep_time_options o = sg_sweep_time_options_default();
    cli_catch_signals();
    sg_status status = cli_context_new(args, &context, &err);
    if (status != SG_OK) return cli_fail(args, status, &err);
    o.folder = args->operands[0];
    o.data = timing.data;
    o.family = timing.family;
    o.rounds = timing.rounds;
    o.steps = timing.steps;
    o.busy = timing.busy;
    o.progress = timing_progress;
    o.user = &talk;
    cli_progress_begin(&talk.bar, args, "time", NULL);
    status = sg_sweep_time(context, &o, &timings, &count, &err);
    cli_progress_end(&talk.bar);
    sg_context_free(context);
    if (status != SG_OK) return cli_fail(args, status, &err);
    int code = CLI_DONE;
    if (args->json)
        code = cli_print_json(args, timing_json(timings, count));
    else
        timing_print(timings, count);
    sg_sweep_timings_free(timings);
    return code;
}

const cli_command cli_cmd_sweep_time = {
    .name = "sweep time",
    .summary = "measure how long a step of each of a sweep's shapes takes",
    .usage = "DIR [options]",
    .about =
        "Runs that differ in learning rate, seed or number of steps alone are of one shape. Each "
        "is trained for a few steps on the sweep's data from fresh weights, all shapes in turn, "
        "then "
        "the next round, so that a slow minute of the machine hits all alike. What is measured is "
        "kept with the "
        "machine and its threads (--threads), apart from the times that the runs took while "
        "whatever else was going on; the same command goes on after it was stopped.\n"
        "\n"
        "The table has the median of the rounds and their 10th and 90th percentiles. Runs that "
        "came after their shape was timed get its times too, which is said. Nothing is "
        "measured while others use the processors, unless --busy is given.",
    .options = options,
    .example = "sgatlin sweep time isoflop --rounds 9",
    .min_operands = 1,
    .max_operands = 1,
    .operands = "DIR",
    .run = timing_run,
};
