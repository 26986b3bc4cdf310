// Packed data on disk: a folder with a manifest (data.json), the tokenizer that made it
// (tokenizer.json) and shards (train-00000.bin …, val-00000.bin …) of rows of ids, all of one
// length. docs/FORMATS.md has the layout. Reading (sg_data, in sgatlin.h) trusts nothing: counts,
// sizes, headers, checksums and ids are checked. Writing publishes all files together
// (base/publish.h), so that a folder with a manifest is a whole one.
#ifndef SG_FORMAT_SHARDS_H
#define SG_FORMAT_SHARDS_H

#include "base/publish.h"
#include "sgatlin_data.h"

enum {
    SG_SHARD_HEADER = 64,
    SG_SHARD_VERSION = 1,
    SG_SEQ_LEN_MAX = 1 << 20,
    SG_VOCAB_MAX = 1 << 30,
    SG_DATA_MANIFEST_MAX = 64 << 20 // bytes
};
#define SG_DATA_MANIFEST  "data.json"
#define SG_DATA_TOKENIZER "tokenizer.json"

typedef struct sg_shard_entry {
    int64_t rows;
    int64_t bytes;     // of the file, header included
    uint64_t checksum; // sg_hash of the rows
} sg_shard_entry;

typedef struct sg_shard_list {
    sg_shard_entry *entries;
    size_t count;
    size_t capacity;
} sg_shard_list;

typedef struct sg_data_manifest {
    sg_data_info info;
    sg_shard_list shards[2]; // by sg_split
    char **sources;          // names of the files packed
    size_t source_count;
} sg_data_manifest;

// Bytes of one id in a shard: 2 while every id fits.
int sg_shard_id_bytes(int64_t vocab_size);
// The file name of shard `index` of a split, such as "train-00003.bin".
void sg_shard_name(char out[32], sg_split split, size_t index);

// ---- manifest ---------------------------------------------------------------------------------

// Parses and checks a manifest; `name` is what errors call it. Release with sg_data_manifest_clear.
sg_status sg_data_manifest_parse(const char *text, size_t bytes, const char *name,
                                 sg_data_manifest *manifest, sg_error *err);
// *text: sg_free.
sg_status sg_data_manifest_text(const sg_data_manifest *manifest, char **text, sg_error *err);
void sg_data_manifest_clear(sg_data_manifest *manifest);

// ---- reading one shard, for sg_data and the fuzz target -----------------------------------------

// Checks a shard's bytes against the manifest; the checksum of its rows only when `full`.
sg_status sg_shard_check(const void *data, size_t bytes, const char *name, const sg_data_info *info,
                         const sg_shard_entry *entry, bool full, sg_error *err);
// Decodes one row of a checked shard.
sg_status sg_shard_row(const void *data, const char *name, const sg_data_info *info, int64_t row,
                       int32_t *ids, sg_error *err);

// ---- writing ----------------------------------------------------------------------------------

// Writes the rows of one split into shards of about shard_bytes.
typedef struct sg_shard_writer sg_shard_writer;

// `info` gives seq_len, vocab_size and tokenizer_hash; it is copied. Nothing is created before the
// first row.
sg_status sg_shard_writer_new(const char *folder, sg_split split, const sg_data_info *info,
                              int64_t shard_bytes, sg_shard_writer **writer, sg_error *err);
// ids: seq_len values in [0, vocab_size).
sg_status sg_shard_writer_put(sg_shard_writer *writer, const int32_t *ids, sg_error *err);
// Finishes the last shard and hands over the list, even when there is nothing in it. The writer
// can then only be freed.
sg_status sg_shard_writer_finish(sg_shard_writer *writer, sg_shard_list *list, sg_error *err);
// NULL is allowed. Finished or not, files stay.
void sg_shard_writer_free(sg_shard_writer *writer);

// A folder of packed data: the manifest, the tokenizer and the shards, replaced together.
extern const sg_publication sg_data_publication;

#endif
