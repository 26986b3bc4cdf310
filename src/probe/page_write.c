// Puts a page together. A line "@FILE@" of the template stands for that file of the page's folder,
// or else of share/results, which pages of results have in common, or of share/page, which all
// have; "@data@" for the manifest and the columns.
#include "probe/page_write.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/utf8.h"
#include "format/json.h"
#include "probe/page_files.h"

static const sg_page_file *page_find(const char *folder, const char *name, size_t bytes)
{
    const size_t before = strlen(folder);
    for (size_t i = 0; i < sg_page_file_count; i++) {
        const char *path = sg_page_files[i].name;
        if (strncmp(path, folder, before) == 0 && path[before] == '/' &&
            strlen(path + before + 1) == bytes && memcmp(path + before + 1, name, bytes) == 0)
            return &sg_page_files[i];
    }
    return NULL;
}

int64_t sg_page_frame_bytes(const char *page, int64_t manifest)
{
    int64_t bytes = manifest + 64;
    for (size_t i = 0; i < sg_page_file_count; i++) {
        const char *slash = strchr(sg_page_files[i].name, '/');
        const size_t folder = (size_t)(slash - sg_page_files[i].name);
        if (strncmp(sg_page_files[i].name, "page", folder) == 0 ||
            (strncmp(sg_page_files[i].name, page, folder) == 0 && page[folder] == '\0'))
            bytes += (int64_t)sg_page_files[i].bytes;
    }
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

// What goes into a page, and where to.
typedef struct page_work {
    const char *page, *manifest;
    const sg_page_columns *columns; // NULL: none
    sg_writer *writer;
} page_work;

static void page_data(const page_work *w)
{
    sg_writer_printf(w->writer, "<script type=\"application/json\" id=\"%s\">", w->page);
    sg_writer_put(w->writer, w->manifest, strlen(w->manifest));
    sg_writer_printf(w->writer, "</script>\n");
    if (w->columns != NULL) sg_page_columns_write(w->columns, w->writer);
}

// One line of the template with its end.
static sg_status page_line(const page_work *w, const char *line, size_t bytes, sg_error *err)
{
    const size_t name = bytes >= 3 && line[0] == '@' && line[bytes - 2] == '@' ? bytes - 3 : 0;
    if (name == 0) {
        sg_writer_put(w->writer, line, bytes);
        return SG_OK;
    }
    if (name == 4 && memcmp(line + 1, "data", 4) == 0) {
        page_data(w);
        return SG_OK;
    }
    const sg_page_file *file = page_find(w->page, line + 1, name);
    if (file == NULL) file = page_find("results", line + 1, name);
    if (file == NULL) file = page_find("page", line + 1, name);
    if (file == NULL)
        return sg_fail(err, SG_ERR_INTERNAL, "%s.html: found no file %.*s", w->page, (int)name,
                       line + 1);
    sg_writer_put(w->writer, file->data, file->bytes);
    return SG_OK;
}

static sg_status page_lines(const page_work *w, sg_error *err)
{
    char name[64];
    snprintf(name, sizeof name, "%s.html", w->page);
    const sg_page_file *page = page_find(w->page, name, strlen(name));
    if (page == NULL) return sg_fail(err, SG_ERR_INTERNAL, "found no %s", name);
    const char *at = (const char *)page->data, *end = at + page->bytes;
    while (at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        const size_t bytes = (size_t)((stop != NULL ? stop + 1 : end) - at);
        SG_TRY(page_line(w, at, bytes, err));
        at += bytes;
    }
    return SG_OK;
}

sg_status sg_page_write(const char *path, bool force, const char *page, const char *manifest,
                        const sg_page_columns *columns, int64_t *bytes, sg_error *err)
{
    page_work w = {.page = page, .manifest = manifest, .columns = columns};
    SG_TRY(sg_writer_open_output(path, force ? SG_OUTPUT_REPLACE : SG_OUTPUT_NEW, &w.writer, err));
    sg_status status = page_lines(&w, err);
    if (status != SG_OK) {
        sg_writer_withdraw(w.writer);
        return status;
    }
    *bytes = sg_writer_bytes(w.writer);
    return sg_writer_replace(w.writer, err);
}
