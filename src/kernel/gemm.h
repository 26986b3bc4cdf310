// Dense products: a BLAS behind two functions. Work is cut into tiles by the shape alone and never
// along k, each tile one single-threaded BLAS call, so results are the same bits for any number of
// threads.
#ifndef SG_KERNEL_GEMM_H
#define SG_KERNEL_GEMM_H

#include "base/parallel.h"
#include "kernel/real.h"

// C (m, n) = alpha op(A) op(B) + beta C, row-major; op(A) is (m, k), op(B) is (k, n); lda, ldb, ldc
// are the row strides of A, B, C as stored. With beta = 0, C may hold anything.
typedef struct sg_gemm_args {
    bool transpose_a, transpose_b;
    int64_t m, n, k;
    sg_real alpha;
    const sg_real *a;
    int64_t lda;
    const sg_real *b;
    int64_t ldb;
    sg_real beta;
    sg_real *c;
    int64_t ldc;
} sg_gemm_args;

// On the calling thread; safe inside a chunk of sg_parallel_for.
void sg_gemm_serial(const sg_gemm_args *args);
// On the pool; not from inside a chunk.
void sg_gemm(sg_pool *pool, const sg_gemm_args *args);
// Keeps the BLAS on the calling thread; called once when a context is made.
void sg_gemm_setup(void);
// "openblas 0.3.21 (SkylakeX)" or "reference".
const char *sg_gemm_name(void);

#endif
