// A sweep's results as a report's tests want them: six families at three budgets and five scales,
// rates searched, seeds at the best, on a surface of losses that is known; and worse ones.
#ifndef SG_TESTS_REPORT_SWEEP_H
#define SG_TESTS_REPORT_SWEEP_H

#include "sweep/sweep.h"

typedef struct report_sweep {
    bool hostile; // names that would break out of a page if they could
    bool facts;   // recall is measured
    bool times;   // steps are timed
    bool unfinished;
    bool plain; // no budgets and no scales
    bool bare;  // curves of four points and hardly any options: for walks over allocations
    int seeds;  // at every cell; 0: three at each family's best two scales, one elsewhere
    int families, budgets, scales; // at most 6, 3, 7; 0: 6, 3, 5
} report_sweep;

// Release with sg_sweep_results_clear. Memory is asked for by sg_alloc: *out is empty where there
// is none, and false is returned.
bool report_sweep_make(const report_sweep *kind, sg_sweep_results *out);

#endif
