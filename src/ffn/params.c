// Adding, initialising and laying out parameters, and moving buffers. A parameter's initial values
// depend on seed, name and index alone, so that adding one elsewhere changes no other.
#include "ffn/params.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"

static bool param_ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), m = strlen(end);
    return n >= m && strcmp(name + n - m, end) == 0;
}

void sg_param_add(sg_param_list *list, const char *prefix, const char *name, int rank,
                  const int64_t *shape, sg_init init, double variance)
{
    if (list->status != SG_OK) return;
    if (!sg_grow((void **)&list->specs, &list->capacity, list->count + 1, sizeof *list->specs)) {
        list->status = SG_ERR_MEMORY;
        return;
    }
    sg_param_spec *spec = &list->specs[list->count];
    memset(spec, 0, sizeof *spec);
    int length = snprintf(spec->name, sizeof spec->name, "%s%s", prefix, name);
    spec->rank = rank;
    spec->count = 1;
    bool fits = length > 0 && length < SG_PARAM_NAME;
    for (int i = 0; i < rank; i++) {
        spec->shape[i] = shape[i];
        fits = fits && shape[i] > 0 && !__builtin_mul_overflow(spec->count, shape[i], &spec->count);
    }
    // Neither one parameter nor all together: sizes in bytes are then far from overflowing too.
    const int64_t most = (int64_t)1 << 48;
    fits = fits && spec->count < most && list->total + spec->count < most;
    if (!fits) {
        list->status = SG_ERR_ARGUMENT;
        return;
    }
    list->total += spec->count;
    spec->init = init;
    spec->variance = variance;
    // Norm scales are the only weights of one dimension.
    spec->decay = rank > 1 && !param_ends_with(spec->name, ".bias");
    list->count++;
}

void sg_param_rows(sg_param_list *list, int64_t hits)
{
    if (list->status == SG_OK) list->specs[list->count - 1].row_hits = hits;
}

void sg_param_paired(sg_param_list *list)
{
    if (list->status == SG_OK) list->specs[list->count - 1].paired = true;
}

void sg_param_keys(sg_param_list *list)
{
    if (list->status == SG_OK) list->specs[list->count - 1].keys = true;
}

void sg_param_add_buffer(sg_param_list *list, const char *prefix, const char *name, int rank,
                         const int64_t *shape, sg_init init, sg_buffer buffer, double rate)
{
    sg_param_add(list, prefix, name, rank, shape, init, 0);
    if (list->status != SG_OK) return;
    sg_param_spec *spec = &list->specs[list->count - 1];
    spec->decay = false;
    spec->buffer = buffer;
    spec->rate = rate;
    list->buffers += spec->count;
}

void sg_param_list_free(sg_param_list *list)
{
    sg_free(list->specs);
    *list = (sg_param_list){0};
}

enum { param_chunk = 1 << 14 };

// The deviation of a standard normal cut at ±2.
static const double param_truncated_deviation = 0.87962566103423978;

typedef struct param_loop {
    const sg_param_spec *spec;
    uint64_t seed;
    uint32_t stream;
    sg_real *values;
} param_loop;

static double param_value(const param_loop *l, uint64_t i)
{
    switch (l->spec->init) {
    case SG_INIT_ZERO:
        return 0;
    case SG_INIT_ONE:
        return 1;
    case SG_INIT_NORMAL:
        return sqrt(l->spec->variance) * sg_rng_normal(l->seed, l->stream, i);
    case SG_INIT_TRUNCATED:
        return sqrt(l->spec->variance) / param_truncated_deviation *
               sg_rng_truncated_normal(l->seed, l->stream, i);
    case SG_INIT_TRUNCATED_RAW:
        return sg_rng_truncated_normal(l->seed, l->stream, i);
    case SG_INIT_UNIFORM:
        return sqrt(3 * l->spec->variance) * (2 * sg_rng_uniform(l->seed, l->stream, i) - 1);
    }
    return 0;
}

static void param_init_chunk(void *context, sg_range numbers)
{
    const param_loop *l = context;
    for (int64_t i = numbers.first; i < numbers.end; i++)
        l->values[i] = (sg_real)param_value(l, (uint64_t)i);
}

void sg_param_init(const sg_param_spec *spec, uint64_t seed, sg_pool *pool, sg_real *values)
{
    param_loop l = {spec, seed, sg_rng_stream(spec->name), values};
    sg_parallel_ranges(pool, spec->count, param_chunk, param_init_chunk, &l);
}

static void buffer_average(const sg_param_spec *spec, sg_real *values, const sg_real *statistic,
                           int64_t micro_batches)
{
    for (int64_t j = 0; j < spec->count; j++) {
        double mean = (double)statistic[j] / (double)micro_batches;
        values[j] += (sg_real)(spec->rate * (mean - (double)values[j]));
    }
}

static void buffer_balance(const sg_param_spec *spec, sg_real *values, const sg_real *statistic)
{
    double sum = 0;
    for (int64_t j = 0; j < spec->count; j++)
        sum += (double)statistic[j];
    // Compared as whole numbers, so that equal loads move nothing.
    for (int64_t j = 0; j < spec->count; j++) {
        double load = (double)statistic[j] * (double)spec->count;
        values[j] += (sg_real)(spec->rate * ((sum > load) - (sum < load)));
    }
}

void sg_buffers_update(const sg_param_list *params, sg_real *const *values,
                       sg_real *const *statistics, int64_t micro_batches)
{
    for (size_t i = 0; i < params->count; i++) {
        const sg_param_spec *spec = &params->specs[i];
        if (spec->frozen) continue;
        if (spec->buffer == SG_BUFFER_AVERAGE)
            buffer_average(spec, values[i], statistics[i], micro_batches);
        if (spec->buffer == SG_BUFFER_BALANCE) buffer_balance(spec, values[i], statistics[i]);
    }
}

// ---- memory for all parameters ----------------------------------------------------------------

static size_t param_bytes(const sg_param_spec *spec)
{
    return sg_whole_lines((size_t)spec->count * sizeof(sg_real));
}

sg_status sg_param_block_new(const sg_param_list *params, const char *what, const bool *skip,
                             const sg_allocator *allocator, sg_param_block *block, sg_error *err)
{
    *block = (sg_param_block){.allocator = allocator};
    for (size_t i = 0; i < params->count; i++)
        if (skip == NULL || !skip[i]) block->bytes += param_bytes(&params->specs[i]);
    block->parts = sg_alloc_zero(params->count, sizeof *block->parts);
    block->memory = sg_alloc_from(allocator, block->bytes);
    if (block->parts == NULL || block->memory == NULL) {
        sg_fail(err, SG_ERR_MEMORY, "out of memory: the %s take %zu bytes", what, block->bytes);
        sg_param_block_free(block);
        return SG_ERR_MEMORY;
    }
    unsigned char *at = block->memory;
    for (size_t i = 0; i < params->count; i++) {
        if (skip != NULL && skip[i]) continue;
        block->parts[i] = (sg_real *)at;
        at += param_bytes(&params->specs[i]);
    }
    return SG_OK;
}

void sg_param_block_free(sg_param_block *block)
{
    sg_free_to(block->allocator, block->memory, block->bytes);
    sg_free(block->parts);
    *block = (sg_param_block){0};
}
