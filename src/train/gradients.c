// Which tables get their gradient by rows, and memory for the others. The choice follows from
// shapes alone: a resumed run, on any number of threads, makes the same.
#include "train/gradients.h"

#include <string.h>

#include "base/alloc.h"
#include "train/run_fields.h"

sg_status sg_optimizer_rows_parse(const char *name, sg_optimizer_rows *mode, sg_error *err)
{
    size_t number;
    SG_TRY(sg_train_choice("optimizer_rows", name, &number, err));
    *mode = (sg_optimizer_rows)number;
    return SG_OK;
}

static bool gradients_lazy(const sg_param_spec *spec, sg_optimizer_rows mode, int64_t tokens)
{
    int64_t rows = spec->count / spec->shape[spec->rank - 1], most;
    if (spec->row_hits == 0 || rows > INT32_MAX || mode == SG_ROWS_EXACT) return false;
    if (mode == SG_ROWS_LAZY) return true;
    // What a row costs that is found by a hit is about what some rows cost in a sweep over the
    // table (docs/SPEED.md), and hits fall on rows more than once.
    return !__builtin_mul_overflow(tokens, spec->row_hits, &most) && most <= rows;
}

static sg_status gradients_fill(const sg_param_list *params, sg_optimizer_rows mode, int64_t tokens,
                                const sg_allocator *allocator, bool *left_out, sg_gradients *g,
                                sg_error *err)
{
    for (size_t i = 0; i < params->count; i++) {
        const sg_param_spec *spec = &params->specs[i];
        int64_t width = spec->shape[spec->rank - 1];
        const bool lazy = !spec->frozen && gradients_lazy(spec, mode, tokens);
        left_out[i] = lazy || spec->frozen;
        if (!left_out[i]) g->whole_bytes += (size_t)spec->count * sizeof(sg_real);
        if (!lazy) continue;
        SG_TRY(sg_row_grads_new(spec->count / width, width, &g->rows[i], err));
        g->lazy_tables++;
    }
    SG_TRY(sg_param_block_new(params, "gradients", left_out, allocator, &g->whole, err));
    g->parts = g->whole.parts;
    return SG_OK;
}

sg_status sg_gradients_new(const sg_param_list *params, sg_optimizer_rows mode, int64_t tokens,
                           const sg_allocator *allocator, sg_gradients *g, sg_error *err)
{
    *g = (sg_gradients){.count = params->count};
    g->rows = sg_alloc_zero(params->count, sizeof(sg_row_grads *));
    bool *left_out = sg_alloc_zero(params->count, sizeof *left_out);
    sg_status status = g->rows != NULL && left_out != NULL
                           ? gradients_fill(params, mode, tokens, allocator, left_out, g, err)
                           : sg_fail(err, SG_ERR_MEMORY, "out of memory for the gradients");
    sg_free(left_out);
    if (status != SG_OK) sg_gradients_free(g);
    return status;
}

void sg_gradients_free(sg_gradients *g)
{
    for (size_t i = 0; g->rows != NULL && i < g->count; i++)
        sg_row_grads_free(g->rows[i]);
    sg_free(g->rows);
    sg_param_block_free(&g->whole);
    *g = (sg_gradients){0};
}

size_t sg_gradients_bytes(const sg_gradients *g)
{
    size_t bytes = g->whole_bytes;
    for (size_t i = 0; i < g->count; i++)
        if (g->rows[i] != NULL)
            bytes += (size_t)g->rows[i]->count *
                     ((size_t)g->rows[i]->width * sizeof(sg_real) + 4 * sizeof(int32_t));
    return bytes;
}
