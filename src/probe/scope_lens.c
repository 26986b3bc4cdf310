// What neurons read and write, in tokens, for a whole channel at a time: the first tokens of the
// lists of sg_neuron_view_of (neuron_view.c), which has the formulas:
//
//     reads    by cos(w_in, norm(e_t)), e_t the embedding, norm that in front of the layer
//     writes   by u_t . (G (w_out - mean)), u_t the row of the classifier, G the last norm's gain
//
// Products of all rows with the whole vocabulary, in blocks; of equal tokens the first.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "kernel/gemm.h"
#include "model/config.h"
#include "probe/neuron_tables.h"
#include "probe/scope_page.h"

enum { lens_tokens = 5, lens_numbers = 1 << 22 }; // of a block of products

typedef struct lens {
    const sg_model *model;
    sg_compute compute;
    int64_t vocabulary, width;
    int64_t block;       // neurons
    bool shifts;         // norms take off the mean and add a shift
    float *gain, *shift; // (width)
    float *row;          // (width)
    sg_real *table;      // (vocabulary, width)
    sg_real *rows;       // (block, width)
    sg_real *products;   // (block, vocabulary)
    int32_t *top;        // (neurons, lens_tokens)
} lens;

static void lens_free(lens *l)
{
    sg_free(l->gain);
    sg_free(l->shift);
    sg_free(l->row);
    sg_free(l->table);
    sg_free(l->rows);
    sg_free(l->products);
    sg_free(l->top);
}

static sg_status lens_new(lens *l, int64_t neurons, sg_error *err)
{
    l->vocabulary = l->model->config.vocab_size;
    l->width = l->model->config.hidden_size;
    l->block = sg_scope_max(1, lens_numbers / l->vocabulary);
    l->block = sg_min(l->block, sg_scope_max(1, neurons));
    const size_t v = (size_t)l->vocabulary, d = (size_t)l->width, b = (size_t)l->block;
    l->shifts = sg_config_norm_shifts(&l->model->config);
    l->gain = sg_alloc_array(d, sizeof *l->gain);
    l->shift = sg_alloc_array(d, sizeof *l->shift);
    l->row = sg_alloc_array(d, sizeof *l->row);
    l->table = sg_alloc_array(v * d, sizeof *l->table);
    l->rows = sg_alloc_array(b * d, sizeof *l->rows);
    l->products = sg_alloc_array(b * v, sizeof *l->products);
    l->top = sg_alloc_array((size_t)neurons * lens_tokens + 1, sizeof *l->top);
    if (l->gain && l->shift && l->row && l->table && l->rows && l->products && l->top) return SG_OK;
    return sg_scope_memory(err);
}

// The gain of a norm, and its shift (0 where it has none).
static sg_status lens_norm(lens *l, const char *prefix, sg_error *err)
{
    char name[96];
    size_t index;
    memset(l->shift, 0, (size_t)l->width * sizeof *l->shift);
    snprintf(name, sizeof name, "%s.weight", prefix);
    SG_TRY(sg_model_tensor_find(l->model, name, &index, err));
    SG_TRY(sg_model_tensor_read(l->model, index, 0, l->width, l->gain, err));
    if (!l->shifts) return SG_OK;
    snprintf(name, sizeof name, "%s.bias", prefix);
    SG_TRY(sg_model_tensor_find(l->model, name, &index, err));
    return sg_model_tensor_read(l->model, index, 0, l->width, l->shift, err);
}

static double lens_mean(const lens *l, const float *row)
{
    double sum = 0;
    for (int64_t i = 0; i < l->width; i++)
        sum += row[i];
    return l->shifts ? sum / (double)l->width : 0;
}

// row through the norm, then made of length 1.
static void lens_normalise(const lens *l, float *row)
{
    const double mean = lens_mean(l, row);
    double sum = 0, square = 0;
    for (int64_t i = 0; i < l->width; i++)
        sum += (row[i] - mean) * (row[i] - mean);
    const double scale = sqrt(sum / (double)l->width + l->model->config.rms_norm_eps);
    for (int64_t i = 0; i < l->width; i++) {
        row[i] = (float)((row[i] - mean) / scale * l->gain[i] + l->shift[i]);
        square += (double)row[i] * row[i];
    }
    for (int64_t i = 0; square > 0 && i < l->width; i++)
        row[i] = (float)(row[i] / sqrt(square));
}

// The table that rows are multiplied with: embeddings behind the norm of a layer, or the
// classifier with the gain of the last norm.
static sg_status lens_table(lens *l, int64_t layer, bool reads, sg_error *err)
{
    char prefix[64] = "model.norm";
    size_t index;
    const bool head = !reads && l->model->config.untied_classifier;
    if (reads)
        snprintf(prefix, sizeof prefix, "model.layers.%lld.post_attention_layernorm",
                 (long long)layer);
    SG_TRY(lens_norm(l, prefix, err));
    SG_TRY(sg_model_tensor_find(l->model, head ? "lm_head.weight" : "model.embed_tokens.weight",
                                &index, err));
    for (int64_t t = 0; t < l->vocabulary; t++) {
        SG_TRY(sg_model_tensor_read(l->model, index, t, 1, l->row, err));
        if (reads) lens_normalise(l, l->row);
        for (int64_t i = 0; i < l->width; i++)
            l->table[t * l->width + i] = (sg_real)(reads ? l->row[i] : l->row[i] * l->gain[i]);
    }
    return SG_OK;
}

// The largest of a row, the largest first, into top.
static void lens_largest(const sg_real *row, int64_t count, int32_t top[lens_tokens])
{
    int64_t kept = 0;
    for (int64_t t = 0; t < count; t++) {
        if (kept == lens_tokens && !(row[t] > row[top[kept - 1]])) continue;
        int64_t at = kept < lens_tokens ? kept++ : lens_tokens - 1;
        for (; at > 0 && row[t] > row[top[at - 1]]; at--)
            top[at] = top[at - 1];
        top[at] = (int32_t)t;
    }
    for (; kept < lens_tokens; kept++)
        top[kept] = -1;
}

typedef struct lens_part {
    const lens *l;
    int32_t *top;
} lens_part;

static void lens_chunk(void *context, sg_range range)
{
    const lens_part *p = context;
    for (int64_t i = range.first; i < range.end; i++)
        lens_largest(p->l->products + i * p->l->vocabulary, p->l->vocabulary,
                     p->top + i * lens_tokens);
}

static sg_status lens_row(lens *l, const sg_neuron_table *table, int64_t channel, int64_t neuron,
                          bool reads, sg_real *to, sg_error *err)
{
    SG_TRY((reads ? sg_neuron_in : sg_neuron_out)(table, channel, neuron, l->row, err));
    const double mean = reads ? 0 : lens_mean(l, l->row);
    for (int64_t i = 0; i < l->width; i++)
        to[i] = (sg_real)(l->row[i] - mean);
    return SG_OK;
}

static sg_status lens_run(lens *l, const sg_neuron_table *table, int64_t channel,
                          const int32_t *neurons, int64_t count, bool reads, sg_error *err)
{
    for (int64_t first = 0; first < count; first += l->block) {
        const int64_t n = sg_min(l->block, count - first);
        for (int64_t i = 0; i < n; i++)
            SG_TRY(lens_row(l, table, channel, neurons[first + i], reads, l->rows + i * l->width,
                            err));
        sg_gemm(l->compute, &(sg_gemm_args){.transpose_b = true,
                                            .m = n,
                                            .n = l->vocabulary,
                                            .k = l->width,
                                            .alpha = 1,
                                            .a = l->rows,
                                            .lda = l->width,
                                            .b = l->table,
                                            .ldb = l->width,
                                            .c = l->products,
                                            .ldc = l->vocabulary});
        lens_part part = {l, l->top + first * lens_tokens};
        sg_parallel_ranges(l->compute.pool, n, 16, lens_chunk, &part);
    }
    return SG_OK;
}

static sg_status lens_column(sg_scope_page *page, const lens *l, int64_t count, json_t *object,
                             const char *key, sg_error *err)
{
    json_t *reference;
    for (int64_t i = 0; i < count * lens_tokens; i++)
        if (l->top[i] < 0) l->top[i] = 0;
    SG_TRY(sg_scope_piece_column(page, l->top, count * lens_tokens, 0, &reference, err));
    return sg_scope_set(object, key, reference, err);
}

static sg_status lens_both(sg_scope_page *page, lens *l, const sg_neuron_table *table,
                           int64_t channel, const int32_t *neurons, int64_t count, json_t *object,
                           sg_error *err)
{
    if (table->in != SG_NEURON_NO_TABLE) {
        SG_TRY(lens_table(l, table->layer, true, err));
        SG_TRY(lens_run(l, table, channel, neurons, count, true, err));
        SG_TRY(lens_column(page, l, count, object, "reads", err));
    }
    if (!table->summed) return SG_OK; // the model goes on computing with the sum
    SG_TRY(lens_table(l, table->layer, false, err));
    SG_TRY(lens_run(l, table, channel, neurons, count, false, err));
    return lens_column(page, l, count, object, "writes", err);
}

sg_status sg_scope_lens(sg_scope_page *page, const sg_model *model, int64_t layer, int64_t channel,
                        const int32_t *neurons, int64_t count, json_t **object, sg_error *err)
{
    sg_neuron_table table;
    lens l = {.model = model, .compute = page->context->compute};
    *object = NULL;
    SG_TRY(sg_neuron_table_of(model, layer, &table, err));
    if (model->config.vocab_size > page->vocabulary || count < 1) return SG_OK;
    *object = json_pack("{s:I, s:I, s:I}", "layer", (json_int_t)layer, "channel",
                        (json_int_t)channel, "count", (json_int_t)lens_tokens);
    sg_status status = *object == NULL ? sg_scope_memory(err) : lens_new(&l, count, err);
    if (status == SG_OK)
        status = lens_both(page, &l, &table, channel, neurons, count, *object, err);
    lens_free(&l);
    return status;
}
