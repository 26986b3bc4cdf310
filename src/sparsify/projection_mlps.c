// A model whose projections of attention are MLPs, each trained to say what the linear layer says
// (distil.c), on inputs that the model itself has on a text: what leaves the norm in front of
// attention, and what the heads write (D2DMoE, Szatkowski et al. 2024). Layers know nothing of each
// other, so that those that are done are kept and the others made later, to the same bits.
#include "sparsify/projection_mlps.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "format/json.h"
#include "model/config.h"
#include "sparsify/moefy.h"
#include "sparsify/projection_keep.h"
#include "text/tokenizer.h"

typedef struct mlps {
    sg_model *dense, *made;
    const sg_sparsify_options *o;
    sg_sparsify_result *result;
    sg_calibration text;
    int64_t layers, modules; // of the model; MLPs that are made
    int64_t group, first;    // layers that x has room for; the first of those that are in it
    sg_real *x;              // (group, rows, d + w): of each layer inputs of q, k, v, then of o
    sg_kept_work work;
} mlps;

// A layer that is being made.
typedef struct mlps_layer {
    int64_t index;
    sg_projection_layer made;
    sg_real *linear[2 * SG_PROJECTIONS]; // weights and biases of the linear layers
    const sg_real *x[SG_PROJECTIONS];    // inputs of all rows
} mlps_layer;

// ---- the configuration --------------------------------------------------------------------------

static bool mlps_chosen(const sg_sparsify_options *o, sg_projection which)
{
    return strchr(o->projections, sg_projection_letter(which)) != NULL;
}

static sg_status mlps_check_names(const sg_sparsify_options *o, sg_error *err)
{
    const char *at = o->projections;
    bool right = *at != '\0';
    for (; right && *at != '\0'; at += at[1] == ',' ? 2 : 1)
        right = sg_projection_of_letter(*at) != SG_PROJECTIONS &&
                (at[1] == '\0' || (at[1] == ',' && at[2] != '\0'));
    if (right) return SG_OK;
    return sg_fail(err, SG_ERR_ARGUMENT,
                   "projections: found \"%.40s\", expected some of q,k,v,o, with commas between "
                   "them",
                   o->projections);
}

static sg_status mlps_check_numbers(const sg_sparsify_options *o, sg_error *err)
{
    if (!(o->projection_size > 0 && o->projection_size <= 1e3))
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "projection_size: found %s, expected more than 0, at most 1000",
                       SG_NUMBER(o->projection_size));
    if (o->projection_steps < 1 || o->projection_batch < 1)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "projection_steps, projection_batch: found %lld and %lld, expected 1 or "
                       "more",
                       (long long)o->projection_steps, (long long)o->projection_batch);
    if (o->projection_rate > 0 && o->projection_sparsity >= 0 && isfinite(o->projection_rate) &&
        isfinite(o->projection_sparsity))
        return SG_OK;
    return sg_fail(err, SG_ERR_ARGUMENT,
                   "projection_rate, projection_sparsity: found %s and %s, expected more than 0, "
                   "and 0 or more",
                   SG_NUMBER(o->projection_rate), SG_NUMBER(o->projection_sparsity));
}

static sg_status mlps_check(const sg_config *dense, const sg_sparsify_options *o, sg_error *err)
{
    SG_TRY(mlps_check_names(o, err));
    SG_TRY(mlps_check_numbers(o, err));
    SG_TRY(
        sg_layers_check(o->projection_layers, "projection_layers", dense->num_hidden_layers, err));
    if ((o->text != NULL || o->data != NULL) && o->calibration_tokens > 0) return SG_OK;
    return sg_fail(err, SG_ERR_ARGUMENT,
                   "projections: MLPs are trained on a text, expected a text or packed data, and "
                   "calibration_tokens of 1 or more");
}

sg_status sg_projections_config(const sg_config *dense, const sg_sparsify_options *o, sg_config *c,
                                sg_error *err)
{
    int64_t hidden[512];
    SG_TRY(mlps_check(dense, o, err));
    *c = *dense;
    for (int i = 0; i < SG_PROJECTIONS; i++) {
        const sg_projection which = (sg_projection)i;
        if (!mlps_chosen(o, which)) continue;
        for (int64_t l = 0; l < dense->num_hidden_layers; l++) {
            const sg_projection_size s = sg_projection_size_of(dense, l, which);
            const bool chosen = sg_layers_have(o->projection_layers, l);
            hidden[l] = chosen ? sg_projection_hidden(s.in, s.out, o->projection_size) : s.hidden;
            if (chosen && s.hidden > 0)
                return sg_fail(err, SG_ERR_ARGUMENT,
                               "projections: found %c of layer %lld, which is an MLP already, "
                               "expected linear layers (projections, projection_layers)",
                               sg_projection_letter(which), (long long)l + 1);
        }
        SG_TRY(sg_projection_list(c, which, hidden, err));
    }
    return sg_config_complete(c, err);
}

int64_t sg_projections_bytes(const sg_config *c, int64_t rows)
{
    const int64_t w = c->num_attention_heads * c->head_dim;
    return rows * (c->hidden_size + w) * (int64_t)sizeof(sg_real);
}

// ---- the text -----------------------------------------------------------------------------------

static bool mlps_go_on(void *user)
{
    const mlps *m = user;
    const sg_sparsify_options *o = m->o;
    return o->progress == NULL || o->progress(o->progress_user, m->work.done, m->layers);
}

static bool mlps_pass(void *user, int64_t done, int64_t total)
{
    (void)done, (void)total;
    return mlps_go_on(user);
}

static sg_status mlps_room(mlps *m, sg_error *err)
{
    const int64_t bytes = sg_projections_bytes(&m->dense->config, m->text.rows);
    m->group = sg_min(m->o->memory / bytes, m->layers);
    m->first = -m->group;
    if (m->group < 1)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "memory: found %lld bytes, expected %lld or more, for the inputs of the "
                       "projections of one layer for %lld tokens",
                       (long long)m->o->memory, (long long)bytes, (long long)m->text.rows);
    m->x = sg_alloc_array((size_t)m->group, (size_t)bytes);
    return m->x != NULL ? SG_OK : sg_fail(err, SG_ERR_MEMORY, "out of memory for inputs of layers");
}

// Inputs of q, k and v of a layer that is in m->x; those of o lie behind them.
static sg_real *mlps_place(const mlps *m, int64_t layer)
{
    const int64_t bytes = sg_projections_bytes(&m->dense->config, m->text.rows);
    return m->x + (layer - m->first) * (bytes / (int64_t)sizeof(sg_real));
}

static sg_status mlps_collect(mlps *m, int64_t layers, sg_error *err)
{
    sg_calibration_input *inputs = sg_alloc_zero(2 * (size_t)layers, sizeof *inputs);
    if (inputs == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a pass");
    for (int64_t i = 0; i < layers; i++) {
        sg_real *x = mlps_place(m, m->first + i);
        inputs[2 * i] = (sg_calibration_input){m->first + i, "ln1.hook_normalized", x};
        inputs[2 * i + 1] = (sg_calibration_input){m->first + i, "attn.hook_z",
                                                   x + m->text.rows * m->dense->config.hidden_size};
    }
    const sg_status status =
        sg_calibration_values(&m->text, m->dense, inputs, 2 * layers, mlps_pass, m, err);
    sg_free(inputs);
    m->result->passes++;
    return status;
}

static sg_status mlps_inputs(mlps *m, int64_t layer, sg_error *err)
{
    if (layer < m->first + m->group) return SG_OK;
    m->first = layer;
    return mlps_collect(m, sg_min(m->group, m->layers - layer), err);
}

// ---- one layer ----------------------------------------------------------------------------------

static void mlps_name(char name[96], int64_t layer, sg_projection which, const char *part)
{
    snprintf(name, 96, "model.layers.%lld.self_attn.%c_proj.%s", (long long)layer,
             sg_projection_letter(which), part);
}

static sg_status mlps_linear(const mlps *m, int64_t layer, sg_projection which, const char *part,
                             int64_t count, sg_real **to, sg_error *err)
{
    char name[96];
    size_t index;
    sg_tensor_info info;
    mlps_name(name, layer, which, part);
    SG_TRY(sg_model_tensor_find(m->dense, name, &index, err));
    SG_TRY(sg_model_tensor_info(m->dense, index, &info, err));
    *to = sg_alloc_array((size_t)count, sizeof **to);
    if (*to == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for %s", name);
    return sg_model_tensor_read(m->dense, index, 0, info.rows, *to, err);
}

static sg_status mlps_module(const mlps *m, mlps_layer *l, sg_projection which, sg_error *err)
{
    static const char *const parts[SG_DISTIL_VALUES] = {
        "mlp.up_proj.weight", "mlp.up_proj.bias", "mlp.down_proj.weight", "mlp.down_proj.bias"};
    const sg_config *c = &m->dense->config;
    const bool biased = which == SG_PROJECTION_O ? c->attention_out_bias : c->attention_bias;
    sg_distil_module *of = &l->made.modules[l->made.count];
    sg_real **linear = l->linear + 2 * l->made.count;
    *of = (sg_distil_module){.size = sg_projection_size_of(&m->made->config, l->index, which)};
    l->made.which[l->made.count++] = which;
    SG_TRY(mlps_linear(m, l->index, which, "weight", of->size.in * of->size.out, linear, err));
    of->weight = linear[0];
    if (biased) SG_TRY(mlps_linear(m, l->index, which, "bias", of->size.out, linear + 1, err));
    of->bias = linear[1];
    for (int i = 0; i < SG_DISTIL_VALUES; i++) {
        char name[96];
        size_t index;
        mlps_name(name, l->index, which, parts[i]);
        SG_TRY(sg_model_tensor_find(m->made, name, &index, err));
        of->values[i] = m->made->values[index];
    }
    return SG_OK;
}

static void mlps_layer_free(mlps_layer *l)
{
    for (int i = 0; i < 2 * SG_PROJECTIONS; i++)
        sg_free(l->linear[i]);
}

// Inputs of the part of the text that is trained on; l->x has those of all rows.
static void mlps_set_inputs(const mlps *m, mlps_layer *l)
{
    const sg_real *x = mlps_place(m, l->index);
    const sg_real *z = x + m->text.rows * m->dense->config.hidden_size;
    const int64_t row = m->text.parts[SG_USE_CALIBRATION].row;
    for (int64_t i = 0; i < l->made.count; i++) {
        l->x[i] = l->made.which[i] == SG_PROJECTION_O ? z : x;
        l->made.modules[i].x = l->x[i] + row * l->made.modules[i].size.in;
    }
}

static sg_status mlps_measure(const mlps *m, mlps_layer *l, sg_error *err)
{
    const sg_calibration_part *test = &m->text.parts[SG_USE_TEST];
    for (int64_t i = 0; i < l->made.count; i++) {
        const int64_t in = l->made.modules[i].size.in;
        SG_TRY(sg_distil_measure(m->dense->context->compute, &l->made.modules[i],
                                 l->x[i] + test->row * in, test->rows, &l->made.quality[i].error,
                                 &l->made.quality[i].zeros, err));
    }
    return SG_OK;
}

static sg_status mlps_train(mlps *m, mlps_layer *l, sg_error *err)
{
    const sg_sparsify_options *o = m->o;
    const int64_t rows = m->text.parts[SG_USE_CALIBRATION].rows;
    double losses[SG_PROJECTIONS];
    const sg_distil_training training = {.steps = o->projection_steps,
                                         .batch = sg_min(o->projection_batch, rows),
                                         .rate = o->projection_rate,
                                         .sparsity = o->projection_sparsity,
                                         .modules = m->modules,
                                         .seed = o->seed + (uint64_t)l->index,
                                         .go_on = mlps_go_on,
                                         .user = m};
    SG_TRY(mlps_inputs(m, l->index, err));
    mlps_set_inputs(m, l);
    SG_TRY(sg_distil_train(m->dense->context->compute, l->made.modules, l->made.count, rows,
                           &training, losses, err));
    for (int64_t i = 0; i < l->made.count; i++)
        l->made.quality[i].loss = losses[i];
    return mlps_measure(m, l, err);
}

// ---- all layers ---------------------------------------------------------------------------------

// What was kept, or else is made and, where the model goes into a folder, kept.
static sg_status mlps_layer_make(mlps *m, mlps_layer *l, sg_error *err)
{
    bool found;
    for (int i = 0; i < SG_PROJECTIONS; i++)
        if (mlps_chosen(m->o, (sg_projection)i)) SG_TRY(mlps_module(m, l, (sg_projection)i, err));
    SG_TRY(sg_projection_keep_load(&m->work, l->index, &l->made, &found, err));
    if (found) {
        m->result->resumed++;
        return SG_OK;
    }
    SG_TRY(mlps_train(m, l, err));
    return sg_projection_keep_save(&m->work, l->index, &l->made, err);
}

static void mlps_tell(const mlps *m, const mlps_layer *l)
{
    for (int64_t i = 0; m->o->projected != NULL && i < l->made.count; i++)
        m->o->projected[l->index * SG_PROJECTIONS + l->made.which[i]] =
            (sg_sparsify_projection){.hidden = l->made.modules[i].size.hidden,
                                     .loss = l->made.quality[i].loss,
                                     .error = l->made.quality[i].error,
                                     .zeros = l->made.quality[i].zeros};
}

static sg_status mlps_layers(mlps *m, sg_error *err)
{
    SG_TRY(mlps_room(m, err));
    for (int64_t i = 0; i < m->layers; i++) {
        mlps_layer l = {.index = i};
        sg_status status = SG_OK;
        if (sg_layers_have(m->o->projection_layers, i)) status = mlps_layer_make(m, &l, err);
        if (status == SG_OK) mlps_tell(m, &l);
        mlps_layer_free(&l);
        if (status == SG_ERR_STOPPED && m->work.done > 0) return sg_kept_stopped(&m->work, err);
        if (status != SG_OK && status != SG_ERR_STOPPED)
            return sg_fail_context(err, status, "layer %lld", (long long)i + 1);
        SG_TRY(status);
        m->work.done = i + 1;
        if (!mlps_go_on(m)) return sg_kept_stopped(&m->work, err);
    }
    sg_free(m->x);
    m->x = NULL;
    return SG_OK;
}

// ---- the model ----------------------------------------------------------------------------------

static sg_status mlps_plan(const mlps *m, const sg_config *c, json_t **plan, sg_error *err)
{
    const sg_sparsify_options *o = m->o;
    char of_model[17], of_text[17], seed[24];
    *plan = NULL;
    SG_TRY(sg_plan_hashes(m->dense, &m->text, of_model, of_text, err));
    snprintf(seed, sizeof seed, "%" PRIu64, o->seed);
    sg_json_setup();
    *plan = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:f, s:f, s:s}", "format",
                      "sgatlin sparsify attention-mlp 1", "model", of_model, "text", of_text,
                      "attention_mlp_q", c->attention_mlp_q, "attention_mlp_k", c->attention_mlp_k,
                      "attention_mlp_v", c->attention_mlp_v, "attention_mlp_o", c->attention_mlp_o,
                      "projection_steps", (json_int_t)o->projection_steps, "projection_batch",
                      (json_int_t)o->projection_batch, "projection_rate", o->projection_rate,
                      "projection_sparsity", o->projection_sparsity, "seed", seed);
    return *plan != NULL ? SG_OK : sg_fail(err, SG_ERR_MEMORY, "out of memory for a plan");
}

static sg_status mlps_begin(mlps *m, const sg_config *config, sg_error *err)
{
    json_t *plan;
    SG_TRY(mlps_plan(m, config, &plan, err));
    const sg_status status = sg_kept_begin(&m->work, plan, err);
    json_decref(plan);
    return status;
}

static sg_status mlps_test(mlps *m, sg_error *err)
{
    double loss;
    m->result->dense_perplexity = m->result->sparse_perplexity = m->result->executed = NAN;
    m->result->test_tokens = m->text.parts[SG_USE_TEST].rows;
    if (m->result->test_tokens == 0) return SG_OK;
    SG_TRY(sg_calibration_loss(&m->text, SG_USE_TEST, m->dense, &loss, NULL, mlps_pass, m, err));
    m->result->dense_perplexity = exp(loss);
    SG_TRY(sg_calibration_loss(&m->text, SG_USE_TEST, m->made, &loss, NULL, mlps_pass, m, err));
    m->result->sparse_perplexity = exp(loss);
    return SG_OK;
}

static void mlps_count(mlps *m)
{
    for (int64_t l = 0; l < m->layers; l++)
        for (int i = 0; i < SG_PROJECTIONS && sg_layers_have(m->o->projection_layers, l); i++)
            m->modules += mlps_chosen(m->o, (sg_projection)i);
}

static sg_status mlps_make(mlps *m, const sg_config *config, sg_error *err)
{
    const sg_tokenizer *t = m->o->tokenizer;
    SG_TRY(sg_moefy_text(m->dense, m->o, &m->text, m->result, err));
    if (m->o->out != NULL) SG_TRY(mlps_begin(m, config, err));
    SG_TRY(sg_model_new(m->dense->context, config, m->o->seed, &m->made, err));
    m->made->ends = m->dense->ends;
    SG_TRY(sg_moefy_copy(m->dense, m->made, err));
    mlps_count(m);
    SG_TRY(mlps_layers(m, err));
    SG_TRY(mlps_test(m, err));
    if (m->o->out == NULL) return SG_OK;
    SG_TRY(sg_model_write(m->made, t ? t->json : NULL, t ? t->json_bytes : 0, m->o->out, err));
    return sg_kept_end(&m->work, err);
}

sg_status sg_projections_make(sg_model *dense, const sg_sparsify_options *o, sg_model **made,
                              sg_sparsify_result *result, sg_error *err)
{
    sg_config config;
    mlps m = {.dense = dense, .o = o, .result = result, .layers = dense->config.num_hidden_layers};
    *made = NULL;
    SG_TRY(sg_projections_config(&dense->config, o, &config, err));
    if (dense->adapters != NULL)
        return sg_fail(err, SG_ERR_UNSUPPORTED,
                       "projections: found a model with adapters, expected one without: merge them "
                       "(convert) first");
    SG_TRY(sg_kept_open(o->out, &m.work, err));
    const sg_status status = mlps_make(&m, &config, err);
    sg_kept_close(&m.work, status);
    sg_calibration_free(&m.text);
    sg_free(m.x);
    if (status == SG_OK)
        *made = m.made;
    else
        sg_model_free(m.made);
    return status;
}
