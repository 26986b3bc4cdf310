#include "model/adapters.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "kernel/gemm.h"
#include "model/model.h"

// ---- which matrices -----------------------------------------------------------------------------

typedef struct adapt_plan {
    sg_model *model;
    const sg_adapter_choice *choice;
    sg_adapters *adapters;
    const bool *plain; // by parameter
    sg_error *err;
} adapt_plan;

static sg_status adapt_memory(sg_error *err)
{
    return sg_fail(err, SG_ERR_MEMORY, "out of memory for adapters");
}

// "NAME.weight" as NAME; false for any other.
static bool adapt_module(const char *tensor, char module[SG_PARAM_NAME])
{
    static const char end[] = ".weight";
    const size_t n = strlen(tensor), m = sizeof end - 1;
    if (n <= m || strcmp(tensor + n - m, end) != 0) return false;
    snprintf(module, SG_PARAM_NAME, "%.*s", (int)(n - m), tensor);
    return true;
}

// The adapter of a module, new where there is none.
static sg_status adapt_find(const adapt_plan *p, const char *module, int64_t rank, double scale,
                            const sg_piece *piece, size_t *index)
{
    sg_adapters *all = p->adapters;
    for (*index = 0; *index < all->count; ++*index)
        if (strcmp(all->items[*index].module, module) == 0) return SG_OK;
    if (!sg_grow((void **)&all->items, &all->capacity, all->count + 1, sizeof *all->items))
        return adapt_memory(p->err);
    sg_adapter *a = &all->items[all->count++];
    *a = (sg_adapter){.rank = rank,
                      .transposed = piece->transposed,
                      .in = piece->shape[piece->transposed ? 0 : 1],
                      .out = piece->shape[piece->transposed ? 1 : 0],
                      .scale = scale};
    memcpy(a->module, module, strlen(module) + 1);
    return SG_OK;
}

static sg_status adapt_use(const adapt_plan *p, size_t parameter, size_t adapter,
                           const sg_piece *piece)
{
    sg_adapters *all = p->adapters;
    sg_adapter_use *last = all->use_count > 0 ? &all->uses[all->use_count - 1] : NULL;
    if (last == NULL || last->parameter != parameter || last->adapter != adapter) {
        if (!sg_grow((void **)&all->uses, &all->use_capacity, all->use_count + 1,
                     sizeof *all->uses))
            return adapt_memory(p->err);
        last = &all->uses[all->use_count++];
        *last = (sg_adapter_use){parameter, adapter, all->span_count, 0};
    }
    if (!sg_grow((void **)&all->spans, &all->span_capacity, all->span_count + 1,
                 sizeof *all->spans))
        return adapt_memory(p->err);
    all->spans[all->span_count++] = (sg_low_rank_span){
        piece->first, piece->count, piece->transposed ? piece->column : piece->row};
    last->span_count++;
    return SG_OK;
}

static sg_status adapt_piece(const adapt_plan *p, size_t parameter, const sg_piece *piece)
{
    const sg_param_spec *spec = &p->model->params.specs[parameter];
    char module[SG_PARAM_NAME];
    size_t index;
    if (!adapt_module(piece->tensor, module)) return SG_OK;
    const bool plain = p->plain[parameter] && spec->rank == 2;
    const sg_adapter_place place = !plain                                      ? SG_ADAPTER_OTHER
                                   : strcmp(spec->name, "lm_head.weight") == 0 ? SG_ADAPTER_HEAD
                                                                               : SG_ADAPTER_PLAIN;
    double scale = 0;
    const int64_t rank = p->choice->rank(p->choice->user, module, place, &scale);
    if (rank < 1) return SG_OK;
    if (!plain)
        return sg_fail(p->err, SG_ERR_UNSUPPORTED,
                       "%s: found %s, which is not a matrix that tokens are multiplied with as a "
                       "whole (but a table of experts or neurons, or an embedding), expected "
                       "projections only",
                       p->choice->what, module);
    SG_TRY(adapt_find(p, module, rank, scale, piece, &index));
    return adapt_use(p, parameter, index, piece);
}

static sg_status adapt_choose(const adapt_plan *p)
{
    sg_model *m = p->model;
    const sg_tensor_map *map = sg_tensor_map_of_modules(m->map);
    sg_pieces pieces = {0};
    sg_status status = SG_OK;
    for (size_t i = 0; i < p->adapters->first && status == SG_OK; i++) {
        const sg_param_spec *spec = &m->params.specs[i];
        if (spec->rank < 2 || spec->buffer != SG_BUFFER_NONE) continue;
        status = sg_tensor_map_pieces(map, &m->config, spec, NULL, &pieces, p->err);
        for (size_t n = 0; n < pieces.count && status == SG_OK; n++)
            status = adapt_piece(p, i, &pieces.items[n]);
    }
    sg_pieces_free(&pieces);
    return status;
}

// ---- parameters ---------------------------------------------------------------------------------

static size_t adapt_param(sg_param_list *list, const char *module, const char *end, int64_t rows,
                          int64_t columns, sg_init init, double variance)
{
    char name[SG_PARAM_NAME + 32];
    snprintf(name, sizeof name, "%s%s", module, end);
    sg_param_add(list, SG_ADAPTER_PREFIX, name, 2, (int64_t[]){rows, columns}, init, variance);
    return list->count - 1;
}

static sg_status adapt_params(sg_model *m, sg_adapters *all, sg_error *err)
{
    for (size_t i = 0; i < all->count; i++) {
        sg_adapter *a = &all->items[i];
        a->a = adapt_param(&m->params, a->module, SG_ADAPTER_A, a->rank, a->in, SG_INIT_UNIFORM,
                           1 / (3 * (double)a->in));
        a->b = adapt_param(&m->params, a->module, SG_ADAPTER_B, a->out, a->rank, SG_INIT_ZERO, 0);
    }
    if (m->params.status == SG_ERR_MEMORY) return adapt_memory(err);
    return m->params.status == SG_OK
               ? SG_OK
               : sg_fail(err, SG_ERR_ARGUMENT, "adapters: names or ranks are too long");
}

// Room for the new parameters where the model has one thing for each.
static sg_status adapt_storage(sg_model *m, sg_adapters *all, sg_error *err)
{
    const size_t first = all->first, count = m->params.count, more = count - first;
    sg_real **values = sg_realloc(m->values, count * sizeof *values);
    if (values == NULL) return adapt_memory(err);
    m->values = values;
    if (m->narrow.items != NULL) {
        sg_stored *items = sg_realloc(m->narrow.items, count * sizeof *items);
        if (items == NULL) return adapt_memory(err);
        memset(items + first, 0, more * sizeof *items);
        m->narrow.items = items;
        m->narrow.count = count;
    }
    bool *own = sg_alloc_zero(count, sizeof *own);
    if (own == NULL) return adapt_memory(err);
    memset(own, true, first * sizeof *own);
    sg_status status = sg_param_block_new(&m->params, "adapters", own,
                                          m->context->compute.allocator, &all->storage, err);
    sg_free(own);
    SG_TRY(status);
    memcpy(values + first, all->storage.parts + first, more * sizeof *values);
    return SG_OK;
}

static void adapters_free(sg_adapters *all)
{
    sg_param_block_free(&all->storage);
    sg_free(all->items);
    sg_free(all->uses);
    sg_free(all->spans);
    sg_free(all);
}

void sg_model_drop_adapters(sg_model *m)
{
    sg_adapters *all = m->adapters;
    if (all == NULL) return;
    for (size_t i = all->first; i < m->params.count; i++)
        m->params.total -= m->params.specs[i].count;
    m->params.count = all->first;
    m->params.status = SG_OK;
    if (m->narrow.items != NULL) m->narrow.count = all->first;
    adapters_free(all);
    m->adapters = NULL;
    m->layout++;
}

sg_status sg_model_add_adapters(sg_model *m, const sg_adapter_choice *choice, sg_error *err)
{
    if (m->adapters != NULL)
        return sg_fail(err, SG_ERR_ARGUMENT, "%s: the model has adapters already", choice->what);
    if (atomic_load(&m->users) > 0)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "%s: found sessions or batches of the model, expected none: adapters come "
                       "before the first",
                       choice->what);
    sg_adapters *all = sg_alloc_zero(1, sizeof *all);
    bool *plain = sg_alloc_zero(m->params.count, sizeof *plain);
    if (all == NULL || plain == NULL) {
        sg_free(all);
        sg_free(plain);
        return adapt_memory(err);
    }
    all->first = m->params.count;
    m->adapters = all;
    const adapt_plan plan = {m, choice, all, plain, err};
    sg_status status = sg_weights_plain(&m->config, &m->params, plain, err);
    if (status == SG_OK) status = adapt_choose(&plan);
    if (status == SG_OK && all->count == 0)
        status = sg_fail(err, SG_ERR_MISMATCH, "%s: fits no matrix of the model", choice->what);
    if (status == SG_OK) status = adapt_params(m, all, err);
    if (status == SG_OK) status = adapt_storage(m, all, err);
    sg_free(plain);
    m->layout++;
    if (status != SG_OK)
        sg_model_drop_adapters(m);
    else
        sg_narrow_set_free(&m->screens); // which nothing reads now
    sg_column_set_free(&m->columns);
    return status;
}

void sg_model_init_adapters(sg_model *m, uint64_t seed)
{
    for (size_t i = m->adapters->first; i < m->params.count; i++)
        sg_param_init(&m->params.specs[i], seed, m->context->compute.pool, m->values[i]);
    sg_model_touch(m);
}

// ---- merging ------------------------------------------------------------------------------------

sg_status sg_model_merge_adapters(sg_model *m, sg_error *err)
{
    const sg_adapters *all = m->adapters;
    if (all == NULL) return SG_OK;
    if (m->file != NULL || m->narrow.items != NULL)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "found weights that lie in a file, expected f32 ones in memory: adapters "
                       "cannot be added to them");
    for (size_t i = 0; i < all->use_count; i++) {
        const sg_adapter_use *use = &all->uses[i];
        const sg_adapter *a = &all->items[use->adapter];
        for (size_t n = 0; n < use->span_count; n++) {
            const sg_low_rank_span *s = &all->spans[use->first_span + n];
            sg_gemm(m->context->compute,
                    &(sg_gemm_args){.m = s->count,
                                    .n = a->in,
                                    .k = a->rank,
                                    .alpha = (sg_real)a->scale,
                                    .a = m->values[a->b] + s->row * a->rank,
                                    .lda = a->rank,
                                    .b = m->values[a->a],
                                    .ldb = a->in,
                                    .beta = 1,
                                    .c = m->values[use->parameter] + s->first * a->in,
                                    .ldc = a->in});
        }
    }
    sg_model_drop_adapters(m);
    sg_model_touch(m);
    return SG_OK;
}
