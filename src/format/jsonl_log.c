// See jsonl_log.h. Records are written in the order of steps, so the ones to keep come first, and
// what goes at opening is cut off the end of the file; only where something else became of it is it
// written anew.
#include "format/jsonl_log.h"

#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "format/json.h"

struct sg_jsonl_log {
    sg_writer *writer;
    int64_t before; // bytes that were there when it was opened
};

typedef enum jsonl_line { JSONL_KEEP, JSONL_LATER, JSONL_DAMAGED } jsonl_line;

// What a line is: a record to keep, one of a later step, or no JSON object with a step or without.
static sg_status jsonl_look(const char *path, const char *line, size_t bytes, int64_t last_step,
                            jsonl_line *kind, sg_error *err)
{
    json_t *record;
    *kind = JSONL_DAMAGED;
    sg_status status = sg_json_parse(line, bytes, path, &record, err);
    if (sg_ignored(status, SG_ERR_FORMAT, err)) return SG_OK;
    SG_TRY(status);
    const json_t *step = json_object_get(record, "step");
    if (json_is_object(record) && (step == NULL || json_is_number(step)))
        *kind =
            step == NULL || json_number_value(step) <= (double)last_step ? JSONL_KEEP : JSONL_LATER;
    json_decref(record);
    return SG_OK;
}

typedef struct jsonl_plan {
    size_t kept;     // bytes up to the end of the last record to keep
    bool holes;      // and not all before that is to be kept
    int64_t damaged; // lines there that are no record
} jsonl_plan;

// With a writer all lines to keep are put into it.
static sg_status jsonl_scan(const char *path, const char *data, size_t bytes, int64_t last_step,
                            sg_writer *writer, jsonl_plan *plan, sg_error *err)
{
    *plan = (jsonl_plan){0};
    int64_t dropped = 0, damaged = 0; // since the last record to keep
    for (size_t at = 0; at < bytes;) {
        const char *end = memchr(data + at, '\n', bytes - at);
        if (end == NULL) break;
        size_t next = (size_t)(end - data) + 1;
        jsonl_line kind;
        SG_TRY(jsonl_look(path, data + at, next - 1 - at, last_step, &kind, err));
        dropped += kind != JSONL_KEEP;
        damaged += kind == JSONL_DAMAGED;
        if (kind == JSONL_KEEP) {
            plan->kept = next;
            plan->holes = plan->holes || dropped > 0;
            plan->damaged += damaged;
            dropped = damaged = 0;
            if (writer != NULL) sg_writer_put(writer, data + at, next - at);
        }
        at = next;
    }
    return SG_OK;
}

// The same file without what is not to be kept; *bytes is its new size.
static sg_status jsonl_write_anew(const char *path, int64_t last_step, int64_t *bytes,
                                  sg_error *err)
{
    char *text;
    size_t size;
    sg_writer *writer;
    jsonl_plan plan;
    SG_TRY(sg_file_read(path, SIZE_MAX - 1, &text, &size, err));
    sg_status status = sg_writer_open_output(path, SG_OUTPUT_REPLACE, &writer, err);
    if (status == SG_OK) {
        status = jsonl_scan(path, text, size, last_step, writer, &plan, err);
        *bytes = sg_writer_bytes(writer);
        if (status == SG_OK)
            status = sg_writer_replace(writer, err);
        else
            sg_writer_withdraw(writer);
    }
    sg_free(text);
    return status;
}

static sg_status jsonl_cut(const char *path, int64_t bytes, sg_error *err)
{
    const sg_fs *fs = sg_fs_get();
    int handle = fs->open(fs->user, path, SG_FS_UPDATE);
    int result = handle < 0 ? handle : fs->truncate(fs->user, handle, bytes);
    if (result >= 0) result = fs->sync(fs->user, handle);
    if (handle >= 0) {
        int closed = fs->close(fs->user, handle);
        if (result >= 0) result = closed;
    }
    if (result < 0)
        return sg_fail(err, SG_ERR_IO, "%s: cannot cut to %lld bytes: %s", path, (long long)bytes,
                       strerror(-result));
    return SG_OK;
}

static sg_status jsonl_append_to(const char *path, int64_t before, sg_jsonl_log **out,
                                 sg_error *err)
{
    sg_jsonl_log *log = sg_alloc_zero(1, sizeof *log);
    if (log == NULL) return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory", path);
    log->before = before;
    sg_status status = sg_writer_open(path, SG_FS_APPEND, &log->writer, err);
    if (status == SG_OK) {
        char folder[SG_PATH_MAX];
        sg_path_folder(folder, sizeof folder, path);
        status = sg_folder_sync(folder, err);
    }
    if (status == SG_OK) {
        *out = log;
        return SG_OK;
    }
    sg_writer_abandon(log->writer);
    sg_free(log);
    return status;
}

sg_status sg_jsonl_log_open(const char *path, int64_t last_step, sg_jsonl_log **out,
                            int64_t *damaged, sg_error *err)
{
    *out = NULL;
    sg_map map = {0};
    jsonl_plan plan = {0};
    sg_status status = sg_map_open(path, &map, err);
    if (status == SG_OK && map.bytes > 0)
        status = jsonl_scan(path, (const char *)map.data, map.bytes, last_step, NULL, &plan, err);
    const bool cut = plan.kept < map.bytes;
    int64_t kept = (int64_t)plan.kept;
    sg_map_close(&map);
    if (status == SG_OK && plan.holes)
        status = jsonl_write_anew(path, last_step, &kept, err);
    else if (status == SG_OK && cut)
        status = jsonl_cut(path, kept, err);
    if (status != SG_OK && !sg_ignored(status, SG_ERR_NOT_FOUND, err)) return status;
    if (damaged != NULL) *damaged = plan.damaged;
    return jsonl_append_to(path, kept, out, err);
}

sg_status sg_jsonl_log_open_at(const char *path, int64_t bytes, sg_jsonl_log **out, sg_error *err)
{
    *out = NULL;
    int64_t found = 0;
    sg_status status = sg_path_bytes(path, &found, err);
    if (status != SG_OK && !sg_ignored(status, SG_ERR_NOT_FOUND, err)) return status;
    if (bytes < 0 || found < bytes)
        return sg_fail(err, SG_ERR_MISMATCH, "%s: found %lld bytes, expected at least %lld", path,
                       (long long)found, (long long)bytes);
    if (found > bytes) SG_TRY(jsonl_cut(path, bytes, err));
    return jsonl_append_to(path, bytes, out, err);
}

sg_status sg_jsonl_log_put(sg_jsonl_log *log, const json_t *record, sg_error *err)
{
    char *text;
    SG_TRY(sg_json_text(record, false, &text, err));
    sg_writer_put(log->writer, text, strlen(text));
    sg_writer_put(log->writer, "\n", 1);
    sg_free(text);
    return sg_writer_flush(log->writer, err);
}

sg_status sg_jsonl_log_sync(sg_jsonl_log *log, int64_t *bytes, sg_error *err)
{
    if (bytes != NULL) *bytes = log->before + sg_writer_bytes(log->writer);
    return sg_writer_sync(log->writer, err);
}

sg_status sg_jsonl_log_close(sg_jsonl_log *log, sg_error *err)
{
    if (log == NULL) return SG_OK;
    sg_status status = sg_writer_close(log->writer, true, err);
    sg_free(log);
    return status;
}
