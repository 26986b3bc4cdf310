// See jsonl_log.h. What is cut off at opening is only ever the end of the file: records are written
// in the order of steps, so the ones to keep come first.
#include "format/jsonl_log.h"

#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "format/json.h"

struct sg_jsonl_log {
    sg_writer *writer;
    int64_t before; // bytes that were there when it was opened
};

// Whether a record is one to keep; a line that is no JSON object is not.
static sg_status jsonl_keep(const char *path, const char *line, size_t bytes, int64_t last_step,
                            bool *keep, sg_error *err)
{
    json_t *record;
    *keep = false;
    sg_status status = sg_json_parse(line, bytes, path, &record, err);
    if (status == SG_ERR_FORMAT) return SG_OK;
    SG_TRY(status);
    const json_t *step = json_object_get(record, "step");
    if (json_is_object(record))
        *keep =
            step == NULL || (json_is_number(step) && json_number_value(step) <= (double)last_step);
    json_decref(record);
    return SG_OK;
}

// Bytes of the part to keep of `data`.
static sg_status jsonl_scan(const char *path, const char *data, size_t bytes, int64_t last_step,
                            size_t *kept, sg_error *err)
{
    *kept = 0;
    size_t line = 0, dropped = 0; // number of the line, and of the first one to drop
    for (size_t at = 0; at < bytes;) {
        const char *end = memchr(data + at, '\n', bytes - at);
        if (end == NULL) break;
        size_t next = (size_t)(end - data) + 1;
        bool keep;
        line++;
        SG_TRY(jsonl_keep(path, data + at, next - 1 - at, last_step, &keep, err));
        if (keep && dropped != 0)
            return sg_fail(err, SG_ERR_FORMAT,
                           "%s: line %zu: found damage or a step after %lld, expected neither "
                           "before line %zu",
                           path, dropped, (long long)last_step, line);
        if (keep) *kept = next;
        if (!keep && dropped == 0) dropped = line;
        at = next;
    }
    return SG_OK;
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

sg_status sg_jsonl_log_open(const char *path, int64_t last_step, sg_jsonl_log **out, sg_error *err)
{
    *out = NULL;
    sg_map map = {0};
    size_t kept = 0;
    sg_status status = sg_map_open(path, &map, err);
    if (status == SG_OK && map.bytes > 0)
        status = jsonl_scan(path, (const char *)map.data, map.bytes, last_step, &kept, err);
    bool cut = kept < map.bytes;
    sg_map_close(&map);
    if (status == SG_OK && cut) status = jsonl_cut(path, (int64_t)kept, err);
    if (status != SG_OK && status != SG_ERR_NOT_FOUND) return status;
    return jsonl_append_to(path, (int64_t)kept, out, err);
}

sg_status sg_jsonl_log_open_at(const char *path, int64_t bytes, sg_jsonl_log **out, sg_error *err)
{
    *out = NULL;
    int64_t found = 0;
    sg_status status = sg_path_bytes(path, &found, err);
    if (status != SG_OK && status != SG_ERR_NOT_FOUND) return status;
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
