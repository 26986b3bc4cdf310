// Tables of a record as files. Rows come from the record as everybody reads it, so that what a
// damaged one holds is refused here too; views of the file are not asked.
#include "probe/record_export.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/number_list.h"
#include "probe/record_layers.h"
#include "probe/records_inside.h"

enum { export_tokens_at_once = 1024 };

typedef struct exporter {
    sg_record *record;
    const sg_export_options *options;
    sg_export_sink sink;
    bool *chosen;  // (channel_count)
    float **norms; // (channel_count) of hits: lengths of w_out; NULL of a channel left out
} exporter;

static bool export_go_on(const exporter *e, int64_t done)
{
    const sg_export_options *o = e->options;
    return o->progress == NULL || o->progress(o->user, done, e->record->info.tokens);
}

static sg_export_value value_int(int64_t integer)
{
    return (sg_export_value){.integer = integer};
}

static sg_export_value value_real(double real)
{
    return (sg_export_value){.real = real};
}

// The text of an id; there is none of -1.
static sg_export_value value_word(const exporter *e, int32_t id)
{
    sg_export_value v = {0};
    if (id >= 0) v.text = sg_record_text(e->record, id, &v.bytes);
    return v;
}

// ---- tables -------------------------------------------------------------------------------------

// Calls `each` for every token, in order.
static sg_status each_token(exporter *e,
                            sg_status (*each)(exporter *e, const sg_record_token *t, sg_error *err),
                            sg_error *err)
{
    sg_record_token *tokens = sg_alloc_array(export_tokens_at_once, sizeof *tokens);
    if (tokens == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for tokens");
    sg_status status = SG_OK;
    int64_t first = 0, count = 1, done = 0;
    while (status == SG_OK && count > 0) {
        status = sg_record_tokens(e->record, first, export_tokens_at_once, tokens, &count, err);
        for (int64_t i = 0; status == SG_OK && i < count; i++)
            status = each(e, &tokens[i], err);
        if (count > 0) first = tokens[count - 1].id + 1;
        done += count;
        if (status == SG_OK && !export_go_on(e, done))
            status = sg_fail(err, SG_ERR_STOPPED, "stopped after %lld tokens", (long long)done);
    }
    sg_free(tokens);
    return status;
}

static const sg_export_column token_columns[] = {
    {"id", SG_EXPORT_INT},    {"sequence", SG_EXPORT_INT}, {"position", SG_EXPORT_INT},
    {"token", SG_EXPORT_INT}, {"text", SG_EXPORT_TEXT},    {"bytes", SG_EXPORT_BYTES},
    {"next", SG_EXPORT_INT},  {"logprob", SG_EXPORT_REAL}, {NULL, SG_EXPORT_INT}};

static sg_status token_row(exporter *e, const sg_record_token *t, sg_error *err)
{
    const sg_export_value word = value_word(e, t->token);
    return sg_export_row(&e->sink,
                         (sg_export_value[]){value_int(t->id), value_int(t->sequence),
                                             value_int(t->position), value_int(t->token), word,
                                             word, value_int(t->next), value_real(t->logprob)},
                         err);
}

static sg_status export_tokens(exporter *e, sg_error *err)
{
    return each_token(e, token_row, err);
}

static const sg_export_column prediction_columns[] = {
    {"token", SG_EXPORT_INT}, {"rank", SG_EXPORT_INT},    {"next", SG_EXPORT_INT},
    {"text", SG_EXPORT_TEXT}, {"bytes", SG_EXPORT_BYTES}, {"logprob", SG_EXPORT_REAL},
    {NULL, SG_EXPORT_INT}};

static sg_status prediction_rows(exporter *e, const sg_record_token *t, sg_error *err)
{
    sg_scored_token next[SG_RECORD_PREDICTIONS_MAX];
    int64_t count;
    SG_TRY(sg_record_predictions(e->record, t->id, SG_RECORD_PREDICTIONS_MAX, next, &count, err));
    for (int64_t i = 0; i < count; i++) {
        const sg_export_value word = value_word(e, next[i].id);
        SG_TRY(
            sg_export_row(&e->sink,
                          (sg_export_value[]){value_int(t->id), value_int(i), value_int(next[i].id),
                                              word, word, value_real(next[i].logprob)},
                          err));
    }
    return SG_OK;
}

static sg_status export_predictions(exporter *e, sg_error *err)
{
    return each_token(e, prediction_rows, err);
}

static const sg_export_column hit_columns[] = {
    {"token", SG_EXPORT_INT},        {"layer", SG_EXPORT_INT},          {"channel", SG_EXPORT_INT},
    {"slot", SG_EXPORT_INT},         {"neuron", SG_EXPORT_INT},         {"score", SG_EXPORT_FLOAT},
    {"activation", SG_EXPORT_FLOAT}, {"contribution", SG_EXPORT_FLOAT}, {NULL, SG_EXPORT_INT}};

static sg_status hit_rows_of(exporter *e, size_t channel, int64_t token, sg_error *err)
{
    const sg_record_channel *c = &e->record->channels[channel];
    sg_record_hit hits[SG_RECORD_SLOTS_MAX];
    int64_t count;
    SG_TRY(sg_record_token_hits(e->record, c->layer, c->channel, token, SG_RECORD_SLOTS_MAX, hits,
                                &count, err));
    for (int64_t i = 0; i < count; i++) {
        const float norm = e->norms[channel][hits[i].neuron];
        SG_TRY(sg_export_row(
            &e->sink,
            (sg_export_value[]){value_int(token), value_int(c->layer), value_int(c->channel),
                                value_int(i), value_int(hits[i].neuron),
                                value_real((double)hits[i].score),
                                value_real((double)hits[i].activation),
                                value_real((double)(fabsf(hits[i].activation) * norm))},
            err));
    }
    return SG_OK;
}

static sg_status hit_rows(exporter *e, const sg_record_token *t, sg_error *err)
{
    for (size_t c = 0; c < e->record->info.channel_count; c++)
        if (e->chosen[c]) SG_TRY(hit_rows_of(e, c, t->id, err));
    return SG_OK;
}

static sg_status export_hits(exporter *e, sg_error *err)
{
    return each_token(e, hit_rows, err);
}

static const sg_export_column neuron_columns[] = {
    {"layer", SG_EXPORT_INT},       {"channel", SG_EXPORT_INT},
    {"neuron", SG_EXPORT_INT},      {"hits", SG_EXPORT_INT},
    {"mean_score", SG_EXPORT_REAL}, {"mean_activation", SG_EXPORT_REAL},
    {"out_norm", SG_EXPORT_FLOAT},  {"mean_contribution", SG_EXPORT_REAL},
    {NULL, SG_EXPORT_INT}};

// *sums: sg_free.
static sg_status channel_sums(exporter *e, size_t channel, sg_record_neuron **sums,
                              int64_t *neurons, sg_error *err)
{
    const sg_record_channel *c = &e->record->channels[channel];
    *neurons = sg_record_find_layer(e->record, c->layer)->neurons;
    *sums = sg_alloc_array((size_t)*neurons, sizeof **sums);
    if (*sums == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for neurons");
    const sg_status status = sg_record_neurons(e->record, c->layer, c->channel, *sums, err);
    if (status == SG_OK) return SG_OK;
    sg_free(*sums);
    *sums = NULL;
    return status;
}

static sg_status neuron_rows(exporter *e, size_t channel, sg_error *err)
{
    const sg_record_channel *c = &e->record->channels[channel];
    sg_record_neuron *sums;
    int64_t neurons;
    sg_status status = SG_OK;
    SG_TRY(channel_sums(e, channel, &sums, &neurons, err));
    for (int64_t i = 0; i < neurons && status == SG_OK; i++) {
        const sg_record_neuron *n = &sums[i];
        const double hits = (double)n->hits, activation = n->activation / hits;
        if (n->hits > 0)
            status = sg_export_row(
                &e->sink,
                (sg_export_value[]){value_int(c->layer), value_int(c->channel), value_int(i),
                                    value_int(n->hits), value_real(n->score / hits),
                                    value_real(activation), value_real((double)n->out_norm),
                                    value_real(activation * (double)n->out_norm)},
                err);
    }
    sg_free(sums);
    return status;
}

static sg_status export_neurons(exporter *e, sg_error *err)
{
    for (size_t c = 0; c < e->record->info.channel_count; c++)
        if (e->chosen[c]) SG_TRY(neuron_rows(e, c, err));
    return SG_OK;
}

static const sg_export_column word_columns[] = {{"id", SG_EXPORT_INT},
                                                {"text", SG_EXPORT_TEXT},
                                                {"bytes", SG_EXPORT_BYTES},
                                                {NULL, SG_EXPORT_INT}};

static sg_status export_vocabulary(exporter *e, sg_error *err)
{
    for (int64_t id = 0; id < e->record->info.vocabulary; id++) {
        const sg_export_value word = value_word(e, (int32_t)id);
        SG_TRY(sg_export_row(&e->sink, (sg_export_value[]){value_int(id), word, word}, err));
    }
    return SG_OK;
}

static const struct export_table {
    const char *name;
    const sg_export_column *columns;
    bool of_channels, texts; // texts: nothing but
    sg_status (*rows)(exporter *e, sg_error *err);
} export_tables[] = {
    {"hits", hit_columns, true, false, export_hits},
    {"tokens", token_columns, false, false, export_tokens},
    {"neurons", neuron_columns, true, false, export_neurons},
    {"predictions", prediction_columns, false, false, export_predictions},
    {"vocabulary", word_columns, false, true, export_vocabulary},
};
enum { export_table_count = sizeof export_tables / sizeof *export_tables };

// ---- what is chosen -----------------------------------------------------------------------------

// The largest number of a layer or a channel that there is, and one.
static int64_t export_end(const sg_record *r, bool of_layers)
{
    int64_t end = 0;
    for (size_t c = 0; c < r->info.channel_count; c++) {
        const int64_t at = of_layers ? r->channels[c].layer : r->channels[c].channel;
        end = at >= end ? at + 1 : end;
    }
    return end;
}

static sg_status export_list(const sg_record *r, const char *list, bool of_layers, bool *chosen,
                             sg_error *err)
{
    const int64_t end = export_end(r, of_layers);
    bool *in = sg_alloc_zero((size_t)end, sizeof *in);
    if (in == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a list");
    const sg_status status = sg_list_read(list, of_layers ? "layers" : "channels", end, in, err);
    for (size_t c = 0; status == SG_OK && c < r->info.channel_count; c++)
        chosen[c] = chosen[c] && in[of_layers ? r->channels[c].layer : r->channels[c].channel];
    sg_free(in);
    return status;
}

static sg_status export_choose(exporter *e, const struct export_table *t, sg_error *err)
{
    const sg_record *r = e->record;
    const sg_export_options *o = e->options;
    if (!t->of_channels && (o->layers != NULL || o->channels != NULL))
        return sg_fail(err, SG_ERR_ARGUMENT, "%s: found layers or channels, which it has not",
                       t->name);
    e->chosen = sg_alloc_array(r->info.channel_count, sizeof *e->chosen);
    if (e->chosen == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a list");
    bool any = false;
    for (size_t c = 0; c < r->info.channel_count; c++)
        e->chosen[c] = true;
    SG_TRY(export_list(r, o->layers, true, e->chosen, err));
    SG_TRY(export_list(r, o->channels, false, e->chosen, err));
    for (size_t c = 0; c < r->info.channel_count; c++)
        any = any || e->chosen[c];
    if (any) return SG_OK;
    return sg_fail(err, SG_ERR_NOT_FOUND, "%s: none of these channels and layers is recorded",
                   sg_database_path(r->database));
}

static sg_status export_norms(exporter *e, sg_error *err)
{
    const size_t count = e->record->info.channel_count;
    e->norms = sg_alloc_zero(count, sizeof *e->norms);
    if (e->norms == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for neurons");
    for (size_t c = 0; c < count; c++) {
        sg_record_neuron *sums;
        int64_t neurons;
        if (!e->chosen[c]) continue;
        SG_TRY(channel_sums(e, c, &sums, &neurons, err));
        e->norms[c] = sg_alloc_array((size_t)neurons, sizeof **e->norms);
        for (int64_t i = 0; e->norms[c] != NULL && i < neurons; i++)
            e->norms[c][i] = sums[i].out_norm;
        sg_free(sums);
        if (e->norms[c] == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for neurons");
    }
    return SG_OK;
}

// ---- the whole ----------------------------------------------------------------------------------

static sg_status export_write(exporter *e, const struct export_table *t, sg_error *err)
{
    const sg_export_options *o = e->options;
    int64_t rows = 0;
    if (o->format == SG_EXPORT_NPY) { // says in front how many there are
        SG_TRY(t->rows(e, err));
        rows = e->sink.rows;
    }
    SG_TRY(sg_writer_open_output(o->path, o->force ? SG_OUTPUT_REPLACE : SG_OUTPUT_NEW,
                                 &e->sink.writer, err));
    SG_TRY(sg_export_begin(&e->sink, rows, err));
    SG_TRY(t->rows(e, err));
    if (o->format == SG_EXPORT_NPY && e->sink.rows != rows)
        return sg_fail(err, SG_ERR_FORMAT, "%s: changed while it was read",
                       sg_database_path(e->record->database));
    sg_writer *writer = e->sink.writer;
    e->sink.writer = NULL;
    return sg_writer_replace(writer, err);
}

static sg_status export_find(const sg_export_options *o, const struct export_table **table,
                             sg_error *err)
{
    for (int i = 0; i < export_table_count && *table == NULL; i++)
        if (o->table != NULL && strcmp(export_tables[i].name, o->table) == 0)
            *table = &export_tables[i];
    if (*table == NULL)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "table: found %.60s, expected hits, tokens, neurons, predictions or "
                       "vocabulary",
                       o->table != NULL ? o->table : "none");
    if (o->path == NULL) return sg_fail(err, SG_ERR_ARGUMENT, "export: found no path");
    if (o->format != SG_EXPORT_NPY || !(*table)->texts) return SG_OK;
    return sg_fail(err, SG_ERR_UNSUPPORTED, "%s: are texts, which .npy does not have", o->table);
}

sg_status sg_record_export(sg_record *record, const sg_export_options *options, int64_t *rows,
                           sg_error *err)
{
    exporter e = {.record = record, .options = options};
    const struct export_table *t = NULL;
    SG_TRY(export_find(options, &t, err));
    SG_TRY(sg_output_check(options->path, options->force ? SG_OUTPUT_REPLACE : SG_OUTPUT_NEW, err));
    e.sink.format = options->format;
    e.sink.columns = t->columns;
    sg_status status = export_choose(&e, t, err);
    if (status == SG_OK && t->rows == export_hits) status = export_norms(&e, err);
    if (status == SG_OK) status = export_write(&e, t, err);
    if (status == SG_OK && rows != NULL) *rows = e.sink.rows;
    sg_writer_withdraw(e.sink.writer);
    for (size_t c = 0; e.norms != NULL && c < record->info.channel_count; c++)
        sg_free(e.norms[c]);
    sg_free(e.norms);
    sg_free(e.chosen);
    sg_free(e.sink.text.data);
    return status;
}
