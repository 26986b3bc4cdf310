// --mapped: the points that look after what is in memory beside those of others, and what came of
// it.
#include "cli/mapped_options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

sg_status cli_mapped_open(cli_mapped *m, sg_model *model, const sg_points *others,
                          const sg_points **points, sg_error *err)
{
    *points = others;
    if (!m->on) return SG_OK;
    const sg_status status = sg_resident_new(model, m->budget, &m->resident, err);
    if (status != SG_OK) return status;
    const sg_points *own = sg_resident_points(m->resident);
    const size_t before = others != NULL ? others->count : 0;
    m->requests = calloc(before + own->count, sizeof *m->requests);
    if (m->requests == NULL) {
        snprintf(err->message, sizeof err->message, "out of memory for points");
        return err->code = SG_ERR_MEMORY;
    }
    if (before > 0) memcpy(m->requests, others->items, before * sizeof *m->requests);
    memcpy(m->requests + before, own->items, own->count * sizeof *m->requests);
    m->points = (sg_points){m->requests, before + own->count};
    *points = &m->points;
    return SG_OK;
}

void cli_mapped_close(cli_mapped *m)
{
    sg_resident_free(m->resident);
    free(m->requests);
    m->resident = NULL;
    m->requests = NULL;
}

// ---- talk ---------------------------------------------------------------------------------------

static void mapped_list(char *text, size_t capacity, size_t *used, const char *format,
                        const char *name, const char *a, const char *b)
{
    const int n =
        snprintf(text + *used, capacity - *used, format, *used > 0 ? ", " : "", name, a, b);
    if (n > 0 && (size_t)n < capacity - *used) *used += (size_t)n;
}

static void mapped_note_kept(const cli_args *args, const sg_resident_report *r)
{
    char text[400] = "", budget[32], kept[32], bytes[32];
    size_t used = 0;
    cli_short_number(budget, sizeof budget, (double)r->budget);
    for (int k = 0; k < SG_RESIDENT_KINDS; k++) {
        const sg_resident_line *l = &r->lines[k];
        if (l->units == 0) continue;
        cli_short_number(kept, sizeof kept, (double)l->kept);
        cli_short_number(bytes, sizeof bytes, (double)l->bytes);
        mapped_list(text, sizeof text, &used, "%s%s %sB of %sB", l->name, kept, bytes);
    }
    cli_note(args, "mapped: of the file at most %sB stay in memory (%s): %s", budget,
             r->budget_is_given ? "--resident" : "3/4 of what was free", text);
}

static void mapped_note_hits(const cli_args *args, const sg_resident_report *r)
{
    char text[400] = "", hits[32], pages[32];
    size_t used = 0;
    for (int k = 0; k < SG_RESIDENT_KINDS; k++) {
        const sg_resident_line *l = &r->lines[k];
        if (l->pages == 0) continue;
        snprintf(hits, sizeof hits, "%.1f", 100 * (double)l->resident_pages / (double)l->pages);
        cli_short_number(pages, sizeof pages, (double)l->pages);
        mapped_list(text, sizeof text, &used, "%s%s %s %% of %s", l->name, hits, pages);
    }
    if (!r->told)
        cli_note(args,
                 "mapped: the system does not say which pages are in memory (it does of files that "
                 "you own or may write to)");
    else
        cli_note(args,
                 "mapped: pages that were there when %lld passes read them: %s; %lld waits "
                 "for the disk",
                 (long long)r->passes, text, (long long)r->waited);
    const sg_resident_line *blocks = &r->lines[SG_RESIDENT_BLOCKS];
    if (blocks->reads > 0)
        cli_note(args,
                 "mapped: blocks were read %lld times, %.1f %% of it those %lld of %lld that "
                 "stay",
                 (long long)blocks->reads, 100 * (double)blocks->kept_reads / (double)blocks->reads,
                 (long long)blocks->kept_units, (long long)blocks->units);
}

static void mapped_note_refused(const cli_args *args, const sg_resident_report *r)
{
    int64_t kept = 0, locked = 0;
    char a[32], b[32];
    for (int k = 0; k < SG_RESIDENT_KINDS; k++) {
        kept += r->lines[k].kept;
        locked += r->lines[k].locked;
    }
    cli_short_number(a, sizeof a, (double)locked);
    cli_short_number(b, sizeof b, (double)kept);
    if (locked < kept)
        cli_note(args,
                 "mapped: the system holds %sB of the %sB that stay and may drop the rest "
                 "(ulimit -l)",
                 a, b);
    if (!r->dropped)
        cli_note(args, "mapped: the system would not put out of memory what does not stay");
    cli_short_number(a, sizeof a, (double)r->converted);
    if (r->converted > 0)
        cli_note(args,
                 "mapped: %sB of weights were converted when the model was opened and are in "
                 "memory beside that",
                 a);
}

void cli_mapped_note(const cli_args *args, const cli_mapped *m)
{
    if (m->resident == NULL) return;
    const sg_resident_report r = sg_resident_report_of(m->resident);
    mapped_note_kept(args, &r);
    mapped_note_hits(args, &r);
    mapped_note_refused(args, &r);
}

// ---- json ---------------------------------------------------------------------------------------

static json_t *mapped_kinds(const sg_resident_report *r)
{
    json_t *kinds = json_object();
    for (int k = 0; k < SG_RESIDENT_KINDS && kinds != NULL; k++) {
        const sg_resident_line *l = &r->lines[k];
        if (l->units == 0) continue;
        json_object_set_new(kinds, l->name,
                            json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "units",
                                      (json_int_t)l->units, "bytes", (json_int_t)l->bytes,
                                      "kept_units", (json_int_t)l->kept_units, "kept_bytes",
                                      (json_int_t)l->kept, "locked_bytes", (json_int_t)l->locked,
                                      "reads", (json_int_t)l->reads, "kept_reads",
                                      (json_int_t)l->kept_reads, "pages", (json_int_t)l->pages,
                                      "resident_pages", (json_int_t)l->resident_pages));
    }
    return kinds;
}

// [{"layer", "blocks": of each number but the last, "reads": […]}, …]
static json_t *mapped_layers(const sg_resident *resident)
{
    json_t *layers = json_array();
    for (int64_t l = 0; layers != NULL && l < sg_resident_layers(resident); l++) {
        int64_t count, blocks;
        const int64_t *reads = sg_resident_reads(resident, l, &count, &blocks);
        json_t *list = json_array();
        for (int64_t i = 0; i < count; i++)
            json_array_append_new(list, json_integer((json_int_t)reads[i]));
        if (count > 0)
            json_array_append_new(layers, json_pack("{s:I, s:I, s:O}", "layer", (json_int_t)l,
                                                    "blocks", (json_int_t)blocks, "reads", list));
        json_decref(list);
    }
    return layers;
}

json_t *cli_mapped_json(const cli_mapped *m)
{
    if (m->resident == NULL) return json_null();
    const sg_resident_report r = sg_resident_report_of(m->resident);
    return json_pack("{s:I, s:b, s:I, s:I, s:I, s:b, s:b, s:o, s:o}", "budget",
                     (json_int_t)r.budget, "budget_is_given", r.budget_is_given, "converted_bytes",
                     (json_int_t)r.converted, "passes", (json_int_t)r.passes, "waits",
                     (json_int_t)r.waited, "told", r.told, "dropped", r.dropped, "kinds",
                     mapped_kinds(&r), "layers", mapped_layers(m->resident));
}
