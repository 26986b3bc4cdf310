// Made by the threads of the context, a slice each. Slices have about 192 rows of a matrix, by its
// shape alone, and are an even number, so that two threads have as much to do: runs of half a KiB
// are read at the speed of memory where they are asked for in time (op/op_linear_sparse.c).
#include "model/column_copies.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "model/model.h"
#include "sgatlin_sparsify.h"

enum { columns_slice = 192, columns_tile = 64 };

void sg_column_set_free(sg_column_set *set)
{
    sg_free(set->items);
    sg_free_to(set->allocator, set->memory, set->bytes);
    *set = (sg_column_set){0};
}

// ---- which --------------------------------------------------------------------------------------

static sg_stored columns_of(const sg_model *m, size_t i)
{
    if (sg_narrow_has(&m->narrow, i)) return m->narrow.items[i];
    return (sg_stored){.type = SG_WEIGHTS_F32, .rows = m->values[i]};
}

// Blocks of weights are of a row: columns of them would be other weights.
static bool columns_can(sg_weights type)
{
    return sg_stored_is_choice(type) || type == SG_WEIGHTS_F16;
}

static sg_stored_columns columns_shape(const sg_model *m, size_t i)
{
    const sg_param_spec *spec = &m->params.specs[i];
    const int64_t n = spec->shape[0];
    int64_t slices = (n + columns_slice) / (2 * columns_slice) * 2;
    if (slices < 2) slices = n < 2 ? 1 : 2;
    return (sg_stored_columns){.type = columns_of(m, i).type,
                               .n = n,
                               .k = spec->shape[1],
                               .width = (n + slices - 1) / slices};
}

static size_t columns_bytes(const sg_stored_columns *c)
{
    const size_t ones = c->type == SG_WEIGHTS_INT8 ? (size_t)c->k * sizeof(float) : 0;
    return sg_whole_lines(sg_stored_row_bytes(c->type, c->n * c->k)) + sg_whole_lines(ones);
}

sg_status sg_model_columns_each(const sg_model *m, sg_columns_fn each, void *user, sg_error *err)
{
    for (int64_t l = 0; l < m->config.num_hidden_layers; l++)
        for (int place = 0; place < SG_TRIMMED_PLACES; place++) {
            if (!sg_trimmed_has(&m->config, (sg_trimmed)place)) continue;
            const char *const *names = sg_trimmed_matrices(&m->config, (sg_trimmed)place);
            for (; *names != NULL; names++) {
                char name[SG_PARAM_NAME];
                size_t index;
                snprintf(name, sizeof name, "model.layers.%lld.%s", (long long)l, *names);
                SG_TRY(sg_model_tensor_find(m, name, &index, err));
                each(user, l, (sg_trimmed)place, index);
            }
        }
    return SG_OK;
}

typedef struct columns_plan {
    const sg_model *model;
    sg_stored_columns *items; // or NULL
    size_t bytes;
    int64_t copied, dense; // matrices
} columns_plan;

static bool columns_has(const sg_model *m, const sg_stored_columns *shape)
{
    return columns_can(shape->type) && m->adapters == NULL;
}

static void columns_add(void *user, int64_t layer, sg_trimmed place, size_t index)
{
    columns_plan *p = user;
    const sg_stored_columns shape = columns_shape(p->model, index);
    const bool can = columns_has(p->model, &shape);
    (void)layer, (void)place;
    *(can ? &p->copied : &p->dense) += 1;
    if (!can) return;
    if (p->items != NULL) p->items[index] = shape;
    p->bytes += columns_bytes(&shape);
}

sg_status sg_sparsify_columns(const sg_model *m, int64_t *bytes, int64_t *copied, int64_t *dense,
                              sg_error *err)
{
    columns_plan plan = {.model = m};
    SG_TRY(sg_model_columns_each(m, columns_add, &plan, err));
    *bytes = (int64_t)plan.bytes;
    *copied = plan.copied;
    *dense = plan.dense;
    return SG_OK;
}

// Of int8 each column that is read has a number of its own beside it.
double sg_model_columns_unread(const sg_model *m, size_t index, double share)
{
    const sg_stored_columns c = columns_shape(m, index);
    const double ones = c.type == SG_WEIGHTS_INT8 ? (double)c.k * sizeof(float) : 0;
    if (!columns_has(m, &c)) return 0;
    return (1 - share) * (double)sg_stored_row_bytes(c.type, c.n * c.k) - share * ones;
}

// ---- copying ------------------------------------------------------------------------------------

// Numbers first … end - 1 of a row to where columns have them, `width` numbers apart.
static void columns_put(void *to, const void *from, int64_t first, int64_t end, int64_t width,
                        size_t size)
{
    for (int64_t i = first; i < end; i++)
        switch (size) {
        case 1:
            ((uint8_t *)to)[i * width] = ((const uint8_t *)from)[i];
            break;
        case 2:
            ((uint16_t *)to)[i * width] = ((const uint16_t *)from)[i];
            break;
        default:
            ((sg_real *)to)[i * width] = ((const sg_real *)from)[i];
        }
}

typedef struct columns_loop {
    sg_stored_columns *to;
    sg_stored from;
} columns_loop;

static void columns_copy_slice(void *context, int64_t slice, int worker)
{
    const columns_loop *l = context;
    const sg_stored_columns *c = l->to;
    const int64_t first = slice * c->width, n = sg_min(c->width, c->n - first);
    const size_t size = sg_stored_row_bytes(c->type, 1);
    unsigned char *to = (unsigned char *)c->slices + (size_t)(first * c->k) * size;
    (void)worker;
    for (int64_t i = 0; i < c->k; i += columns_tile)
        for (int64_t r = 0; r < n; r++)
            columns_put(to + (size_t)r * size, sg_stored_at(&l->from, first + r, c->k).rows, i,
                        sg_min(c->k, i + columns_tile), n, size);
}

static void columns_fill(const sg_model *m, sg_stored_columns *items)
{
    for (size_t i = 0; i < m->params.count; i++) {
        columns_loop loop = {&items[i], columns_of(m, i)};
        if (items[i].slices == NULL) continue;
        items[i].scales = items[i].type == SG_WEIGHTS_INT8 ? loop.from.scales : NULL;
        sg_parallel_for(m->context->compute.pool, sg_chunks(items[i].n, items[i].width),
                        columns_copy_slice, &loop);
    }
}

static void columns_lay_out(sg_column_set *set)
{
    unsigned char *at = set->memory;
    for (size_t i = 0; i < set->count; i++) {
        sg_stored_columns *c = &set->items[i];
        if (c->n == 0) continue;
        float *ones =
            (float *)(void *)(at + sg_whole_lines(sg_stored_row_bytes(c->type, c->n * c->k)));
        c->slices = at;
        for (int64_t j = 0; c->type == SG_WEIGHTS_INT8 && j < c->k; j++)
            ones[j] = 1;
        if (c->type == SG_WEIGHTS_INT8) c->ones = ones;
        at += columns_bytes(c);
    }
}

static sg_status columns_make(sg_model *m, sg_error *err)
{
    sg_column_set *set = &m->columns;
    sg_stored_columns *items = sg_alloc_zero(m->params.count, sizeof *items);
    columns_plan plan = {.model = m, .items = items};
    if (items == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for copies of matrices");
    const sg_allocator *allocator = m->context->compute.allocator;
    sg_status status = sg_model_columns_each(m, columns_add, &plan, err);
    *set = (sg_column_set){items, m->params.count, NULL, plan.bytes, allocator, m->version};
    if (status == SG_OK && plan.bytes > 0) {
        set->memory = sg_alloc_from(allocator, plan.bytes);
        if (set->memory == NULL)
            status =
                sg_fail(err, SG_ERR_MEMORY,
                        "out of memory: copies of matrices by columns take %zu bytes", plan.bytes);
    }
    if (status != SG_OK) {
        sg_column_set_free(set);
        return status;
    }
    columns_lay_out(set);
    columns_fill(m, items);
    return SG_OK;
}

static sg_status columns_now(sg_model *m, bool make, sg_error *err)
{
    sg_status status = SG_OK;
    pthread_mutex_lock(&m->screens_mutex); // the first sessions may come on several threads
    if (m->columns.items == NULL && make) {
        status = columns_make(m, err);
    } else if (m->columns.items != NULL && m->columns.version != m->version) {
        columns_fill(m, m->columns.items);
        m->columns.version = m->version;
    }
    pthread_mutex_unlock(&m->screens_mutex);
    return status;
}

sg_status sg_model_columns(sg_model *m, const sg_stored_columns **columns, sg_error *err)
{
    *columns = NULL;
    if (!sg_trimmed_any(&m->config) || m->adapters != NULL) return SG_OK;
    SG_TRY(columns_now(m, true, err));
    *columns = m->columns.items;
    return SG_OK;
}

sg_status sg_model_columns_fresh(sg_model *m, sg_error *err)
{
    return columns_now(m, false, err);
}
