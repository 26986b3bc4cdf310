// Variable projection (Golub and Pereyra 1973) in two dimensions. For given exponents the loss is
// linear in E, A and B, which are found by least squares with none below 0; what is left is a
// function of the exponents, whose Jacobian (Kaufman 1975: without the term that is orthogonal to
// what is left, so the gradient is exact) Levenberg-Marquardt steps follow. N and D are divided by
// their geometric means, or E and A N^-alpha would differ by many digits.
#include "sweep/surface_values.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "sweep/least_squares.h"

enum { surface_steps = 200, surface_starts = 3, surface_grid = 7 };

static const double surface_exponents[surface_grid] = {0.05, 0.1, 0.2, 0.35, 0.6, 1, 1.7};
static const double surface_settled = 1e-11;

// Exponents with what is best for them: coefficients of 1, N^-alpha, D^-beta.
typedef struct surface_place {
    double exponents[2], c[3], squares;
} surface_place;

bool sg_surface_work_new(const double *size, const double *tokens, size_t count,
                         sg_surface_work *out)
{
    *out = (sg_surface_work){.count = count};
    out->size = sg_alloc_zero(10 * count, sizeof *out->size);
    if (out->size == NULL) return false;
    out->tokens = out->size + count;
    out->powers = out->tokens + count;
    out->columns = out->powers + 2 * count;
    out->residual = out->columns + 3 * count;
    out->slopes = out->residual + count;
    for (size_t i = 0; i < count; i++) {
        out->size_middle += log(size[i]) / (double)count;
        out->tokens_middle += log(tokens[i]) / (double)count;
    }
    for (size_t i = 0; i < count; i++) {
        out->size[i] = log(size[i]) - out->size_middle;
        out->tokens[i] = log(tokens[i]) - out->tokens_middle;
    }
    return true;
}

void sg_surface_work_free(sg_surface_work *work)
{
    sg_free(work->size);
    *work = (sg_surface_work){0};
}

double sg_surface_at(const sg_surface_values *v, double size, double tokens)
{
    return v->E + v->A * pow(size, -v->alpha) + v->B * pow(tokens, -v->beta);
}

// ---- inside: E, A, B ----------------------------------------------------------------------------

// Least squares with the columns of `set` (bits) alone: residual, sum of squares. False: they
// depend on each other, or a coefficient is below 0. basis keeps what the slopes are projected by.
static bool surface_subset(sg_surface_work *w, const double *loss, unsigned set, surface_place *at,
                           sg_basis *basis)
{
    const size_t n = w->count;
    double c[3];
    *basis = (sg_basis){.rows = n, .q = w->columns};
    for (unsigned j = 0; j < 3; j++) {
        if (!(set >> j & 1)) continue;
        double *column = basis->q + basis->columns++ * n;
        for (size_t i = 0; i < n; i++)
            column[i] = j == 0 ? 1 : w->powers[(j - 1) * n + i];
    }
    if (!sg_basis_make(basis)) return false;
    sg_basis_solve(basis, loss, c);
    for (size_t j = 0; j < basis->columns; j++)
        if (c[j] < 0) return false;
    memcpy(w->residual, loss, n * sizeof *loss);
    sg_basis_project_out(basis, w->residual);
    at->squares = 0;
    for (size_t i = 0; i < n; i++)
        at->squares += w->residual[i] * w->residual[i];
    for (unsigned j = 0, used = 0; j < 3; j++)
        at->c[j] = set >> j & 1 ? c[used++] : 0;
    return true;
}

// The least squares with no coefficient below 0 are those of their own columns alone.
static void surface_inner(sg_surface_work *w, const double *loss, surface_place *at,
                          sg_basis *basis)
{
    unsigned best = 1; // E alone always fits, as losses are above 0
    double least = INFINITY;
    for (size_t i = 0; i < w->count; i++) {
        w->powers[i] = exp(-at->exponents[0] * w->size[i]);
        w->powers[w->count + i] = exp(-at->exponents[1] * w->tokens[i]);
    }
    if (surface_subset(w, loss, 7, at, basis)) return;
    for (unsigned set = 1; set < 7; set++)
        if (surface_subset(w, loss, set, at, basis) && at->squares < least) {
            least = at->squares;
            best = set;
        }
    if (surface_subset(w, loss, best, at, basis)) return;
    at->squares = INFINITY; // losses below 0
    at->c[0] = at->c[1] = at->c[2] = 0;
}

// ---- outside: the exponents ---------------------------------------------------------------------

// The gradient and the matrix of the step, of half the sum of squares.
static void surface_slopes(sg_surface_work *w, const surface_place *at, const sg_basis *basis,
                           double gradient[2], double matrix[3])
{
    const size_t n = w->count;
    double *of_size = w->slopes, *of_tokens = w->slopes + n;
    for (size_t i = 0; i < n; i++) { // what is left, by the exponents
        of_size[i] = at->c[1] * w->size[i] * w->powers[i];
        of_tokens[i] = at->c[2] * w->tokens[i] * w->powers[n + i];
    }
    sg_basis_project_out(basis, of_size);
    sg_basis_project_out(basis, of_tokens);
    memset(gradient, 0, 2 * sizeof *gradient);
    memset(matrix, 0, 3 * sizeof *matrix);
    for (size_t i = 0; i < n; i++) {
        gradient[0] += of_size[i] * w->residual[i];
        gradient[1] += of_tokens[i] * w->residual[i];
        matrix[0] += of_size[i] * of_size[i];
        matrix[1] += of_size[i] * of_tokens[i];
        matrix[2] += of_tokens[i] * of_tokens[i];
    }
}

// The damped step, with exponents at a bound that would leave it held where they are.
static void surface_step(const surface_place *at, const double gradient[2], const double matrix[3],
                         double damping, double next[2])
{
    const double tiny = 1e-300;
    double g[2] = {gradient[0], gradient[1]}, m[3] = {matrix[0], matrix[1], matrix[2]};
    for (int k = 0; k < 2; k++)
        if ((at->exponents[k] <= SG_SURFACE_LEAST && g[k] > 0) ||
            (at->exponents[k] >= SG_SURFACE_MOST && g[k] < 0)) {
            g[k] = 0;
            m[1] = 0;
        }
    const double a = m[0] * (1 + damping) + tiny, d = m[2] * (1 + damping) + tiny;
    const double determinant = a * d - m[1] * m[1];
    const double step[2] = {-(d * g[0] - m[1] * g[1]) / determinant,
                            -(a * g[1] - m[1] * g[0]) / determinant};
    for (int k = 0; k < 2; k++) {
        const double moved = at->exponents[k] + (isfinite(step[k]) ? step[k] : 0);
        next[k] = fmin(fmax(moved, SG_SURFACE_LEAST), SG_SURFACE_MOST);
    }
}

static void surface_descend(sg_surface_work *w, const double *loss, surface_place *at)
{
    double damping = 1e-3, gradient[2], matrix[3];
    sg_basis basis;
    surface_inner(w, loss, at, &basis);
    if (!(at->squares < INFINITY)) return;
    surface_slopes(w, at, &basis, gradient, matrix);
    for (int step = 0; step < surface_steps && damping < 1e12; step++) {
        surface_place next;
        surface_step(at, gradient, matrix, damping, next.exponents);
        const double moved =
            fabs(next.exponents[0] - at->exponents[0]) + fabs(next.exponents[1] - at->exponents[1]);
        if (moved < surface_settled) return;
        surface_inner(w, loss, &next, &basis);
        if (next.squares < at->squares) {
            *at = next;
            surface_slopes(w, at, &basis, gradient, matrix);
            damping = fmax(damping / 10, 1e-12);
        } else {
            damping *= 10;
        }
    }
}

// ---- starts -------------------------------------------------------------------------------------

static void surface_keep(surface_place starts[surface_starts], const surface_place *at)
{
    for (int i = 0; i < surface_starts; i++)
        if (at->squares < starts[i].squares) {
            memmove(&starts[i + 1], &starts[i], (size_t)(surface_starts - 1 - i) * sizeof *starts);
            starts[i] = *at;
            return;
        }
}

static surface_place surface_from_grid(sg_surface_work *w, const double *loss)
{
    surface_place starts[surface_starts], best = {.exponents = {1, 1}, .squares = INFINITY};
    sg_basis basis;
    for (int i = 0; i < surface_starts; i++)
        starts[i] = best;
    for (int a = 0; a < surface_grid; a++)
        for (int b = 0; b < surface_grid; b++) {
            surface_place at = {.exponents = {surface_exponents[a], surface_exponents[b]}};
            surface_inner(w, loss, &at, &basis);
            surface_keep(starts, &at);
        }
    for (int i = 0; i < surface_starts; i++) {
        if (!(starts[i].squares < INFINITY)) continue;
        surface_descend(w, loss, &starts[i]);
        if (starts[i].squares < best.squares) best = starts[i];
    }
    return best;
}

sg_surface_values sg_surface_fit(sg_surface_work *w, const double *loss,
                                 const sg_surface_values *start)
{
    surface_place at;
    if (start == NULL) {
        at = surface_from_grid(w, loss);
    } else {
        at = (surface_place){.exponents = {start->alpha, start->beta}};
        surface_descend(w, loss, &at);
    }
    const double alpha = at.exponents[0], beta = at.exponents[1];
    return (sg_surface_values){.E = at.c[0],
                               .A = at.c[1] * exp(alpha * w->size_middle),
                               .B = at.c[2] * exp(beta * w->tokens_middle),
                               .alpha = alpha,
                               .beta = beta,
                               .squares = at.squares};
}
