// The thread that writes a recording beside its passes: batches go to it in order, it commits every
// few seconds, and a failure of it is found by whoever hands it the next one.
#ifndef SG_PROBE_RECORD_WRITER_H
#define SG_PROBE_RECORD_WRITER_H

#include "probe/record_rows.h"

typedef struct sg_record_writer sg_record_writer;

// From here on the database and the rows are the thread's, until sg_record_writer_end.
sg_status sg_record_writer_begin(sg_database *database, sg_record_rows *rows,
                                 const sg_record_pass *pass, sg_record_writer **writer,
                                 sg_error *err);
// A batch to be filled; waits for one.
sg_status sg_record_writer_batch(sg_record_writer *writer, sg_record_batch **batch, sg_error *err);
// Hands it over.
void sg_record_writer_put(sg_record_writer *writer);
// Waits until all of it is written and committed, and frees the writer; on failure what was
// committed before stays.
sg_status sg_record_writer_end(sg_record_writer *writer, sg_error *err);

#endif
