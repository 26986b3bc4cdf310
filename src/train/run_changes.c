// A run is its first options and what was changed since, each with the step after which it holds:
// that says from where on two runs can no longer be the same to the bit.
#include "train/run_changes.h"

#include <stdio.h>
#include <string.h>

#include "format/json_fields.h"
#include "train/run_fields.h"
#include "train/run_options.h"

// What has no SG_FIELD_CHANGES is what the run is from its first step: its model, its data and
// their order, and what the moments of the optimiser mean.
static sg_status changes_refuse(const char *name, sg_error *err)
{
    char list[512] = "", one[SG_RUN_OPTION];
    const sg_field *field;
    size_t used = 0;
    for (size_t i = 0; (field = sg_train_field_at(i)) != NULL && used < sizeof list; i++)
        if (field->flags & SG_FIELD_CHANGES)
            used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", used ? ", " : "",
                                     sg_field_option(field, one, sizeof one));
    const sg_field asked = {.name = name};
    return sg_fail(err, SG_ERR_ARGUMENT,
                   "%s: cannot be changed once a run has begun, expected one of %s",
                   sg_field_option(&asked, one, sizeof one), list);
}

// One budget in the place of another.
static void changes_clear_budget(sg_train_options *o)
{
    const sg_field *field;
    for (size_t i = 0; (field = sg_train_field_at(i)) != NULL; i++)
        if (field->flags & SG_FIELD_BUDGET) sg_field_clear(field, o);
}

static sg_status changes_memory(sg_error *err)
{
    return sg_fail(err, SG_ERR_MEMORY, "out of memory for the changes of a run");
}

static sg_status changes_one(sg_train_options *o, const sg_train_change *change, json_t *list,
                             sg_error *err)
{
    const sg_field *field = sg_train_field(change->field);
    if (field == NULL || !(field->flags & SG_FIELD_CHANGES))
        return changes_refuse(change->field, err);
    json_t *before = sg_json_from_field(field, o);
    if (field->flags & SG_FIELD_BUDGET) changes_clear_budget(o);
    sg_status status = sg_train_options_set(o, change->field, change->value, err);
    if (status != SG_OK) {
        json_decref(before);
        return status;
    }
    json_t *after = sg_json_from_field(field, o);
    if (before == NULL || after == NULL) {
        json_decref(before);
        json_decref(after);
        return changes_memory(err);
    }
    if (json_equal(before, after)) {
        json_decref(before);
        json_decref(after);
        return SG_OK;
    }
    json_t *entry =
        json_pack("{s:s, s:o, s:o}", "field", change->field, "old", before, "new", after);
    return json_array_append_new(list, entry) == 0 ? SG_OK : changes_memory(err);
}

sg_status sg_run_changes_apply(sg_train_options *options, const sg_train_change *changes,
                               size_t count, json_t **list, sg_error *err)
{
    sg_json_setup();
    *list = json_array();
    if (*list == NULL) return changes_memory(err);
    for (size_t i = 0; i < count; i++) {
        sg_status status = changes_one(options, &changes[i], *list, err);
        if (status == SG_OK) continue;
        json_decref(*list);
        *list = NULL;
        return status;
    }
    return SG_OK;
}

sg_status sg_run_changes_add(json_t *list, const char *field, const char *before, const char *after,
                             sg_error *err)
{
    if (strcmp(before, after) == 0) return SG_OK;
    json_t *entry = json_pack("{s:s, s:s, s:s}", "field", field, "old", before, "new", after);
    return json_array_append_new(list, entry) == 0 ? SG_OK : changes_memory(err);
}

// The list with the step in front, behind what run.json has.
static int changes_append(json_t *object, int64_t step, const json_t *list)
{
    json_t *all = json_object_get(object, "changes");
    if (!json_is_array(all)) {
        all = json_array();
        if (json_object_set_new(object, "changes", all) != 0) return -1;
    }
    size_t i;
    json_t *entry;
    json_array_foreach((json_t *)(uintptr_t)list, i, entry)
    {
        json_t *with = json_pack("{s:I}", "step", (json_int_t)step);
        if (with == NULL || json_object_update(with, entry) != 0 ||
            json_array_append(all, with) != 0) {
            json_decref(with);
            return -1;
        }
        json_decref(with);
    }
    return 0;
}

sg_status sg_run_changes_record(const char *run_folder, const sg_run_settings *settings,
                                int64_t steps, int64_t step, const json_t *list, sg_error *err)
{
    json_t *object;
    bool sealed;
    if (json_array_size(list) == 0) return SG_OK;
    SG_TRY(sg_run_read_json(run_folder, "run.json", &object, &sealed, err));
    if (json_object_set_new(object, "options", sg_run_options_json(&settings->options)) != 0 ||
        json_object_set_new(object, "total_steps", json_integer(steps)) != 0 ||
        json_object_set_new(object, "kernel", json_string(settings->kernel)) != 0 ||
        json_object_set_new(object, "blas", json_string(settings->blas)) != 0 ||
        changes_append(object, step, list) != 0) {
        json_decref(object);
        return changes_memory(err);
    }
    return sg_run_write_json(run_folder, "run.json", object, err);
}
