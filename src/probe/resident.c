// Watches the passes of a mapped model at two points: where a layer begins its small and dense
// tensors are looked at, where it has selected its blocks those are, before it reads them. What is
// missing is asked for at once, so that a disk has all of it to read and not page after page.
//
// A pass begins with what the one before left: what is not to stay goes, and behind pass 1, 2, 4,
// 8 … the blocks that stay are chosen anew, by the passes that read them.
#include "sgatlin_resident.h"

#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/machine_memory.h"
#include "base/pages.h"
#include "probe/resident_units.h"

struct sg_resident {
    const sg_config *config;
    sg_resident_units units;
    int64_t budget, passes, waited;
    bool budget_is_given, told, dropped;
    bool *kept;
    sg_point_request requests[2];
    sg_points points;
    sg_resident_report counts; // reads and pages of its lines
};

static const char *const resident_names[SG_RESIDENT_KINDS] = {
    "attention", "routers", "norms", "classifier", "dense layers", "blocks", "embeddings"};

// ---- what stays ---------------------------------------------------------------------------------

// Those that no longer stay are let go of first, and all that stay are locked again: a page may be
// of two blocks.
static sg_status resident_settle(sg_resident *r, sg_error *err)
{
    sg_resident_units *u = &r->units;
    SG_TRY(sg_resident_choose(u, r->budget, r->kept, err));
    for (int64_t i = 0; i < u->count; i++) {
        if (u->items[i].locked && !r->kept[i]) {
            sg_resident_do(u, i, SG_RESIDENT_UNLOCK);
            u->items[i].locked = false;
        }
        u->items[i].kept = r->kept[i];
    }
    for (int64_t i = 0; i < u->count; i++) {
        if (!u->items[i].kept) continue;
        u->items[i].locked = sg_resident_do(u, i, SG_RESIDENT_LOCK);
        if (!u->items[i].locked) sg_resident_do(u, i, SG_RESIDENT_ASK);
    }
    return SG_OK;
}

// Puts out of memory what is not to stay and, but at the start, was looked at in a pass.
static void resident_drop(sg_resident *r, bool all)
{
    const sg_resident_units *u = &r->units;
    for (int64_t i = 0; r->budget_is_given && i < u->count; i++) {
        sg_resident_unit *unit = &u->items[i];
        if (unit->kept || (!all && unit->seen < 0)) continue;
        r->dropped = sg_resident_do(u, i, SG_RESIDENT_DROP) && r->dropped;
        unit->seen = -1;
    }
}

// ---- what is read -------------------------------------------------------------------------------

static void resident_read(sg_resident *r, int64_t unit)
{
    sg_resident_unit *item = &r->units.items[unit];
    sg_resident_line *line = &r->counts.lines[item->kind];
    int64_t pages, resident;
    item->seen = r->units.looks;
    r->units.reads[unit]++;
    line->reads++;
    line->kept_reads += item->kept;
    r->told = r->told && sg_resident_look(&r->units, unit, &pages, &resident);
    if (!r->told) {
        sg_resident_do(&r->units, unit, SG_RESIDENT_ASK);
        return;
    }
    line->pages += pages;
    line->resident_pages += resident;
    if (resident < pages) sg_resident_do(&r->units, unit, SG_RESIDENT_ASK);
}

// All of a layer, -1: of none, but its blocks, and but embeddings, of which a row a token is read.
static void resident_read_layer(sg_resident *r, int64_t layer)
{
    for (int64_t i = 0; i < r->units.count; i++) {
        const sg_resident_unit *u = &r->units.items[i];
        if (u->layer == layer && u->kind < SG_RESIDENT_BLOCKS) resident_read(r, i);
    }
}

static sg_status resident_pass(sg_resident *r, sg_error *err)
{
    const bool again = r->passes > 0 && (r->passes & (r->passes - 1)) == 0;
    const sg_status status = again ? resident_settle(r, err) : SG_OK;
    resident_drop(r, false);
    r->passes++;
    return status;
}

static sg_status resident_layer(void *user, const sg_point_values *p, sg_error *err)
{
    sg_resident *r = user;
    if (p->layer == 0) SG_TRY(resident_pass(r, err));
    resident_read_layer(r, p->layer);
    if (p->layer == r->config->num_hidden_layers - 1) resident_read_layer(r, -1);
    return SG_OK;
}

// The blocks that a pass selects, each once whatever tokens select it.
static sg_status resident_blocks(void *user, const sg_point_values *p, sg_error *err)
{
    sg_resident *r = user;
    const sg_memory_shape m = sg_ffn_memory_at(r->config, p->layer);
    const int64_t channels = p->shape[1], k = p->shape[2], cells = k / m.selected;
    const int64_t together = r->units.together[p->layer];
    (void)err;
    if (r->units.blocks_units[p->layer] == 0) return SG_OK; // not in the file
    const int64_t look = ++r->units.looks;
    for (int64_t i = 0; i < p->shape[0] * channels; i++) {
        const int64_t pool = i % channels / (channels / m.pools);
        const int64_t count = p->counts != NULL ? p->counts[i] : k;
        for (int64_t j = 0; j < count; j += cells) {
            const int64_t block = pool * m.blocks + p->ids[i * k + j] / cells;
            const int64_t unit = r->units.first[p->layer] + block / together;
            if (r->units.items[unit].seen == look) continue;
            resident_read(r, unit);
        }
    }
    return SG_OK;
}

// ---- making -------------------------------------------------------------------------------------

static int64_t resident_free_memory(void)
{
    const int64_t free = sg_memory_of_machine().available;
    return free < INT64_MAX ? free / 4 * 3 : free;
}

static void resident_ask_points(sg_resident *r)
{
    const bool sparse = sg_family_is_sparse(sg_family_find(r->config->ffn));
    r->requests[0] =
        (sg_point_request){"blocks.*.hook_resid_pre", SG_POINT_READ, resident_layer, r};
    r->requests[1] =
        (sg_point_request){"blocks.*.mlp.hook_gate_ids", SG_POINT_READ, resident_blocks, r};
    r->points = (sg_points){r->requests, sparse ? 2 : 1};
}

static sg_status resident_begin(sg_resident *r, sg_error *err)
{
    const sg_resident_units *u = &r->units;
    if (u->count == 0)
        return sg_fail(err, SG_ERR_UNSUPPORTED,
                       "mapped: found no weight that is read where it lies in its file, expected "
                       "one: they were converted when the model was opened");
    r->kept = sg_alloc_zero((size_t)u->count, sizeof *r->kept);
    if (r->kept == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a mapped model");
    for (int64_t i = 0; i < u->count; i++)
        if (u->items[i].kind == SG_RESIDENT_BLOCKS) sg_resident_do(u, i, SG_RESIDENT_SCATTERED);
    r->waited = sg_pages_waited();
    SG_TRY(sg_resident_choose(u, r->budget, r->kept, err));
    for (int64_t i = 0; i < u->count; i++)
        u->items[i].kept = r->kept[i];
    resident_drop(r, true);
    return resident_settle(r, err);
}

static bool resident_is_told(const sg_resident_units *u)
{
    const char *file = u->table_count > 0 ? sg_mapped_file(u->tables[0].at) : NULL;
    return file == NULL || sg_pages_told(file);
}

sg_status sg_resident_new(sg_model *model, int64_t budget, sg_resident **resident, sg_error *err)
{
    *resident = NULL;
    if (budget < 0)
        return sg_fail(err, SG_ERR_ARGUMENT, "budget: found %lld, expected bytes, or 0",
                       (long long)budget);
    sg_resident *r = sg_alloc_zero(1, sizeof *r);
    if (r == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a mapped model");
    *r = (sg_resident){.config = &model->config,
                       .budget = budget > 0 ? budget : resident_free_memory(),
                       .budget_is_given = budget > 0,
                       .dropped = true};
    resident_ask_points(r);
    sg_status status = sg_resident_units_new(model, &r->units, err);
    if (status == SG_OK) status = resident_begin(r, err);
    if (status == SG_OK) r->told = resident_is_told(&r->units);
    if (status == SG_OK)
        *resident = r;
    else
        sg_resident_free(r);
    return status;
}

void sg_resident_free(sg_resident *r)
{
    if (r == NULL) return;
    for (int64_t i = 0; i < r->units.count; i++)
        if (r->units.items[i].locked) sg_resident_do(&r->units, i, SG_RESIDENT_UNLOCK);
    sg_resident_units_free(&r->units);
    sg_free(r->kept);
    sg_free(r);
}

const sg_points *sg_resident_points(const sg_resident *r)
{
    return &r->points;
}

// ---- report -------------------------------------------------------------------------------------

sg_resident_report sg_resident_report_of(const sg_resident *r)
{
    sg_resident_report report = r->counts;
    report.budget = r->budget;
    report.budget_is_given = r->budget_is_given;
    report.converted = r->units.converted;
    report.passes = r->passes;
    report.waited = sg_pages_waited() - r->waited;
    report.told = r->told;
    report.dropped = r->dropped;
    for (int k = 0; k < SG_RESIDENT_KINDS; k++)
        report.lines[k].name = resident_names[k];
    for (int64_t i = 0; i < r->units.count; i++) {
        const sg_resident_unit *u = &r->units.items[i];
        sg_resident_line *line = &report.lines[u->kind];
        line->units++;
        line->bytes += u->bytes;
        line->kept_units += u->kept;
        line->kept += u->kept ? u->bytes : 0;
        line->locked += u->locked ? u->bytes : 0;
    }
    return report;
}

int64_t sg_resident_layers(const sg_resident *r)
{
    return r->units.layers;
}

const int64_t *sg_resident_reads(const sg_resident *r, int64_t layer, int64_t *count,
                                 int64_t *blocks)
{
    const bool is = layer >= 0 && layer < r->units.layers && r->units.blocks_units[layer] > 0;
    *count = is ? r->units.blocks_units[layer] : 0;
    *blocks = is ? r->units.together[layer] : 0;
    return is ? r->units.reads + r->units.first[layer] : NULL;
}
