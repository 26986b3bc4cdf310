// Finished runs of a sweep as text that stands well in a repository: lines of "# " that hold one
// JSON object (what the sweep is, its file, the machines), then CSV, a run a line, sorted by id.
// docs/FORMATS.md, "Runs of sweeps as CSV", has the columns.
//
// Numbers are the shortest that read back to the same bits. Curves are for drawing alone: they are
// thinned to SG_SWEEP_CSV_CURVE points, losses have seven digits; the head of the file says so.
#ifndef SG_SWEEP_RUNS_CSV_H
#define SG_SWEEP_RUNS_CSV_H

#include "base/utf8.h"
#include "sweep/bundle.h"

enum { SG_SWEEP_CSV_CURVE = 24, SG_SWEEP_CSV_MOST = 1 << 28 }; // points; bytes of a file

// All finished runs, as text without a NUL; how many those are. text is empty before, sg_free(data)
// releases it.
sg_status sg_sweep_csv_text(const sg_sweep_bundle *bundle, sg_bytes *text, size_t *runs,
                            sg_error *err);

// Errors name the file, the line and the column. Files are treated as hostile.
sg_status sg_sweep_csv_read(const char *path, sg_sweep_bundle *bundle, sg_error *err);
// The same of text; `name` is what errors call it.
sg_status sg_sweep_csv_parse(const char *text, size_t bytes, const char *name,
                             sg_sweep_bundle *bundle, sg_error *err);

// ---- columns ------------------------------------------------------------------------------------

// Behind those of columns.h, but for the ones that say nothing of a finished run elsewhere.
typedef enum sg_sweep_csv_list {
    SG_SWEEP_CSV_BLOCK_LOSS = 0, // sums of losses, separated by blanks
    SG_SWEEP_CSV_BLOCK_TOKENS,   // tokens, of equal neighbours "tokens*count"
    SG_SWEEP_CSV_TRAIN,          // "step:loss", separated by blanks
    SG_SWEEP_CSV_VAL,
    SG_SWEEP_CSV_MACHINE, // number in the head; empty: not known
    SG_SWEEP_CSV_SECONDS, // of training
    SG_SWEEP_CSV_STARTED, // seconds since 1970
    SG_SWEEP_CSV_STEPS,   // "machine:seconds" of each round, separated by blanks
    SG_SWEEP_CSV_LISTS
} sg_sweep_csv_list;

// The name of a column of the file, which is columns.h's column *number (its index there) or, with
// SIZE_MAX, the list of that index; NULL behind the last.
const char *sg_sweep_csv_column(size_t index, size_t *number, size_t *list);

extern const char sg_sweep_csv_first_line[]; // without its end

#endif
