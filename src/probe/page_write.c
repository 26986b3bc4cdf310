// Puts a page together. A line "@NAME@" of the template stands for the file NAME of share/scope,
// "@data@" for the manifest and the columns.
#include "probe/page_write.h"

#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/utf8.h"
#include "format/json.h"
#include "probe/page_files.h"

static const sg_page_file *page_find(const char *name, size_t bytes)
{
    for (size_t i = 0; i < sg_page_file_count; i++)
        if (strlen(sg_page_files[i].name) == bytes &&
            memcmp(sg_page_files[i].name, name, bytes) == 0)
            return &sg_page_files[i];
    return NULL;
}

int64_t sg_page_frame_bytes(int64_t manifest)
{
    int64_t bytes = manifest + 64;
    for (size_t i = 0; i < sg_page_file_count; i++)
        bytes += (int64_t)sg_page_files[i].bytes;
    return bytes;
}

// "<" is written as an escape: inside strings of JSON, and there alone, it can stand.
sg_status sg_page_manifest_text(const json_t *manifest, char **text, sg_error *err)
{
    char *plain;
    sg_bytes safe = {0};
    *text = NULL;
    SG_TRY(sg_json_text(manifest, false, &plain, err));
    const bool done = sg_bytes_add_replaced(&safe, plain, strlen(plain), "<", 1, "\\u003c", 6) &&
                      sg_bytes_add(&safe, "", 1);
    sg_free(plain);
    if (!done) {
        sg_free(safe.data);
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for a page");
    }
    *text = safe.data;
    return SG_OK;
}

static void page_data(sg_writer *writer, const char *manifest, const sg_page_columns *columns)
{
    sg_writer_printf(writer, "<script type=\"application/json\" id=\"scope\">");
    sg_writer_put(writer, manifest, strlen(manifest));
    sg_writer_printf(writer, "</script>\n");
    sg_page_columns_write(columns, writer);
}

// One line of the template with its end.
static sg_status page_line(sg_writer *writer, const char *line, size_t bytes, const char *manifest,
                           const sg_page_columns *columns, sg_error *err)
{
    const size_t name = bytes >= 3 && line[0] == '@' && line[bytes - 2] == '@' ? bytes - 3 : 0;
    if (name == 0) {
        sg_writer_put(writer, line, bytes);
        return SG_OK;
    }
    if (name == 4 && memcmp(line + 1, "data", 4) == 0) {
        page_data(writer, manifest, columns);
        return SG_OK;
    }
    const sg_page_file *file = page_find(line + 1, name);
    if (file == NULL)
        return sg_fail(err, SG_ERR_INTERNAL, "page.html: found no file %.*s", (int)name, line + 1);
    sg_writer_put(writer, file->data, file->bytes);
    return SG_OK;
}

static sg_status page_lines(sg_writer *writer, const char *manifest, const sg_page_columns *columns,
                            sg_error *err)
{
    const sg_page_file *page = page_find("page.html", 9);
    if (page == NULL) return sg_fail(err, SG_ERR_INTERNAL, "found no page.html");
    const char *at = (const char *)page->data, *end = at + page->bytes;
    while (at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        const size_t bytes = (size_t)((stop != NULL ? stop + 1 : end) - at);
        SG_TRY(page_line(writer, at, bytes, manifest, columns, err));
        at += bytes;
    }
    return SG_OK;
}

sg_status sg_page_write(const char *path, bool force, const char *manifest,
                        const sg_page_columns *columns, int64_t *bytes, sg_error *err)
{
    sg_writer *writer;
    SG_TRY(sg_writer_open_output(path, force ? SG_OUTPUT_REPLACE : SG_OUTPUT_NEW, &writer, err));
    sg_status status = page_lines(writer, manifest, columns, err);
    if (status != SG_OK) {
        sg_writer_withdraw(writer);
        return status;
    }
    *bytes = sg_writer_bytes(writer);
    return sg_writer_replace(writer, err);
}
