// Gates of one channel of one layer as a sparse matrix: a row is a token that was recorded (a
// pattern of gates), a column a neuron of the channel. What compares patterns (neighbours, maps,
// CKA, usage) works on this, whatever the family and wherever the rows come from.
#ifndef SG_PROBE_GATE_ROWS_H
#define SG_PROBE_GATE_ROWS_H

#include <stdint.h>

typedef struct sg_gate_rows {
    int64_t rows, columns;
    int64_t *begins;  // (rows + 1): row r is neurons and scores begins[r] … begins[r + 1] - 1
    int32_t *neurons; // ascending within a row
    float *scores;
    int64_t *tokens; // (rows): which token of the record each row is
} sg_gate_rows;

void sg_gate_rows_free(sg_gate_rows *gates);

#endif
