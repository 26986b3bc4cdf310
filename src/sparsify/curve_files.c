// Points of curves as files: a table of CSV, a row each; a drawing; a page.
#include <math.h>

#include "base/file.h"
#include "probe/result_files.h"
#include "sparsify/curve_chart.h"
#include "sparsify/curve_page.h"

typedef struct points {
    const sg_sparsify_point *items;
    size_t count;
} points;

static const char csv_header[] =
    "model,family,select,control,active,threshold,perplexity,perplexity_low,perplexity_high,loss,"
    "loss_low,loss_high,excess,excess_low,excess_high,blocks,read,flops,router,layer_flops,tokens,"
    "windows,tokens_per_second,speed,speed_low,speed_high\n";

static void csv_number(sg_writer *w, double value, const char *behind)
{
    if (isnan(value))
        sg_writer_printf(w, "%s", behind);
    else
        sg_writer_printf(w, "%.9g%s", value, behind);
}

static sg_status csv_rows(const void *results, sg_writer *w, sg_error *err)
{
    const points *all = results;
    (void)err;
    for (size_t i = 0; i < all->count; i++) {
        const sg_sparsify_point *p = &all->items[i];
        const double before[] = {
            p->active,      p->threshold, p->perplexity, p->perplexity_low, p->perplexity_high,
            p->loss,        p->loss_low,  p->loss_high,  p->excess,         p->excess_low,
            p->excess_high, p->blocks,    p->read,       p->flops,          p->router,
            p->layer_flops};
        const double behind[] = {p->tokens_per_second, p->speed, p->speed_low, p->speed_high};
        sg_result_csv_text(w, p->model);
        sg_result_csv_text(w, p->family);
        sg_result_csv_text(w, p->select);
        sg_result_csv_text(w, sg_sparsify_control_name(p->control));
        for (size_t n = 0; n < sizeof before / sizeof *before; n++)
            csv_number(w, before[n], ",");
        sg_writer_printf(w, "%lld,%lld,", (long long)p->tokens, (long long)p->windows);
        for (size_t n = 0; n < sizeof behind / sizeof *behind; n++)
            csv_number(w, behind[n], n + 1 < sizeof behind / sizeof *behind ? "," : "\n");
    }
    return SG_OK;
}

sg_status sg_sparsify_write(const sg_sparsify_point *items, size_t count,
                            const sg_sparsify_files *to, sg_error *err)
{
    static const sg_result_form form = {.header = csv_header, .csv = csv_rows};
    const points all = {items, count};
    const sg_result_files files = {.csv = to->csv, .force = to->force};
    const int mode = to->force ? SG_OUTPUT_REPLACE : SG_OUTPUT_NEW;
    if (items == NULL) {
        SG_TRY(sg_result_files_check(&files, err));
        if (to->svg != NULL) SG_TRY(sg_output_check(to->svg, mode, err));
        return to->html != NULL ? sg_output_check(to->html, mode, err) : SG_OK;
    }
    SG_TRY(sg_result_files_write(&files, &form, &all, err));
    if (to->svg != NULL) SG_TRY(sg_curve_chart(items, count, to->svg, mode, err));
    return to->html != NULL ? sg_curve_page(items, count, to, err) : SG_OK;
}
