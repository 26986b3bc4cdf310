// Sparse matrices of gates: what all their users share.
#include "probe/gate_rows.h"

#include "base/alloc.h"

void sg_gate_rows_free(sg_gate_rows *gates)
{
    sg_free(gates->begins);
    sg_free(gates->neurons);
    sg_free(gates->scores);
    sg_free(gates->tokens);
    *gates = (sg_gate_rows){0};
}
