// The inside of an open record, for the analyses of this folder: its database, and a channel's
// gates as a sparse matrix. The public face is include/sgatlin_record.h.
#ifndef SG_PROBE_RECORDS_H
#define SG_PROBE_RECORDS_H

#include "format/sqlite.h"
#include "probe/gate_rows.h"
#include "sgatlin_record.h"

// Scores of a channel as they are recorded: a row is a token that has gates, in order of tokens;
// the first `most` rows (0: all). gates: sg_gate_rows_free.
sg_status sg_record_gates(sg_record *record, int64_t layer, int64_t channel, int64_t most,
                          sg_gate_rows *gates, sg_error *err);
// The same with activations (hook_post) in place of scores.
sg_status sg_record_activations(sg_record *record, int64_t layer, int64_t channel, int64_t most,
                                sg_gate_rows *gates, sg_error *err);
sg_database *sg_record_database(const sg_record *record);

#endif
