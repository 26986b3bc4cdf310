// Linear least squares with a few columns, by an orthogonal basis of them: what the fits of a sweep
// are made from. Normal equations would square the condition of columns such as 1, x, x^2.
#ifndef SG_SWEEP_LEAST_SQUARES_H
#define SG_SWEEP_LEAST_SQUARES_H

#include <stdbool.h>
#include <stddef.h>

enum { SG_COLUMNS_MOST = 3 };

// A = Q R: Q^T Q = 1, R upper triangular with a positive diagonal. q (columns, rows).
typedef struct sg_basis {
    size_t rows, columns;
    double *q;
    double r[SG_COLUMNS_MOST][SG_COLUMNS_MOST];
} sg_basis;

// q holds A's columns and becomes Q, by modified Gram-Schmidt, each column twice (Giraud et al.
// 2005: twice is enough). False where the columns depend on each other, to 1e-10 of their length.
bool sg_basis_make(sg_basis *basis);
// The coefficients (columns) whose sum A c is nearest to y (rows).
void sg_basis_solve(const sg_basis *basis, const double *y, double *coefficients);
// Takes from y (rows) its part along the columns: y - Q Q^T y.
void sg_basis_project_out(const sg_basis *basis, double *y);

// A parabola through points, value = c0 + c1 u + c2 u^2 with u = (x - middle) / half, for the same
// x and many values: coefficients are products with rows of `weights`.
typedef struct sg_parabola {
    size_t count;
    double middle, half;
    double *weights;  // (3, count); NULL: fewer than three different x, no parabola
    double *leverage; // (count) diagonal of the hat matrix
} sg_parabola;

// False: out of memory. Ownership: sg_parabola_free, also after a failure.
bool sg_parabola_new(const double *x, size_t count, sg_parabola *out);
void sg_parabola_free(sg_parabola *parabola);
void sg_parabola_fit(const sg_parabola *parabola, const double *y, double c[3]);
double sg_parabola_at(const double c[3], double u);
// u of the minimum; NAN where there is none: c2 is not above 0 by more than rounding.
double sg_parabola_minimum(const double c[3]);

#endif
