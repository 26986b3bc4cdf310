// An append-only log of JSON objects, one a line (metrics.jsonl), that a resumed run continues so
// that it ends up equal to the log of an uninterrupted run.
#ifndef SG_FORMAT_JSONL_LOG_H
#define SG_FORMAT_JSONL_LOG_H

#include <jansson.h>

#include "base/status.h"

typedef struct sg_jsonl_log sg_jsonl_log;

// Opens for appending, made when missing. Dropped from what is there: a line without its end,
// records whose "step" is greater than last_step (-1 drops every record with a step), and lines
// that are no record. *damaged (may be NULL) is how many of the last kind stood among records that
// are kept: those a crash does not leave.
sg_status sg_jsonl_log_open(const char *path, int64_t last_step, sg_jsonl_log **out,
                            int64_t *damaged, sg_error *err);
// Opens for appending after cutting the file to the size that sg_jsonl_log_sync gave.
// SG_ERR_MISMATCH when the file is shorter than that.
sg_status sg_jsonl_log_open_at(const char *path, int64_t bytes, sg_jsonl_log **out, sg_error *err);
// Appends one record and hands it to the system.
sg_status sg_jsonl_log_put(sg_jsonl_log *log, const json_t *record, sg_error *err);
// Makes all records so far survive a power cut; *bytes (may be NULL) is the size of the file. Call
// it before a checkpoint that stores the size.
sg_status sg_jsonl_log_sync(sg_jsonl_log *log, int64_t *bytes, sg_error *err);
// Syncs, closes and frees. NULL is allowed.
sg_status sg_jsonl_log_close(sg_jsonl_log *log, sg_error *err);

#endif
