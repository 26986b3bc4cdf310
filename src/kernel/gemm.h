// Dense products: a library behind a few functions. Work is cut into tiles by the shape alone, each
// the work of one thread, so results are the same bits for any number of threads. k is cut only
// where the caller gives scratch to keep the partial results in; they are added in the order of k.
#ifndef SG_KERNEL_GEMM_H
#define SG_KERNEL_GEMM_H

#include "kernel/kernel.h"

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
    sg_bf16 *c_half;      // NULL, or where C goes rounded in place of c: sg_gemm_rounds, beta 0
    sg_compute_kind kind; // 0: f32
    // NULL, or what A and B are rounded to, with their strides: read in their place where the kind
    // is bf16 (A and B may then be NULL).
    const sg_bf16 *a_half, *b_half;
    // NULL, or where the kind is bf16x3 the second part of A, with its stride: A is a_half + a_low,
    // as split_bf16 made them, and may be NULL itself. Only where a unit multiplies in that kind.
    const sg_bf16 *a_low;
    // NULL, or op(B) as sg_gemm_pack made it for this kind, n and k: read in place of B, so that b,
    // b_half, ldb and transpose_b say nothing.
    const void *b_packed;
    void *room; // sg_gemm_room bytes, aligned to 64; NULL where that is 0
} sg_gemm_args;

// Bytes in which a product of that kind and shape, or a smaller one, prepares its operands; 0 with
// f32. The second is enough where b_packed is given.
size_t sg_gemm_room(sg_compute_kind kind, int64_t m, int64_t n, int64_t k);
size_t sg_gemm_room_packed(sg_compute_kind kind, int64_t m, int64_t n, int64_t k);

// Whether such a product can hand C back rounded to bf16.
bool sg_gemm_rounds(sg_compute_kind kind, int64_t m, int64_t n, int64_t k);

// op(B) prepared once for many products with it, with the same bits as without. Where the bytes are
// 0 (f32, or no unit for that kind) there is nothing to prepare: b_packed stays NULL and products
// read B itself. Of args n, k, kind and what describes B are read; packed is aligned to 64. The
// first on the pool, the second on the calling thread, inside a chunk say.
size_t sg_gemm_packed_bytes(sg_compute_kind kind, int64_t n, int64_t k);
void sg_gemm_pack(sg_compute compute, const sg_gemm_args *args, void *packed);
void sg_gemm_pack_serial(const sg_kernels *kernels, const sg_gemm_args *args, void *packed);

// On the calling thread, by the library once it is open (products.h); safe inside a chunk of
// sg_parallel_for.
void sg_gemm_serial(const sg_kernels *kernels, const sg_gemm_args *args);
// On the pool; not from inside a chunk.
void sg_gemm(sg_compute compute, const sg_gemm_args *args);
// The same with k cut into pieces where it is long and C small, a weight gradient say: the tiles of
// C alone would be few, and thin ones cost up to half in copying. scratch: sg_gemm_scratch_bytes of
// the shape, aligned for sg_real; may be NULL where that is 0.
size_t sg_gemm_scratch_bytes(int64_t m, int64_t n, int64_t k);
void sg_gemm_deep(sg_compute compute, const sg_gemm_args *args, void *scratch);

#endif
