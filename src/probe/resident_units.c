// Tables are cut into units where they are made, once; what is done to a unit is done to its piece
// of each of its tables.
#include "probe/resident_units.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/pages.h"

enum { resident_small = 1 << 16 };

static int64_t resident_most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

// ---- what a tensor is ---------------------------------------------------------------------------

// The layer whose memory a tensor is a table of, from 0; -1: none.
static int64_t resident_memory_of(const sg_model *m, const sg_tensor_info *info)
{
    const sg_config *c = &m->config;
    const char *name = info->name;
    if (strstr(name, ".experts.") == NULL || !sg_family_is_sparse(sg_family_find(c->ffn)))
        return -1;
    const int64_t layer = info->layer > 0 ? info->layer - 1 : sg_ffn_first_sparse(c);
    if (!sg_ffn_is_sparse(c, layer)) return -1;
    const sg_memory_shape s = sg_ffn_memory_at(c, layer);
    const bool table = strstr(name, ".bias") == NULL && strstr(name, ".mean.") == NULL;
    return table && info->rows % (s.pools * s.blocks) == 0 ? layer : -1;
}

static sg_resident_kind resident_kind_of(const sg_model *m, const sg_tensor_info *info)
{
    const char *name = info->name;
    if (resident_memory_of(m, info) >= 0) return SG_RESIDENT_BLOCKS;
    if (strstr(name, ".self_attn.") != NULL) return SG_RESIDENT_ATTENTION;
    if (strstr(name, ".router.") != NULL) return SG_RESIDENT_ROUTERS;
    if (strstr(name, ".embed_positions.") != NULL) return SG_RESIDENT_EMBEDDINGS;
    if (strstr(name, ".embed_tokens.") != NULL)
        return m->config.untied_classifier ? SG_RESIDENT_EMBEDDINGS : SG_RESIDENT_CLASSIFIER;
    if (strcmp(name, "lm_head.weight") == 0) return SG_RESIDENT_CLASSIFIER;
    return info->bytes < resident_small ? SG_RESIDENT_NORMS : SG_RESIDENT_DENSE;
}

// ---- tables -------------------------------------------------------------------------------------

// The rows of a parameter, and its scales where those lie elsewhere: one or two tables.
static int resident_tables_of(const sg_model *m, size_t i, const sg_tensor_info *info,
                              sg_resident_table out[2])
{
    const sg_resident_table both = {.kind = resident_kind_of(m, info), .layer = info->layer - 1};
    out[0] = out[1] = both;
    if (!sg_narrow_has(&m->narrow, i)) {
        out[0].at = (const char *)m->values[i];
        out[0].bytes = info->bytes;
        return 1;
    }
    const sg_stored *w = &m->narrow.items[i];
    const int64_t row = (int64_t)sg_stored_row_bytes(w->type, info->columns);
    out[0].at = w->rows;
    out[0].bytes = info->rows * row;
    out[0].parts = w->parts;
    out[0].part_bytes = w->part_rows * row;
    out[0].part_first = w->part_first * row;
    out[1].at = w->scales;
    out[1].bytes = info->rows * (int64_t)sg_stored_scale_bytes(w->type, info->columns);
    return w->scales != NULL ? 2 : 1;
}

static sg_status resident_fill_tables(sg_resident_units *u, const sg_model *m, sg_error *err)
{
    const size_t all = sg_model_tensor_count(m);
    u->tables = sg_alloc_zero(2 * all, sizeof *u->tables);
    if (u->tables == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a mapped model");
    for (size_t i = 0; i < all; i++) {
        sg_tensor_info info;
        SG_TRY(sg_model_tensor_info(m, i, &info, err));
        if (!info.in_file) {
            u->converted += info.bytes;
            continue;
        }
        sg_resident_table *t = u->tables + u->table_count;
        const int count = resident_tables_of(m, i, &info, t);
        const int64_t memory = resident_memory_of(m, &info);
        if (memory >= 0) t[0].layer = t[1].layer = memory;
        u->table_count += count;
    }
    return SG_OK;
}

// Kinds, then layers, each in the order in which they came.
static int resident_table_order(const void *a, const void *b)
{
    const sg_resident_table *x = a, *y = b;
    if (x->kind != y->kind) return x->kind < y->kind ? -1 : 1;
    if (x->layer != y->layer) return x->layer < y->layer ? -1 : 1;
    return (x->at > y->at) - (x->at < y->at);
}

// ---- units --------------------------------------------------------------------------------------

// Tables from `table` on that one layer's blocks have.
static int64_t resident_run(const sg_resident_units *u, int64_t table)
{
    const sg_resident_table *t = u->tables + table;
    int64_t n = 1;
    while (t->kind == SG_RESIDENT_BLOCKS && table + n < u->table_count && t[n].kind == t->kind &&
           t[n].layer == t->layer)
        n++;
    return n;
}

// Blocks of a layer that are taken together: as many as come to a page in each of its tables.
static int64_t resident_together(const sg_resident_table *t, int64_t tables, int64_t blocks)
{
    int64_t together = 1;
    for (int64_t i = 0; i < tables; i++)
        together = resident_most(together,
                                 sg_chunks(sg_page_bytes(), resident_most(1, t[i].bytes / blocks)));
    return sg_min(together, blocks);
}

// Bytes of a unit in a table.
static int64_t resident_piece(const sg_resident_table *t, int64_t number)
{
    return sg_min(t->unit_bytes, t->bytes - number * t->unit_bytes);
}

static void resident_add_unit(sg_resident_units *u, int64_t table, int64_t tables, int64_t number)
{
    const sg_resident_table *t = u->tables + table;
    sg_resident_unit *unit = &u->items[u->count++];
    *unit = (sg_resident_unit){.kind = t->kind,
                               .layer = (int32_t)t->layer,
                               .table = (int32_t)table,
                               .table_count = (int32_t)tables,
                               .number = number,
                               .seen = -1};
    for (int64_t i = 0; i < tables; i++)
        unit->bytes += resident_piece(t + i, number);
}

static int64_t resident_blocks(const sg_config *c, int64_t layer)
{
    const sg_memory_shape s = sg_ffn_memory_at(c, layer);
    return s.pools * s.blocks;
}

// Sets how tables are cut; returns the number of units of all.
static int64_t resident_cut(sg_resident_units *u, const sg_config *c)
{
    int64_t units = 0;
    for (int64_t i = 0, n; i < u->table_count; i += n) {
        sg_resident_table *t = u->tables + i;
        n = resident_run(u, i);
        if (t->kind != SG_RESIDENT_BLOCKS) {
            t->unit_bytes = resident_most(1, t->bytes);
            units++;
            continue;
        }
        const int64_t blocks = resident_blocks(c, t->layer);
        u->together[t->layer] = resident_together(t, n, blocks);
        for (int64_t j = 0; j < n; j++)
            t[j].unit_bytes = t[j].bytes / blocks * u->together[t->layer];
        u->blocks_units[t->layer] = sg_chunks(blocks, u->together[t->layer]);
        units += u->blocks_units[t->layer];
    }
    return units;
}

static void resident_add_units(sg_resident_units *u)
{
    for (int64_t i = 0, n; i < u->table_count; i += n) {
        const sg_resident_table *t = u->tables + i;
        n = resident_run(u, i);
        const bool blocks = t->kind == SG_RESIDENT_BLOCKS;
        if (blocks) u->first[t->layer] = u->count;
        for (int64_t j = 0; j < (blocks ? u->blocks_units[t->layer] : 1); j++)
            resident_add_unit(u, i, n, j);
    }
}

// Layers that read the memory of the first sparse one have its units.
static void resident_share(sg_resident_units *u, const sg_config *c)
{
    const int64_t from = c->ffn_share_pool ? sg_ffn_first_sparse(c) : u->layers;
    for (int64_t l = from + 1; l < u->layers; l++) {
        u->first[l] = u->first[from];
        u->blocks_units[l] = u->blocks_units[from];
        u->together[l] = u->together[from];
    }
}

sg_status sg_resident_units_new(const sg_model *m, sg_resident_units *u, sg_error *err)
{
    const size_t layers = (size_t)m->config.num_hidden_layers;
    *u = (sg_resident_units){.layers = (int64_t)layers};
    sg_status status = resident_fill_tables(u, m, err);
    u->first = sg_alloc_zero(layers, sizeof *u->first);
    u->blocks_units = sg_alloc_zero(layers, sizeof *u->blocks_units);
    u->together = sg_alloc_zero(layers, sizeof *u->together);
    bool room = u->first != NULL && u->blocks_units != NULL && u->together != NULL;
    if (status == SG_OK && room && u->table_count > 0) {
        qsort(u->tables, (size_t)u->table_count, sizeof *u->tables, resident_table_order);
        const size_t units = (size_t)resident_cut(u, &m->config);
        u->items = sg_alloc_zero(units, sizeof *u->items);
        u->reads = sg_alloc_zero(units, sizeof *u->reads);
        room = u->items != NULL && u->reads != NULL;
        if (room) resident_add_units(u);
        if (room) resident_share(u, &m->config);
    }
    if (status == SG_OK && !room)
        status = sg_fail(err, SG_ERR_MEMORY, "out of memory for a mapped model");
    if (status != SG_OK) sg_resident_units_free(u);
    return status;
}

void sg_resident_units_free(sg_resident_units *u)
{
    sg_free(u->tables);
    sg_free(u->items);
    sg_free(u->reads);
    sg_free(u->first);
    sg_free(u->blocks_units);
    sg_free(u->together);
    *u = (sg_resident_units){0};
}

// ---- what is done to them -----------------------------------------------------------------------

static bool resident_act(const void *at, int64_t bytes, sg_resident_act act)
{
    switch (act) {
    case SG_RESIDENT_LOCK:
        return sg_pages_lock(at, bytes);
    case SG_RESIDENT_UNLOCK:
        sg_pages_unlock(at, bytes);
        return true;
    case SG_RESIDENT_ASK:
        sg_pages_ask(at, bytes);
        return true;
    case SG_RESIDENT_SCATTERED:
        sg_pages_scattered(at, bytes);
        return true;
    default:
        return sg_pages_drop(at, bytes);
    }
}

// The bytes from `from` on that lie behind each other, of `bytes`, and where.
static int64_t resident_here(const sg_resident_table *t, int64_t from, int64_t bytes,
                             const char **at)
{
    *at = t->at + from;
    if (t->parts == NULL) return bytes;
    const int64_t place = t->part_first + from, in_part = place % t->part_bytes;
    *at = (const char *)t->parts[place / t->part_bytes] + in_part;
    return sg_min(bytes, t->part_bytes - in_part);
}

bool sg_resident_do(const sg_resident_units *u, int64_t unit, sg_resident_act act)
{
    const sg_resident_unit *item = &u->items[unit];
    bool done = true;
    for (int64_t i = 0; i < item->table_count; i++) {
        const sg_resident_table *t = &u->tables[item->table + i];
        const int64_t first = item->number * t->unit_bytes, all = resident_piece(t, item->number);
        for (int64_t b = 0, n; b < all; b += n) {
            const char *at;
            n = resident_here(t, first + b, all - b, &at);
            done = resident_act(at, n, act) && done;
        }
    }
    return done;
}

bool sg_resident_look(const sg_resident_units *u, int64_t unit, int64_t *pages, int64_t *resident)
{
    const sg_resident_unit *item = &u->items[unit];
    *pages = *resident = 0;
    for (int64_t i = 0; i < item->table_count; i++) {
        const sg_resident_table *t = &u->tables[item->table + i];
        const int64_t first = item->number * t->unit_bytes, all = resident_piece(t, item->number);
        for (int64_t b = 0, n; b < all; b += n) {
            const char *at;
            int64_t touched, there;
            n = resident_here(t, first + b, all - b, &at);
            if (!sg_pages_resident(at, n, &touched, &there)) return false;
            *pages += touched;
            *resident += there;
        }
    }
    return true;
}

// ---- which stay ---------------------------------------------------------------------------------

typedef struct resident_wish {
    int64_t unit, reads;
    sg_resident_kind kind;
} resident_wish;

static int resident_wish_order(const void *a, const void *b)
{
    const resident_wish *x = a, *y = b;
    if (x->kind != y->kind) return x->kind < y->kind ? -1 : 1;
    if (x->kind == SG_RESIDENT_BLOCKS && x->reads != y->reads) return x->reads > y->reads ? -1 : 1;
    return (x->unit > y->unit) - (x->unit < y->unit);
}

sg_status sg_resident_choose(const sg_resident_units *u, int64_t budget, bool *kept, sg_error *err)
{
    resident_wish *wishes = sg_alloc_array((size_t)u->count, sizeof *wishes);
    if (wishes == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a mapped model");
    for (int64_t i = 0; i < u->count; i++)
        wishes[i] = (resident_wish){i, u->reads[i], u->items[i].kind};
    qsort(wishes, (size_t)u->count, sizeof *wishes, resident_wish_order);
    int64_t left = budget;
    for (int64_t i = 0; i < u->count; i++) {
        const resident_wish *w = &wishes[i];
        const int64_t bytes = u->items[w->unit].bytes;
        const bool wanted = w->kind != SG_RESIDENT_BLOCKS || w->reads > 0;
        kept[w->unit] = wanted && bytes <= left;
        if (kept[w->unit]) left -= bytes;
    }
    sg_free(wishes);
    return SG_OK;
}
