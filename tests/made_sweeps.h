// Results of sweeps made by hand, for tests of what is made of results.
#ifndef SG_TESTS_MADE_SWEEPS_H
#define SG_TESTS_MADE_SWEEPS_H

#include "sweep/analysis.h"

typedef struct made_sweep {
    sg_sweep_results results;
    sg_sweep_machine machine;
    size_t capacity;
} made_sweep;

made_sweep *made_sweep_new(void);
void made_sweep_free(made_sweep *made);

// A finished run of settings "{}", one rate, without blocks and times; seed 1 is the first seed.
// The pointer holds until the next row.
sg_sweep_row *made_sweep_add(made_sweep *made, const char *family, double scale, double budget,
                             uint64_t seed, double size, double tokens, double loss);

// What documents are: the mean loss of block b is the run's, more by `spread` times a normal number
// of (seed, b), and by `own` times one of (seed, run, b). 100 tokens a block; row->loss becomes the
// mean of the blocks.
typedef struct made_documents {
    uint64_t seed;
    size_t blocks;
    double spread, own;
} made_documents;
void made_sweep_documents(sg_sweep_row *row, const made_documents *documents, uint64_t run);

// What is found in it; a failure fails the test.
sg_sweep_analysis made_sweep_analyse(const made_sweep *made, int64_t resamples, uint64_t seed);

#endif
