// The search for the value of one field of training (learning rate, beta2, warm-up): which values
// to try next, given the losses of those that were tried. Equal effort for all: `count` values and
// two for each halving; what an edge adds comes on top and is counted apart.
//
//   1. all values of the file
//   2. while the best is the first or the last, and at most `extend` times: the next value beyond
//      it, w (w / n), n its neighbour
//   3. `halvings` times: sqrt(w n) on both sides of the best w; on a side without a neighbour
//      w sqrt(w / n), n its neighbour on the other side
//
// w is the value; for beta2 it is 1 - beta2, which is what a memory of so many steps goes by. New
// values are rounded to 4 digits (steps of warm-up to whole numbers), so that no machine's last bit
// is in the name of a run; one that was tried already, or that the option does not allow, is left
// out. The best has the lowest loss, of equal ones the lowest value; a run that diverged has a loss
// of infinity, so that where all did a lower rate is tried.
#ifndef SG_SWEEP_SEARCH_H
#define SG_SWEEP_SEARCH_H

#include "sweep/sweep.h"

enum { SG_SWEEP_EXTEND_MAX = 16, SG_SWEEP_HALVINGS_MAX = 8, SG_SWEEP_TRIED_MAX = 48 };

// The loss at a value; INFINITY: it diverged, NAN: not known yet, and the run must be made. Called
// once for each value, in the order in which they are tried.
typedef sg_status (*sg_sweep_ask)(void *user, double value, double *loss, sg_error *err);

typedef struct sg_sweep_searched {
    double values[SG_SWEEP_TRIED_MAX], losses[SG_SWEEP_TRIED_MAX]; // (count) as tried
    size_t count;
    bool settled;    // all that there is to try is known
    size_t best;     // of them
    bool edge;       // and it is the first or the last of two or more values
    size_t extra;    // values of step 2
    size_t expected; // that steps 1 and 3 will still add
} sg_sweep_searched;

// SG_ERR_ARGUMENT for a search that is none.
sg_status sg_sweep_search_check(const sg_sweep_search *search, sg_error *err);
sg_status sg_sweep_search_walk(const sg_sweep_search *search, sg_sweep_ask ask, void *user,
                               sg_sweep_searched *out, sg_error *err);

#endif
