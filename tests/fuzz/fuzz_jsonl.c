// Any bytes as a corpus: the first byte says how they are to be read, the rest is the file.
// Whatever it holds, documents of UTF-8 come out, the same ones the second time, or an error does.
#include <stdint.h>
#include <stdlib.h>

#include "base/utf8.h"
#include "text/corpus.h"
#include "sgatlin_data.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool fine)
{
    if (!fine) abort();
}

static sg_corpus_options options_of(uint8_t byte)
{
    sg_corpus_options options = sg_corpus_options_default();
    options.max_document = 1 << 16;
    if (byte & 8) options.separator = NULL;
    options.bad_text = (sg_bad_text)((byte >> 4 & 3) % 3);
    options.keep_empty = byte & 64;
    if (byte & 128) options.kind = SG_CORPUS_LINES;
    return options;
}

// A sum over all documents, and whether reading ended well.
static uint64_t read_all(const uint8_t *data, size_t size, bool *well)
{
    static const char *const names[] = {"a.jsonl",     "a.txt",     "a.jsonl.gz", "a.txt.gz",
                                        "a.jsonl.zst", "a.txt.zst", "a.JSON",     "a.Txt.GZ"};
    const sg_corpus_options options = options_of(data[0]);
    sg_error err = {0};
    sg_corpus *corpus;
    sg_document document;
    must(sg_corpus_open_memory(data + 1, size - 1, names[data[0] & 7], &options, &corpus, &err) ==
         SG_OK);
    uint64_t sum = 0;
    size_t read = 0;
    sg_status status;
    while ((status = sg_corpus_next(corpus, &document, &err)) == SG_OK && document.text != NULL) {
        must(document.bytes > 0 || options.keep_empty);
        must(document.bytes <= 3 * options.max_document); // a bad byte becomes three
        must(sg_utf8_valid_prefix(document.text, document.bytes) == document.bytes);
        for (size_t i = 0; i < document.bytes; i++)
            sum = sum * 31 + (unsigned char)document.text[i];
        sum = sum * 31 + 257;
        read += document.bytes;
        if (read > (size_t)4 << 20) break; // a few bytes of zstd may hold gigabytes
    }
    int64_t done, total;
    sg_corpus_progress(corpus, &done, &total);
    must(done <= total);
    sg_text_counts counts = sg_corpus_counts(corpus);
    must(counts.replaced == 0 || options.bad_text == SG_BAD_TEXT_REPLACE);
    must(counts.skipped == 0 || options.bad_text == SG_BAD_TEXT_SKIP);
    must(counts.empty == 0 || !options.keep_empty);
    *well = status == SG_OK;
    sg_corpus_close(corpus);
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    bool well[2];
    uint64_t first = read_all(data, size, &well[0]);
    must(first == read_all(data, size, &well[1]) && well[0] == well[1]);
    return 0;
}
