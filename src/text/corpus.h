// A corpus: documents read one after the other from any number of files, in memory bounded by the
// longest document. Text files hold documents between separator lines, JSON-lines files one
// document a line; both may be compressed. Its interface is the one of sgatlin.h; here is what only
// the inside and tests use.
#ifndef SG_TEXT_CORPUS_H
#define SG_TEXT_CORPUS_H

#include "base/status.h"
#include "sgatlin_data.h"

// A corpus over one file's bytes in memory, which must outlive it; kind and compression are
// recognised as for a file called `name`.
sg_status sg_corpus_open_memory(const void *data, size_t bytes, const char *name,
                                const sg_corpus_options *options, sg_corpus **corpus,
                                sg_error *err);

#endif
