// Cutting a stream of text into documents, at separator lines or at every line.
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "text/corpus_inside.h"

enum { corpus_chunk = 1 << 17 };

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

static sg_corpus_kind corpus_kind_of(const sg_corpus *corpus, const char *name)
{
    static const char *const json[] = {".jsonl", ".ndjson", ".json"};
    if (corpus->options.kind != SG_CORPUS_AUTO) return corpus->options.kind;
    size_t n = strlen(name);
    if (sg_name_ends(name, n, ".gz")) n -= 3;
    if (sg_name_ends(name, n, ".zst")) n -= 4;
    for (size_t i = 0; i < sizeof json / sizeof *json; i++)
        if (sg_name_ends(name, n, json[i])) return SG_CORPUS_JSONL;
    return SG_CORPUS_TEXT;
}

static sg_status corpus_check_options(const sg_corpus_options *options, sg_error *err)
{
    if ((int)options->kind < SG_CORPUS_AUTO || options->kind > SG_CORPUS_LINES)
        return sg_fail(err, SG_ERR_ARGUMENT, "corpus kind: found %d, expected 0 to 3",
                       (int)options->kind);
    if ((int)options->bad_text < SG_BAD_TEXT_REPLACE || options->bad_text > SG_BAD_TEXT_STOP)
        return sg_fail(err, SG_ERR_ARGUMENT, "bad text: found %d, expected replace, skip or stop",
                       (int)options->bad_text);
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
    sg_decoded_close(corpus->source);
    json_decref(corpus->value);
    sg_free(corpus->repaired.data);
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
    *done = corpus->done + (corpus->source ? sg_decoded_position(corpus->source) : 0);
    *total = corpus->total;
}

sg_text_counts sg_corpus_counts(const sg_corpus *corpus)
{
    return corpus->counts;
}

// ---- the window over one file -------------------------------------------------------------------

const char *sg_corpus_path(const sg_corpus *corpus)
{
    const char *path = corpus->paths[corpus->file];
    return strcmp(path, "-") == 0 ? "standard input" : path;
}

sg_status sg_corpus_fill(sg_corpus *corpus, sg_error *err)
{
    static const char *const names[] = {"", "document", "line", "line"};
    // A separator line may stand unfinished behind a document of the full length.
    size_t held = corpus->used - corpus->document;
    if (held > corpus->options.max_document + corpus->separator_bytes + 4)
        return sg_fail(
            err, SG_ERR_FORMAT, "%s: the %s at byte %lld is longer than the limit of %zu bytes",
            sg_corpus_path(corpus), corpus->array ? "element" : names[corpus->kind],
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
                       sg_corpus_path(corpus), corpus->used);
    size_t got;
    SG_TRY(sg_decoded_read(corpus->source, corpus->buffer + corpus->used,
                           corpus->capacity - corpus->used, &got, err));
    corpus->used += got;
    corpus->source_end = got == 0;
    return SG_OK;
}

static sg_status corpus_start_file(sg_corpus *corpus, sg_error *err)
{
    const char *path = corpus->paths[corpus->file];
    if (corpus->in_memory)
        SG_TRY(sg_decoded_open_memory(corpus->memory, corpus->memory_bytes, path, &corpus->source,
                                      err));
    else
        SG_TRY(sg_decoded_open(path, &corpus->source, err));
    corpus->kind = corpus_kind_of(corpus, path);
    corpus->source_end = corpus->ended = corpus->array = corpus->array_begun = false;
    corpus->used = corpus->document = corpus->line = corpus->seen = 0;
    corpus->offset = 0;
    corpus->line_number = corpus->document_line = 1;
    SG_TRY(sg_corpus_fill(corpus, err));
    return corpus->kind == SG_CORPUS_JSONL ? sg_corpus_json_start(corpus, err) : SG_OK;
}

static void corpus_finish_file(sg_corpus *corpus)
{
    corpus->done += sg_decoded_position(corpus->source);
    sg_decoded_close(corpus->source);
    corpus->source = NULL;
    corpus->file++;
}

sg_status sg_corpus_line_end(sg_corpus *corpus, bool *found, sg_error *err)
{
    for (;;) {
        const char *from = corpus->buffer + corpus->seen;
        const char *at = memchr(from, '\n', corpus->used - corpus->seen);
        *found = at != NULL;
        corpus->seen = at ? corpus->seen + (size_t)(at - from) : corpus->used;
        if (at != NULL || corpus->source_end) return SG_OK;
        SG_TRY(sg_corpus_fill(corpus, err));
    }
}

// ---- documents --------------------------------------------------------------------------------

bool sg_corpus_is_blank(const char *text, size_t bytes)
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

// The text at `text` is not UTF-8 from `good` on: the line of that is counted from the document's.
static sg_status corpus_stop(const sg_corpus *corpus, const char *text, size_t good, sg_error *err)
{
    int64_t line = corpus->document_line;
    for (size_t i = 0; i < good; i++)
        line += text[i] == '\n';
    if (sg_decoded_encoding(corpus->source) != SG_ENCODING_UTF8)
        return sg_fail(err, SG_ERR_FORMAT,
                       "%s:%lld: found half a character, expected UTF-16 or "
                       "UTF-32, as its byte order mark says",
                       sg_corpus_path(corpus), (long long)line);
    return sg_fail(err, SG_ERR_FORMAT, "%s:%lld: found byte 0x%02x, expected UTF-8",
                   sg_corpus_path(corpus), (long long)line, (unsigned char)text[good]);
}

// Makes *document UTF-8 as the options say; its text becomes NULL when it is left out.
static sg_status corpus_check(sg_corpus *corpus, sg_document *document, sg_error *err)
{
    size_t good = sg_utf8_valid_prefix(document->text, document->bytes);
    if (good == document->bytes) return SG_OK;
    if (corpus->options.bad_text == SG_BAD_TEXT_STOP)
        return corpus_stop(corpus, document->text, good, err);
    if (corpus->options.bad_text == SG_BAD_TEXT_SKIP) {
        corpus->counts.skipped++;
        *document = (sg_document){0};
        return SG_OK;
    }
    corpus->repaired.count = 0;
    if (!sg_utf8_repair(document->text, document->bytes, &corpus->repaired,
                        &corpus->counts.replaced))
        return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory for a document of %zu bytes",
                       sg_corpus_path(corpus), document->bytes);
    document->text = corpus->repaired.data;
    document->bytes = corpus->repaired.count;
    return SG_OK;
}

// document->text stays NULL when the document is left out. `cut`: a separator, or a line end,
// stands behind it; else it is what the file ends with.
static sg_status corpus_hand_out(sg_corpus *corpus, size_t start, size_t end, bool trim, bool cut,
                                 sg_document *document, sg_error *err)
{
    const char *text = corpus->buffer + start;
    size_t bytes = trim ? corpus_without_line_end(text, end - start) : end - start;
    if (bytes > corpus->options.max_document)
        return sg_fail(err, SG_ERR_FORMAT,
                       "%s: the document at byte %lld has %zu bytes, more than the limit of %zu",
                       sg_corpus_path(corpus), (long long)(corpus->offset + (int64_t)start), bytes,
                       corpus->options.max_document);
    if (sg_corpus_is_blank(text, bytes)) {
        bool counts = cut || !trim || (corpus->kind == SG_CORPUS_LINES && end > start);
        if (!corpus->options.keep_empty) corpus->counts.empty += counts;
        if (!corpus->options.keep_empty || !counts) return SG_OK;
    }
    *document = (sg_document){.text = text, .bytes = bytes, .file = corpus->file};
    return corpus_check(corpus, document, err);
}

static bool corpus_is_separator(const sg_corpus *corpus, size_t start, size_t end)
{
    const char *line = corpus->buffer + start;
    size_t bytes = end - start;
    if (bytes > 0 && line[bytes - 1] == '\r') bytes--;
    return corpus->separator != NULL && bytes == corpus->separator_bytes &&
           memcmp(line, corpus->separator, bytes) == 0;
}

// The next document of the open file of text or lines; none when the file has ended.
static sg_status corpus_next_text(sg_corpus *corpus, sg_document *document, sg_error *err)
{
    const bool lines = corpus->kind == SG_CORPUS_LINES;
    const bool trim = lines || corpus->separator != NULL;
    while (!corpus->ended && document->text == NULL) {
        bool found;
        SG_TRY(sg_corpus_line_end(corpus, &found, err));
        corpus->ended = !found;
        bool cut = lines ? found : corpus_is_separator(corpus, corpus->line, corpus->seen);
        if (cut || !found) {
            size_t end = cut && !lines ? corpus->line : corpus->seen;
            SG_TRY(corpus_hand_out(corpus, corpus->document, end, trim, cut, document, err));
        }
        corpus->seen += found;
        corpus->line = corpus->seen;
        corpus->line_number += found;
        if (cut || !found) {
            corpus->document = corpus->line;
            corpus->document_line = corpus->line_number;
        }
    }
    return SG_OK;
}

sg_status sg_corpus_next(sg_corpus *corpus, sg_document *document, sg_error *err)
{
    *document = (sg_document){0};
    while (corpus->source != NULL || corpus->file < corpus->count) {
        if (corpus->source == NULL) SG_TRY(corpus_start_file(corpus, err));
        if (corpus->kind == SG_CORPUS_JSONL)
            SG_TRY(sg_corpus_json_next(corpus, document, err));
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
