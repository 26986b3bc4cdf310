// The library of dense products, oneDNN: chosen since it writes its code for what the processor can
// do, whatever its model. It is loaded when the first context is made, not linked: so it can be
// asked first whether there is room for it, and a program that computes nothing does not carry it.
#ifndef SG_KERNEL_PRODUCTS_H
#define SG_KERNEL_PRODUCTS_H

#include "base/status.h"
#include "kernel/gemm.h"
#include "kernel/tiles.h"

// Loads the library and has it write all of its code, once for the process; later calls do nothing.
// After a failure the next call tries again. Without it, or in a build without the library,
// products are the plain loops of gemm.c.
sg_status sg_products_open(sg_error *err);
// One product on the calling thread; false where nothing was computed: no library, or no memory in
// it, which is counted.
bool sg_products_run(const sg_gemm_args *args);
// Products that the library refused since the process began.
int64_t sg_products_refused(void);
// "onednn 2.6.3 (avx512_core)", or "plain"; with " and amx tiles" or " and avx512_bf16 dots" where
// such a unit multiplies in other kinds than f32.
const char *sg_products_name(void);
// The unit of the processor for products of bf16 (tiles.h); none: they are f32 of rounded operands.
sg_tiles_unit sg_products_unit(void);
// What the processor has and the library does not use: "avx512" or "avx2"; NULL: nothing.
const char *sg_products_lack(void);

// For tests: how other kinds than f32 are computed from now on, whatever the processor has.
typedef enum sg_products_engine {
    SG_ENGINE_CHOSEN = 0,  // by its unit, if it has one
    SG_ENGINE_ROUNDED,     // f32 of rounded operands
    SG_ENGINE_PLAIN,       // by loops in place of a unit
    SG_ENGINE_AVX512_BF16, // by that unit, bf16x3 too; only where it is there, or emulated
    SG_ENGINE_AMX          // likewise
} sg_products_engine;
void sg_products_force(sg_products_engine engine);

#endif
