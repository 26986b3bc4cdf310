// Any bytes as a corpus: the first byte says how they are to be read, the rest is the file.
// Whatever it holds, documents come out or an error does.
#include <stdint.h>
#include <stdlib.h>

#include "text/corpus.h"
#include "sgatlin_data.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"a.jsonl",  "a.txt",       "a.jsonl.gz",
                                        "a.txt.gz", "a.jsonl.zst", "a.txt.zst"};
    if (size == 0) return 0;
    sg_corpus_options options = sg_corpus_options_default();
    options.max_document = 1 << 16;
    if (data[0] & 8) options.separator = NULL;
    sg_error err = {0};
    sg_corpus *corpus;
    sg_document document;
    if (sg_corpus_open_memory(data + 1, size - 1, names[(data[0] & 7) % 6], &options, &corpus,
                              &err) != SG_OK)
        return 0;
    uint64_t sum = 0;
    size_t read = 0;
    while (sg_corpus_next(corpus, &document, &err) == SG_OK && document.text != NULL) {
        if (document.bytes == 0 || document.bytes > options.max_document) abort();
        for (size_t i = 0; i < document.bytes; i++)
            sum += (unsigned char)document.text[i];
        read += document.bytes;
        if (read > (size_t)4 << 20) break; // a few bytes of zstd may hold gigabytes
    }
    int64_t done, total;
    sg_corpus_progress(corpus, &done, &total);
    if (done > total || sum > read * 255) abort();
    sg_corpus_close(corpus);
    return 0;
}
