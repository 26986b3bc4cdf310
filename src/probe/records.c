// Opening a record, and what is asked of it token by token. Tables are compared with ours when it
// is opened, values with their ranges as they are read: a record that somebody else made may hold
// anything.
#include "probe/records.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "probe/records_inside.h"

enum { record_vocabulary_most = 1 << 24, record_length_most = 1 << 30, word_bytes_most = 1 << 16 };

// ---- what it says of itself ---------------------------------------------------------------------

static sg_status record_sizes_read(sg_record *r, sg_error *err)
{
    sg_database *d = r->database;
    sg_record_sizes *s = &r->sizes;
    sg_record_info *i = &r->info;
    int64_t complete;
    SG_TRY(sg_record_get_int(d, "length", 1, record_length_most, &s->length, err));
    SG_TRY(sg_record_get_int(d, "channels", 1, SG_RECORD_CHANNELS_MAX, &s->channels, err));
    SG_TRY(sg_record_get_int(d, "neurons", 1, INT32_MAX, &s->neurons, err));
    SG_TRY(sg_record_get_int(d, "slots", 1, SG_RECORD_SLOTS_MAX, &s->slots, err));
    SG_TRY(sg_record_get_int(d, "predictions", 0, SG_RECORD_PREDICTIONS_MAX, &s->predictions, err));
    SG_TRY(sg_record_get_int(d, "span", 1, 1 << 20, &s->span, err));
    SG_TRY(
        sg_record_get_int(d, "planned", 1, INT64_MAX / SG_RECORD_CHANNELS_MAX, &i->planned, err));
    SG_TRY(sg_record_get_int(d, "stop_at_layer", -1, INT32_MAX, &i->stop_at_layer, err));
    SG_TRY(sg_record_get_int(d, "vocabulary", 1, record_vocabulary_most, &i->vocabulary, err));
    SG_TRY(sg_record_get_int(d, "complete", 0, 1, &complete, err));
    i->complete = complete == 1;
    i->length = s->length;
    i->predictions = s->predictions;
    return sg_record_check_tables(d, s, err);
}

static sg_status record_texts_read(sg_record *r, sg_error *err)
{
    static const char *const keys[] = {"model", "source", "command", "version"};
    const char **const to[] = {&r->info.model, &r->info.source, &r->info.command, &r->info.version};
    char *checksum, *end;
    for (int i = 0; i < 4; i++) {
        SG_TRY(sg_record_get_text(r->database, keys[i], &r->texts[i], err));
        *to[i] = r->texts[i];
    }
    SG_TRY(sg_record_get_text(r->database, "model_checksum", &checksum, err));
    r->info.model_checksum = strtoull(checksum, &end, 16);
    const bool right = strlen(checksum) == 16 && *end == '\0';
    sg_free(checksum);
    if (right) return SG_OK;
    return sg_fail(err, SG_ERR_FORMAT, "%s: meta model_checksum: expected 16 digits",
                   sg_database_path(r->database));
}

static sg_status record_counts_read(sg_record *r, sg_error *err)
{
    static const char count[] = "SELECT count(*) FROM ";
    char sql[64];
    const struct {
        const char *table;
        int64_t *to;
    } counts[] = {{"token", &r->info.tokens},
                  {"sequence", &r->info.sequences},
                  {"gate", &r->info.gates},
                  {"span", &r->spans}};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        memcpy(sql, count, sizeof count);
        memcpy(sql + sizeof count - 1, counts[i].table, strlen(counts[i].table) + 1);
        SG_TRY(sg_database_int(r->database, sql, 0, INT64_MAX / SG_RECORD_CHANNELS_MAX,
                               counts[i].to, err));
    }
    return SG_OK;
}

// ---- layers and channels ------------------------------------------------------------------------

// One row: columns as the table has them.
static sg_status layer_read(const sg_record *r, const sg_statement *s, sg_record_layer *l,
                            sg_error *err)
{
    const char *family;
    size_t bytes;
    int64_t flags[3];
    SG_TRY(sg_statement_int(s, 0, 0, INT32_MAX, &l->layer, err));
    SG_TRY(sg_statement_text(s, 1, &family, &bytes, err));
    SG_TRY(sg_statement_int(s, 2, 1, SG_RECORD_CHANNELS_MAX, &l->channels, err));
    SG_TRY(sg_statement_int(s, 3, 1, r->sizes.neurons, &l->neurons, err));
    SG_TRY(sg_statement_int(s, 4, 1, INT32_MAX, &l->unit, err));
    SG_TRY(sg_statement_int(s, 5, 1, r->sizes.slots, &l->slots, err));
    for (int i = 0; i < 3; i++)
        SG_TRY(sg_statement_int(s, 6 + i, 0, 1, &flags[i], err));
    SG_TRY(sg_statement_int(s, 9, 1, INT32_MAX, &l->block, err));
    SG_TRY(sg_statement_int(s, 10, 0, INT32_MAX, &l->sub_keys, err));
    l->dense = flags[0] == 1;
    l->strongest = flags[1] == 1;
    l->shared = flags[2] == 1;
    if (bytes >= sizeof l->family)
        return sg_fail(err, SG_ERR_FORMAT, "%s: layer %lld: found a family of %zu bytes",
                       sg_database_path(r->database), (long long)l->layer, bytes);
    memcpy(l->family, family, bytes);
    return SG_OK;
}

static sg_status record_layers_read(sg_record *r, sg_error *err)
{
    bool row;
    size_t capacity = 0;
    sg_statement *s;
    SG_TRY(sg_database_prepare(r->database, "SELECT * FROM layer ORDER BY layer LIMIT 65536", &s,
                               err));
    sg_status status = sg_statement_step(s, &row, err);
    while (status == SG_OK && row) {
        if (!sg_grow((void **)&r->layers, &capacity, r->info.layer_count + 1, sizeof *r->layers)) {
            status = sg_fail(err, SG_ERR_MEMORY, "out of memory for a record");
            break;
        }
        sg_record_layer *l = &r->layers[r->info.layer_count++];
        *l = (sg_record_layer){0};
        status = layer_read(r, s, l, err);
        if (status == SG_OK) status = sg_statement_step(s, &row, err);
    }
    sg_statement_free(s);
    r->info.layers = r->layers;
    return status;
}

// Channel `at`, which must follow the one before it.
static sg_status channel_read(sg_record *r, const sg_statement *s, size_t at, int64_t *neurons,
                              sg_error *err)
{
    int64_t id, layer, channel, first;
    SG_TRY(sg_statement_int(s, 0, (int64_t)at, (int64_t)at, &id, err));
    SG_TRY(sg_statement_int(s, 1, 0, INT32_MAX, &layer, err));
    SG_TRY(sg_statement_int(s, 2, 0, SG_RECORD_CHANNELS_MAX, &channel, err));
    SG_TRY(sg_statement_int(s, 3, *neurons, *neurons, &first, err));
    const sg_record_layer *l = sg_record_find_layer(r, layer);
    if (l == NULL || channel >= l->channels || *neurons + l->neurons > r->sizes.neurons)
        return sg_fail(err, SG_ERR_FORMAT, "%s: channel %zu: is of no layer of the record",
                       sg_database_path(r->database), at);
    r->channels[at] = (sg_record_channel){layer, channel};
    r->first_neuron[at] = first;
    *neurons += l->neurons;
    return SG_OK;
}

static sg_status record_channels_read(sg_record *r, sg_error *err)
{
    const size_t count = (size_t)r->sizes.channels;
    int64_t neurons = 0;
    bool row;
    sg_statement *s;
    r->channels = sg_alloc_array(count, sizeof *r->channels);
    r->first_neuron = sg_alloc_array(count, sizeof *r->first_neuron);
    if (r->channels == NULL || r->first_neuron == NULL)
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for a record");
    SG_TRY(sg_database_prepare(r->database, "SELECT * FROM channel ORDER BY id", &s, err));
    sg_status status = sg_statement_step(s, &row, err);
    size_t at = 0;
    for (; status == SG_OK && row && at < count; at++) {
        status = channel_read(r, s, at, &neurons, err);
        if (status == SG_OK) status = sg_statement_step(s, &row, err);
    }
    sg_statement_free(s);
    if (status == SG_OK && (row || at < count))
        status = sg_fail(err, SG_ERR_FORMAT, "%s: channel: found %s than %zu rows",
                         sg_database_path(r->database), row ? "more" : "less", count);
    r->info.channels = r->channels;
    r->info.channel_count = count;
    return status;
}

// ---- vocabulary ---------------------------------------------------------------------------------

static sg_status word_read(const sg_statement *s, sg_bytes *words, sg_error *err)
{
    const void *data = "";
    const char *text;
    size_t bytes = 0;
    switch (sg_statement_type(s, 1)) {
    case SG_COLUMN_NULL:
        break;
    case SG_COLUMN_TEXT:
        SG_TRY(sg_statement_text(s, 1, &text, &bytes, err));
        data = text;
        break;
    default:
        SG_TRY(sg_statement_blob(s, 1, &data, &bytes, err));
    }
    if (bytes > word_bytes_most)
        return sg_fail(err, SG_ERR_FORMAT, "vocabulary: found a text of %zu bytes", bytes);
    if (sg_bytes_add(words, data, bytes) && sg_bytes_add(words, "", 1)) return SG_OK;
    return sg_fail(err, SG_ERR_MEMORY, "out of memory for a vocabulary");
}

static sg_status record_vocabulary_read(sg_record *r, sg_error *err)
{
    const int64_t count = r->info.vocabulary;
    sg_bytes words = {0};
    bool row;
    int64_t id, at = 0;
    sg_statement *s;
    r->word_at = sg_alloc_array((size_t)count + 1, sizeof *r->word_at);
    if (r->word_at == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a vocabulary");
    SG_TRY(sg_database_prepare(r->database, "SELECT * FROM vocabulary ORDER BY id", &s, err));
    sg_status status = sg_statement_step(s, &row, err);
    for (; status == SG_OK && row; at++) {
        status = sg_statement_int(s, 0, at, at < count ? at : at - 1, &id, err);
        if (status != SG_OK) break;
        r->word_at[at] = words.count;
        status = word_read(s, &words, err);
        if (status == SG_OK) status = sg_statement_step(s, &row, err);
    }
    sg_statement_free(s);
    r->words = words.data;
    if (status == SG_OK && at < count)
        status = sg_fail(err, SG_ERR_FORMAT, "%s: vocabulary: found %lld rows, expected %lld",
                         sg_database_path(r->database), (long long)at, (long long)count);
    if (status == SG_OK) r->word_at[count] = words.count;
    return status;
}

const char *sg_record_text(const sg_record *r, int32_t id, size_t *bytes)
{
    *bytes = 0;
    if (id < 0 || id >= r->info.vocabulary) return "";
    *bytes = r->word_at[id + 1] - r->word_at[id] - 1;
    return r->words + r->word_at[id];
}

// ---- opening ------------------------------------------------------------------------------------

static sg_status record_read(sg_record *r, sg_error *err)
{
    SG_TRY(record_sizes_read(r, err));
    SG_TRY(record_texts_read(r, err));
    SG_TRY(record_layers_read(r, err));
    SG_TRY(record_channels_read(r, err));
    SG_TRY(record_vocabulary_read(r, err));
    SG_TRY(record_counts_read(r, err));
    return sg_database_prepare(r->database, "SELECT * FROM gate WHERE id = ?1", &r->gate, err);
}

sg_status sg_record_open(const char *path, sg_record **out, sg_error *err)
{
    *out = NULL;
    sg_record *r = sg_alloc_zero(1, sizeof *r);
    if (r == NULL) return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory for a record", path);
    sg_status status = sg_database_open(path, &sg_record_kind, &r->database, err);
    if (status == SG_OK) status = record_read(r, err);
    if (status == SG_OK)
        *out = r;
    else
        sg_record_free(r);
    return status;
}

void sg_record_free(sg_record *r)
{
    if (r == NULL) return;
    sg_statement_free(r->gate);
    sg_database_free(r->database);
    for (int i = 0; i < 4; i++)
        sg_free(r->texts[i]);
    sg_free(r->layers);
    sg_free(r->channels);
    sg_free(r->first_neuron);
    sg_free(r->words);
    sg_free(r->word_at);
    sg_free(r);
}

const sg_record_info *sg_record_get_info(const sg_record *r)
{
    return &r->info;
}

sg_database *sg_record_database(const sg_record *r)
{
    return r->database;
}

const sg_record_layer *sg_record_find_layer(const sg_record *r, int64_t layer)
{
    for (size_t i = 0; i < r->info.layer_count; i++)
        if (r->layers[i].layer == layer) return &r->layers[i];
    return NULL;
}

sg_status sg_record_channel_number(const sg_record *r, int64_t layer, int64_t channel,
                                   int64_t *number, const sg_record_layer **of, sg_error *err)
{
    for (size_t i = 0; i < r->info.channel_count; i++) {
        if (r->channels[i].layer != layer || r->channels[i].channel != channel) continue;
        *number = (int64_t)i;
        *of = sg_record_find_layer(r, layer);
        return SG_OK;
    }
    const bool has = sg_record_find_layer(r, layer) != NULL;
    return sg_fail(err, SG_ERR_NOT_FOUND,
                   has ? "%s: channel %lld of layer %lld is not recorded"
                       : "%s: channel %lld of layer %lld: that layer is not recorded",
                   sg_database_path(r->database), (long long)channel, (long long)layer);
}

sg_status sg_record_check_channel(const sg_record *r, int64_t layer, int64_t channel, sg_error *err)
{
    int64_t number;
    const sg_record_layer *of;
    return sg_record_channel_number(r, layer, channel, &number, &of, err);
}
