// What a record says of itself. All that decides its rows is compared when it is continued:
// options, model, tokens, and what computed.
#include "probe/record_begin.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "format/json.h"
#include "text/tokenizer.h"

// ---- meta ---------------------------------------------------------------------------------------

// What decides the rows, as text. *text: sg_free.
static sg_status begin_options(const sg_record_identity *b, char **text, sg_error *err)
{
    const sg_record_options *o = b->options;
    sg_json_setup();
    json_t *root = json_pack(
        "{s:s?, s:s?, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s}", "layers", o->layers,
        "channels", o->channels, "first_position", (json_int_t)o->first_position, "last_position",
        (json_int_t)o->last_position, "tokens", (json_int_t)b->source->tokens, "length",
        (json_int_t)b->source->length, "top", (json_int_t)o->top, "unit", (json_int_t)o->unit,
        "predictions", (json_int_t)o->predictions, "stop_at_layer", (json_int_t)o->stop_at_layer,
        "first_row", (json_int_t)o->first_row, "micro_batch", (json_int_t)b->micro, "read",
        b->source->data == NULL            ? "text"
        : b->source->split == SG_SPLIT_VAL ? "val"
                                           : "train");
    sg_status status = root == NULL ? sg_fail(err, SG_ERR_MEMORY, "out of memory for a record")
                                    : sg_json_text(root, false, text, err);
    json_decref(root);
    return status;
}

enum { begin_texts = 4 };
static const char *const begin_keys[begin_texts] = {"model_checksum", "tokens_checksum", "kernel",
                                                    "products"};

static void begin_values(const sg_record_identity *b, char values[begin_texts][64])
{
    const sg_context *context = b->model->context;
    snprintf(values[0], sizeof values[0], "%016llx", (unsigned long long)b->checksum);
    snprintf(values[1], sizeof values[1], "%016llx", (unsigned long long)b->source->checksum);
    snprintf(values[2], sizeof values[2], "%s", sg_context_kernel(context));
    snprintf(values[3], sizeof values[3], "%s", sg_context_products(context));
}

static sg_status begin_meta(sg_database *d, const sg_record_identity *b, sg_error *err)
{
    char values[begin_texts][64], *options;
    const sg_record_options *o = b->options;
    const struct {
        const char *key, *value;
    } texts[] = {{"format", "sgatlin record"}, {"model", o->model},
                 {"source", o->source},        {"command", o->command},
                 {"version", sg_version()},    {"compiler", sg_compiler()}};
    const struct {
        const char *key;
        int64_t value;
    } numbers[] = {{"planned", b->source->tokens},
                   {"length", b->sizes.length},
                   {"channels", b->sizes.channels},
                   {"neurons", b->sizes.neurons},
                   {"slots", b->sizes.slots},
                   {"predictions", o->stop_at_layer < 0 ? b->sizes.predictions : 0},
                   {"span", b->sizes.span},
                   {"stop_at_layer", o->stop_at_layer},
                   {"vocabulary", b->model->config.vocab_size},
                   {"complete", 0}};
    begin_values(b, values);
    for (int i = 0; i < begin_texts; i++)
        SG_TRY(sg_record_set_text(d, begin_keys[i], values[i], err));
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        SG_TRY(sg_record_set_text(d, texts[i].key, texts[i].value, err));
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        SG_TRY(sg_record_set_int(d, numbers[i].key, numbers[i].value, err));
    SG_TRY(begin_options(b, &options, err));
    const sg_status status = sg_record_set_text(d, "options", options, err);
    sg_free(options);
    return status;
}

static sg_status check_text(sg_database *d, const char *key, const char *expected, sg_error *err)
{
    char *found;
    SG_TRY(sg_record_get_text(d, key, &found, err));
    sg_status status = SG_OK;
    if (strcmp(found, expected) != 0)
        status = sg_fail(err, SG_ERR_MISMATCH,
                         "%s: %s: found %.300s, expected %.300s: it was begun otherwise",
                         sg_database_path(d), key, expected, found);
    sg_free(found);
    return status;
}

sg_status sg_record_check_beginning(sg_database *d, const sg_record_identity *b, sg_error *err)
{
    char values[begin_texts][64], *options;
    int64_t complete;
    begin_values(b, values);
    SG_TRY(begin_options(b, &options, err));
    sg_status status = check_text(d, "options", options, err);
    sg_free(options);
    for (int i = 0; i < begin_texts && status == SG_OK; i++)
        status = check_text(d, begin_keys[i], values[i], err);
    if (status == SG_OK) status = sg_record_get_int(d, "complete", 0, 1, &complete, err);
    if (status == SG_OK) status = sg_record_check_tables(d, &b->sizes, err);
    if (status == SG_OK && complete == 1)
        status = sg_fail(err, SG_ERR_ARGUMENT, "%s: is complete: there is nothing to go on with",
                         sg_database_path(d));
    return status;
}

// ---- layers and channels ------------------------------------------------------------------------

static sg_status begin_layers(sg_database *d, const sg_record_parts *parts, sg_error *err)
{
    sg_statement *s;
    SG_TRY(sg_record_insert(d, "layer", 11, &s, err));
    sg_status status = SG_OK;
    for (size_t i = 0; i < parts->count && status == SG_OK; i++) {
        const sg_record_layer *l = &parts->items[i].info;
        sg_statement_bind_int(s, 1, l->layer);
        sg_statement_bind_text(s, 2, l->family, strlen(l->family));
        sg_statement_bind_int(s, 3, l->channels);
        sg_statement_bind_int(s, 4, l->neurons);
        sg_statement_bind_int(s, 5, l->unit);
        sg_statement_bind_int(s, 6, l->slots);
        sg_statement_bind_int(s, 7, l->dense);
        sg_statement_bind_int(s, 8, l->strongest);
        sg_statement_bind_int(s, 9, l->shared);
        sg_statement_bind_int(s, 10, l->block);
        sg_statement_bind_int(s, 11, l->sub_keys);
        status = sg_statement_run(s, err);
    }
    sg_statement_free(s);
    if (status != SG_OK) return status;
    SG_TRY(sg_record_insert(d, "channel", 4, &s, err));
    for (int64_t i = 0; i < parts->channel_count && status == SG_OK; i++) {
        sg_statement_bind_int(s, 1, i);
        sg_statement_bind_int(s, 2, parts->channels[i].layer);
        sg_statement_bind_int(s, 3, parts->channels[i].channel);
        sg_statement_bind_int(s, 4, parts->first_neuron[i]);
        status = sg_statement_run(s, err);
    }
    sg_statement_free(s);
    return status;
}

// ---- vocabulary ---------------------------------------------------------------------------------

static sg_status decode(const sg_tokenizer *t, const int32_t *ids, size_t count, char **text,
                        size_t *bytes, sg_error *err)
{
    const sg_decode_options options = {.skip_special = false, .raw = true};
    return sg_tokenizer_decode(t, ids, count, &options, text, bytes, err);
}

// An id of plain letters, behind which another decodes as in the middle of a text; -1: none.
static sg_status plain_id(const sg_tokenizer *t, int32_t *plain, sg_error *err)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    *plain = -1;
    for (int32_t id = 0; *plain < 0 && id < sg_tokenizer_vocab_size(t); id++) {
        char *text;
        size_t bytes;
        if (sg_tokenizer_is_special(t, id)) continue;
        SG_TRY(decode(t, &id, 1, &text, &bytes, err));
        if (bytes > 0 && strspn(text, letters) == bytes) *plain = id;
        sg_buffer_free(text);
    }
    return SG_OK;
}

// The bytes of an id in the middle of a text. *text: sg_buffer_free.
static sg_status id_text(const sg_tokenizer *t, int32_t plain, int32_t id, char **text,
                         size_t *bytes, sg_error *err)
{
    char *front, *both;
    size_t front_bytes, both_bytes;
    if (plain < 0) return decode(t, &id, 1, text, bytes, err);
    SG_TRY(decode(t, &plain, 1, &front, &front_bytes, err));
    const sg_status status = decode(t, (int32_t[]){plain, id}, 2, &both, &both_bytes, err);
    if (status == SG_OK && both_bytes >= front_bytes && memcmp(both, front, front_bytes) == 0) {
        *bytes = both_bytes - front_bytes;
        memmove(both, both + front_bytes, *bytes + 1);
        *text = both;
        sg_buffer_free(front);
        return SG_OK;
    }
    sg_buffer_free(front);
    if (status == SG_OK) sg_buffer_free(both);
    return status != SG_OK ? status : decode(t, &id, 1, text, bytes, err);
}

static sg_status begin_word(sg_statement *s, const sg_tokenizer *t, int32_t plain, int32_t id,
                            sg_error *err)
{
    sg_statement_bind_int(s, 1, id);
    if (t == NULL || id >= sg_tokenizer_vocab_size(t)) {
        sg_statement_bind_null(s, 2);
        return sg_statement_run(s, err);
    }
    char *text;
    size_t bytes;
    SG_TRY(id_text(t, plain, id, &text, &bytes, err));
    const bool whole =
        sg_utf8_valid_prefix(text, bytes) == bytes && memchr(text, '\0', bytes) == NULL;
    if (whole)
        sg_statement_bind_text(s, 2, text, bytes);
    else
        sg_statement_bind_blob(s, 2, text, bytes);
    sg_buffer_free(text);
    return sg_statement_run(s, err);
}

static sg_status begin_vocabulary(sg_database *d, const sg_record_identity *b, sg_error *err)
{
    const sg_tokenizer *t = b->options->tokenizer;
    int32_t plain = -1;
    sg_statement *s;
    if (t != NULL) SG_TRY(plain_id(t, &plain, err));
    SG_TRY(sg_record_insert(d, "vocabulary", 2, &s, err));
    sg_status status = SG_OK;
    for (int64_t id = 0; id < b->model->config.vocab_size && status == SG_OK; id++)
        status = begin_word(s, t, plain, (int32_t)id, err);
    sg_statement_free(s);
    return status;
}

sg_status sg_record_write_beginning(sg_database *d, const sg_record_identity *b, sg_error *err)
{
    SG_TRY(sg_record_create_all(d, &b->sizes, err));
    SG_TRY(begin_meta(d, b, err));
    SG_TRY(begin_layers(d, b->parts, err));
    return begin_vocabulary(d, b, err);
}
