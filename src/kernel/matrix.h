// Products of bf16 operands with sums in f32 by the matrix units of the processor, through the
// library's matmul primitives: code that it writes for one shape each. They are kept here, as the
// library needs longer to write one than to run it. What is asked for is cut so that all shapes
// there can be are few enough to keep (kernel/panels.h). Operands are dense: the only ones that
// every version of the library takes in its fast code.
#ifndef SG_KERNEL_MATRIX_H
#define SG_KERNEL_MATRIX_H

#include "kernel/panels.h"

// Of what dlopen gave; get_threads and set_threads hold the library to the calling thread, NULL
// where it has no threads. Where it lacks what is needed here, sg_matrix_order says so.
void sg_matrix_open(void *library, int (*get_threads)(void), void (*set_threads)(int));

// The order in which B is read; SG_PANEL_NONE: the library has no fast code for such products.
sg_panel_order sg_matrix_order(void);

// C (m, n) = A (m, k) B (k, n), dense, B in sg_matrix_order; m <= SG_PANEL_TILE a multiple of
// SG_PANEL_ROWS, n <= SG_PANEL_WIDTH of SG_PANEL_BLOCK, k of SG_PANEL_STEP. On the calling thread;
// false where nothing was computed, for want of memory say.
bool sg_matrix_run(float *c, const sg_bf16 *a, const sg_bf16 *b, int64_t m, int64_t n, int64_t k);

#endif
