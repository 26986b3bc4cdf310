// The results of a sweep as they are in its sweep.db, finished or not. Reading writes nothing, and
// may be done while the sweep goes on. Any database is treated as hostile.
#ifndef SG_SWEEP_RESULTS_H
#define SG_SWEEP_RESULTS_H

#include "format/sqlite.h"
#include "sweep/sweep.h"

enum { SG_SWEEP_ROWS_MAX = 65536, SG_SWEEP_CURVE_MAX = 200, SG_SWEEP_BLOCKS_MAX = 65536 };

// path: sweep.db, or the folder that it is in. Rows are in the order of their cells, then of lr,
// beta2, warm-up and seed; those that no cell of the file has (imported ones) come last.
// step_seconds and its kin are of the machine with the most rounds.
sg_status sg_sweep_results_open(const char *path, sg_sweep_results *results, sg_error *err);
// The same from an open database.
sg_status sg_sweep_results_read(sg_database *database, sg_sweep_results *results, sg_error *err);
// NULL members are allowed; leaves it empty.
void sg_sweep_results_clear(sg_sweep_results *results);

// Whether two rows are of one cell: family, scale, budget and settings.
bool sg_sweep_same_cell(const sg_sweep_row *a, const sg_sweep_row *b);
// Whether they have the same lr, beta2 and warm-up.
bool sg_sweep_same_values(const sg_sweep_row *a, const sg_sweep_row *b);
// Two numbers that are equal, or both not there.
static inline bool sg_sweep_same_number(double a, double b)
{
    return a == b || (a != a && b != b);
}
// The row with this id; NULL: none.
const sg_sweep_row *sg_sweep_find(const sg_sweep_results *results, const char *id);
// The index of the finished row of the same cell as row `of` that has the lowest loss of those with
// the first seed, the one that most values were run with; SIZE_MAX: none is finished.
size_t sg_sweep_best(const sg_sweep_results *results, size_t of);

#endif
