// Documents from JSON: an object a line, or one array of objects over any number of lines, whose
// elements are found one by one, so that memory is bounded by the longest. Bad ones are named by
// file and line.
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "format/json.h"
#include "text/corpus_inside.h"

// ---- one object ---------------------------------------------------------------------------------

// Whether a line breaks off: printed over several lines, or cut.
static bool json_breaks_off(const char *line, size_t bytes)
{
    while (bytes > 0 && sg_corpus_is_blank(line + bytes - 1, 1))
        bytes--;
    return bytes > 0 && line[0] == '{' && line[bytes - 1] != '}';
}

static sg_status json_parse_document(sg_corpus *corpus, const char *text, size_t bytes,
                                     int64_t *replaced, sg_document *document, sg_error *err)
{
    char name[SG_PATH_MAX + 32];
    snprintf(name, sizeof name, "%s:%lld", sg_corpus_path(corpus),
             (long long)corpus->document_line);
    sg_json_options options = sg_json_options_default();
    options.only = corpus->field;
    options.repair = corpus->options.bad_text != SG_BAD_TEXT_STOP;
    options.repaired = replaced;
    sg_status status = sg_json_parse_as(text, bytes, name, &options, &corpus->value, err);
    if (status == SG_ERR_FORMAT && err != NULL && !corpus->array && json_breaks_off(text, bytes)) {
        size_t used = strlen(err->message);
        snprintf(err->message + used, sizeof err->message - used,
                 " (expected JSON lines, a whole object on each line, or one array of objects)");
    }
    if (status != SG_OK) return status;
    const char *said;
    SG_TRY(sg_json_get_string(corpus->value, name, corpus->field, true, &said, err));
    *document =
        (sg_document){.text = said,
                      .bytes = json_string_length(json_object_get(corpus->value, corpus->field)),
                      .file = corpus->file};
    return SG_OK;
}

// document->text stays NULL when the document is left out.
static sg_status json_take(sg_corpus *corpus, const char *text, size_t bytes, sg_document *document,
                           sg_error *err)
{
    int64_t replaced = 0;
    json_decref(corpus->value);
    corpus->value = NULL;
    if (bytes > corpus->options.max_document)
        return sg_fail(err, SG_ERR_FORMAT,
                       "%s:%lld: the %s has %zu bytes, more than the limit of %zu",
                       sg_corpus_path(corpus), (long long)corpus->document_line,
                       corpus->array ? "element" : "line", bytes, corpus->options.max_document);
    SG_TRY(json_parse_document(corpus, text, bytes, &replaced, document, err));
    if (replaced > 0 && corpus->options.bad_text == SG_BAD_TEXT_SKIP) {
        corpus->counts.skipped++;
        *document = (sg_document){0};
        return SG_OK;
    }
    corpus->counts.replaced += replaced;
    if (!corpus->options.keep_empty && sg_corpus_is_blank(document->text, document->bytes)) {
        corpus->counts.empty++;
        *document = (sg_document){0};
    }
    return SG_OK;
}

// ---- lines --------------------------------------------------------------------------------------

static sg_status json_next_line(sg_corpus *corpus, sg_document *document, sg_error *err)
{
    while (!corpus->ended && document->text == NULL) {
        bool found;
        SG_TRY(sg_corpus_line_end(corpus, &found, err));
        corpus->ended = !found;
        const char *line = corpus->buffer + corpus->line;
        size_t bytes = corpus->seen - corpus->line;
        if (!sg_corpus_is_blank(line, bytes)) SG_TRY(json_take(corpus, line, bytes, document, err));
        corpus->seen += found;
        corpus->document = corpus->line = corpus->seen;
        corpus->document_line += found;
    }
    return SG_OK;
}

// ---- an array -----------------------------------------------------------------------------------

// Passes over white space; *next is what follows at corpus->document, or -1: the end of the file.
static sg_status json_peek(sg_corpus *corpus, int *next, sg_error *err)
{
    for (;;) {
        for (; corpus->document < corpus->used; corpus->document++) {
            char c = corpus->buffer[corpus->document];
            corpus->line = corpus->seen = corpus->document;
            *next = (unsigned char)c;
            if (c == '\n')
                corpus->document_line++;
            else if (c != ' ' && c != '\t' && c != '\r')
                return SG_OK;
        }
        corpus->line = corpus->seen = corpus->document;
        *next = -1;
        if (corpus->source_end) return SG_OK;
        SG_TRY(sg_corpus_fill(corpus, err));
    }
}

static sg_status json_step(sg_corpus *corpus, int *next, sg_error *err)
{
    corpus->document++;
    return json_peek(corpus, next, err);
}

static sg_status json_wrong(const sg_corpus *corpus, int next, const char *expected, sg_error *err)
{
    char found[16] = "the end";
    if (next > 0x20 && next < 0x7F)
        snprintf(found, sizeof found, "'%c'", next);
    else if (next >= 0)
        snprintf(found, sizeof found, "byte 0x%02x", (unsigned)next);
    return sg_fail(err, SG_ERR_FORMAT, "%s:%lld: found %s, expected %s", sg_corpus_path(corpus),
                   (long long)corpus->document_line, found, expected);
}

sg_status sg_corpus_json_start(sg_corpus *corpus, sg_error *err)
{
    int next;
    SG_TRY(json_peek(corpus, &next, err));
    corpus->array = next == '[';
    return SG_OK;
}

// Moves `seen` behind the element at corpus->document, reading as needed, and counts its lines.
// What it is, the parser says: here brackets outside of strings are counted.
static sg_status json_find_end(sg_corpus *corpus, int64_t *lines, sg_error *err)
{
    int64_t depth = 0;
    bool in_string = false, escaped = false;
    *lines = 0;
    for (corpus->seen = corpus->document;; corpus->seen++) {
        if (corpus->seen == corpus->used) {
            if (corpus->source_end) return json_wrong(corpus, -1, "the rest of an element", err);
            SG_TRY(sg_corpus_fill(corpus, err));
            corpus->seen--; // look again
            continue;
        }
        char c = corpus->buffer[corpus->seen];
        *lines += c == '\n';
        if (in_string) {
            if (!escaped && c == '"') in_string = false;
            escaped = !escaped && c == '\\';
            continue;
        }
        if (depth == 0 && (c == ',' || c == ']' || c == '}')) return SG_OK;
        in_string = c == '"';
        depth += (c == '{' || c == '[') - (c == '}' || c == ']');
    }
}

static sg_status json_next_element(sg_corpus *corpus, sg_document *document, sg_error *err)
{
    int next;
    while (document->text == NULL) {
        SG_TRY(json_peek(corpus, &next, err));
        if (!corpus->array_begun || next == ',') { // the bracket, or a comma
            bool first = !corpus->array_begun;
            corpus->array_begun = true;
            SG_TRY(json_step(corpus, &next, err));
            if (first && next == ']') continue;
            if (next != '{')
                return json_wrong(corpus, next, "an object, an element of the array", err);
            int64_t lines;
            SG_TRY(json_find_end(corpus, &lines, err));
            SG_TRY(json_take(corpus, corpus->buffer + corpus->document,
                             corpus->seen - corpus->document, document, err));
            corpus->document = corpus->line = corpus->seen;
            corpus->document_line += lines;
        } else if (next == ']') {
            SG_TRY(json_step(corpus, &next, err));
            if (next >= 0) return json_wrong(corpus, next, "nothing behind the array", err);
            corpus->ended = true;
            return SG_OK;
        } else {
            return json_wrong(corpus, next, "',' or ']' behind an element", err);
        }
    }
    return SG_OK;
}

sg_status sg_corpus_json_next(sg_corpus *corpus, sg_document *document, sg_error *err)
{
    if (corpus->ended) return SG_OK;
    return corpus->array ? json_next_element(corpus, document, err)
                         : json_next_line(corpus, document, err);
}
