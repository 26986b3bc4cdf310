// What a sparse model loses against what it leaves out: one text, read at several settings of its
// selector. All settings read the same windows and draw the same resamples of them, so that what a
// text does to all of them alike cancels in differences.
//
// FLOPs: sum over layers of (selected blocks a token x FLOPs of a block + those of the router),
// over that sum with all blocks and no router; where inputs are left out, of products with what is
// left. Of layers: the same with the four projections of attention on both sides.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "ffn/ffn.h"
#include "model/config.h"
#include "model/model.h"
#include "probe/statistics.h"
#include "sgatlin_sparsify.h"
#include "sparsify/moefy.h"
#include "sparsify/oracle.h"
#include "train/block_use.h"
#include "train/input_use.h"

enum { curve_context = 512 }; // unless told otherwise

// A setting, and what the model reads by it.
typedef struct curve_setting {
    double value;
    int64_t top_k;
    char layer_top_k[sizeof((sg_config *)NULL)->ffn_layer_top_k];
    double threshold;
} curve_setting;

sg_sparsify_curve_options sg_sparsify_curve_options_default(void)
{
    return (sg_sparsify_curve_options){.resamples = 2000, .seed = 1};
}

typedef struct curve {
    sg_model *model;
    sg_config before; // what the model was
    const sg_sparsify_curve_options *options;
    sg_sparsify_point_fn result;
    void *user;
    int64_t context;
    int64_t points, done; // all of them, and those before this one
    sg_block_use use;     // of this one
    sg_input_use inputs;  // likewise, where inputs are left out
    int64_t lost_bytes;
    // Windows: sums of losses, and tokens.
    double *losses, *tokens;
    size_t windows, losses_room, tokens_room;
    sg_resamples resamples;  // of windows, once the first point is there
    double *work;            // (resamples)
    double *excess;          // (windows)
    sg_oracle oracle;        // of a point of one
    int32_t *blocks;         // (most blocks of a layer) in any order, of the control at random
    uint64_t drawn;          // blocks so far
    curve_setting *settings; // (setting_count)
    size_t setting_count;
    bool thresholds; // that is what they are
    bool no_room;    // for windows
    bool set;        // the model is at another setting than it was
} curve;

// ---- controls -----------------------------------------------------------------------------------

const char *sg_sparsify_control_name(sg_sparsify_control control)
{
    static const char *const names[SG_CONTROLS] = {"", "random", "oracle", "oracle_norm"};
    return control < SG_CONTROLS ? names[control] : "";
}

// As many blocks as were selected, the first of a shuffle of all.
static sg_status random_choose(void *user, const sg_point_values *p, sg_error *err)
{
    curve *c = user;
    const uint32_t stream = sg_rng_stream("sparsify.random_blocks");
    const int64_t blocks = sg_ffn_memory_at(&c->model->config, p->layer).blocks, k = p->shape[2];
    (void)err;
    for (int64_t b = 0; b < blocks; b++)
        c->blocks[b] = (int32_t)b;
    for (int64_t row = 0; row < p->shape[0]; row++) {
        const int64_t count = p->counts != NULL ? p->counts[row] : k;
        for (int64_t i = 0; i < count; i++) {
            const int64_t at = i + (int64_t)sg_rng_below(c->options->seed, stream, c->drawn++,
                                                         (uint64_t)(blocks - i));
            const int32_t chosen = c->blocks[at];
            c->blocks[at] = c->blocks[i];
            c->blocks[i] = p->ids[row * k + i] = chosen;
        }
    }
    return SG_OK;
}

// ---- reading the text ---------------------------------------------------------------------------

static bool curve_token(void *user, int64_t position, int32_t id, double logprob)
{
    curve *c = user;
    const size_t window = (size_t)(position / c->context);
    (void)id;
    c->no_room = !sg_grow((void **)&c->losses, &c->losses_room, window + 1, sizeof *c->losses) ||
                 !sg_grow((void **)&c->tokens, &c->tokens_room, window + 1, sizeof *c->tokens);
    if (c->no_room) return false;
    for (; c->windows <= window; c->windows++)
        c->losses[c->windows] = c->tokens[c->windows] = 0;
    c->losses[window] -= logprob;
    c->tokens[window]++;
    return true;
}

static bool curve_progress(void *user, int64_t done, int64_t total)
{
    const curve *c = user;
    const sg_sparsify_curve_options *o = c->options;
    return o->progress == NULL ||
           o->progress(o->progress_user, c->done * total + done, c->points * total);
}

// What a control asks for, into `requests`; how many they are.
static size_t curve_chosen(curve *c, sg_sparsify_control control, sg_point_request *requests)
{
    if (control == SG_CONTROL_NONE) return 0;
    if (control != SG_CONTROL_RANDOM) {
        memcpy(requests, c->oracle.requests, sizeof c->oracle.requests);
        return SG_ORACLE_POINTS;
    }
    requests[0] = (sg_point_request){.name = "blocks.*.mlp.hook_gate_ids",
                                     .use = SG_POINT_WRITE,
                                     .call = random_choose,
                                     .user = c};
    return 1;
}

static sg_status curve_read(curve *c, sg_sparsify_control control, sg_error *err)
{
    const sg_sparsify_curve_options *o = c->options;
    sg_point_request requests[SG_ORACLE_POINTS + 1 + SG_TRIMMED_PLACES];
    size_t count = curve_chosen(c, control, requests);
    if (c->use.points.count > 0) requests[count++] = c->use.request; // of what they chose
    count += sg_input_use_requests(&c->inputs, requests + count);
    const sg_points points = {requests, count};
    const sg_eval_text_options read = {.context = c->context,
                                       .stride = c->context,
                                       .max_tokens = o->max_tokens,
                                       .token = curve_token,
                                       .token_user = c,
                                       .progress = curve_progress,
                                       .progress_user = c,
                                       .points = count > 0 ? &points : NULL};
    sg_eval_text_result result;
    c->windows = 0;
    c->drawn = 0;
    const sg_status status =
        sg_evaluate_text(c->model, o->tokenizer, o->text, o->text_bytes, &read, &result, err);
    if (c->no_room) return sg_fail(err, SG_ERR_MEMORY, "out of memory for windows");
    sg_block_use_pass(&c->use, result.tokens);
    c->lost_bytes = result.lost_bytes;
    return status;
}

// ---- a point ------------------------------------------------------------------------------------

static sg_status curve_resample(curve *c, sg_error *err)
{
    const sg_sparsify_curve_options *o = c->options;
    if (o->base != NULL && o->base_count != (int64_t)c->windows)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "base: found %lld windows, expected the %zu of this text and model",
                       (long long)o->base_count, c->windows);
    if (c->work != NULL) return SG_OK;
    SG_TRY(sg_resamples_new(o->resamples, (int64_t)c->windows, o->seed, &c->resamples, err));
    c->work = sg_alloc_array((size_t)o->resamples, sizeof *c->work);
    c->excess = sg_alloc_array(c->windows, sizeof *c->excess);
    if (c->work != NULL && c->excess != NULL) return SG_OK;
    return sg_fail(err, SG_ERR_MEMORY, "out of memory for intervals");
}

static sg_interval curve_interval(const curve *c, const double *losses)
{
    const sg_pair_values values = {
        .values = losses, .weights = c->tokens, .count = c->windows}; // of windows alone
    return sg_bootstrap(&c->resamples, &values, c->work);
}

static void point_losses(const curve *c, sg_sparsify_point *p)
{
    const double *base = c->options->base;
    const sg_interval loss = curve_interval(c, c->losses);
    p->loss = loss.mean;
    p->loss_low = loss.low;
    p->loss_high = loss.high;
    p->perplexity = exp(loss.mean);
    p->perplexity_low = exp(loss.low);
    p->perplexity_high = exp(loss.high);
    p->excess = p->excess_low = p->excess_high = NAN;
    if (base == NULL) return;
    for (size_t i = 0; i < c->windows; i++)
        c->excess[i] = c->losses[i] - base[i];
    const sg_interval excess = curve_interval(c, c->excess);
    p->excess = excess.mean;
    p->excess_low = excess.low;
    p->excess_high = excess.high;
}

// The name of the rule, which outlives the model; "": it has none.
static const char *curve_select(const sg_config *config)
{
    const sg_family *family = sg_family_find(config->ffn);
    for (int i = 0; i < SG_FAMILY_CHOICES && family->selects[i] != NULL; i++)
        if (strcmp(family->selects[i], config->ffn_select) == 0) return family->selects[i];
    return "";
}

static bool curve_is_moefied(const curve *c)
{
    return strcmp(c->model->config.ffn, "moefied") == 0;
}

// Whether the model's thresholds are those of inputs.
static bool curve_trims(const curve *c)
{
    return !curve_is_moefied(c) && sg_trimmed_any(&c->model->config);
}

// Work of feed-forward layers and of all layers, and what is read where inputs are left out.
static void curve_work(const curve *c, sg_sparsify_point *p)
{
    const sg_config *config = &c->model->config;
    double router, all, attention = 0, attended = 0;
    double flops = sg_block_use_flops(&c->use, &router, &all);
    if (curve_trims(c)) {
        flops = all * sg_input_use_ffn(&c->inputs);
        p->read = sg_input_use_all(&c->inputs);
    }
    for (int place = SG_TRIMMED_ATTENTION; place <= SG_TRIMMED_ATTENTION_OUT; place++) {
        const double each =
            (double)config->num_hidden_layers * sg_input_flops(config, (sg_trimmed)place);
        attention += each;
        attended += each * sg_input_use_place(&c->inputs, (sg_trimmed)place);
    }
    p->flops = flops / all;
    p->router = router / all;
    p->layer_flops = (flops + attended) / (all + attention);
}

static sg_status curve_report(const curve *c, sg_sparsify_point *p, sg_error *err)
{
    const sg_config *config = &c->model->config;
    const sg_block_total total = sg_block_use_total(&c->use);
    p->family = sg_family_find(config->ffn)->name;
    p->select = curve_trims(c) ? "inputs" : curve_select(config);
    point_losses(c, p);
    p->blocks = total.blocks;
    p->read = total.read;
    curve_work(c, p);
    p->tokens = c->use.tokens;
    p->windows = (int64_t)c->windows;
    p->lost_bytes = c->lost_bytes;
    p->tokens_per_second = p->speed = p->speed_low = p->speed_high = NAN;
    if (c->result(c->user, p, c->losses)) return SG_OK;
    return sg_fail(err, SG_ERR_STOPPED, "stopped after %lld points", (long long)c->done + 1);
}

static sg_status curve_point(curve *c, double active, double threshold, sg_sparsify_control control,
                             sg_error *err)
{
    sg_sparsify_point p = {.active = active, .threshold = threshold, .control = control};
    const sg_block_target kind = control == SG_CONTROL_ORACLE ? SG_TARGET_POSITIVE : SG_TARGET_NORM;
    SG_TRY(sg_block_use_new(&c->model->config, c->model->context->compute, false, &c->use, err));
    sg_status status = sg_input_use_new(c->model, false, &c->inputs, err);
    const bool oracle = control == SG_CONTROL_ORACLE || control == SG_CONTROL_ORACLE_NORM;
    if (status == SG_OK && oracle) status = sg_oracle_new(c->model, kind, &c->oracle, err);
    if (status == SG_OK) status = curve_read(c, control, err);
    sg_oracle_free(&c->oracle);
    if (status == SG_OK) status = curve_resample(c, err);
    if (status == SG_OK) status = curve_report(c, &p, err);
    sg_block_use_free(&c->use);
    sg_input_use_free(&c->inputs);
    c->done++;
    return status;
}

// ---- all of them --------------------------------------------------------------------------------

// Router gate reads the one block that there is, in part.
static bool curve_chooses(const curve *c)
{
    return curve_is_moefied(c) && sg_ffn_router(&c->model->config) != &sg_router_gate;
}

// The settings that the model takes: *thresholds says which kind.
static const double *curve_settings(const curve *c, size_t *count, bool *thresholds)
{
    const sg_sparsify_curve_options *o = c->options;
    *count = 0;
    *thresholds = strcmp(c->model->config.ffn_select, "top_k") != 0;
    if (!curve_is_moefied(c) && !curve_trims(c)) return NULL;
    *count = *thresholds ? o->threshold_count : o->active_count;
    return *thresholds ? o->thresholds : o->active;
}

static sg_status curve_set(curve *c, bool threshold, double value, sg_error *err)
{
    c->set = true;
    c->model->config = c->before; // thresholds of inputs are multiplied
    return threshold ? sg_sparsify_set_threshold(c->model, value, err)
                     : sg_sparsify_set_active(c->model, value, err);
}

// Whether points of a control are asked for, and can be.
static bool curve_controls(const curve *c, sg_sparsify_control control)
{
    const sg_sparsify_curve_options *o = c->options;
    if (control == SG_CONTROL_NONE) return true;
    return curve_chooses(c) && (control == SG_CONTROL_RANDOM ? o->random : o->oracle);
}

static bool curve_same(const curve_setting *a, const curve_setting *b)
{
    return a->top_k == b->top_k && a->threshold == b->threshold &&
           strcmp(a->layer_top_k, b->layer_top_k) == 0;
}

// The setting that the model is at, where it differs from those before it.
static void curve_add_setting(curve *c, double value)
{
    const sg_config *config = &c->model->config;
    curve_setting *s = &c->settings[c->setting_count];
    *s = (curve_setting){.value = value,
                         .top_k = config->ffn_top_k,
                         .threshold = curve_trims(c) ? value : config->ffn_threshold};
    memcpy(s->layer_top_k, config->ffn_layer_top_k, sizeof s->layer_top_k);
    size_t same = 0;
    while (!curve_same(&c->settings[same], s))
        same++;
    c->setting_count += same == c->setting_count;
}

// Whether a share is one that this model alone cannot be at: tokens read more of it in any case.
static bool curve_leaves_out(const curve *c, double value)
{
    return !c->thresholds && value > 0 && value <= 1 && sg_active_is_shared(&c->before, value);
}

// Those that differ in what they come to, the first of each kind. What a model does not take is
// found here, before any text is read.
static sg_status curve_distinct(curve *c, sg_error *err)
{
    const sg_sparsify_curve_options *o = c->options;
    size_t count, left_out = 0;
    const double *values = curve_settings(c, &count, &c->thresholds);
    c->settings = sg_alloc_array(count + 1, sizeof *c->settings);
    if (c->settings == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for settings");
    for (size_t i = 0; i < count; i++)
        left_out += curve_leaves_out(c, values[i]);
    for (size_t i = 0; i < count; i++) {
        sg_error why = {0};
        const sg_status status = curve_set(c, c->thresholds, values[i], &why);
        if (status == SG_OK)
            curve_add_setting(c, values[i]);
        else if (left_out == count || !curve_leaves_out(c, values[i]))
            return sg_fail(err, status, "%s", why.message);
        else if (o->left_out != NULL)
            o->left_out(o->left_out_user, values[i], why.message);
    }
    return SG_OK;
}

static sg_status curve_points(curve *c, sg_error *err)
{
    SG_TRY(curve_distinct(c, err));
    const size_t count = c->setting_count;
    const size_t points = count > 0 ? count : 1;
    for (int control = 0; control < SG_CONTROLS; control++)
        c->points += curve_controls(c, (sg_sparsify_control)control) ? (int64_t)points : 0;
    for (size_t i = 0; i < points; i++) {
        const double value = count > 0 ? c->settings[i].value : NAN;
        if (count > 0) SG_TRY(curve_set(c, c->thresholds, value, err));
        const double active = c->thresholds ? NAN : value, threshold = c->thresholds ? value : NAN;
        for (int control = 0; control < SG_CONTROLS; control++)
            if (curve_controls(c, (sg_sparsify_control)control))
                SG_TRY(curve_point(c, active, threshold, (sg_sparsify_control)control, err));
    }
    return SG_OK;
}

static sg_status curve_open(curve *c, sg_error *err)
{
    const sg_config *config = &c->model->config;
    const sg_sparsify_curve_options *o = c->options;
    int64_t most = 1;
    c->context = o->context > 0 ? o->context : config->max_position_embeddings;
    if (o->context == 0 && c->context > curve_context) c->context = curve_context;
    if (o->resamples < 1 || o->resamples > 1 << 20)
        return sg_fail(err, SG_ERR_ARGUMENT, "resamples: found %lld, expected 1 to %d",
                       (long long)o->resamples, 1 << 20);
    if (o->text == NULL || o->tokenizer == NULL)
        return sg_fail(err, SG_ERR_ARGUMENT, "text: found none, expected one and its tokenizer");
    for (int64_t l = 0; l < config->num_hidden_layers; l++) {
        const sg_memory_shape m = sg_ffn_memory_at(config, l);
        if (m.blocks > most) most = m.blocks;
    }
    c->blocks = sg_alloc_array((size_t)most, sizeof *c->blocks);
    if (c->blocks != NULL) return SG_OK;
    return sg_fail(err, SG_ERR_MEMORY, "out of memory for blocks");
}

sg_status sg_sparsify_curve(sg_model *model, const sg_sparsify_curve_options *options,
                            sg_sparsify_point_fn point, void *user, sg_error *err)
{
    curve c = {
        .model = model, .before = model->config, .options = options, .result = point, .user = user};
    sg_status status = curve_open(&c, err);
    if (status == SG_OK) status = curve_points(&c, err);
    if (c.set) {
        model->config = c.before;
        model->layout++; // recorded passes are of another setting
    }
    sg_resamples_free(&c.resamples);
    sg_free(c.work);
    sg_free(c.excess);
    sg_free(c.losses);
    sg_free(c.tokens);
    sg_free(c.blocks);
    sg_free(c.settings);
    return status;
}
