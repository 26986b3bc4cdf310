// See report_sweep.h. The surface is L(N, D) = E + A N^-alpha + B D^-beta with a multiplier a
// family.
#include "report_sweep.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "format/json.h"
#include "sweep/results.h"
#include "train/run_options.h"

enum { made_blocks = 32, made_curve = 120, made_evals = 10, made_rates = 4 };

static const char *const names[6] = {"mlp", "glu", "moe", "peer", "sgatlin", "avgk"};
static const char *const hostile_names[6] = {
    "</script><b>x</b>",
    "a\"'`${alert(1)}",
    "<img src=x onerror=alert(1)>",
    "\xd7\xa9\xd7\x9c\xd7\x95\xd7\x9d \xe2\x80\xae x",
    "__proto__",
    "a name that is as long as a name of a contender may be"};
// Of the smaller the better; how much of the parameters is active; seconds of a FLOP.
static const double losses[6] = {1.06, 1.04, 1.02, 0.985, 0.95, 0.99};
static const double active[6] = {1, 1, 0.4, 0.25, 0.2, 0.3};
static const double slow[6] = {1, 1.05, 1.6, 3.2, 1.9, 2.4};
static const double rates[made_rates] = {0.001, 0.002, 0.004, 0.008};

typedef struct made_work {
    const report_sweep *kind;
    sg_sweep_results *out;
    size_t capacity;
    bool failed;
} made_work;

static double made_loss(int family, double size, double tokens)
{
    return 1.7 + losses[family] * 140 * pow(size, -0.42) + 260 * pow(tokens, -0.36);
}

static void made_curves(sg_sweep_row *row, uint64_t key, bool bare)
{
    const int points = bare ? 4 : made_curve, evals = bare ? 2 : made_evals;
    row->curve_step = sg_alloc_array(made_curve, sizeof(double));
    row->curve_loss = sg_alloc_array(made_curve, sizeof(double));
    row->val_step = sg_alloc_array(made_evals, sizeof(double));
    row->val_loss = sg_alloc_array(made_evals, sizeof(double));
    if (!row->curve_step || !row->curve_loss || !row->val_step || !row->val_loss) return;
    const double steps = (double)row->steps;
    for (int i = 0; i < points; i++) {
        const double t = (i + 1.0) / points;
        row->curve_step[i] = round(t * steps);
        row->curve_loss[i] = row->loss + 4.5 * exp(-14 * t) + 0.5 * (1 - t) +
                             0.04 * sg_rng_normal(key, 7, (uint64_t)i);
    }
    for (int i = 0; i < evals; i++) {
        const double t = (i + 1.0) / evals;
        row->val_step[i] = round(t * steps);
        row->val_loss[i] = row->loss + 4.5 * exp(-14 * t) + 0.5 * (1 - t);
    }
    row->curve_count = (size_t)points;
    row->val_count = (size_t)evals;
}

static void made_blocks_of(sg_sweep_row *row, uint64_t key)
{
    double sum = 0;
    row->block_loss = sg_alloc_array(made_blocks, sizeof(double));
    row->block_tokens = sg_alloc_array(made_blocks, sizeof(int64_t));
    if (!row->block_loss || !row->block_tokens) return;
    for (int b = 0; b < made_blocks; b++) {
        const double mean = row->loss + 0.2 * sg_rng_normal(1, 3, (uint64_t)b) +
                            0.01 * sg_rng_normal(key, 4, (uint64_t)b);
        row->block_tokens[b] = 2000;
        row->block_loss[b] = 2000 * mean;
        sum += mean;
    }
    row->block_count = made_blocks;
    row->loss = sum / made_blocks;
}

static bool made_options(sg_sweep_row *row, int family)
{
    sg_preset preset;
    if (sg_preset_find("demo", &preset, NULL) != SG_OK) return false;
    sg_train_options o = sg_train_options_from_preset(&preset);
    snprintf(o.config.ffn, sizeof o.config.ffn, "%s", names[family]);
    o.lr = row->lr;
    o.seed = row->seed;
    o.config.hidden_size = 64 + (int64_t)(32 * row->scale);
    json_t *options = sg_run_options_json(&o);
    char *text = NULL;
    if (options != NULL && sg_json_text(options, false, &text, NULL) == SG_OK)
        snprintf(row->options, sizeof row->options, "%s", text);
    const bool made = text != NULL;
    sg_free(text);
    json_decref(options);
    return made;
}

static void made_facts(sg_sweep_row *row, int family)
{
    row->facts = 2000;
    row->facts_recalled =
        llround(2000 * (1 - exp(-(double)row->neurons / (20000 + 9000 * family))));
    row->fact_bits = 6.5 * (double)row->facts_recalled;
}

static sg_sweep_row *made_room(made_work *w)
{
    if (w->failed ||
        !sg_grow((void **)&w->out->rows, &w->capacity, w->out->count + 1, sizeof *w->out->rows)) {
        w->failed = true;
        return NULL;
    }
    return &w->out->rows[w->out->count++];
}

static void made_run(made_work *w, int family, int budget, int scale, double lr, int seed)
{
    const uint64_t key = (uint64_t)((((family * 4 + budget) * 8 + scale) * 64 + seed) * 16) +
                         (uint64_t)llround(lr * 1000);
    const double flops = 1e13 * pow(4, budget);
    const double size =
        60e3 * pow(2, budget * 0.5) * pow(1.8, scale) * (1.4 - 0.4 * active[family]);
    const double tokens = flops / (6 * size * (0.3 + 0.7 * active[family]));
    const double best = 0.003 * pow(0.85, scale), off = log(lr / best);
    sg_sweep_row *row = made_room(w);
    if (row == NULL) return;
    *row = (sg_sweep_row){.cell = (family * 3 + budget) * 7 + scale,
                          .scale = scale + 1,
                          .budget = flops,
                          .settings = "{}",
                          .purpose = seed > 1      ? SG_SWEEP_SEED
                                     : budget == 0 ? SG_SWEEP_SEARCH
                                                   : SG_SWEEP_POINT,
                          .seed = (uint64_t)seed,
                          .lr = lr,
                          .beta2 = 0.95,
                          .warmup_steps = 40,
                          .state = SG_SWEEP_FINISHED,
                          .steps = 200 + (int64_t)(tokens / 4096),
                          .tokens = llround(tokens),
                          .warmup = 40,
                          .epochs = tokens / 2e9,
                          .flops = flops * 1.001,
                          .flops_all_in = flops * 1.21,
                          .parameters = llround(size),
                          .active_parameters = llround(size * active[family]),
                          .neurons = llround(size / 32),
                          .active_neurons = llround(size / 32 * active[family]),
                          .step_seconds = NAN,
                          .step_low = NAN,
                          .step_high = NAN,
                          .step_machine = -1,
                          .machine = 0};
    snprintf(row->id, sizeof row->id, "%016llx%016zx", (unsigned long long)sg_rng_u64(9, 9, key),
             w->out->count);
    snprintf(row->family, sizeof row->family, "%s",
             w->kind->hostile ? hostile_names[family] : names[family]);
    row->loss =
        made_loss(family, size, tokens) + 0.02 * off * off + 0.006 * sg_rng_normal(2, 1, key);
    made_blocks_of(row, key);
    row->train_loss = row->loss - 0.05;
    row->perplexity = exp(row->loss);
    row->perplexity_published = row->perplexity * 1.004;
    row->seconds = flops * slow[family] / 9e10;
    if (w->kind->times) {
        row->step_seconds = row->seconds / (double)row->steps;
        row->step_low = 0.97 * row->step_seconds;
        row->step_high = 1.08 * row->step_seconds;
        row->step_rounds = 5;
        row->step_machine = 0;
    }
    if (w->kind->facts) made_facts(row, family);
    made_curves(row, key, w->kind->bare);
    if (w->kind->bare) snprintf(row->options, sizeof row->options, "{\"lr\":%g}", lr);
    w->failed = (!w->kind->bare && !made_options(row, family)) || row->block_loss == NULL ||
                row->block_tokens == NULL || row->curve_step == NULL || row->curve_loss == NULL ||
                row->val_step == NULL || row->val_loss == NULL;
}

static void made_cell(made_work *w, int family, int budget, int scale)
{
    const bool best = scale >= 1 && scale <= 2;
    const int seeds = w->kind->seeds > 0 ? w->kind->seeds : best ? 3 : 1;
    const double found = scale < 2 ? 0.004 : 0.002;
    for (int r = 0; r < made_rates; r++)
        if (budget == 0 || rates[r] == found) made_run(w, family, budget, scale, rates[r], 1);
    for (int seed = 2; seed <= seeds; seed++)
        made_run(w, family, budget, scale, found, seed);
}

static void made_about(made_work *w)
{
    sg_sweep_results *r = w->out;
    snprintf(r->name, sizeof r->name, "%s", w->kind->hostile ? "</title><b>&amp;" : "made by hand");
    snprintf(r->note, sizeof r->note, "%s",
             w->kind->hostile ? "<script>alert(2)</script>"
                              : "Six families on a surface of losses that is known.");
    snprintf(r->data_hash, sizeof r->data_hash, "0123456789abcdef");
    snprintf(r->data_path, sizeof r->data_path, "data/stories");
    snprintf(r->command, sizeof r->command,
             "sgatlin sweep made.json --data data/stories --out made");
    r->vocab_size = 4096;
    r->seq_len = 256;
    r->val_tokens = made_blocks * 2000;
    r->file =
        sg_strdup(w->kind->hostile ? "{\"name\": \"</script>\"}" : "{\n  \"name\": \"made\"\n}\n");
    r->machines = sg_alloc_zero(1, sizeof *r->machines);
    w->failed = r->file == NULL || r->machines == NULL;
    if (w->failed) return;
    r->machine_count = 1;
    r->machines[0] = (sg_sweep_machine){.cores = 4, .threads = 2, .jobs = 2};
    snprintf(r->machines[0].processor, sizeof r->machines[0].processor, "A processor of the tests");
    snprintf(r->machines[0].kernels, sizeof r->machines[0].kernels, "ref");
    snprintf(r->machines[0].library, sizeof r->machines[0].library, "plain loops");
    snprintf(r->machines[0].program, sizeof r->machines[0].program, "%s", sg_version());
}

bool report_sweep_make(const report_sweep *kind, sg_sweep_results *out)
{
    made_work w = {.kind = kind, .out = out};
    const int families = kind->families > 0 ? kind->families : 6;
    const int budgets = kind->budgets > 0 ? kind->budgets : 3;
    const int scales = kind->scales > 0 ? kind->scales : 5;
    *out = (sg_sweep_results){0};
    made_about(&w);
    for (int b = 0; b < budgets && !w.failed; b++)
        for (int f = 0; f < families && !w.failed; f++)
            for (int s = 0; s < scales && !w.failed; s++)
                made_cell(&w, f, b, s);
    if (kind->unfinished && !w.failed && out->count > 2) {
        out->rows[out->count - 1].state = SG_SWEEP_WAITING;
        out->rows[out->count - 2].state = SG_SWEEP_FAILED;
        snprintf(out->rows[out->count - 2].error, sizeof out->rows[0].error, "the loss diverged");
    }
    for (size_t i = 0; i < out->count && kind->plain; i++)
        out->rows[i].budget = out->rows[i].scale = NAN;
    if (w.failed) sg_sweep_results_clear(out);
    return !w.failed;
}
