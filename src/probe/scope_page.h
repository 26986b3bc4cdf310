// A page while it is made: what its parts share. scope.c puts them together.
#ifndef SG_PROBE_SCOPE_PAGE_H
#define SG_PROBE_SCOPE_PAGE_H

#include "base/context.h"
#include "probe/page_columns.h"
#include "sgatlin_scope.h"

// A channel of a layer of a model, and its columns.
typedef struct sg_scope_pool {
    size_t model;
    int64_t layer, channel;
    int64_t rank;      // the how manyth channel of its layer it is
    size_t first, end; // of its columns
    json_t *hits;      // owned; what the page says of its gates,
    json_t *lens;      // and of what its neurons read and write; NULL: nothing
    bool left_out;
} sg_scope_pool;

typedef struct sg_scope_page {
    sg_context *context;
    const sg_scope_options *options;
    sg_page_columns columns;
    sg_record_token *tokens; // (count) of the first model's record
    int64_t count;
    int64_t vocabulary;
    int32_t *piece_of; // (vocabulary) number of its text on the page; -1: not there yet
    json_t *pieces;    // the texts
    sg_scope_pool *pools;
    size_t pool_count, pool_capacity;
    json_t *maps[2]; // of each model
    json_t *left_out;
    sg_scope_info info;
} sg_scope_page;

static inline int64_t sg_scope_max(int64_t a, int64_t b)
{
    return a > b ? a : b;
}
sg_status sg_scope_memory(sg_error *err); // fails: out of memory
// Part of an object: {KEY: value}, which is taken over, also on failure.
sg_status sg_scope_set(json_t *object, const char *key, json_t *value, sg_error *err);
// A line of what is not on the page.
sg_status sg_scope_leave_out(sg_scope_page *page, sg_error *err, const char *format, ...)
    SG_PRINTF(3, 4);

// ---- scope_text.c -------------------------------------------------------------------------------

// Reads the tokens; the second model's must be the same.
sg_status sg_scope_text_open(sg_scope_page *page, sg_error *err);
// The number of the text of a token; -1: of no token.
sg_status sg_scope_piece(sg_scope_page *page, int32_t id, int32_t *piece, sg_error *err);
// A column of such numbers, the ids of which are `ids` (count), plus `add`.
sg_status sg_scope_piece_column(sg_scope_page *page, const int32_t *ids, int64_t count, int32_t add,
                                json_t **reference, sg_error *err);
// Tokens and sequences of the text, into the manifest.
sg_status sg_scope_text(sg_scope_page *page, json_t *root, sg_error *err);
// How likely each next token was, and which were likeliest, into the object of a model.
sg_status sg_scope_predictions(sg_scope_page *page, size_t model, json_t *object, sg_error *err);

// ---- scope_pools.c, scope_lens.c, scope_extras.c ------------------------------------------------

// All channels that are asked for, with their gates.
sg_status sg_scope_pools(sg_scope_page *page, sg_error *err);
// What neurons (count), ascending, of a channel read and write, as columns. *lens: NULL where there
// is nothing to say.
sg_status sg_scope_lens(sg_scope_page *page, const sg_model *model, int64_t layer, int64_t channel,
                        const int32_t *neurons, int64_t count, json_t **lens, sg_error *err);
sg_status sg_scope_maps(sg_scope_page *page, sg_error *err);
sg_status sg_scope_patch(sg_scope_page *page, json_t *root, sg_error *err);
sg_status sg_scope_traces(sg_scope_page *page, json_t *root, sg_error *err);

#endif
