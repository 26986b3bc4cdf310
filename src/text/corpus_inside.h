// The inside of sg_corpus, for corpus.c (files, text) and corpus_json.c (JSON lines and arrays).
#ifndef SG_TEXT_CORPUS_INSIDE_H
#define SG_TEXT_CORPUS_INSIDE_H

#include <jansson.h>

#include "base/utf8.h"
#include "text/corpus.h"
#include "text/encoding.h"

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
    sg_text_counts counts;

    sg_decoded *source;  // NULL between files
    sg_corpus_kind kind; // of the file; never AUTO
    bool source_end;
    // The window of content not yet handed out. Content byte `offset` of the file is at buffer[0].
    char *buffer;
    size_t capacity;
    size_t used;
    size_t document; // where the document (or the line, or the element of JSON) starts
    size_t line;     // where the line being looked at starts
    size_t seen;     // what lies before was looked at
    int64_t offset;
    int64_t line_number;   // of the line at `line`, from 1
    int64_t document_line; // of the line at `document`
    bool ended;            // all that is in the file was handed out
    bool array;            // JSON: the file is one array
    bool array_begun;      // and an element of it was read
    json_t *value;         // owns the text of the document handed out last, if it came from JSON
    sg_bytes repaired;     // and if it was repaired
};

// What errors call the file.
const char *sg_corpus_path(const sg_corpus *corpus);
// Reads more content behind what is there, dropping what lies before `document`.
sg_status sg_corpus_fill(sg_corpus *corpus, sg_error *err);
// Moves `seen` to the next line end, reading as needed. *found is false when the file ended first;
// the last line then reaches to `used`.
sg_status sg_corpus_line_end(sg_corpus *corpus, bool *found, sg_error *err);
// Whether text is nothing but white space.
bool sg_corpus_is_blank(const char *text, size_t bytes);

// Sets corpus->array, at the start of a file of JSON.
sg_status sg_corpus_json_start(sg_corpus *corpus, sg_error *err);
// The next document of the open file of JSON; document->text stays NULL when the file has ended.
sg_status sg_corpus_json_next(sg_corpus *corpus, sg_document *document, sg_error *err);

#endif
