// What the kernel tests share: arrays of random numbers with a canary behind the end, comparisons
// that name the place where they fail, and the tables.
#ifndef SG_TESTS_KERNEL_CHECK_H
#define SG_TESTS_KERNEL_CHECK_H

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/rng.h"
#include "kernel/kernel.h"

static const float check_canary = 12345.678f;
enum { check_canaries = 8 };

// An array of n with canaries behind it, filled with uniform numbers in [-scale, scale).
static inline float *check_random(int64_t n, uint64_t seed, double scale)
{
    float *x = malloc((size_t)(n + check_canaries) * sizeof *x);
    assert_non_null(x);
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)(scale * (2 * sg_rng_uniform(seed, 77, (uint64_t)i) - 1));
    for (int i = 0; i < check_canaries; i++)
        x[n + i] = check_canary;
    return x;
}

static inline float *check_copy(const float *x, int64_t n)
{
    float *y = malloc((size_t)(n + check_canaries) * sizeof *y);
    assert_non_null(y);
    memcpy(y, x, (size_t)(n + check_canaries) * sizeof *y);
    return y;
}

static inline void check_intact(const float *x, int64_t n)
{
    for (int i = 0; i < check_canaries; i++)
        assert_true(x[n + i] == check_canary);
}

// Equal within `relative` of `scale` or of the value itself; equal infinities and two NaN agree.
static inline void check_close(const char *what, int64_t at, double found, double expected,
                               double scale, double relative)
{
    if (isnan(expected) && isnan(found)) return;
    if (found == expected) return;
    double allowed = relative * (scale > fabs(expected) ? scale : fabs(expected));
    if (fabs(found - expected) <= allowed) return;
    fail_msg("%s[%lld]: found %.9g, expected %.9g within %.3g", what, (long long)at, found,
             expected, allowed);
}

static inline void check_array(const char *what, const float *found, const float *expected,
                               int64_t n, double scale, double relative)
{
    for (int64_t i = 0; i < n; i++)
        check_close(what, i, (double)found[i], (double)expected[i], scale, relative);
    check_intact(found, n);
}

// Calls `check` with each fast table that this processor can run; what it cannot run is skipped,
// saying so.
static inline void check_fast(void (*check)(const sg_kernels *table))
{
    const sg_kernels *tables[SG_TABLES_MAX];
    const int count = sg_kernels_list(tables);
    if (count == 1) {
        print_message("no table for this processor: only the plain kernels are tested\n");
        skip();
    }
    for (int t = 1; t < count; t++)
        check(tables[t]);
#if defined(__x86_64__)
    if (count < SG_TABLES_MAX)
        print_message("no AVX-512 on this processor: its kernels are not tested\n");
#endif
}

#endif
