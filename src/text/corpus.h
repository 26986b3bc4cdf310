// A corpus: documents read one after the other from any number of files, in memory bounded by the
// longest document. Text files hold documents between separator lines, JSON-lines files one document
// a line; both may be compressed. The options (sg_corpus_options) stand in sgatlin.h.
//
// A text document loses the one line end in front of its separator, or at the end of its file;
// without a separator it is the file as it is. Documents of nothing but white space are left out.
// A UTF-8 byte order mark at the start of a file is dropped. Bytes are not checked to be UTF-8 in
// text; JSON must be.
#ifndef SG_TEXT_CORPUS_H
#define SG_TEXT_CORPUS_H

#include "base/status.h"

typedef struct sg_corpus sg_corpus;

typedef struct sg_document {
    const char *text; // not NUL-terminated; valid until the next call; NULL after the last document
    size_t bytes;
    size_t file; // index of its path
} sg_document;

// Opens a list of paths ("-" is the standard input, at most once). Every path but "-" is looked up
// at once, so that a wrong name fails now and not after hours. options may be NULL.
sg_status sg_corpus_open(const char *const *paths, size_t count, const sg_corpus_options *options,
                         sg_corpus **corpus, sg_error *err);
// The same over one file's bytes in memory, which must outlive the corpus; kind and compression are
// told as for a file called `name`.
sg_status sg_corpus_open_memory(const void *data, size_t bytes, const char *name,
                                const sg_corpus_options *options, sg_corpus **corpus,
                                sg_error *err);
void sg_corpus_close(sg_corpus *corpus);

// The next document; document->text is NULL when there is none. After an error the corpus can only
// be closed.
sg_status sg_corpus_next(sg_corpus *corpus, sg_document *document, sg_error *err);

// Bytes read from the files (as stored) and their sum; total is 0 when the standard input is one.
void sg_corpus_progress(const sg_corpus *corpus, int64_t *done, int64_t *total);

#endif
