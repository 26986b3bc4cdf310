// Merging the rows that a pass touches into those already there. Memory is reserved as addresses
// for all rows there can be; pages come with the rows that are written.
#include "tensor/row_grads.h"

#include <string.h>

#include "base/alloc.h"

sg_status sg_row_grads_new(int64_t rows, int64_t width, sg_row_grads **out, sg_error *err)
{
    *out = NULL;
    if (rows < 1 || rows > INT32_MAX || width < 1)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "a gradient by rows: found %lld rows of %lld, expected 1 to %d",
                       (long long)rows, (long long)width, INT32_MAX);
    sg_row_grads *g = sg_alloc_zero(1, sizeof *g);
    if (g == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a gradient by rows");
    // Room for every row, so that nothing grows while a tape runs. The system gives pages when they
    // are first written, and slots are written from the first on: what is used follows the rows.
    size_t list = sg_whole_lines((size_t)rows * sizeof(int32_t));
    g->bytes = (size_t)rows * (size_t)width * sizeof(sg_real) + 4 * list;
    g->memory = sg_alloc_big(g->bytes);
    if (g->memory == NULL) {
        sg_status status =
            sg_fail(err, SG_ERR_MEMORY, "out of memory: a gradient by rows takes up to %zu bytes",
                    g->bytes);
        sg_free(g);
        return status;
    }
    g->rows = rows;
    g->width = width;
    g->ids = (int32_t *)(void *)g->memory;
    g->slots = (int32_t *)(void *)(g->memory + list);
    g->spare_ids = (int32_t *)(void *)(g->memory + 2 * list);
    g->spare_slots = (int32_t *)(void *)(g->memory + 3 * list);
    g->values = (sg_real *)(void *)(g->memory + 4 * list);
    *out = g;
    return SG_OK;
}

void sg_row_grads_free(sg_row_grads *g)
{
    if (g == NULL) return;
    sg_free_big(g->memory, g->bytes);
    sg_free(g);
}

// Both lists are ascending: one walk over them.
static void rows_merge(sg_row_grads *g, const int32_t *ids, int64_t count, int32_t *slots)
{
    int64_t old = 0, new = 0, to = 0;
    int32_t next = (int32_t)g->count;
    while (old < g->count || new < count) {
        bool is_new = new < count && (old == g->count || ids[new] < g->ids[old]);
        g->spare_ids[to] = is_new ? ids[new] : g->ids[old];
        g->spare_slots[to] = is_new ? next++ : g->slots[old];
        if (new < count && ids[new] == g->spare_ids[to]) slots[new ++] = g->spare_slots[to];
        old += !is_new;
        to++;
    }
    int32_t *merged_ids = g->spare_ids, *merged_slots = g->spare_slots;
    g->spare_ids = g->ids;
    g->spare_slots = g->slots;
    g->ids = merged_ids;
    g->slots = merged_slots;
    g->count = to;
}

int64_t sg_row_grads_open(sg_row_grads *g, const int32_t *ids, int64_t count, bool add,
                          int32_t *slots)
{
    if (!add) g->count = 0;
    int64_t first = g->count;
    if (first > 0) {
        rows_merge(g, ids, count, slots);
        return first;
    }
    memcpy(g->ids, ids, (size_t)count * sizeof *ids);
    for (int64_t i = 0; i < count; i++)
        slots[i] = g->slots[i] = (int32_t)i;
    g->count = count;
    return 0;
}
