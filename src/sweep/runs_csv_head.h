// What is read of CSV files of runs apart: their head (runs_csv_head.c).
#ifndef SG_SWEEP_RUNS_CSV_HEAD_H
#define SG_SWEEP_RUNS_CSV_HEAD_H

#include "sweep/csv_cells.h"
#include "sweep/sweep.h"

// Reads the lines that begin with #, to behind the last of them: what the sweep is, its file, its
// machines, and how many runs follow.
sg_status sg_sweep_csv_head(sg_csv_in *in, sg_sweep_results *results, int64_t *runs, sg_error *err);

#endif
