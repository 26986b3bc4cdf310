// Reading and writing run.json. The data are named by a hash too: a run must not go on with others.
#include "train/run_settings.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "base/publish.h"
#include "format/json.h"
#include "format/json_seal.h"
#include "format/shards.h"
#include "model/config.h"
#include "text/unicode.h"
#include "train/run_options.h"
#include "sgatlin_data.h"
#include "sgatlin_train.h"

enum { settings_limit = 16 << 20, settings_manifest_limit = 1 << 28 };

// Its presence says that there must be a checksum: one of the two may be lost, not both to one
// damage.
static const char settings_format[] = "format";

sg_status sg_run_has(const char *run_folder, const char *name, bool *there, sg_error *err)
{
    char path[SG_PATH_MAX];
    sg_fs_info info;
    SG_TRY(sg_path_join(path, sizeof path, run_folder, name, err));
    sg_status status = sg_path_info(path, &info, err);
    *there = status == SG_OK;
    return sg_ignored(status, SG_ERR_NOT_FOUND, err) ? SG_OK : status;
}

sg_status sg_run_write_json(const char *run_folder, const char *name, json_t *object, sg_error *err)
{
    char path[SG_PATH_MAX], *text = NULL;
    if (object == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for %s", name);
    sg_status status = sg_path_join(path, sizeof path, run_folder, name, err);
    if (status == SG_OK && json_object_set_new(object, settings_format, json_integer(2)) != 0)
        status = sg_fail(err, SG_ERR_MEMORY, "out of memory for %s", name);
    if (status == SG_OK) status = sg_json_seal(object, path, err);
    if (status == SG_OK) status = sg_json_text(object, true, &text, err);
    if (status == SG_OK) status = sg_file_write_atomic(path, text, strlen(text), err);
    sg_free(text);
    json_decref(object);
    return status;
}

sg_status sg_run_check_seal(json_t *object, const char *path, bool *sealed, sg_error *err)
{
    *sealed = json_object_get(object, "checksum") != NULL ||
              json_object_get(object, settings_format) != NULL;
    return *sealed ? sg_json_check_seal(object, path, err) : SG_OK;
}

sg_status sg_run_read_json(const char *run_folder, const char *name, json_t **object, bool *sealed,
                           sg_error *err)
{
    char path[SG_PATH_MAX];
    SG_TRY(sg_path_join(path, sizeof path, run_folder, name, err));
    SG_TRY(sg_json_read(path, settings_limit, object, err));
    sg_status status = sg_run_check_seal(*object, path, sealed, err);
    if (!json_is_object(*object))
        status = sg_fail(err, SG_ERR_FORMAT, "%s: found no JSON object, expected one", path);
    if (status != SG_OK) json_decref(*object);
    return status;
}

// ---- data -------------------------------------------------------------------------------------

sg_status sg_run_settings_set_data(sg_run_settings *s, const char *folder, sg_error *err)
{
    if (strlen(folder) >= sizeof s->data_folder)
        return sg_fail(err, SG_ERR_ARGUMENT, "%.64s…: path is too long", folder);
    if (sg_utf8_valid_prefix(folder, strlen(folder)) != strlen(folder))
        return sg_fail(err, SG_ERR_ARGUMENT, "%s: the path is not UTF-8, which run.json has to be",
                       folder);
    memcpy(s->data_folder, folder, strlen(folder) + 1);
    return SG_OK;
}

// A checksum of what the data are: their manifest, which has the checksum of every shard, without
// the names of the files they were packed from.
sg_status sg_run_settings_hash_data(sg_run_settings *s, sg_error *err)
{
    char path[SG_PATH_MAX], *text;
    json_t *manifest;
    SG_TRY(sg_published_path(path, sizeof path, s->data_folder, SG_DATA_MANIFEST, NULL, err));
    SG_TRY(sg_json_read(path, settings_manifest_limit, &manifest, err));
    json_object_del(manifest, "sources");
    sg_status status = sg_json_text(manifest, false, &text, err);
    json_decref(manifest);
    SG_TRY(status);
    snprintf(s->data_hash, sizeof s->data_hash, "%016llx",
             (unsigned long long)sg_hash(text, strlen(text)));
    sg_free(text);
    return SG_OK;
}

// ---- run.json ---------------------------------------------------------------------------------

sg_status sg_run_settings_write(const sg_run_settings *s, const char *run_folder,
                                const char *command, int64_t steps, int64_t lazy_tables,
                                const sg_data_info *data, sg_error *err)
{
    const char *text = command ? command : "";
    sg_bytes repaired = {0}; // for people to read, and need not be UTF-8
    if (!sg_utf8_repair(text, strlen(text), &repaired, NULL))
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for run.json");
    sg_json_setup();
    json_t *object = json_pack("{s:s, s:s, s:s, s:s%, s:I, s:I, s:{s:s, s:s, s:I, s:I}}", "sgatlin",
                               sg_version(), "kernel", s->kernel, "blas", s->blas, "command",
                               repaired.data ? repaired.data : "", repaired.count, "total_steps",
                               (json_int_t)steps, "lazy_tables", (json_int_t)lazy_tables, "data",
                               "folder", s->data_folder, "checksum", s->data_hash, "train_rows",
                               (json_int_t)data->split[SG_SPLIT_TRAIN].rows, "val_rows",
                               (json_int_t)data->split[SG_SPLIT_VAL].rows);
    sg_free(repaired.data);
    if (object != NULL && s->init_hash[0] != '\0' &&
        json_object_set_new(object, "init_checksum", json_string(s->init_hash)) != 0) {
        json_decref(object);
        object = NULL;
    }
    json_t *options = sg_run_options_json(&s->options);
    // This releases the options when it fails, too.
    if (json_object_set_new(object, "options", options) != 0) {
        json_decref(object);
        object = NULL;
    }
    return sg_run_write_json(run_folder, "run.json", object, err);
}

static sg_status settings_text(const json_t *object, const char *path, const char *key, char *out,
                               size_t capacity, sg_error *err)
{
    const char *text = NULL;
    SG_TRY(sg_json_get_string(object, path, key, true, &text, err));
    snprintf(out, capacity, "%s", text);
    return SG_OK;
}

static sg_status settings_changes(const json_t *object, const char *path, sg_run_settings *s,
                                  sg_error *err)
{
    json_t *changes, *entry;
    size_t i;
    s->changed_at = -1;
    SG_TRY(sg_json_get_array(object, path, "changes", false, &changes, err));
    json_array_foreach(changes, i, entry) SG_TRY(
        sg_json_get_int(entry, path, "step", true, 0, SG_TRAIN_STEPS_MAX, &s->changed_at, err));
    return SG_OK;
}

// What neither this nor anybody else reads of a run.json.
static void settings_unread(const json_t *object, const json_t *options, sg_unread *unread)
{
    static const char *const known[] = {
        "sgatlin", "kernel",  "blas",    "command",       "total_steps", "lazy_tables",
        "data",    "options", "changes", "init_checksum", "checksum",    settings_format};
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        bool read = false;
        for (size_t i = 0; i < sizeof known / sizeof *known && !read; i++)
            read = strcmp(key, known[i]) == 0;
        if (!read) sg_unread_add(unread, key);
    }
    json_object_foreach((json_t *)(uintptr_t)options, key, value)
    {
        if (strcmp(key, "config") == 0)
            sg_config_unread(value, unread);
        else if (sg_train_field(key) == NULL)
            sg_unread_add(unread, key);
    }
}

sg_status sg_run_settings_parse(const json_t *object, const char *path, sg_run_settings *s,
                                sg_error *err)
{
    json_t *data, *options;
    const char *folder = NULL;
    SG_TRY(sg_json_get_object(object, path, "options", true, &options, err));
    SG_TRY(sg_run_options_parse(options, path, &s->options, err));
    settings_unread(object, options, &s->unread);
    SG_TRY(
        sg_json_get_int(object, path, "total_steps", true, 1, SG_TRAIN_STEPS_MAX, &s->steps, err));
    SG_TRY(settings_changes(object, path, s, err));
    SG_TRY(settings_text(object, path, "kernel", s->kernel, sizeof s->kernel, err));
    SG_TRY(settings_text(object, path, "blas", s->blas, sizeof s->blas, err));
    if (s->options.init[0] != '\0')
        SG_TRY(
            settings_text(object, path, "init_checksum", s->init_hash, sizeof s->init_hash, err));
    SG_TRY(sg_json_get_object(object, path, "data", true, &data, err));
    SG_TRY(settings_text(data, path, "checksum", s->data_hash, sizeof s->data_hash, err));
    SG_TRY(sg_json_get_string(data, path, "folder", true, &folder, err));
    return sg_run_settings_set_data(s, folder, err);
}

sg_status sg_run_settings_read(const char *run_folder, sg_run_settings *settings, sg_error *err)
{
    char path[SG_PATH_MAX];
    json_t *object;
    bool there;
    *settings = (sg_run_settings){0};
    SG_TRY(sg_run_has(run_folder, "run.json", &there, err));
    if (!there)
        return sg_fail(err, SG_ERR_NOT_FOUND, "%s: holds no run (there is no run.json)",
                       run_folder);
    SG_TRY(sg_path_join(path, sizeof path, run_folder, "run.json", err));
    SG_TRY(sg_run_read_json(run_folder, "run.json", &object, &settings->sealed, err));
    sg_status status = sg_run_settings_parse(object, path, settings, err);
    json_decref(object);
    return status;
}

sg_status sg_train_read_options(const char *folder, sg_train_options *options, sg_error *err)
{
    sg_run_settings settings;
    SG_TRY(sg_run_settings_read(folder, &settings, err));
    *options = settings.options;
    return SG_OK;
}
