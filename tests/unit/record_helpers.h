// For tests of records: tiny data and models, recordings of them, and a checksum of what a record
// holds.
#ifndef SG_TEST_RECORD_HELPERS_H
#define SG_TEST_RECORD_HELPERS_H

#include "base/hash.h"
#include "context_on.h"
#include "model/model.h"
#include "pack_bytes.h"
#include "probe/records.h"
#include "system_folder.h"
#include "tiny_models.h"

static inline void must(sg_status status, const sg_error *err)
{
    if (status != SG_OK) fail_msg("%s", err->message);
}

static inline sg_model *model_of(sg_context *context, const char *kind, uint64_t seed)
{
    sg_model *model;
    sg_error err = {0};
    const sg_config c = tiny_config(kind, BYTES_VOCAB, 64);
    must(sg_model_new(context, &c, seed, &model, &err), &err);
    return model;
}

// Lines of letters, packed in rows of `length`; padded: a line a row.
static inline sg_data *data_of(const fixture *f, int lines, int64_t length, bool padded)
{
    char *text = calloc((size_t)lines, 24), *at = text;
    sg_data *data;
    sg_error err = {0};
    const sg_pack_encoder encoder = bytes_encoder();
    sg_pack_options pack = sg_pack_options_default();
    pack.seq_len = length;
    pack.val_fraction = 1;
    pack.mode = padded ? SG_PACK_PAD : SG_PACK_CONCAT;
    pack.corpus.kind = SG_CORPUS_LINES;
    pack.force = true;
    for (int i = 0; i < lines; i++)
        at += snprintf(at, 24, "%.*s\n", 3 + i * 7 % 9, &"the cat sat"[i % 3]);
    must(bytes_pack(text, &encoder, NULL, &pack, path_in(f, "data"), NULL, &err), &err);
    must(sg_data_open(path_in(f, "data"), SG_VERIFY_AUTO, &data, &err), &err);
    free(text);
    return data;
}

static inline sg_record_options options_of(const char *path, const sg_data *data)
{
    sg_record_options o = sg_record_options_default();
    o.path = path;
    o.data = data;
    o.max_tokens = 0;
    o.micro_batch = 3;
    return o;
}

static inline sg_record *open_of(const char *path)
{
    sg_record *record;
    sg_error err = {0};
    must(sg_record_open(path, &record, &err), &err);
    return record;
}

static inline void add_rows(sg_database *d, const char *sql, sg_hasher *hasher)
{
    sg_statement *s;
    sg_error err = {0};
    bool row;
    must(sg_database_prepare(d, sql, &s, &err), &err);
    must(sg_statement_step(s, &row, &err), &err);
    while (row) {
        for (int c = 0; c < sg_statement_columns(s); c++) {
            const sg_column_type type = sg_statement_type(s, c);
            int64_t i = 0;
            double r = 0;
            const char *t = "";
            size_t bytes = 0;
            if (type == SG_COLUMN_INT)
                must(sg_statement_int(s, c, INT64_MIN, INT64_MAX, &i, &err), &err);
            if (type == SG_COLUMN_REAL) must(sg_statement_real(s, c, &r, &err), &err);
            if (type == SG_COLUMN_TEXT) must(sg_statement_text(s, c, &t, &bytes, &err), &err);
            sg_hasher_add(hasher, &type, sizeof type);
            sg_hasher_add(hasher, &i, sizeof i);
            sg_hasher_add(hasher, &r, sizeof r);
            sg_hasher_add(hasher, t, bytes);
        }
        must(sg_statement_step(s, &row, &err), &err);
    }
    sg_statement_free(s);
}

// Of all rows of all tables but meta, and whether it is complete.
static inline uint64_t digest_of(const char *path)
{
    static const char *const tables[] = {
        "SELECT * FROM layer",
        "SELECT * FROM channel",
        "SELECT * FROM sequence",
        "SELECT * FROM token",
        "SELECT * FROM gate",
        "SELECT * FROM prediction",
        "SELECT * FROM span",
        "SELECT * FROM posting",
        "SELECT * FROM neuron",
        "SELECT * FROM vocabulary",
        "SELECT value FROM meta WHERE key = 'complete'",
        "SELECT name, sql FROM sqlite_master WHERE type = 'index' ORDER BY name"};
    sg_record *record = open_of(path);
    sg_hasher *hasher = sg_hasher_new();
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
        add_rows(sg_record_database(record), tables[i], hasher);
    const uint64_t value = sg_hasher_value(hasher);
    sg_hasher_free(hasher);
    sg_record_free(record);
    return value;
}

#endif
