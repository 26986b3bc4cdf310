// Gram-Schmidt and the parabola on top of it (least_squares.h).
#include "sweep/least_squares.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"

static const double ls_dependent = 1e-10, ls_flat = 1e-12;

static double ls_dot(const double *a, const double *b, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += a[i] * b[i];
    return sum;
}

static void ls_subtract(double *y, double factor, const double *x, size_t count)
{
    for (size_t i = 0; i < count; i++)
        y[i] -= factor * x[i];
}

bool sg_basis_make(sg_basis *b)
{
    memset(b->r, 0, sizeof b->r);
    for (size_t j = 0; j < b->columns; j++) {
        double *column = b->q + j * b->rows;
        const double before = sqrt(ls_dot(column, column, b->rows));
        for (int pass = 0; pass < 2; pass++)
            for (size_t i = 0; i < j; i++) {
                const double *q = b->q + i * b->rows, along = ls_dot(q, column, b->rows);
                ls_subtract(column, along, q, b->rows);
                b->r[i][j] += along;
            }
        const double length = sqrt(ls_dot(column, column, b->rows));
        if (!(length > ls_dependent * before)) return false; // NAN too
        for (size_t i = 0; i < b->rows; i++)
            column[i] /= length;
        b->r[j][j] = length;
    }
    return true;
}

void sg_basis_solve(const sg_basis *b, const double *y, double *coefficients)
{
    for (size_t j = b->columns; j-- > 0;) {
        double value = ls_dot(b->q + j * b->rows, y, b->rows);
        for (size_t i = j + 1; i < b->columns; i++)
            value -= b->r[j][i] * coefficients[i];
        coefficients[j] = value / b->r[j][j];
    }
}

void sg_basis_project_out(const sg_basis *b, double *y)
{
    for (size_t j = 0; j < b->columns; j++) {
        const double *q = b->q + j * b->rows;
        ls_subtract(y, ls_dot(q, y, b->rows), q, b->rows);
    }
}

// ---- the parabola -------------------------------------------------------------------------------

// Row k of the weights: coefficient k of values that are 1 at one point and 0 at the others.
static void ls_weights(sg_parabola *p, const sg_basis *b)
{
    for (size_t i = 0; i < p->count; i++) {
        double c[3], leverage = 0;
        for (size_t j = 3; j-- > 0;) {
            const double q = b->q[j * p->count + i];
            c[j] = q;
            for (size_t k = j + 1; k < 3; k++)
                c[j] -= b->r[j][k] * c[k];
            c[j] /= b->r[j][j];
            p->weights[j * p->count + i] = c[j];
            leverage += q * q;
        }
        p->leverage[i] = leverage;
    }
}

static size_t ls_different(const double *x, size_t count)
{
    size_t different = 0;
    for (size_t i = 0; i < count; i++) {
        size_t j = 0;
        while (j < i && (x[j] < x[i] || x[j] > x[i]))
            j++;
        different += j == i;
    }
    return different;
}

bool sg_parabola_new(const double *x, size_t count, sg_parabola *out)
{
    *out = (sg_parabola){.count = count, .half = 1};
    double low = INFINITY, high = -INFINITY;
    for (size_t i = 0; i < count; i++) {
        low = fmin(low, x[i]);
        high = fmax(high, x[i]);
    }
    if (ls_different(x, count) < 3) return true;
    out->middle = (low + high) / 2;
    out->half = (high - low) / 2;
    out->weights = sg_alloc_array(3 * count, sizeof *out->weights);
    out->leverage = sg_alloc_array(count, sizeof *out->leverage);
    sg_basis basis = {.rows = count, .columns = 3, .q = sg_alloc_array(3 * count, sizeof(double))};
    const bool memory = out->weights != NULL && out->leverage != NULL && basis.q != NULL;
    for (size_t i = 0; memory && i < count; i++) {
        const double u = (x[i] - out->middle) / out->half;
        basis.q[i] = 1;
        basis.q[count + i] = u;
        basis.q[2 * count + i] = u * u;
    }
    if (memory && sg_basis_make(&basis)) {
        ls_weights(out, &basis);
    } else { // sizes that are as good as equal are
        sg_free(out->weights);
        out->weights = NULL;
    }
    sg_free(basis.q);
    return memory;
}

void sg_parabola_free(sg_parabola *p)
{
    sg_free(p->weights);
    sg_free(p->leverage);
    *p = (sg_parabola){0};
}

void sg_parabola_fit(const sg_parabola *p, const double *y, double c[3])
{
    for (size_t j = 0; j < 3; j++)
        c[j] = ls_dot(p->weights + j * p->count, y, p->count);
}

double sg_parabola_at(const double c[3], double u)
{
    return c[0] + u * (c[1] + u * c[2]);
}

double sg_parabola_minimum(const double c[3])
{
    const double size = fabs(c[0]) + fabs(c[1]) + fabs(c[2]);
    return c[2] > ls_flat * size ? -c[1] / (2 * c[2]) : NAN;
}
