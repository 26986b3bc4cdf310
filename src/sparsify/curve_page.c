// The page share/curve/curve.html: its JSON has the points, a row each with the columns of the CSV,
// and what they are of. Numbers are in full; the page rounds them.
#include "sparsify/curve_page.h"

#include <jansson.h>
#include <math.h>

#include "base/alloc.h"
#include "base/status.h"
#include "format/json.h"
#include "probe/page_write.h"

static sg_status page_memory(sg_error *err)
{
    return sg_fail(err, SG_ERR_MEMORY, "out of memory for a page");
}

static json_t *page_number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static bool page_put(json_t *object, const char *key, json_t *value)
{
    return value != NULL && json_object_set_new(object, key, value) == 0;
}

static bool page_put_numbers(json_t *row, const sg_sparsify_point *p)
{
    const struct {
        const char *key;
        double value;
    } numbers[] = {{"active", p->active},
                   {"threshold", p->threshold},
                   {"perplexity", p->perplexity},
                   {"perplexity_low", p->perplexity_low},
                   {"perplexity_high", p->perplexity_high},
                   {"excess", p->excess},
                   {"excess_low", p->excess_low},
                   {"excess_high", p->excess_high},
                   {"blocks", p->blocks},
                   {"read", p->read},
                   {"flops", p->flops},
                   {"router", p->router},
                   {"layer_flops", p->layer_flops},
                   {"tokens_per_second", p->tokens_per_second},
                   {"speed", p->speed},
                   {"speed_low", p->speed_low},
                   {"speed_high", p->speed_high}};
    bool done = true;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers && done; i++)
        done = page_put(row, numbers[i].key, page_number(numbers[i].value));
    return done;
}

static bool page_put_text(json_t *object, const char *key, const char *text)
{
    return page_put(object, key, sg_json_string(text != NULL ? text : ""));
}

static bool page_row(json_t *rows, const sg_sparsify_point *p)
{
    json_t *row = json_object();
    if (row == NULL || json_array_append_new(rows, row) != 0) return false;
    return page_put_text(row, "model", p->model) && page_put_text(row, "family", p->family) &&
           page_put_text(row, "select", p->select) &&
           page_put_text(row, "control", sg_sparsify_control_name(p->control)) &&
           page_put_numbers(row, p);
}

static bool page_fill(json_t *root, const sg_sparsify_point *points, size_t count,
                      const sg_sparsify_files *files)
{
    json_t *rows = json_array();
    bool done = page_put(root, "rows", rows) && page_put_text(root, "made_by", sg_version()) &&
                page_put_text(root, "command", files->command) &&
                page_put_text(root, "text", files->text);
    if (done && count > 0)
        done = page_put(root, "tokens", json_integer((json_int_t)points[0].tokens)) &&
               page_put(root, "windows", json_integer((json_int_t)points[0].windows));
    for (size_t i = 0; i < count && done; i++)
        done = page_row(rows, &points[i]);
    return done;
}

sg_status sg_curve_page(const sg_sparsify_point *points, size_t count,
                        const sg_sparsify_files *files, sg_error *err)
{
    char *text = NULL;
    int64_t bytes;
    sg_json_setup();
    json_t *root = json_object();
    sg_status status = root != NULL && page_fill(root, points, count, files)
                           ? sg_page_manifest_text(root, &text, err)
                           : page_memory(err);
    json_decref(root);
    if (status == SG_OK)
        status = sg_page_write(files->html, files->force, "curve", text, NULL, &bytes, err);
    sg_free(text);
    return status;
}
