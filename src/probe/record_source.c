// Tokens that are recorded, and a checksum of them all: what goes on reads the same.
#include "probe/record_source.h"

#include <string.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "text/tokenizer.h"

enum { source_context = 2048 }; // unless told otherwise

static sg_status source_of_data(sg_record_source *s, const sg_model *model,
                                const sg_record_options *o, sg_error *err)
{
    const sg_data_info *info = sg_data_get_info(o->data);
    if (o->context != 0)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "context: found %lld, expected none with packed data, whose rows have "
                       "their length",
                       (long long)o->context);
    if (o->split != SG_SPLIT_TRAIN && o->split != SG_SPLIT_VAL)
        return sg_fail(err, SG_ERR_ARGUMENT, "split: found %d, expected 0 or 1", (int)o->split);
    SG_TRY(sg_data_fits(o->data, &model->config, "data", err));
    const int64_t rows = info->split[o->split].rows;
    if (rows == 0)
        return sg_fail(err, SG_ERR_MISMATCH, "data: the %s split is empty",
                       o->split == SG_SPLIT_VAL ? "validation" : "training");
    if (o->first_row < 0 || o->first_row >= rows)
        return sg_fail(err, SG_ERR_ARGUMENT, "first-row: found %lld, expected 0 to %lld",
                       (long long)o->first_row, (long long)rows - 1);
    s->data = o->data;
    s->split = o->split;
    s->first_row = o->first_row;
    s->pad_id = info->pad_id;
    s->eos_id = (int32_t)info->eos_id;
    s->length = info->seq_len;
    s->tokens = (rows - o->first_row) * info->seq_len;
    return SG_OK;
}

static sg_status source_of_text(sg_record_source *s, const sg_model *model,
                                const sg_record_options *o, sg_error *err)
{
    const int64_t longest = model->config.max_position_embeddings;
    int64_t begins;
    sg_encode_options encode = sg_encode_options_default();
    if (o->tokenizer == NULL)
        return sg_fail(err, SG_ERR_ARGUMENT, "text: expected a tokenizer beside it");
    if (o->first_row != 0)
        return sg_fail(err, SG_ERR_ARGUMENT, "first-row: found %lld, expected none with a text",
                       (long long)o->first_row);
    if (o->context < 0 || o->context > longest)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "context: found %lld, expected 1 to the model's %lld positions",
                       (long long)o->context, (long long)longest);
    encode.lost_bytes = &s->lost_bytes;
    encode.replaced = &s->replaced;
    SG_TRY(sg_model_encode(model, o->tokenizer, o->text, o->text_bytes, &encode, &s->ids,
                           &s->tokens, &begins, err));
    s->length = o->context > 0 ? o->context : sg_min(longest, source_context);
    if (s->tokens < 1) return sg_fail(err, SG_ERR_ARGUMENT, "text: found no token");
    int32_t *longer = sg_realloc(s->ids, (size_t)(s->tokens + 1) * sizeof *longer);
    if (longer == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a text");
    s->ids = longer;
    s->ids[s->tokens] = -1;
    return SG_OK;
}

static sg_status source_checksum(sg_record_source *s, sg_error *err)
{
    const size_t length = (size_t)s->length;
    int32_t *ids = sg_alloc_array(2 * length, sizeof *ids);
    bool *wanted = sg_alloc_array(length, sizeof *wanted);
    sg_hasher *hasher = sg_hasher_new();
    sg_status status = SG_OK;
    if (ids == NULL || wanted == NULL || hasher == NULL)
        status = sg_fail(err, SG_ERR_MEMORY, "out of memory for a record");
    for (int64_t i = 0; i < s->sequences && status == SG_OK; i++) {
        status = sg_record_source_read(s, i, ids, ids + length, wanted, err);
        sg_hasher_add(hasher, ids, 2 * length * sizeof *ids);
    }
    if (status == SG_OK) s->checksum = sg_hasher_value(hasher);
    sg_hasher_free(hasher);
    sg_free(ids);
    sg_free(wanted);
    return status;
}

sg_status sg_record_source_new(const sg_model *model, const sg_record_options *o,
                               sg_record_source *s, sg_error *err)
{
    *s = (sg_record_source){.pad_id = -1};
    if ((o->text != NULL) + (o->data != NULL) != 1)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "record: found %s, expected one of a text and packed data",
                       o->text != NULL ? "both" : "none");
    if (o->max_tokens < 0)
        return sg_fail(err, SG_ERR_ARGUMENT, "max-tokens: found %lld, expected at least 0",
                       (long long)o->max_tokens);
    sg_status status =
        o->data != NULL ? source_of_data(s, model, o, err) : source_of_text(s, model, o, err);
    if (status == SG_OK) {
        if (o->max_tokens > 0) s->tokens = sg_min(s->tokens, o->max_tokens);
        if (s->data == NULL) s->length = sg_min(s->length, s->tokens);
        s->sequences = (s->tokens + s->length - 1) / s->length;
        status = source_checksum(s, err);
    }
    if (status != SG_OK) sg_record_source_free(s);
    return status;
}

void sg_record_source_free(sg_record_source *s)
{
    sg_free(s->ids);
    *s = (sg_record_source){0};
}

int64_t sg_record_source_count(const sg_record_source *s, int64_t sequence)
{
    return sg_min(s->length, s->tokens - sequence * s->length);
}

sg_status sg_record_source_read(const sg_record_source *s, int64_t sequence, int32_t *inputs,
                                int32_t *targets, bool *wanted, sg_error *err)
{
    const int64_t count = sg_record_source_count(s, sequence);
    if (s->data != NULL) {
        SG_TRY(sg_data_row(s->data, s->split, s->first_row + sequence, targets, err));
        inputs[0] = s->eos_id;
        memcpy(inputs + 1, targets, (size_t)(s->length - 1) * sizeof *inputs);
    } else {
        memcpy(inputs, s->ids + sequence * s->length, (size_t)count * sizeof *inputs);
        memcpy(targets, s->ids + sequence * s->length + 1, (size_t)count * sizeof *targets);
    }
    for (int64_t i = 0; i < s->length; i++) {
        wanted[i] = i < count && (s->data == NULL || targets[i] != s->pad_id);
        if (wanted[i]) continue;
        inputs[i] = 0;
        targets[i] = -1;
    }
    return SG_OK;
}
