// How a sweep goes: on a terminal a table that is drawn again in place, elsewhere a line for each
// run that has ended.
#include "cli/sweep_talk.h"

#include <math.h>
#include <string.h>

#include "cli/visible.h"

enum { talk_line = 400, talk_lines = 16, talk_remarks = 12 };

// ---- while it goes ------------------------------------------------------------------------------

void cli_sweep_talk_begin(cli_sweep_talk *talk, const cli_args *args)
{
    *talk = (cli_sweep_talk){.args = args};
    cli_progress_begin(&talk->bar, args, "sweep", NULL);
}

void cli_sweep_talk_end(cli_sweep_talk *talk)
{
    cli_progress_end(&talk->bar);
}

static void talk_job(const sg_sweep_job *job, char out[talk_line])
{
    char rate[32];
    if (job->steps == 0) {
        snprintf(out, talk_line, "%s  begins", job->what);
        return;
    }
    cli_short_number(rate, sizeof rate, job->tokens_per_second);
    snprintf(out, talk_line, "%s  %lld/%lld  loss %.4f  %s tokens/s", job->what,
             (long long)job->step, (long long)job->steps, job->loss, rate);
}

static void talk_totals(const sg_sweep_progress *p, char out[talk_line])
{
    char left[32], more[64] = "", failed[64] = "";
    cli_short_time(left, sizeof left, p->seconds_left);
    if (p->expected > 0) snprintf(more, sizeof more, " and about %.0f more", p->expected);
    if (p->failed > 0) snprintf(failed, sizeof failed, ", %lld failed", (long long)p->failed);
    snprintf(out, talk_line, "sweep  %lld of %lld runs%s%s  %s left", (long long)p->finished,
             (long long)p->planned, more, failed, left);
}

bool cli_sweep_talk_progress(void *user, const sg_sweep_progress *p)
{
    cli_sweep_talk *talk = user;
    char lines[talk_lines][talk_line];
    const char *drawn[talk_lines];
    int count = 0;
    if (p->said != NULL && p->warning) cli_warn(talk->args, "%s", p->said);
    if (p->said != NULL && !p->warning) cli_note(talk->args, "%s", p->said);
    for (size_t i = 0; i < p->job_count && count < talk_lines - 1; i++)
        if (p->jobs[i].active) talk_job(&p->jobs[i], lines[count++]);
    talk_totals(p, lines[count++]);
    for (int i = 0; i < count; i++)
        drawn[i] = lines[i];
    cli_progress_lines(&talk->bar, drawn, count);
    return !cli_stop_requested();
}

// ---- what it has come to ------------------------------------------------------------------------

static void talk_number(char *out, size_t capacity, double value)
{
    if (isnan(value))
        snprintf(out, capacity, "-");
    else
        snprintf(out, capacity, "%.6g", value);
}

static void talk_best(const sg_sweep_overview *o)
{
    bool head = false, settings = false;
    for (size_t i = 0; i < o->count; i++)
        settings |= o->entries[i].best && strcmp(o->entries[i].settings, "{}") != 0;
    for (size_t i = 0; i < o->count; i++) {
        const sg_sweep_entry *e = &o->entries[i];
        char budget[32], scale[32], size[32];
        if (!e->best) continue;
        if (!head)
            printf("%-12s %9s %6s %10s %10s %8s %8s %10s %5s%s\n", "family", "FLOPs", "scale", "lr",
                   "parameters", "steps", "loss", "perplexity", "seeds",
                   settings ? "  settings" : "");
        head = true;
        talk_number(budget, sizeof budget, e->budget);
        talk_number(scale, sizeof scale, e->scale);
        cli_short_number(size, sizeof size, (double)e->parameters);
        char family[128];
        snprintf(family, sizeof family, "%-12s", e->family);
        cli_put_visible(stdout, family, strlen(family), false);
        printf(" %9s %6s %10.4g %10s %8lld %8.4f %10.3f %5lld", budget, scale, e->lr, size,
               (long long)e->steps, e->mean_loss, exp(e->mean_loss), (long long)e->seeds);
        if (settings) {
            printf("  ");
            cli_put_visible(stdout, e->settings, strlen(e->settings), false);
        }
        printf("\n");
    }
}

static void talk_line_of(const char *head, const char *text)
{
    printf("%s", head);
    cli_put_visible(stdout, text, strlen(text), false);
    printf("\n");
}

static void talk_failures(const sg_sweep_overview *o)
{
    for (size_t i = 0; i < o->count; i++) {
        const sg_sweep_entry *e = &o->entries[i];
        char text[640], scale[32], budget[32];
        if (strcmp(e->state, "failed") != 0) continue;
        talk_number(scale, sizeof scale, e->scale);
        talk_number(budget, sizeof budget, e->budget);
        snprintf(text, sizeof text, "%s, scale %s, %s FLOPs, lr %.4g, seed %llu: %s", e->family,
                 scale, budget, e->lr, (unsigned long long)e->seed, e->error);
        talk_line_of("failed: ", text);
    }
}

static void talk_head(const sg_sweep_overview *o)
{
    const sg_sweep_totals *t = &o->totals;
    char text[512], more[64] = "", failed[96] = "";
    if (t->expected > 0) snprintf(more, sizeof more, ", about %.0f more to come", t->expected);
    if (t->failed > 0)
        snprintf(failed, sizeof failed, ", %lld failed (%lld diverged)", (long long)t->failed,
                 (long long)t->diverged);
    snprintf(text, sizeof text, "%s: %lld of %lld runs finished%s%s", o->name,
             (long long)t->finished, (long long)t->planned, failed, more);
    talk_line_of("", text);
}

static json_t *talk_json_entry(const sg_sweep_entry *e)
{
    json_error_t error;
    json_t *settings = json_loads(e->settings, 0, &error);
    return json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:I, s:I, s:I, s:o, s:o, s:o, s:I, s:o, "
                     "s:b, s:s}",
                     "id", e->id, "state", e->state, "family", e->family, "scale",
                     cli_json_number(e->scale), "budget", cli_json_number(e->budget), "settings",
                     settings != NULL ? settings : json_object(), "lr", cli_json_number(e->lr),
                     "seed", (json_int_t)e->seed, "steps", (json_int_t)e->steps, "parameters",
                     (json_int_t)e->parameters, "loss", cli_json_number(e->loss), "perplexity",
                     cli_json_number(e->perplexity), "seconds", cli_json_number(e->seconds),
                     "seeds", (json_int_t)e->seeds, "mean_loss", cli_json_number(e->mean_loss),
                     "best", (int)e->best, "error", e->error);
}

static int talk_json(const cli_args *args, const char *folder, const sg_sweep_overview *o)
{
    json_t *runs = json_array(), *remarks = json_array();
    for (size_t i = 0; i < o->count; i++)
        json_array_append_new(runs, talk_json_entry(&o->entries[i]));
    for (size_t i = 0; i < o->remark_count; i++)
        json_array_append_new(remarks, json_string(o->remarks[i]));
    return cli_print_json(
        args, json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:f, s:o, s:o}", "sweep", folder,
                        "name", o->name, "data", o->data, "data_hash", o->data_hash, "planned",
                        (json_int_t)o->totals.planned, "finished", (json_int_t)o->totals.finished,
                        "failed", (json_int_t)o->totals.failed, "diverged",
                        (json_int_t)o->totals.diverged, "expected", o->totals.expected, "remarks",
                        remarks, "runs", runs));
}

int cli_sweep_print(const cli_args *args, const char *folder, const sg_sweep_overview *o)
{
    if (args->json) return talk_json(args, folder, o);
    talk_head(o);
    talk_best(o);
    talk_failures(o);
    const size_t shown = o->remark_count > talk_remarks ? talk_remarks : o->remark_count;
    for (size_t i = 0; i < shown; i++)
        talk_line_of("", o->remarks[i]);
    if (shown < o->remark_count)
        printf("and %zu more remarks (--json has all)\n", o->remark_count - shown);
    return CLI_DONE;
}

// ---- what it will take --------------------------------------------------------------------------

static void outlook_number(char *out, size_t capacity, double value)
{
    if (isnan(value))
        snprintf(out, capacity, "-");
    else
        cli_short_number(out, capacity, value);
}

static void outlook_cells(const sg_sweep_outlook *o)
{
    printf("%-12s %9s %6s %7s %7s %9s %7s %8s %8s %8s %5s %5s  %s\n", "family", "FLOPs", "scale",
           "steps", "tokens", "epochs", "all-in", "params", "memory", "time", "runs", "more",
           "settings");
    for (size_t i = 0; i < o->count; i++) {
        const sg_sweep_cell_outlook *c = &o->cells[i];
        char scale[32], budget[32], tokens[32], flops[32], size[32], memory[32], time[32];
        char family[96], more[32] = "";
        talk_number(scale, sizeof scale, c->scale);
        outlook_number(budget, sizeof budget, c->flops);
        outlook_number(tokens, sizeof tokens, (double)c->tokens);
        outlook_number(flops, sizeof flops, c->flops_all_in);
        outlook_number(size, sizeof size, (double)c->parameters);
        outlook_number(memory, sizeof memory, (double)c->memory_bytes);
        cli_short_time(time, sizeof time, c->seconds);
        snprintf(family, sizeof family, "%-12s", c->family);
        if (c->expected > 0) snprintf(more, sizeof more, "%.1f", c->expected);
        cli_put_visible(stdout, family, strlen(family), false);
        printf(" %9s %6s %7lld %7s %9.3g %7s %8s %8s %7s%s %5lld %5s  ", budget, scale,
               (long long)c->steps, tokens, c->epochs, flops, size, memory, time,
               strcmp(c->timing, "measured") == 0 ? " " : "~", (long long)c->waiting, more);
        cli_put_visible(stdout, c->settings, strlen(c->settings), false);
        printf("\n");
    }
}

static void outlook_line(const char *name, const sg_sweep_family_outlook *f)
{
    char flops[32], time[32], text[400], more[64] = "";
    outlook_number(flops, sizeof flops, f->flops_all_in);
    cli_short_time(time, sizeof time, f->seconds);
    if (f->expected > 0) snprintf(more, sizeof more, " and about %.0f more", f->expected);
    snprintf(text, sizeof text, "%.100s: %lld runs%s, %lld finished, %s FLOPs all-in, %s", name,
             (long long)f->waiting, more, (long long)f->finished, flops, time);
    talk_line_of("", text);
}

static void outlook_text(const sg_sweep_outlook *o)
{
    char time[32], memory[32], disk[32];
    outlook_cells(o);
    for (size_t i = 0; i < o->family_count; i++)
        outlook_line(o->families[i].family, &o->families[i]);
    outlook_line("all", &o->all);
    cli_short_time(time, sizeof time, o->wall_seconds);
    cli_short_number(memory, sizeof memory, (double)o->memory_bytes);
    cli_short_number(disk, sizeof disk, (double)o->disk_bytes);
    printf("about %s with all jobs at work, %sB of memory and %sB of disk at a time\n", time,
           memory, disk);
    if (o->measured < o->shapes)
        printf("~: estimated: steps of %lld of %lld shapes were timed\n", (long long)o->measured,
               (long long)o->shapes);
}

static json_t *outlook_json_cell(const sg_sweep_cell_outlook *c)
{
    json_error_t error;
    json_t *settings = json_loads(c->settings, 0, &error);
    return json_pack(
        "{s:s, s:o, s:o, s:o, s:I, s:I, s:f, s:f, s:f, s:I, s:I, s:I, s:I, s:o, s:s, s:I, s:I, "
        "s:f}",
        "family", c->family, "scale", cli_json_number(c->scale), "budget",
        cli_json_number(c->budget), "settings", settings != NULL ? settings : json_object(),
        "steps", (json_int_t)c->steps, "tokens", (json_int_t)c->tokens, "epochs", c->epochs,
        "flops", c->flops, "flops_all_in", c->flops_all_in, "parameters", (json_int_t)c->parameters,
        "active_parameters", (json_int_t)c->active_parameters, "memory_bytes",
        (json_int_t)c->memory_bytes, "disk_bytes", (json_int_t)c->disk_bytes, "seconds",
        cli_json_number(c->seconds), "timing", c->timing, "finished", (json_int_t)c->finished,
        "waiting", (json_int_t)c->waiting, "expected", c->expected);
}

static json_t *outlook_json_family(const sg_sweep_family_outlook *f)
{
    return json_pack("{s:s, s:I, s:I, s:f, s:f, s:f, s:o}", "family", f->family, "finished",
                     (json_int_t)f->finished, "waiting", (json_int_t)f->waiting, "expected",
                     f->expected, "flops", f->flops, "flops_all_in", f->flops_all_in, "seconds",
                     cli_json_number(f->seconds));
}

int cli_sweep_print_outlook(const cli_args *args, const sg_sweep_outlook *o)
{
    if (!args->json) {
        outlook_text(o);
        return CLI_DONE;
    }
    json_t *cells = json_array(), *families = json_array();
    for (size_t i = 0; i < o->count; i++)
        json_array_append_new(cells, outlook_json_cell(&o->cells[i]));
    for (size_t i = 0; i < o->family_count; i++)
        json_array_append_new(families, outlook_json_family(&o->families[i]));
    return cli_print_json(
        args, json_pack("{s:o, s:o, s:o, s:o, s:I, s:I, s:I, s:I}", "cells", cells, "families",
                        families, "all", outlook_json_family(&o->all), "wall_seconds",
                        cli_json_number(o->wall_seconds), "memory_bytes",
                        (json_int_t)o->memory_bytes, "disk_bytes", (json_int_t)o->disk_bytes,
                        "shapes", (json_int_t)o->shapes, "measured", (json_int_t)o->measured));
}
