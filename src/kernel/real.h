// The number type of tensors. The library is built with float; the tests build the same sources
// once more with double, so that gradient checks by finite differences mean something.
#ifndef SG_KERNEL_REAL_H
#define SG_KERNEL_REAL_H

#ifdef SG_REAL_DOUBLE
typedef double sg_real;
#else
typedef float sg_real;
#endif

#endif
