// The names of runs and of cells: what makes a run this run, and what messages call it.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "format/json.h"
#include "sweep/due.h"
#include "train/run_fields.h"
#include "train/run_options.h"

// Takes away what changes no result, and options that came later where they are as they were.
static void name_drop(const sg_train_options *options, json_t *values)
{
    const sg_run_field *f;
    for (size_t i = 0; (f = sg_run_field_at(i)) != NULL; i++) {
        const char *group = f->field.group;
        if ((group != NULL && strcmp(group, "Watching and saving") == 0) ||
            (f->unnamed && sg_run_field_is_older(f, options)))
            json_object_del(values, f->field.name);
    }
    json_object_del(values, "force_tokenizer");
}

sg_status sg_sweep_id(const sg_train_options *options, const char *data_hash, char id[SG_SWEEP_ID],
                      sg_error *err)
{
    char *text;
    json_t *values = sg_run_options_json(options);
    if (values != NULL) name_drop(options, values);
    json_t *object = json_pack("{s:s, s:s}", "program", sg_version(), "data", data_hash);
    // This releases the options when it fails, too.
    if (json_object_set_new(object, "options", values) != 0) {
        json_decref(object);
        object = NULL;
    }
    if (object == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for the name of a run");
    sg_status status = sg_json_text(object, false, &text, err);
    json_decref(object);
    SG_TRY(status);
    sg_hash_name(text, strlen(text), id);
    sg_free(text);
    return SG_OK;
}

const char *sg_sweep_cell_label(const sg_sweep_cell *cell, char *text, size_t capacity)
{
    char scale[48] = "", budget[48] = "";
    if (!isnan(cell->scale)) snprintf(scale, sizeof scale, ", scale %s", SG_NUMBER(cell->scale));
    if (!isnan(cell->budget))
        snprintf(budget, sizeof budget, ", %s FLOPs", SG_NUMBER(cell->budget));
    const bool plain = strcmp(cell->settings, "{}") == 0;
    snprintf(text, capacity, "%s%s%s%s%s", cell->family, scale, budget, plain ? "" : ", ",
             plain ? "" : cell->settings);
    return text;
}
