// What a recording reads: a text, or rows of packed data, as sequences of one length.
#ifndef SG_PROBE_RECORD_SOURCE_H
#define SG_PROBE_RECORD_SOURCE_H

#include "model/model.h"
#include "sgatlin_record.h"

typedef struct sg_record_source {
    const sg_data *data; // NULL: ids
    sg_split split;
    int64_t first_row, pad_id;
    int32_t eos_id;
    int32_t *ids; // (tokens + 1, the last -1 where the text ends) of a text
    int64_t tokens, sequences, length;
    uint64_t checksum; // of all that is read
    int64_t replaced, lost_bytes;
} sg_record_source;

sg_status sg_record_source_new(const sg_model *model, const sg_record_options *options,
                               sg_record_source *source, sg_error *err);
void sg_record_source_free(sg_record_source *source);
// Tokens of a sequence: all, or those that are left for the last one.
int64_t sg_record_source_count(const sg_record_source *source, int64_t sequence);
// One sequence: inputs (length) and what follows each, targets (length), -1 where nothing is known;
// wanted (length): not padding, and not behind the last token. What is not there is 0.
sg_status sg_record_source_read(const sg_record_source *source, int64_t sequence, int32_t *inputs,
                                int32_t *targets, bool *wanted, sg_error *err);

#endif
