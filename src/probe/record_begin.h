// The beginning of a record: what it says of itself, its layers and channels, the texts of its
// vocabulary; and whether one that is there may be continued.
#ifndef SG_PROBE_RECORD_BEGIN_H
#define SG_PROBE_RECORD_BEGIN_H

#include "probe/record_layers.h"
#include "probe/record_source.h"

typedef struct sg_record_identity {
    const sg_model *model;
    const sg_record_options *options;
    const sg_record_source *source;
    const sg_record_parts *parts;
    sg_record_sizes sizes;
    int64_t micro;
    uint64_t checksum; // of the model
} sg_record_identity;

// All tables, and the rows that are there from the beginning.
sg_status sg_record_write_beginning(sg_database *database, const sg_record_identity *identity,
                                    sg_error *err);
// That a record was begun so and is not complete.
sg_status sg_record_check_beginning(sg_database *database, const sg_record_identity *identity,
                                    sg_error *err);

#endif
