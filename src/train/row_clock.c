// The sums of row_clock.h for every number of missed steps, made once an update from the last step
// backwards.
#include "train/row_clock.h"

#include <math.h>

// A first moment that has decayed this far is nothing beside any new gradient; as a number it would
// soon be below the normal ones, which are slow.
static const double clock_forgotten = 1e-12;

void sg_row_clock_advance(sg_row_clock *c, double lr)
{
    c->lr[c->updates++] = lr;
}

void sg_row_clock_settle(sg_row_clock *c)
{
    c->settled += c->updates;
    c->updates = 0;
    c->built = -1;
}

void sg_row_clock_build(sg_row_clock *c)
{
    if (c->built == c->updates) return;
    double keep = 1, move = 0, over = 0, keep1 = 1, keep2 = 1; // over: sum of w / r
    c->idle[c->updates] = (sg_adamw_idle_args){
        .keep = 1, .move = 0, .root = 1, .eps = c->eps, .keep1 = 1, .keep2 = 1};
    for (int64_t last = c->updates - 1; last >= 0; last--) {
        // Update number `step` comes in front of those that are summed up already.
        double step = (double)(c->settled + last + 1), lr = c->lr[last];
        double bias1 = 1 - pow(c->beta1, step), bias2 = 1 - pow(c->beta2, step);
        move = c->beta1 * (move + keep * lr / bias1);
        over = c->beta1 / sqrt(c->beta2) * (over + keep * lr / bias1 * sqrt(bias2));
        keep *= 1 - lr * c->decay;
        keep1 *= c->beta1;
        keep2 *= c->beta2;
        c->idle[last] = (sg_adamw_idle_args){.keep = keep,
                                             .move = move,
                                             .root = over > 0 ? move / over : 1,
                                             .eps = c->eps,
                                             .keep1 = keep1 < clock_forgotten ? 0 : keep1,
                                             .keep2 = keep2};
    }
    c->built = c->updates;
}
