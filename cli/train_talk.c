// Lines of a run. What is said is what decides it and what it costs: parameters, rows, steps, rate,
// guard, memory, disk; its time once it has been measured.
#include "cli/train_talk.h"

#include "cli/computing.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

// ---- the plan -----------------------------------------------------------------------------------

enum { PLAN_LINES = 8, PLAN_WIDTH = 200 };

typedef struct plan_text {
    char lines[PLAN_LINES][PLAN_WIDTH];
    int count;
} plan_text;

static void plan_add(plan_text *text, const char *name, const char *format, ...) SG_PRINTF(3, 4);

static void plan_add(plan_text *text, const char *name, const char *format, ...)
{
    char *line = text->lines[text->count++];
    int used = snprintf(line, PLAN_WIDTH, "%-8s", name);
    va_list list;
    va_start(list, format);
    vsnprintf(line + used, PLAN_WIDTH - (size_t)used, format, list);
    va_end(list);
}

typedef struct short_text {
    char text[48];
} short_text;

// "466 rows", "4.62 k rows", "1.73 MB": a unit that is a word begins with a blank.
static short_text brief(double value, const char *unit)
{
    char number[32];
    short_text s;
    cli_short_number(number, sizeof number, value);
    const size_t last = strlen(number) - 1;
    const bool letter = number[last] < '0' || number[last] > '9';
    snprintf(s.text, sizeof s.text, "%.*s%s%s%s", (int)(letter ? last : last + 1), number,
             letter || unit[0] != ' ' ? " " : "", letter ? number + last : "", unit);
    return s;
}

static void plan_of_model(plan_text *text, const sg_train_plan *p, const sg_train_options *o)
{
    const char *recipe = o->recipe[0] != '\0' ? ", the published recipe of " : "";
    if (p->trained < p->parameters)
        plan_add(text, "model", "%s, %s, %s are trained", o->config.ffn,
                 brief((double)p->parameters, " parameters").text,
                 brief((double)p->trained, " of them").text);
    else
        plan_add(text, "model", "%s, %s%s%s", o->config.ffn,
                 brief((double)p->parameters, " parameters").text, recipe, o->recipe);
    plan_add(text, "data", "%s of %lld tokens, read %.3g times; %s for validation",
             brief((double)p->rows, " rows").text, (long long)p->seq_len, p->epochs,
             brief((double)p->val_rows, " rows").text);
}

static void plan_of_saving(plan_text *text, const sg_train_plan *p, const sg_train_options *o)
{
    char when[80] = "at the end";
    if (o->checkpoint_every > 0 && o->checkpoint_minutes > 0)
        snprintf(when, sizeof when, "every %lld steps and every %g minutes",
                 (long long)o->checkpoint_every, o->checkpoint_minutes);
    else if (o->checkpoint_every > 0)
        snprintf(when, sizeof when, "every %lld steps", (long long)o->checkpoint_every);
    else if (o->checkpoint_minutes > 0)
        snprintf(when, sizeof when, "every %g minutes", o->checkpoint_minutes);
    plan_add(text, "memory", "%s for a step%s%s%s", brief((double)p->memory_bytes, "B").text,
             o->compute == SG_COMPUTE_BF16 ? ", activations kept in bf16" : "",
             o->recompute ? ", activations computed twice" : "",
             p->grad_accum > 1 ? ", in micro-batches" : "");
    plan_add(text, "disk", "a checkpoint of %s %s, the last %lld kept",
             brief((double)p->checkpoint_bytes, "B").text, when, (long long)o->keep_last);
}

static void plan_lines(plan_text *text, const sg_context *context, const sg_train_plan *p,
                       const sg_train_options *o)
{
    char kinds[96];
    text->count = 0;
    plan_of_model(text, p, o);
    plan_add(text, "steps", "%lld of %lld x %lld = %s; in all %s, %s (%s with logits)",
             (long long)p->steps, (long long)p->batch_size, (long long)p->seq_len,
             brief((double)p->tokens_per_step, " tokens").text,
             brief((double)p->tokens_per_step * (double)p->steps, " tokens").text,
             brief(p->flops, "FLOP").text, brief(p->flops_all_in, "FLOP").text);
    plan_add(text, "compute", "%s",
             cli_computing_text(context, o->compute, o->logits_compute, kinds, sizeof kinds));
    plan_add(text, "rate",
             "%g, %s: warm-up %lld steps, decay %lld; weight decay %g, clip %g, seed %llu", o->lr,
             o->schedule, (long long)p->warmup_steps, (long long)p->decay_steps, o->weight_decay,
             o->clip, (unsigned long long)o->seed);
    if (o->spike_limit > 0)
        plan_add(text, "guard", "updates are skipped whose loss is %g nats above the running mean",
                 o->spike_limit);
    else
        plan_add(text, "guard", "none against jumps of the loss");
    plan_of_saving(text, p, o);
}

static json_t *plan_json(const sg_context *context, const sg_train_plan *p,
                         const sg_train_options *o)
{
    json_t *object = json_pack(
        "{s:s, s:I, s:I, s:I, s:I, s:I, s:f, s:I, s:I, s:I, s:I, s:f, s:f, s:I, s:I}", "ffn",
        o->config.ffn, "parameters", (json_int_t)p->parameters, "trained_weights",
        (json_int_t)p->trained, "train_rows", (json_int_t)p->rows, "val_rows",
        (json_int_t)p->val_rows, "seq_len", (json_int_t)p->seq_len, "epochs", p->epochs, "steps",
        (json_int_t)p->steps, "batch_size", (json_int_t)p->batch_size, "grad_accum",
        (json_int_t)p->grad_accum, "tokens_per_step", (json_int_t)p->tokens_per_step, "flops",
        p->flops, "flops_all_in", p->flops_all_in, "memory_bytes", (json_int_t)p->memory_bytes,
        "checkpoint_bytes", (json_int_t)p->checkpoint_bytes);
    json_t *recipe =
        json_pack("{s:s, s:s, s:f, s:I, s:I, s:f, s:f, s:f, s:f, s:I}", "recipe", o->recipe,
                  "schedule", o->schedule, "lr", o->lr, "warmup_steps", (json_int_t)p->warmup_steps,
                  "decay_steps", (json_int_t)p->decay_steps, "weight_decay", o->weight_decay,
                  "clip", o->clip, "spike_limit", o->spike_limit, "checkpoint_minutes",
                  o->checkpoint_minutes, "checkpoint_every", (json_int_t)o->checkpoint_every);
    cli_computing_json(object, context, o->compute, o->logits_compute);
    if (object != NULL) json_object_update(object, recipe);
    json_decref(recipe);
    return object;
}

int cli_train_print_plan(const cli_args *args, const sg_context *context, const sg_train_plan *plan,
                         const sg_train_options *options)
{
    plan_text text;
    cli_computing_tell(args, context, options->compute, options->logits_compute);
    if (args->json) return cli_print_json(args, plan_json(context, plan, options));
    plan_lines(&text, context, plan, options);
    for (int i = 0; i < text.count; i++)
        puts(text.lines[i]);
    return CLI_DONE;
}

// ---- on the way ---------------------------------------------------------------------------------

static void talk_start(cli_train_talk *t, const sg_train_event *e)
{
    plan_text text;
    cli_computing_tell(t->args, t->context, e->options->compute, e->options->logits_compute);
    plan_lines(&text, t->context, e->plan, e->options);
    for (int i = 0; i < text.count; i++)
        cli_note(t->args, "%s", text.lines[i]);
    if (e->resumed_from >= 0)
        cli_note(t->args, "going on after step %lld of %lld", (long long)e->resumed_from,
                 (long long)e->steps);
    cli_progress_begin(&t->bar, t->args, "train", NULL);
    t->bar.counted = true;
    t->first_step = -1;
    t->begun = true;
}

// After some steps, of which the first is left out: it makes what the others find.
static void talk_time(cli_train_talk *t, const sg_train_event *e)
{
    if (t->said_time) return;
    if (t->first_step < 0) {
        t->first_step = e->step;
        t->first_seconds = e->seconds;
        return;
    }
    const int64_t steps = e->step - t->first_step, left = e->steps - e->step;
    const double each = (e->seconds - t->first_seconds) / (double)steps;
    if (steps < 3 || e->seconds - t->first_seconds < 2) return;
    t->said_time = true;
    char all[32], rest[32];
    cli_short_time(all, sizeof all, e->seconds + each * (double)left);
    cli_short_time(rest, sizeof rest, each * (double)left);
    if (each * (double)left > 5)
        cli_note(t->args,
                 "time    about %s in all, %s left: %.3g s a step, measured over %lld steps", all,
                 rest, each, (long long)steps);
}

const char *cli_train_share(const sg_train_event *e, char *text, size_t capacity)
{
    char peak[32], age[32];
    const double share = e->peak_per_second > 0 ? e->work_per_second / e->peak_per_second : 0;
    const sg_train_options *o = e->options;
    const bool f32 = o->compute == SG_COMPUTE_F32 && o->logits_compute == SG_COMPUTE_F32;
    text[0] = '\0';
    if (!(share > 0 && share <= 1)) return text;
    cli_short_number(peak, sizeof peak, 1e-9 * e->peak_per_second);
    if (e->peak_age < 60)
        snprintf(age, sizeof age, "%.0f s", e->peak_age);
    else
        snprintf(age, sizeof age, "%.0f min", e->peak_age / 60);
    snprintf(text, capacity, "%.0f%% of %s GFLOP/s%s%s, measured %s ago", 100 * share, peak,
             f32 ? "" : " in ", f32 ? "" : sg_compute_kind_name(o->compute), age);
    return text;
}

static void talk_step(cli_train_talk *t, const sg_train_event *e)
{
    char rate[32], share[96], suffix[160];
    cli_short_number(rate, sizeof rate, e->tokens_per_second);
    int used = snprintf(suffix, sizeof suffix, "loss %.4f  %s tok/s", e->loss, rate);
    if (!isnan(e->val_loss) && used > 0)
        used += snprintf(suffix + used, sizeof suffix - (size_t)used, "  val %.4f", e->val_loss);
    if (used > 0 && cli_train_share(e, share, sizeof share)[0] != '\0')
        snprintf(suffix + used, sizeof suffix - (size_t)used, "  %s", share);
    talk_time(t, e);
    cli_progress_update(&t->bar, (double)e->step, (double)e->steps, suffix);
}

bool cli_train_event(void *user, const sg_train_event *e)
{
    cli_train_talk *t = user;
    switch (e->kind) {
    case SG_EVENT_START:
        talk_start(t, e);
        break;
    case SG_EVENT_STEP:
        talk_step(t, e);
        break;
    case SG_EVENT_EVAL:
        cli_note(t->args, "step %lld: validation loss %.4f, perplexity %.3f", (long long)e->step,
                 e->val_loss, exp(e->val_loss));
        break;
    case SG_EVENT_SAMPLE:
        cli_note(t->args, "step %lld: %s", (long long)e->step, e->text);
        break;
    case SG_EVENT_CHECKPOINT:
        break;
    }
    return !cli_stop_requested();
}

// ---- the end ------------------------------------------------------------------------------------

int cli_train_report(const cli_args *args, const char *run, const sg_context *context,
                     const sg_train_result *r)
{
    bool val = r->val.tokens > 0;
    if (args->json) {
        json_t *object =
            json_pack("{s:s, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:I, s:I}", "run", run, "steps",
                      (json_int_t)r->steps, "tokens", (json_int_t)r->tokens, "train_loss",
                      r->train_loss, "seconds", r->seconds, "tokens_per_second",
                      r->seconds > 0 ? (double)r->tokens / r->seconds : 0, "flops", r->flops,
                      "flops_all_in", r->flops_all_in, "skipped_updates",
                      (json_int_t)r->skipped_updates, "lazy_tables", (json_int_t)r->lazy_tables);
        cli_computing_json(object, context, r->compute, r->logits_compute);
        if (object != NULL && r->trained < r->parameters) {
            json_object_set_new(object, "trained_weights", json_integer(r->trained));
            json_object_set_new(object, "weights", json_integer(r->parameters));
        }
        if (object != NULL && !isnan(r->balance_loss))
            json_object_set_new(object, "balance_loss", cli_json_number(r->balance_loss));
        if (object != NULL && !isnan(r->z_loss))
            json_object_set_new(object, "z_loss", cli_json_number(r->z_loss));
        if (object != NULL && val) {
            json_object_set_new(object, "val_loss", cli_json_number(r->val.loss));
            json_object_set_new(object, "val_perplexity", cli_json_number(r->val.perplexity));
            json_object_set_new(object, "val_perplexity_batch_mean",
                                cli_json_number(r->val.perplexity_batch_mean));
            json_object_set_new(object, "val_tokens", json_integer(r->val.tokens));
        }
        return cli_print_json(args, object);
    }
    printf(
        "run         %s\nsteps       %lld\ntokens      %lld\nFLOPs       %.4g (with logits %.4g)\n"
        "seconds     %.1f\ntrain loss  %.4f\n",
        run, (long long)r->steps, (long long)r->tokens, r->flops, r->flops_all_in, r->seconds,
        r->train_loss);
    cli_computing_print("products    ", context, r->compute, r->logits_compute);
    if (r->trained < r->parameters)
        printf("trained     %lld of %lld weights\n", (long long)r->trained,
               (long long)r->parameters);
    if (!isnan(r->balance_loss)) printf("balance     %.4f\n", r->balance_loss);
    if (!isnan(r->z_loss)) printf("z           %.4f\n", r->z_loss);
    if (val)
        printf("val loss    %.4f\nval perplexity             %.4f\nval perplexity_batch_mean  "
               "%.4f\n",
               r->val.loss, r->val.perplexity, r->val.perplexity_batch_mean);
    return CLI_DONE;
}
