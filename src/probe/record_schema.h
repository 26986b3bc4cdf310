// The tables and views of a record, as SQL that is made from its sizes, and the names in it.
//
// All big tables are only ever added to at their end, under ids that say what a row is of: a row is
// found by its id, and writing needs no index.
//
//     token        id = sequence * length + position
//     prediction   id = token.id
//     gate         id = token.id * channels + channel.id; slots (neuron, score, activation) side by
//                  side, empty ones NULL
//     posting      id = span.id * neurons + neuron.id: the tokens of a span for which it fired
//     neuron       id = channel.first_neuron + number in the channel; only those that ever fired
//
// A span is a run of token ids; postings and sums of neurons are written when it is whole, in the
// transaction of its last tokens.
#ifndef SG_PROBE_RECORD_SCHEMA_H
#define SG_PROBE_RECORD_SCHEMA_H

#include "base/utf8.h"
#include "format/sqlite.h"

extern const sg_database_kind sg_record_kind;

enum {
    SG_RECORD_SLOTS_MAX = 256,      // of a row of gate
    SG_RECORD_CHANNELS_MAX = 65536, // of all layers
    SG_RECORD_PREDICTIONS_MAX = 100
};

// What the tables depend on.
typedef struct sg_record_sizes {
    int64_t length;      // tokens of a sequence
    int64_t channels;    // that are recorded, of all layers
    int64_t neurons;     // of these, together
    int64_t slots;       // of a row of gate: the most of a layer
    int64_t predictions; // of a token
    int64_t span;        // tokens
} sg_record_sizes;

// The tables and views in order; NULL behind the last.
const char *sg_record_table(int index, bool *is_view);
// CREATE TABLE or CREATE VIEW of one of them into `sql`, which is emptied first.
sg_status sg_record_create(const char *name, const sg_record_sizes *sizes, sg_bytes *sql,
                           sg_error *err);
// All of them, in a database that is being made.
sg_status sg_record_create_all(sg_database *database, const sg_record_sizes *sizes, sg_error *err);
// That the tables (not the views) of a database are these.
sg_status sg_record_check_tables(sg_database *database, const sg_record_sizes *sizes,
                                 sg_error *err);
// "INSERT INTO TABLE VALUES(?1,…)" with so many parameters.
sg_status sg_record_insert(sg_database *database, const char *table, int64_t parameters,
                           sg_statement **statement, sg_error *err);
// printf at the end of a text. False: out of memory.
bool sg_record_print(sg_bytes *text, const char *format, ...) SG_PRINTF(2, 3);

// Values of meta.
sg_status sg_record_set_text(sg_database *database, const char *key, const char *value,
                             sg_error *err);
sg_status sg_record_set_int(sg_database *database, const char *key, int64_t value, sg_error *err);
sg_status sg_record_get_int(sg_database *database, const char *key, int64_t low, int64_t high,
                            int64_t *value, sg_error *err);
// *text: sg_free. SG_ERR_FORMAT where there is none.
sg_status sg_record_get_text(sg_database *database, const char *key, char **text, sg_error *err);

#endif
