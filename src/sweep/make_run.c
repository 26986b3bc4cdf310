// The life of one run. Blocks are summed while the run evaluates itself at its end; where that end
// was in a life before this one, the model that it left is evaluated once more, alike.
#include "sweep/make_run.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "format/json.h"
#include "model/model.h"
#include "probe/facts.h"
#include "sweep/predict.h"
#include "sweep/recall.h"
#include "sweep/results.h"
#include "train/run_options.h"
#include "train/run_plan.h"
#include "train/run_settings.h"

// ---- blocks -------------------------------------------------------------------------------------

typedef struct block_sums {
    sg_sweep_row *row;
    int64_t rows; // of the validation split
    int64_t seen; // sequences
} block_sums;

static sg_status blocks_new(const sg_sweep_making *m, int64_t rows, sg_sweep_row *row,
                            block_sums *sums, sg_error *err)
{
    const int64_t most = m->blocks < SG_SWEEP_BLOCKS_MAX ? m->blocks : SG_SWEEP_BLOCKS_MAX;
    const size_t count = (size_t)(rows < most ? rows : most);
    *sums = (block_sums){.row = row, .rows = rows};
    row->block_loss = sg_alloc_zero(count, sizeof *row->block_loss);
    row->block_tokens = sg_alloc_zero(count, sizeof *row->block_tokens);
    if (row->block_loss == NULL || row->block_tokens == NULL)
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for %zu blocks", count);
    row->block_count = count;
    return SG_OK;
}

// Sequence s of n is in block floor(s blocks / n).
static void blocks_take(void *user, int64_t sequence, double loss, int64_t targets)
{
    block_sums *s = user;
    const size_t block = (size_t)(sequence * (int64_t)s->row->block_count / s->rows);
    if (block >= s->row->block_count) return;
    s->row->block_loss[block] += loss;
    s->row->block_tokens[block] += targets;
    s->seen++;
}

// As the run evaluates itself.
static sg_status blocks_again(const sg_train_options *o, sg_model *model, const sg_data *data,
                              block_sums *sums, sg_error *err)
{
    sg_eval_result result;
    sg_eval_options options = sg_eval_options_default();
    options.batch_size = o->batch_size;
    options.micro_batch = o->batch_size / o->grad_accum;
    options.sequence = blocks_take;
    options.sequence_user = sums;
    memset(sums->row->block_loss, 0, sums->row->block_count * sizeof *sums->row->block_loss);
    memset(sums->row->block_tokens, 0, sums->row->block_count * sizeof *sums->row->block_tokens);
    sums->seen = 0;
    return sg_evaluate(model, data, &options, &result, err);
}

// ---- facts --------------------------------------------------------------------------------------

static sg_status make_facts(const sg_sweep_making *m, sg_model *model, sg_sweep_row *row,
                            sg_error *err)
{
    char path[SG_PATH_MAX];
    sg_facts *facts;
    sg_tokenizer *tokenizer = NULL;
    sg_recall recall;
    SG_TRY(sg_path_join(path, sizeof path, m->folder, "tokenizer.json", err));
    SG_TRY(sg_facts_read(m->facts, &facts, err));
    sg_status status = sg_tokenizer_open(path, &tokenizer, err);
    if (status == SG_OK) status = sg_sweep_recall(model, tokenizer, facts, &recall, err);
    if (status == SG_OK) {
        row->facts = recall.facts;
        row->facts_recalled = recall.recalled;
        row->fact_bits = recall.bits;
    }
    sg_tokenizer_free(tokenizer);
    sg_facts_free(facts);
    return status;
}

// What is asked of the model that the run has left.
static sg_status make_from_model(const sg_sweep_making *m, const sg_train_options *o,
                                 const sg_data *data, block_sums *sums, sg_error *err)
{
    sg_model *model;
    const bool blocks = sums->seen != sums->rows;
    if (!blocks && m->facts[0] == '\0') return SG_OK;
    SG_TRY(sg_model_open(m->context, m->folder, &model, err));
    sg_status status = sg_model_set_compute(model, o->compute, o->logits_compute, err);
    if (status == SG_OK && blocks) status = blocks_again(o, model, data, sums, err);
    if (status == SG_OK && m->facts[0] != '\0') status = make_facts(m, model, sums->row, err);
    sg_model_free(model);
    return status;
}

// ---- results ------------------------------------------------------------------------------------

static sg_status make_options_text(const sg_train_options *o, sg_sweep_row *row, sg_error *err)
{
    char *text;
    json_t *object = sg_run_options_json(o);
    if (object == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for options");
    const sg_status status = sg_json_text(object, false, &text, err);
    json_decref(object);
    SG_TRY(status);
    const size_t bytes = strlen(text);
    const bool fits = bytes < sizeof row->options;
    if (fits) memcpy(row->options, text, bytes + 1);
    sg_free(text);
    return fits ? SG_OK
                : sg_fail(err, SG_ERR_ARGUMENT, "options: found %zu bytes, expected at most %zu",
                          bytes, sizeof row->options - 1);
}

static sg_status make_costs(const sg_sweep_making *m, const sg_train_options *o,
                            const sg_data_info *info, int64_t steps, sg_sweep_row *row,
                            sg_error *err)
{
    sg_cost cost;
    SG_TRY(sg_train_cost(m->context, o, info->seq_len, &cost, err));
    const sg_train_plan plan = sg_train_plan_make(o, info, &cost, steps, cost.parameters, -1);
    row->warmup = plan.warmup_steps;
    row->epochs = plan.epochs;
    row->active_parameters = cost.active_parameters_per_token;
    row->neurons = cost.ffn_neurons;
    row->active_neurons = cost.ffn_active_neurons_per_token;
    return SG_OK;
}

static void make_result(const sg_train_result *r, sg_sweep_row *row)
{
    row->steps = r->steps;
    row->tokens = r->tokens;
    row->skipped_updates = r->skipped_updates;
    row->flops = r->flops;
    row->flops_all_in = r->flops_all_in;
    row->parameters = r->parameters;
    row->loss = r->val.loss;
    row->perplexity = r->val.perplexity;
    row->perplexity_published = r->val.perplexity_batch_mean;
    row->train_loss = r->train_loss;
    row->seconds = r->seconds;
}

void sg_sweep_thin(double *x, double *y, size_t *count, size_t most)
{
    const size_t each = (*count + most - 1) / most;
    size_t out = 0;
    if (each <= 1) return;
    for (size_t first = 0; first < *count; first += each) {
        const size_t end = first + each < *count ? first + each : *count;
        double sum_x = 0, sum_y = 0;
        for (size_t i = first; i < end; i++) {
            sum_x += x[i];
            sum_y += y[i];
        }
        x[out] = sum_x / (double)(end - first);
        y[out++] = sum_y / (double)(end - first);
    }
    *count = out;
}

// The last evaluation is of the whole split, and stands in the place of one of that step.
static sg_status make_last_point(sg_curve *curve, const sg_sweep_row *row, sg_error *err)
{
    const double step = (double)row->steps;
    while (curve->count > 0 && curve->x[curve->count - 1] >= step)
        curve->count--;
    const size_t count = (size_t)curve->count + 1;
    double *x = sg_realloc(curve->x, count * sizeof *x);
    if (x != NULL) curve->x = x;
    double *y = sg_realloc(curve->y, count * sizeof *y);
    if (y != NULL) curve->y = y;
    if (x == NULL || y == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for curves");
    x[count - 1] = step;
    y[count - 1] = row->loss;
    curve->count++;
    return SG_OK;
}

static sg_status make_curves(const sg_sweep_making *m, sg_sweep_row *row, sg_error *err)
{
    sg_curve train, val;
    SG_TRY(sg_train_curve(m->folder, "loss", "step", &train, err));
    row->curve_step = train.x;
    row->curve_loss = train.y;
    row->curve_count = (size_t)train.count;
    sg_sweep_thin(row->curve_step, row->curve_loss, &row->curve_count, SG_SWEEP_CURVE_MAX);
    SG_TRY(sg_train_curve(m->folder, "val_loss", "step", &val, err));
    const sg_status status = make_last_point(&val, row, err);
    row->val_step = val.x;
    row->val_loss = val.y;
    row->val_count = (size_t)val.count;
    sg_sweep_thin(row->val_step, row->val_loss, &row->val_count, SG_SWEEP_CURVE_MAX);
    return status;
}

// ---- the run ------------------------------------------------------------------------------------

// A folder without run.json is of a run that was killed before it was one.
static sg_status make_train(const sg_sweep_making *m, const sg_data *data, block_sums *sums,
                            sg_train_result *result, sg_error *err)
{
    bool begun;
    sg_train_options complete = *m->options;
    sg_train_plan plan;
    sg_cost cost;
    const sg_train_hooks hooks = {.event = m->event,
                                  .user = m->user,
                                  .command = m->command,
                                  .sequence = blocks_take,
                                  .sequence_user = sums};
    SG_TRY(sg_run_has(m->folder, "run.json", &begun, err));
    if (begun) return sg_train_resume(m->context, m->folder, m->data, &hooks, result, err);
    // One that was added while the sweep went on has not been looked at yet.
    SG_TRY(
        sg_sweep_run_plan(m->context, data, m->data, m->max_epochs, &complete, &plan, &cost, err));
    SG_TRY(sg_tree_remove(m->folder, err));
    return sg_train(m->context, m->folder, m->data, m->options, &hooks, result, err);
}

static sg_status make_all(const sg_sweep_making *m, const sg_data *data, block_sums *sums,
                          sg_error *err)
{
    sg_train_result result;
    sg_train_run run;
    const sg_data_info *info = sg_data_get_info(data);
    SG_TRY(make_train(m, data, sums, &result, err));
    if (!isfinite(result.val.loss) || result.val.tokens == 0)
        return sg_fail(err, SG_ERR_NUMERIC, "%s: the run ended without a validation loss",
                       m->folder);
    SG_TRY(sg_train_run_read(m->folder, &run, err));
    SG_TRY(make_from_model(m, &run.options, data, sums, err));
    make_result(&result, sums->row);
    SG_TRY(make_options_text(&run.options, sums->row, err));
    SG_TRY(make_costs(m, &run.options, info, result.steps, sums->row, err));
    return make_curves(m, sums->row, err);
}

sg_status sg_sweep_make_run(const sg_sweep_making *m, sg_sweep_row *row, sg_error *err)
{
    sg_data *data;
    block_sums sums;
    SG_TRY(sg_data_open(m->data, SG_VERIFY_QUICK, &data, err));
    const int64_t rows = sg_data_get_info(data)->split[SG_SPLIT_VAL].rows;
    sg_status status = blocks_new(m, rows, row, &sums, err);
    if (status == SG_OK) status = make_all(m, data, &sums, err);
    sg_data_free(data);
    return status;
}

// Of a run whose results are kept.
static bool tidy_stays(const char *name)
{
    static const char *const stay[] = {"metrics.jsonl", "run.json", "summary.json"};
    for (size_t i = 0; i < sizeof stay / sizeof stay[0]; i++)
        if (strcmp(name, stay[i]) == 0) return true;
    return strncmp(name, "events.", 7) == 0 || strcmp(name, "checkpoints") == 0;
}

sg_status sg_sweep_tidy_run(const char *folder, bool keep_model, sg_error *err)
{
    char path[SG_PATH_MAX], **names = NULL;
    size_t count = 0;
    sg_status status = SG_OK;
    if (!sg_path_is_folder(folder)) return SG_OK;
    if (!keep_model) SG_TRY(sg_folder_list(folder, &names, &count, err));
    for (size_t i = 0; i < count && status == SG_OK; i++) {
        if (tidy_stays(names[i])) continue;
        status = sg_path_join(path, sizeof path, folder, names[i], err);
        if (status == SG_OK) status = sg_tree_remove(path, err);
    }
    sg_names_free(names, count);
    SG_TRY(status);
    // Last: while they are there, the rest may be too.
    SG_TRY(sg_path_join(path, sizeof path, folder, "checkpoints", err));
    return sg_tree_remove(path, err);
}
