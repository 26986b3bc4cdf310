// A file for `train --config`, told apart by its members: "model_type" is of a config.json, an
// object "options" of a run.json; anything else are options by name.
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "format/json.h"
#include "model/config.h"
#include "train/run_settings.h"
#include "sgatlin_train.h"

enum { file_limit = 16 << 20 };

static sg_status file_no_memory(const char *path, sg_error *err)
{
    return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory for its members", path);
}

// A value as a command line would have it; *text stays NULL where it would have none.
static sg_status file_value(const json_t *value, const char *path, char **text, sg_error *err)
{
    char digits[40];
    const char *found = digits;
    if (json_is_string(value))
        found = json_string_value(value);
    else if (json_is_integer(value))
        snprintf(digits, sizeof digits, "%lld", (long long)json_integer_value(value));
    else if (json_is_real(value))
        snprintf(digits, sizeof digits, "%.17g", json_real_value(value));
    else if (json_is_boolean(value))
        found = json_is_true(value) ? "true" : "false";
    else
        return SG_OK;
    *text = sg_strdup(found);
    return *text == NULL ? file_no_memory(path, err) : SG_OK;
}

static sg_status file_options(json_t *object, const char *path, sg_train_file *file, sg_error *err)
{
    const char *key;
    json_t *value;
    const size_t room = json_object_size(object) + 1;
    file->names = sg_alloc_zero(room, sizeof *file->names);
    file->values = sg_alloc_zero(room, sizeof *file->values);
    if (file->names == NULL || file->values == NULL) return file_no_memory(path, err);
    json_object_foreach(object, key, value)
    {
        const size_t i = file->count++;
        file->names[i] = sg_strdup(key);
        if (file->names[i] == NULL) return file_no_memory(path, err);
        SG_TRY(file_value(value, path, &file->values[i], err));
    }
    return SG_OK;
}

static sg_status file_config(const json_t *object, const char *path, sg_train_file *file,
                             sg_unread *unread, sg_error *err)
{
    char *text;
    SG_TRY(sg_json_text(object, false, &text, err));
    sg_status status = sg_config_parse(text, strlen(text), path, &file->options.config, err);
    sg_free(text);
    sg_config_unread(object, unread);
    return status;
}

static sg_status file_run(json_t *object, const char *path, sg_train_file *file, sg_unread *unread,
                          sg_error *err)
{
    sg_run_settings settings = {0};
    SG_TRY(sg_run_check_seal(object, path, &settings.sealed, err));
    SG_TRY(sg_run_settings_parse(object, path, &settings, err));
    file->options = settings.options;
    *unread = settings.unread;
    return SG_OK;
}

sg_status sg_train_file_read(const char *path, sg_train_file *file, sg_error *err)
{
    json_t *object;
    sg_unread unread = {0};
    sg_status status;
    *file = (sg_train_file){0};
    SG_TRY(sg_json_read(path, file_limit, &object, err));
    if (!json_is_object(object)) {
        status = sg_fail(err, SG_ERR_FORMAT, "%s: found no JSON object, expected one", path);
    } else if (json_object_get(object, "model_type") != NULL) {
        file->kind = SG_TRAIN_FILE_CONFIG;
        status = file_config(object, path, file, &unread, err);
    } else if (json_is_object(json_object_get(object, "options"))) {
        file->kind = SG_TRAIN_FILE_RUN;
        status = file_run(object, path, file, &unread, err);
    } else {
        status = file_options(object, path, file, err);
    }
    json_decref(object);
    sg_unread_text(&unread, path, file->unread, sizeof file->unread);
    if (status != SG_OK) sg_train_file_clear(file);
    return status;
}

void sg_train_file_clear(sg_train_file *file)
{
    for (size_t i = 0; i < file->count; i++) {
        sg_free(file->names[i]);
        sg_free(file->values[i]);
    }
    sg_free(file->names);
    sg_free(file->values);
    *file = (sg_train_file){0};
}
