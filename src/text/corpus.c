// Cutting a stream into documents, at separator lines or at JSON lines, with bad lines named by file
// and number.
#include "text/corpus.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "format/json.h"
#include "text/source.h"
#include "sgatlin_data.h"

enum { corpus_chunk = 1 << 17 };

struct sg_corpus {
    sg_corpus_options options;
    char *separator; // NULL: each file is one document
    size_t separator_bytes;
    char *field;
    char **paths;
    size_t count;
    size_t file; // index of the path being read, or of the next one
    bool in_memory;
    const void *memory;
    size_t memory_bytes;
    int64_t done;  // stored bytes of the files finished
    int64_t total; // 0: not known

    sg_source *source; // NULL between files
    bool lines_of_json;
    bool source_end;
    // The window of content not yet handed out. Content byte `offset` of the file is at buffer[0].
    char *buffer;
    size_t capacity;
    size_t used;
    size_t document; // where the document (or the line of JSON) starts
    size_t line;     // where the line being looked at starts
    size_t seen;     // no line end between `line` and here
    int64_t offset;
    int64_t line_number; // of the line at `line`, from 1
    json_t *value;       // owns the text of the document handed out last
};

sg_corpus_options sg_corpus_options_default(void)
{
    return (sg_corpus_options){
        .kind = SG_CORPUS_AUTO,
        .separator = "<|endoftext|>",
        .field = "text",
        .max_document = (size_t)64 << 20,
    };
}

// ---- opening ----------------------------------------------------------------------------------

static bool corpus_name_ends(const char *name, size_t bytes, const char *ending)
{
    size_t n = strlen(ending);
    return bytes >= n && memcmp(name + bytes - n, ending, n) == 0;
}

static bool corpus_is_json(const sg_corpus *corpus, const char *name)
{
    if (corpus->options.kind != SG_CORPUS_AUTO) return corpus->options.kind == SG_CORPUS_JSONL;
    size_t n = strlen(name);
    if (corpus_name_ends(name, n, ".gz")) n -= 3;
    if (corpus_name_ends(name, n, ".zst")) n -= 4;
    return corpus_name_ends(name, n, ".jsonl") || corpus_name_ends(name, n, ".ndjson") ||
           corpus_name_ends(name, n, ".json");
}

static sg_status corpus_check_options(const sg_corpus_options *options, sg_error *err)
{
    if (options->kind != SG_CORPUS_AUTO && options->kind != SG_CORPUS_TEXT &&
        options->kind != SG_CORPUS_JSONL)
        return sg_fail(err, SG_ERR_ARGUMENT, "corpus kind: found %d, expected 0, 1 or 2",
                       (int)options->kind);
    if (options->separator != NULL &&
        (options->separator[0] == '\0' || strpbrk(options->separator, "\r\n") != NULL))
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "separator: expected one line that is not empty, or none");
    if (options->field == NULL || options->field[0] == '\0')
        return sg_fail(err, SG_ERR_ARGUMENT, "field: found nothing, expected a member's name");
    if (options->max_document == 0 || options->max_document > (size_t)1 << 40)
        return sg_fail(err, SG_ERR_ARGUMENT, "max_document: found %zu, expected 1 to 2^40",
                       options->max_document);
    return SG_OK;
}

static sg_status corpus_new(const char *const *paths, size_t count,
                            const sg_corpus_options *options, sg_corpus **out, sg_error *err)
{
    *out = NULL;
    sg_corpus_options defaults = sg_corpus_options_default();
    if (options == NULL) options = &defaults;
    SG_TRY(corpus_check_options(options, err));
    if (count == 0) return sg_fail(err, SG_ERR_ARGUMENT, "corpus: found no files, expected some");
    sg_corpus *corpus = sg_alloc_zero(1, sizeof *corpus);
    if (corpus == NULL) return sg_fail(err, SG_ERR_MEMORY, "corpus: out of memory");
    corpus->options = *options;
    corpus->paths = sg_alloc_zero(count, sizeof *corpus->paths);
    corpus->field = sg_strdup(options->field);
    if (options->separator != NULL) {
        corpus->separator = sg_strdup(options->separator);
        corpus->separator_bytes = strlen(options->separator);
    }
    bool whole = corpus->paths != NULL && corpus->field != NULL &&
                 (options->separator == NULL || corpus->separator != NULL);
    for (; whole && corpus->count < count; corpus->count++)
        whole = (corpus->paths[corpus->count] = sg_strdup(paths[corpus->count])) != NULL;
    if (!whole) {
        sg_corpus_close(corpus);
        return sg_fail(err, SG_ERR_MEMORY, "corpus: out of memory");
    }
    *out = corpus;
    return SG_OK;
}

// Looks every file up, and adds up their sizes.
static sg_status corpus_look_up(sg_corpus *corpus, sg_error *err)
{
    bool standard_input = false;
    for (size_t i = 0; i < corpus->count; i++) {
        const char *path = corpus->paths[i];
        if (strcmp(path, "-") == 0) {
            if (standard_input)
                return sg_fail(err, SG_ERR_ARGUMENT, "-: the standard input is named twice");
            standard_input = true;
            continue;
        }
        int64_t bytes;
        SG_TRY(sg_path_bytes(path, &bytes, err));
        if (sg_path_is_folder(path))
            return sg_fail(err, SG_ERR_IO, "%s: is a folder, expected a file", path);
        corpus->total += bytes;
    }
    if (standard_input) corpus->total = 0;
    return SG_OK;
}

sg_status sg_corpus_open(const char *const *paths, size_t count, const sg_corpus_options *options,
                         sg_corpus **out, sg_error *err)
{
    sg_corpus *corpus;
    *out = NULL;
    SG_TRY(corpus_new(paths, count, options, &corpus, err));
    sg_status status = corpus_look_up(corpus, err);
    if (status != SG_OK) {
        sg_corpus_close(corpus);
        return status;
    }
    *out = corpus;
    return SG_OK;
}

sg_status sg_corpus_open_memory(const void *data, size_t bytes, const char *name,
                                const sg_corpus_options *options, sg_corpus **out, sg_error *err)
{
    SG_TRY(corpus_new(&name, 1, options, out, err));
    (*out)->in_memory = true;
    (*out)->memory = data;
    (*out)->memory_bytes = bytes;
    (*out)->total = (int64_t)bytes;
    return SG_OK;
}

void sg_corpus_close(sg_corpus *corpus)
{
    if (corpus == NULL) return;
    sg_source_close(corpus->source);
    json_decref(corpus->value);
    if (corpus->paths != NULL) {
        for (size_t i = 0; i < corpus->count; i++)
            sg_free(corpus->paths[i]);
        sg_free(corpus->paths);
    }
    sg_free(corpus->separator);
    sg_free(corpus->field);
    sg_free(corpus->buffer);
    sg_free(corpus);
}

void sg_corpus_progress(const sg_corpus *corpus, int64_t *done, int64_t *total)
{
    *done = corpus->done + (corpus->source ? sg_source_position(corpus->source) : 0);
    *total = corpus->total;
}

// ---- the window over one file -------------------------------------------------------------------

static const char *corpus_path(const sg_corpus *corpus)
{
    const char *path = corpus->paths[corpus->file];
    return strcmp(path, "-") == 0 ? "standard input" : path;
}

// Reads more content behind what is there, dropping what was handed out.
static sg_status corpus_fill(sg_corpus *corpus, sg_error *err)
{
    // A separator line may stand unfinished behind a document of the full length.
    size_t held = corpus->used - corpus->document;
    if (held > corpus->options.max_document + corpus->separator_bytes + 4)
        return sg_fail(
            err, SG_ERR_FORMAT, "%s: the %s at byte %lld is longer than the limit of %zu bytes",
            corpus_path(corpus), corpus->lines_of_json ? "line" : "document",
            (long long)(corpus->offset + (int64_t)corpus->document), corpus->options.max_document);
    if (corpus->document > 0) {
        size_t drop = corpus->document;
        memmove(corpus->buffer, corpus->buffer + drop, held);
        corpus->offset += (int64_t)drop;
        corpus->used -= drop;
        corpus->line -= drop;
        corpus->seen -= drop;
        corpus->document = 0;
    }
    if (corpus->capacity - corpus->used < corpus_chunk / 4 &&
        !sg_grow((void **)&corpus->buffer, &corpus->capacity, corpus->used + corpus_chunk, 1))
        return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory for a document of %zu bytes",
                       corpus_path(corpus), corpus->used);
    size_t got;
    SG_TRY(sg_source_read(corpus->source, corpus->buffer + corpus->used,
                          corpus->capacity - corpus->used, &got, err));
    corpus->used += got;
    corpus->source_end = got == 0;
    return SG_OK;
}

static sg_status corpus_start_file(sg_corpus *corpus, sg_error *err)
{
    const char *path = corpus->paths[corpus->file];
    if (corpus->in_memory)
        SG_TRY(sg_source_open_memory(corpus->memory, corpus->memory_bytes, path, &corpus->source,
                                     err));
    else
        SG_TRY(sg_source_open(path, &corpus->source, err));
    corpus->lines_of_json = corpus_is_json(corpus, path);
    corpus->source_end = false;
    corpus->used = corpus->document = corpus->line = corpus->seen = 0;
    corpus->offset = 0;
    corpus->line_number = 1;
    while (corpus->used < 3 && !corpus->source_end)
        SG_TRY(corpus_fill(corpus, err));
    if (corpus->used >= 3 && memcmp(corpus->buffer, "\xef\xbb\xbf", 3) == 0)
        corpus->document = corpus->line = corpus->seen = 3;
    return SG_OK;
}

static void corpus_finish_file(sg_corpus *corpus)
{
    corpus->done += sg_source_position(corpus->source);
    sg_source_close(corpus->source);
    corpus->source = NULL;
    corpus->file++;
}

// Moves `seen` to the next line end, reading as needed. *found is false when the file ended first;
// the last line then reaches to `used`.
static sg_status corpus_find_line_end(sg_corpus *corpus, bool *found, sg_error *err)
{
    for (;;) {
        const char *from = corpus->buffer + corpus->seen;
        const char *at = memchr(from, '\n', corpus->used - corpus->seen);
        *found = at != NULL;
        corpus->seen = at ? corpus->seen + (size_t)(at - from) : corpus->used;
        if (at != NULL || corpus->source_end) return SG_OK;
        SG_TRY(corpus_fill(corpus, err));
    }
}

// ---- documents --------------------------------------------------------------------------------

static bool corpus_is_blank(const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (memchr(" \t\r\n\v\f", text[i], 6) == NULL) return false;
    return true;
}

// Drops one line end, "\n" or "\r\n", from the end of [text, text + bytes).
static size_t corpus_without_line_end(const char *text, size_t bytes)
{
    if (bytes > 0 && text[bytes - 1] == '\n') bytes--;
    if (bytes > 0 && text[bytes - 1] == '\r') bytes--;
    return bytes;
}

static sg_status corpus_hand_out(const sg_corpus *corpus, size_t start, size_t end, bool trim,
                                 sg_document *document, sg_error *err)
{
    const char *text = corpus->buffer + start;
    size_t bytes = trim ? corpus_without_line_end(text, end - start) : end - start;
    if (bytes > corpus->options.max_document)
        return sg_fail(err, SG_ERR_FORMAT,
                       "%s: the document at byte %lld has %zu bytes, more than the limit of %zu",
                       corpus_path(corpus), (long long)(corpus->offset + (int64_t)start), bytes,
                       corpus->options.max_document);
    if (corpus_is_blank(text, bytes)) return SG_OK; // document->text stays NULL
    *document = (sg_document){.text = text, .bytes = bytes, .file = corpus->file};
    return SG_OK;
}

static bool corpus_is_separator(const sg_corpus *corpus, size_t start, size_t end)
{
    const char *line = corpus->buffer + start;
    size_t bytes = end - start;
    if (bytes > 0 && line[bytes - 1] == '\r') bytes--;
    return corpus->separator != NULL && bytes == corpus->separator_bytes &&
           memcmp(line, corpus->separator, bytes) == 0;
}

// The next document of the open text file; none when the file has ended.
static sg_status corpus_next_text(sg_corpus *corpus, sg_document *document, sg_error *err)
{
    bool found = true;
    while (found && document->text == NULL) {
        SG_TRY(corpus_find_line_end(corpus, &found, err));
        bool separator = corpus_is_separator(corpus, corpus->line, corpus->seen);
        if (separator || !found) {
            size_t end = separator ? corpus->line : corpus->used;
            bool trim = corpus->separator != NULL;
            SG_TRY(corpus_hand_out(corpus, corpus->document, end, trim, document, err));
        }
        if (found) corpus->line = ++corpus->seen;
        if (separator && found) corpus->document = corpus->line;
        if (!found) corpus->document = corpus->line = corpus->seen = corpus->used;
    }
    return SG_OK;
}

static sg_status corpus_parse_line(sg_corpus *corpus, const char *line, size_t bytes,
                                   sg_document *document, sg_error *err)
{
    char name[SG_PATH_MAX + 32];
    snprintf(name, sizeof name, "%s:%lld", corpus_path(corpus), (long long)corpus->line_number);
    SG_TRY(sg_json_parse(line, bytes, name, &corpus->value, err));
    const char *text;
    SG_TRY(sg_json_get_string(corpus->value, name, corpus->field, true, &text, err));
    size_t length = json_string_length(json_object_get(corpus->value, corpus->field));
    if (!corpus_is_blank(text, length))
        *document = (sg_document){.text = text, .bytes = length, .file = corpus->file};
    return SG_OK;
}

static sg_status corpus_next_json(sg_corpus *corpus, sg_document *document, sg_error *err)
{
    bool found = true;
    while (found && document->text == NULL) {
        SG_TRY(corpus_find_line_end(corpus, &found, err));
        const char *line = corpus->buffer + corpus->line;
        size_t bytes = corpus->seen - corpus->line;
        if (bytes > corpus->options.max_document)
            return sg_fail(err, SG_ERR_FORMAT,
                           "%s:%lld: the line has %zu bytes, more than the limit of %zu",
                           corpus_path(corpus), (long long)corpus->line_number, bytes,
                           corpus->options.max_document);
        json_decref(corpus->value);
        corpus->value = NULL;
        if (!corpus_is_blank(line, bytes))
            SG_TRY(corpus_parse_line(corpus, line, bytes, document, err));
        if (found) corpus->seen++;
        corpus->document = corpus->line = corpus->seen;
        corpus->line_number++;
    }
    return SG_OK;
}

sg_status sg_corpus_next(sg_corpus *corpus, sg_document *document, sg_error *err)
{
    *document = (sg_document){0};
    while (corpus->source != NULL || corpus->file < corpus->count) {
        if (corpus->source == NULL) SG_TRY(corpus_start_file(corpus, err));
        if (corpus->lines_of_json)
            SG_TRY(corpus_next_json(corpus, document, err));
        else
            SG_TRY(corpus_next_text(corpus, document, err));
        if (document->text != NULL) return SG_OK;
        corpus_finish_file(corpus);
    }
    return SG_OK;
}

sg_status sg_corpus_text(void *corpus, const char **text, size_t *bytes, sg_error *err)
{
    sg_document document;
    sg_status status = sg_corpus_next(corpus, &document, err);
    *text = document.text;
    *bytes = document.bytes;
    return status;
}
