// L(N, D) = E + A N^-alpha + B D^-beta through points, by variable projection (analysis.h).
#ifndef SG_SWEEP_SURFACE_VALUES_H
#define SG_SWEEP_SURFACE_VALUES_H

#include <stdbool.h>
#include <stddef.h>

// E, A, B >= 0; alpha and beta within the bounds, beyond which a power of what a sweep has is a
// constant or a step.
typedef struct sg_surface_values {
    double E, A, B, alpha, beta;
    double squares; // sum of the distances' squares
} sg_surface_values;
#define SG_SURFACE_LEAST 0.01
#define SG_SURFACE_MOST  4.0

// Points, and room for fits.
typedef struct sg_surface_work {
    size_t count;
    double size_middle, tokens_middle; // means of the logarithms
    double *size, *tokens;             // (count) logarithms less these
    double *powers;                    // (2, count)
    double *columns, *residual;        // (3, count), (count)
    double *slopes;                    // (2, count)
} sg_surface_work;

// size, tokens (count) above 0. False: out of memory. Ownership: sg_surface_work_free.
bool sg_surface_work_new(const double *size, const double *tokens, size_t count,
                         sg_surface_work *out);
void sg_surface_work_free(sg_surface_work *work);

// Fits to loss (count), from `start` or, for NULL, from the best three of a grid: the least of what
// these find. squares: INFINITY where nothing fits, losses being below 0.
sg_surface_values sg_surface_fit(sg_surface_work *work, const double *loss,
                                 const sg_surface_values *start);
double sg_surface_at(const sg_surface_values *values, double size, double tokens);

#endif
