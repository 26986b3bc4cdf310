// sgatlin compare: what runs cost and came to, side by side, and their curves as a picture.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "sgatlin_report.h"

static struct {
    const char *svg, *x;
} compare = {.x = "flops"};

static const cli_option options[] = {
    {.name = "svg",
     .kind = CLI_STRING,
     .value = &compare.svg,
     .argument = "FILE",
     .shown = "",
     .help = "draw the loss of training as lines and that of validation as dots"},
    {.name = "x",
     .kind = CLI_STRING,
     .value = &compare.x,
     .argument = "WHAT",
     .help =
         "over what the curves are drawn: published FLOPs, tokens, steps, or seconds of training",
     .choices = "flops|tokens|step|seconds"},
    {0}};

typedef struct compared {
    const char *path;
    char name[24];
    sg_train_run run;
    sg_run_figure figures[SG_RUN_FIGURES];
} compared;

// ---- the table ----------------------------------------------------------------------------------

static double compare_figure(const compared *c, const char *key)
{
    for (int r = 0; r < SG_RUN_FIGURES; r++)
        if (strcmp(c->figures[r].key, key) == 0) return c->figures[r].value;
    return NAN;
}

static void compare_cell(char *out, size_t capacity, const sg_run_figure *figure)
{
    if (isnan(figure->value))
        snprintf(out, capacity, "-");
    else if (figure->decimals >= 0)
        snprintf(out, capacity, "%.*f", figure->decimals, figure->value);
    else
        cli_short_number(out, capacity, figure->value);
}

static void compare_table(const compared *all, int count)
{
    char cell[32];
    printf("%-30s", "");
    for (int i = 0; i < count; i++)
        printf("  %12s", all[i].name);
    printf("\n");
    printf("%-30s", "products (logits) in");
    for (int i = 0; i < count; i++) {
        const sg_train_options *o = &all[i].run.options;
        snprintf(cell, sizeof cell, "%s (%s)", sg_compute_kind_name(o->compute),
                 sg_compute_kind_name(o->logits_compute));
        printf("  %12s", cell);
    }
    printf("\n");
    for (int r = 0; r < SG_RUN_FIGURES; r++) {
        printf("%-30s", all[0].figures[r].label);
        for (int i = 0; i < count; i++) {
            compare_cell(cell, sizeof cell, &all[i].figures[r]);
            printf("  %12s", cell);
        }
        printf("\n");
    }
}

static bool compare_same(double a, double b)
{
    return fabs(a - b) <= 0.01 * fabs(a);
}

// A word on who is best, where that can be said: finished runs, on the same data.
static void compare_verdict(const compared *all, int count)
{
    int best = 0, second = -1;
    bool flops = true;
    for (int i = 0; i < count; i++) {
        if (isnan(compare_figure(&all[i], "val_perplexity"))) return;
        if (strcmp(all[i].run.data_hash, all[0].run.data_hash) != 0) return;
        flops = flops &&
                compare_same(compare_figure(&all[0], "flops"), compare_figure(&all[i], "flops"));
        if (compare_figure(&all[i], "val_perplexity") <
            compare_figure(&all[best], "val_perplexity"))
            best = i;
    }
    for (int i = 0; i < count; i++)
        if (i != best && (second < 0 || compare_figure(&all[i], "val_perplexity") <
                                            compare_figure(&all[second], "val_perplexity")))
            second = i;
    if (second < 0) return;
    printf("\n%s%s has the %s perplexity: %.3f against %.3f.\n", flops ? "At equal FLOPs " : "",
           all[best].name, count == 2 ? "lower" : "lowest",
           compare_figure(&all[best], "val_perplexity"),
           compare_figure(&all[second], "val_perplexity"));
}

static int compare_json(const cli_args *args, const compared *all, int count)
{
    json_t *list = json_array();
    for (int i = 0; i < count; i++) {
        json_t *one =
            json_pack("{s:s, s:s, s:b, s:I, s:I, s:s}", "run", all[i].path, "ffn",
                      all[i].run.options.config.ffn, "finished", all[i].run.finished, "step",
                      (json_int_t)all[i].run.step, "steps", (json_int_t)all[i].run.steps,
                      "data_checksum", all[i].run.data_hash);
        if (all[i].run.finished)
            json_object_set_new(one, "train_loss", cli_json_number(all[i].run.result.train_loss));
        const sg_train_options *o = &all[i].run.options;
        json_object_set_new(one, "compute", json_string(sg_compute_kind_name(o->compute)));
        json_object_set_new(one, "logits_compute",
                            json_string(sg_compute_kind_name(o->logits_compute)));
        for (int r = 0; r < SG_RUN_FIGURES; r++)
            json_object_set_new(one, all[i].figures[r].key,
                                cli_json_number(all[i].figures[r].value));
        json_array_append_new(list, one);
    }
    return cli_print_json(args, list);
}

// ---- the picture --------------------------------------------------------------------------------

static const char *compare_axis(void)
{
    return strcmp(compare.x, "flops") == 0    ? "training FLOPs (published count)"
           : strcmp(compare.x, "tokens") == 0 ? "training tokens"
           : strcmp(compare.x, "step") == 0   ? "steps"
                                              : "seconds of training";
}

static sg_status compare_draw(const compared *all, int count, sg_error *err)
{
    sg_curve *curves = calloc(2 * (size_t)count, sizeof *curves);
    sg_status status = curves ? SG_OK : (err->code = SG_ERR_MEMORY);
    for (int i = 0; i < count && status == SG_OK; i++) {
        status = sg_train_curve(all[i].path, "loss", compare.x, &curves[i], err);
        snprintf(curves[i].label, sizeof curves[i].label, "%s", all[i].name);
        if (status == SG_OK)
            status = sg_train_curve(all[i].path, "val_loss", compare.x, &curves[count + i], err);
    }
    const sg_svg_options o = {.title = "Loss of training, and of validation (dots)",
                              .x_label = compare_axis(),
                              .y_label = "loss, nats a token"};
    if (status == SG_OK)
        status = sg_curves_svg(compare.svg, curves, curves + count, (size_t)count, &o, err);
    for (int i = 0; curves != NULL && i < 2 * count; i++)
        sg_curve_clear(&curves[i]);
    free(curves);
    return status;
}

// ---- the verb -----------------------------------------------------------------------------------

static void compare_name(compared *c)
{
    const char *end = c->path + strlen(c->path);
    while (end > c->path && end[-1] == '/')
        end--;
    const char *begin = end;
    while (begin > c->path && begin[-1] != '/')
        begin--;
    snprintf(c->name, sizeof c->name, "%.*s", (int)(end - begin), begin);
}

static sg_status compare_read(const cli_args *args, compared *all, sg_error *err)
{
    sg_status status = SG_OK;
    for (int i = 0; i < args->count && status == SG_OK; i++) {
        compared *c = &all[i];
        c->path = args->operands[i];
        compare_name(c);
        status = sg_train_run_read(c->path, &c->run, err);
        if (status == SG_OK) status = sg_run_figures(&c->run, c->figures, err);
        if (status != SG_OK) break;
        if (!c->run.finished)
            cli_warn(args, "%s: the run is at step %lld of %lld: what it came to is not known yet",
                     c->path, (long long)c->run.step, (long long)c->run.steps);
        if (strcmp(c->run.data_hash, all[0].run.data_hash) != 0)
            cli_warn(args, "%s: trained on other data than %s: their losses do not compare",
                     c->path, all[0].path);
    }
    return status;
}

static int compare_run(const cli_args *args)
{
    sg_error err = {0};
    compared *all = calloc((size_t)args->count, sizeof *all);
    sg_status status = all ? compare_read(args, all, &err) : (err.code = SG_ERR_MEMORY);
    if (status == SG_OK && compare.svg != NULL) status = compare_draw(all, args->count, &err);
    int code = CLI_DONE;
    if (status != SG_OK) {
        code = cli_fail(args, status, &err);
    } else if (args->json) {
        code = compare_json(args, all, args->count);
    } else {
        compare_table(all, args->count);
        compare_verdict(all, args->count);
    }
    free(all);
    return code;
}

const cli_command cli_cmd_compare = {
    .name = "compare",
    .summary = "what runs cost and came to, side by side, with curves",
    .usage = "RUN… [--svg FILE] [options]",
    .about =
        "The figures are those of the runs' own summaries; of a run that is still under way the "
        "curves are drawn as far as they go. Validation is on the whole validation split of the "
        "data that a run was trained on.",
    .options = options,
    .example = "sgatlin compare runs/mlp runs/sgatlin --svg loss.svg",
    .min_operands = 1,
    .max_operands = 64,
    .operands = "RUN",
    .run = compare_run,
};
