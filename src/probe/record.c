// Recording as a whole: a new database, or one that is continued; a first batch, which says what
// the whole comes to; then passes on this thread and rows on another, until the last is committed.
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "probe/record_begin.h"
#include "probe/record_checksum.h"
#include "probe/record_writer.h"

enum { record_batch_bytes = 64 << 20, record_cache = 16 << 20 };

typedef struct recorder {
    sg_model *model;
    const sg_record_options *options;
    sg_record_parts parts;
    sg_record_source source;
    sg_record_identity identity;
    sg_record_plan plan;
    sg_database *database;
    sg_record_rows *rows;
    sg_record_pass *pass;
    sg_record_batch first;
    int64_t next; // sequence
} recorder;

sg_record_options sg_record_options_default(void)
{
    return (sg_record_options){.split = SG_SPLIT_VAL,
                               .max_tokens = 10000,
                               .last_position = -1,
                               .top = 64,
                               .predictions = 5,
                               .stop_at_layer = -1,
                               .micro_batch = 8};
}

// ---- what is wanted -----------------------------------------------------------------------------

static sg_status record_check(const recorder *r, sg_error *err)
{
    const sg_record_options *o = r->options;
    if (o->path == NULL) return sg_fail(err, SG_ERR_ARGUMENT, "record: found no path");
    if (o->resume && o->force)
        return sg_fail(err, SG_ERR_ARGUMENT, "record: found resume and force, expected one");
    if (o->micro_batch < 1)
        return sg_fail(err, SG_ERR_ARGUMENT, "micro-batch: found %lld, expected at least 1",
                       (long long)o->micro_batch);
    const int64_t most = sg_min(SG_RECORD_PREDICTIONS_MAX, r->model->config.vocab_size);
    if (o->predictions < 0 || o->predictions > most)
        return sg_fail(err, SG_ERR_ARGUMENT, "predictions: found %lld, expected 0 to %lld",
                       (long long)o->predictions, (long long)most);
    if (o->first_position < 0 || (o->last_position >= 0 && o->last_position < o->first_position))
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "positions: found %lld to %lld, expected a first and a last from 0",
                       (long long)o->first_position, (long long)o->last_position);
    return SG_OK;
}

static int64_t record_micro(const recorder *r)
{
    const int64_t one = sg_record_sequence_bytes(r->options, &r->parts, r->source.length);
    const int64_t most = record_batch_bytes / one > 1 ? record_batch_bytes / one : 1;
    return sg_min(sg_min(r->options->micro_batch, r->source.sequences), most);
}

static int64_t record_gates(const recorder *r)
{
    const sg_record_options *o = r->options;
    const int64_t length = r->source.length, full = r->source.tokens / length;
    const int64_t end =
        o->last_position < 0 ? length : sg_min(length, sg_min(o->last_position, length) + 1);
    const int64_t rest = r->source.tokens % length;
    const int64_t of_full = end > o->first_position ? end - o->first_position : 0;
    const int64_t of_rest =
        sg_min(rest, end) > o->first_position ? sg_min(rest, end) - o->first_position : 0;
    return (full * of_full + of_rest) * r->parts.channel_count;
}

static sg_status record_prepare(recorder *r, sg_error *err)
{
    const sg_record_options *o = r->options;
    SG_TRY(record_check(r, err));
    SG_TRY(sg_record_source_new(r->model, o, &r->source, err));
    SG_TRY(sg_record_parts_new(r->model, o, &r->parts, err));
    r->identity =
        (sg_record_identity){.model = r->model,
                             .options = o,
                             .source = &r->source,
                             .parts = &r->parts,
                             .sizes = {.length = r->source.length,
                                       .channels = r->parts.channel_count,
                                       .neurons = r->parts.neurons,
                                       .slots = r->parts.most_slots,
                                       .predictions = o->stop_at_layer < 0 ? o->predictions : 0,
                                       .span = sg_record_span(r->parts.slots)},
                             .micro = record_micro(r)};
    SG_TRY(sg_model_checksum(r->model, &r->identity.checksum, err));
    const int64_t gates = record_gates(r);
    r->plan = (sg_record_plan){.tokens = r->source.tokens,
                               .sequences = r->source.sequences,
                               .length = r->source.length,
                               .gates = gates,
                               .hits = gates / r->parts.channel_count * r->parts.slots,
                               .layers = (int64_t)r->parts.count,
                               .channels = r->parts.channel_count,
                               .strongest = r->parts.strongest,
                               .replaced = r->source.replaced,
                               .lost_bytes = r->source.lost_bytes};
    return sg_record_pass_new(r->model, o, &r->parts, &r->source, r->identity.micro, &r->pass, err);
}

// ---- the database -------------------------------------------------------------------------------

static sg_status record_rows_open(recorder *r, sg_error *err)
{
    SG_TRY(sg_database_set_cache(r->database, record_cache, err));
    return sg_record_rows_new(r->database, &r->parts, &r->identity.sizes, r->options->first_row,
                              &r->rows, err);
}

static sg_status record_create(recorder *r, sg_error *err)
{
    SG_TRY(sg_database_create(r->options->path, &sg_record_kind, r->options->force, &r->database,
                              err));
    SG_TRY(sg_database_begin(r->database, err)); // as far as the first batch
    SG_TRY(sg_record_write_beginning(r->database, &r->identity, err));
    return record_rows_open(r, err);
}

static sg_status record_continue(recorder *r, sg_error *err)
{
    int64_t tokens;
    SG_TRY(sg_database_continue(r->options->path, &sg_record_kind, &r->database, err));
    SG_TRY(sg_record_check_beginning(r->database, &r->identity, err));
    SG_TRY(sg_database_int(r->database, "SELECT count(*) FROM sequence", 0, r->source.sequences,
                           &r->next, err));
    SG_TRY(sg_database_int(r->database, "SELECT coalesce(sum(tokens), 0) FROM sequence", 0,
                           r->source.tokens, &tokens, err));
    r->plan.done = tokens;
    SG_TRY(record_rows_open(r, err));
    return sg_database_begin(r->database, err); // of the first batch
}

// Puts a new one in its place, and goes on with it.
static sg_status record_publish(recorder *r, sg_error *err)
{
    sg_database *made = r->database;
    sg_record_rows_free(r->rows);
    r->rows = NULL;
    r->database = NULL;
    SG_TRY(sg_database_publish(made, err));
    SG_TRY(sg_database_continue(r->options->path, &sg_record_kind, &r->database, err));
    return record_rows_open(r, err);
}

static sg_status record_bytes(const recorder *r, int64_t *bytes, sg_error *err)
{
    int64_t pages, page;
    SG_TRY(sg_database_int(r->database, "PRAGMA page_count", 0, INT64_MAX / 65536, &pages, err));
    SG_TRY(sg_database_int(r->database, "PRAGMA page_size", 0, 65536, &page, err));
    *bytes = pages * page;
    return SG_OK;
}

// ---- the first batch ----------------------------------------------------------------------------

static bool record_go_on(void *user)
{
    const recorder *r = user;
    const sg_record_options *o = r->options;
    return o->progress == NULL ||
           o->progress(o->user, sg_min(r->next * r->source.length, r->plan.tokens), r->plan.tokens);
}

// Numbers of a token id and what is around it, in a list of tokens.
static int64_t record_posting_bytes(const recorder *r)
{
    return (int64_t)log10((double)r->plan.tokens + 1) + 2;
}

// The first pass pays for what is made once; where much is left, a second one is measured.
static sg_status record_first(recorder *r, sg_error *err)
{
    SG_TRY(sg_record_batch_new(r->pass, &r->first, err));
    SG_TRY(sg_record_pass_run(r->pass, r->next, &r->first, err));
    const double begin = sg_clock_seconds();
    if (r->source.sequences - r->next > 16 * r->identity.micro)
        SG_TRY(sg_record_pass_run(r->pass, r->next, &r->first, err));
    const double passed = sg_clock_seconds();
    int64_t before, bytes;
    SG_TRY(record_bytes(r, &before, err));
    const double counted = sg_clock_seconds();
    SG_TRY(sg_record_rows_add(r->rows, &r->first, err));
    const double added = sg_clock_seconds();
    SG_TRY(record_bytes(r, &bytes, err));
    const double share =
        (double)(r->plan.tokens - r->plan.done) / (double)(r->first.sequences * r->source.length);
    const double slower = passed - begin > added - counted ? passed - begin : added - counted;
    r->plan.seconds = share * slower;
    r->plan.bytes = before + (int64_t)(share * (double)(bytes - before)) +
                    r->plan.hits * record_posting_bytes(r) + 48 * r->parts.neurons;
    r->next += r->first.sequences;
    return SG_OK;
}

static sg_status record_agree(recorder *r, sg_error *err)
{
    const sg_record_options *o = r->options;
    int64_t there;
    SG_TRY(record_bytes(r, &there, err));
    SG_TRY(sg_file_need_space(o->path, r->plan.bytes - there, err));
    if (o->plan != NULL && !o->plan(o->user, &r->plan))
        return sg_fail(err, SG_ERR_STOPPED, "stopped before the first row");
    return SG_OK;
}

// ---- the others ---------------------------------------------------------------------------------

static sg_status record_passes(recorder *r, sg_record_writer *writer, sg_error *err)
{
    sg_record_batch *batch;
    while (r->next < r->source.sequences) {
        SG_TRY(sg_record_writer_batch(writer, &batch, err));
        SG_TRY(sg_record_pass_run(r->pass, r->next, batch, err));
        sg_record_writer_put(writer);
        r->next += batch->sequences;
        if (!record_go_on(r)) return sg_fail(err, SG_ERR_STOPPED, "stopped; --resume goes on");
    }
    return SG_OK;
}

static sg_status record_rest(recorder *r, sg_error *err)
{
    sg_record_writer *writer;
    sg_error own = {0};
    SG_TRY(sg_record_writer_begin(r->database, r->rows, r->pass, &writer, err));
    sg_status status = record_passes(r, writer, err);
    const sg_status wrote = sg_record_writer_end(writer, &own);
    if (wrote == SG_OK) return status;
    if (err != NULL) *err = own; // also where the passes stopped for it
    if (wrote != SG_ERR_IO) return wrote;
    return sg_fail_context(err, wrote, "what was committed stays, and can be resumed");
}

// What is derived from the rows, and the word that they are all there.
static sg_status record_end(recorder *r, sg_error *err)
{
    SG_TRY(sg_database_begin(r->database, err));
    SG_TRY(sg_record_rows_end(r->rows, err));
    sg_database_set_go_on(r->database, record_go_on, r);
    SG_TRY(sg_database_execute(r->database, "CREATE INDEX token_token ON token(token)", err));
    SG_TRY(sg_record_set_int(r->database, "complete", 1, err));
    return sg_database_commit(r->database, err);
}

static sg_status record_run(recorder *r, sg_error *err)
{
    SG_TRY(r->options->resume ? record_continue(r, err) : record_create(r, err));
    if (r->next < r->source.sequences) SG_TRY(record_first(r, err));
    SG_TRY(record_agree(r, err));
    SG_TRY(sg_database_commit(r->database, err));
    if (!r->options->resume) SG_TRY(record_publish(r, err));
    if (r->next < r->source.sequences) SG_TRY(record_rest(r, err));
    return record_end(r, err);
}

sg_status sg_probe_record(sg_model *model, const sg_record_options *options, sg_record_plan *plan,
                          sg_error *err)
{
    recorder r = {.model = model, .options = options};
    sg_status status = record_prepare(&r, err);
    if (status == SG_OK) status = record_run(&r, err);
    if (plan != NULL) *plan = r.plan;
    if (status != SG_OK && r.database != NULL) sg_database_rollback(r.database);
    sg_record_rows_free(r.rows);
    sg_database_free(r.database);
    sg_record_pass_free(r.pass);
    sg_record_batch_free(&r.first);
    sg_record_parts_free(&r.parts);
    sg_record_source_free(&r.source);
    return status;
}
