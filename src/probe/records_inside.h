// The inside of an open record, for records.c, records_gates.c and record_export.c alone.
#ifndef SG_PROBE_RECORDS_INSIDE_H
#define SG_PROBE_RECORDS_INSIDE_H

#include "probe/record_schema.h"
#include "probe/records.h"

struct sg_record {
    sg_database *database;
    sg_record_info info;
    sg_record_sizes sizes;
    char *texts[4]; // of info
    sg_record_layer *layers;
    sg_record_channel *channels;
    int64_t *first_neuron; // (channel_count)
    char *words;           // the vocabulary, one text behind the other, each with a NUL
    size_t *word_at;       // (vocabulary + 1)
    int64_t spans;         // that are whole: neurons are summed over them alone
    sg_statement *gate;    // one by its id
};

// The number of a channel in the list of all, with its layer; SG_ERR_NOT_FOUND.
sg_status sg_record_channel_number(const sg_record *record, int64_t layer, int64_t channel,
                                   int64_t *number, const sg_record_layer **of, sg_error *err);
// Slot `slot` of the row of gate that a statement stands at, whose slots begin at `column`; false
// in *there: it is empty.
sg_status sg_record_slot_at(const sg_record *record, const sg_record_layer *layer,
                            const sg_statement *statement, int column, int64_t slot,
                            sg_record_hit *hit, bool *there, sg_error *err);
// The first token id that no whole span has.
int64_t sg_record_summed(const sg_record *record);

#endif
