// Lanczos with thick restarts (Wu and Simon 2000): a basis V of up to 48 orthogonal vectors is
// built, each A times the one before it made orthogonal to all; T = V'AV is solved, the best Ritz
// vectors and the residual begin the next basis. All orthogonality is kept in full, twice over, so
// that no eigenvalue comes twice by rounding. Sums over rows are taken chunk by chunk.
#include "probe/lanczos.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"

enum {
    lanczos_basis = 48,
    lanczos_keep = 10, // beside those that are wanted
    lanczos_restarts = 8,
    lanczos_chunk = 4096,
    lanczos_sweeps = 60 // of rotations at most
};
#define LANCZOS_NOTHING 1e-10 // the length of a vector of rounding errors

typedef struct lanczos {
    sg_compute compute;
    const sg_symmetric *a;
    int64_t size;
    int64_t most;  // vectors of the basis at most
    int64_t count; // now
    double *basis; // (most + 1, size)
    double *parts; // (chunks, most + 2): sums of chunks
    double dots[lanczos_basis + 2];
    double t[lanczos_basis * lanczos_basis], s[lanczos_basis * lanczos_basis]; // T, its vectors
    double values[lanczos_basis];
    double *vector; // that is worked on
    int64_t keep;   // columns of S to turn the basis by
    uint64_t seed;
    uint64_t drawn;
} lanczos;

// ---- on all rows --------------------------------------------------------------------------------

// Products of the vector with the basis, the known one and itself.
static void lanczos_dot_rows(void *context, sg_range range)
{
    const lanczos *l = context;
    double *sums = l->parts + range.chunk * (l->most + 2);
    for (int64_t j = 0; j <= l->count + 1; j++) {
        const double *other = j < l->count    ? l->basis + j * l->size
                              : j == l->count ? l->a->known
                                              : l->vector;
        double sum = 0;
        for (int64_t r = range.first; r < range.end; r++)
            sum += other[r] * l->vector[r];
        sums[j] = sum;
    }
}

static void lanczos_subtract_rows(void *context, sg_range range)
{
    const lanczos *l = context;
    for (int64_t j = 0; j <= l->count; j++) {
        const double *other = j < l->count ? l->basis + j * l->size : l->a->known;
        for (int64_t r = range.first; r < range.end; r++)
            l->vector[r] -= l->dots[j] * other[r];
    }
}

static void lanczos_scale_rows(void *context, sg_range range)
{
    const lanczos *l = context;
    for (int64_t r = range.first; r < range.end; r++)
        l->vector[r] *= l->dots[0];
}

// The basis times the first columns of S, row by row in place.
static void lanczos_turn_rows(void *context, sg_range range)
{
    const lanczos *l = context;
    double row[lanczos_basis];
    for (int64_t r = range.first; r < range.end; r++) {
        for (int64_t j = 0; j < l->count; j++)
            row[j] = l->basis[j * l->size + r];
        for (int64_t i = 0; i < l->keep; i++) {
            double sum = 0;
            for (int64_t j = 0; j < l->count; j++)
                sum += l->s[j * lanczos_basis + i] * row[j];
            l->basis[i * l->size + r] = sum;
        }
    }
}

static void lanczos_rows(lanczos *l, sg_range_fn fn)
{
    sg_parallel_ranges(l->compute.pool, l->size, lanczos_chunk, fn, l);
}

static void lanczos_dot(lanczos *l)
{
    lanczos_rows(l, lanczos_dot_rows);
    memset(l->dots, 0, sizeof l->dots);
    for (int64_t c = 0; c < sg_chunks(l->size, lanczos_chunk); c++)
        for (int64_t j = 0; j <= l->count + 1; j++)
            l->dots[j] += l->parts[c * (l->most + 2) + j];
}

// Makes the vector orthogonal to all and of length 1. sums (count), may be NULL: what it had of the
// basis. Returns the length it had left, at 0 of which it stays as it is.
static double lanczos_clean(lanczos *l, double *sums)
{
    for (int pass = 0; pass < 2; pass++) {
        lanczos_dot(l);
        lanczos_rows(l, lanczos_subtract_rows);
        for (int64_t j = 0; sums != NULL && j < l->count; j++)
            sums[j] += l->dots[j];
    }
    lanczos_dot(l);
    const double length = sqrt(l->dots[l->count + 1]);
    if (length < LANCZOS_NOTHING) return 0;
    l->dots[0] = 1 / length;
    lanczos_rows(l, lanczos_scale_rows);
    return length;
}

// ---- the small matrix ---------------------------------------------------------------------------

static void lanczos_rotate(double *t, double *s, int64_t n, int64_t p, int64_t q)
{
    enum { w = lanczos_basis };
    const double apq = t[p * w + q];
    const double tau = (t[q * w + q] - t[p * w + p]) / (2 * apq);
    const double tangent = (tau >= 0 ? 1 : -1) / (fabs(tau) + sqrt(1 + tau * tau));
    const double c = 1 / sqrt(1 + tangent * tangent), d = tangent * c;
    for (int64_t i = 0; i < n; i++) {
        const double x = t[i * w + p], y = t[i * w + q];
        t[i * w + p] = c * x - d * y;
        t[i * w + q] = d * x + c * y;
    }
    for (int64_t i = 0; i < n; i++) {
        const double x = t[p * w + i], y = t[q * w + i];
        t[p * w + i] = c * x - d * y;
        t[q * w + i] = d * x + c * y;
        const double u = s[i * w + p], v = s[i * w + q];
        s[i * w + p] = c * u - d * v;
        s[i * w + q] = d * u + c * v;
    }
}

// Eigenvalues, the largest first, and eigenvectors, columns of S, of T, by Jacobi's rotations.
static void lanczos_solve(lanczos *l)
{
    enum { w = lanczos_basis };
    double t[lanczos_basis * lanczos_basis];
    const int64_t n = l->count;
    memcpy(t, l->t, sizeof t);
    memset(l->s, 0, sizeof l->s);
    for (int64_t i = 0; i < n; i++)
        l->s[i * w + i] = 1;
    double off = 1;
    for (int sweep = 0; sweep < lanczos_sweeps && off > 1e-28; sweep++) {
        off = 0;
        for (int64_t p = 0; p < n; p++)
            for (int64_t q = p + 1; q < n; q++) {
                off += t[p * w + q] * t[p * w + q];
                if (fabs(t[p * w + q]) > 1e-300) lanczos_rotate(t, l->s, n, p, q);
            }
    }
    for (int64_t i = 0; i < n; i++) {
        int64_t best = i;
        for (int64_t j = i + 1; j < n; j++)
            if (t[j * w + j] > t[best * w + best]) best = j;
        const double value = t[best * w + best];
        t[best * w + best] = t[i * w + i];
        l->values[i] = value;
        for (int64_t j = 0; j < n && best != i; j++) {
            const double x = l->s[j * w + i];
            l->s[j * w + i] = l->s[j * w + best];
            l->s[j * w + best] = x;
        }
    }
}

// ---- the basis ----------------------------------------------------------------------------------

// A drawn vector that is orthogonal to the basis, as its next one. Returns its length; 0: there is
// none.
static double lanczos_draw(lanczos *l)
{
    const uint32_t stream = sg_rng_stream("umap lanczos");
    l->vector = l->basis + l->count * l->size;
    for (int64_t r = 0; r < l->size; r++)
        l->vector[r] = sg_rng_normal(l->seed, stream, l->drawn++);
    return lanczos_clean(l, NULL);
}

// Fills the basis up from its vector `count`, which is there. Returns the length of the residual
// behind the last; 0: the space is exhausted.
static double lanczos_extend(lanczos *l)
{
    double residual = 1;
    while (l->count < l->most && residual > 0) {
        const int64_t j = l->count++;
        double sums[lanczos_basis] = {0};
        l->vector = l->basis + (j + 1) * l->size;
        l->a->apply(l->a->user, l->basis + j * l->size, l->vector);
        residual = lanczos_clean(l, sums);
        for (int64_t i = 0; i <= j; i++)
            l->t[i * lanczos_basis + j] = l->t[j * lanczos_basis + i] = sums[i];
        if (residual == 0 && l->count < l->most) residual = lanczos_draw(l) > 0 ? 1 : 0;
    }
    return residual;
}

static void lanczos_restart(lanczos *l, int64_t keep)
{
    l->keep = keep;
    lanczos_rows(l, lanczos_turn_rows);
    memmove(l->basis + keep * l->size, l->basis + l->count * l->size,
            (size_t)l->size * sizeof *l->basis);
    memset(l->t, 0, sizeof l->t);
    for (int64_t i = 0; i < keep; i++)
        l->t[i * lanczos_basis + i] = l->values[i];
    l->count = keep;
}

static void lanczos_run(lanczos *l, int64_t count, double tolerance)
{
    const int64_t keep = count + lanczos_keep < l->most - 1 ? count + lanczos_keep : l->most - 1;
    lanczos_draw(l);
    for (int restart = 0;; restart++) {
        const double residual = lanczos_extend(l);
        lanczos_solve(l);
        double worst = 0;
        for (int64_t i = 0; i < count && i < l->count; i++)
            worst = fmax(worst, fabs(residual * l->s[(l->count - 1) * lanczos_basis + i]));
        if (worst <= tolerance || restart == lanczos_restarts || keep < count) break;
        lanczos_restart(l, keep);
    }
    l->keep = count < l->count ? count : l->count;
    lanczos_rows(l, lanczos_turn_rows);
}

sg_status sg_lanczos(sg_compute compute, const sg_symmetric *a, int64_t count, double tolerance,
                     uint64_t seed, double *vectors, double *values, sg_error *err)
{
    sg_status status = SG_OK;
    if (count < 1 || count >= a->size || count > lanczos_basis / 2)
        return sg_fail(err, SG_ERR_INTERNAL, "lanczos: found %lld vectors of %lld rows",
                       (long long)count, (long long)a->size);
    lanczos *l = sg_alloc_zero(1, sizeof *l);
    if (l == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for eigenvectors");
    l->compute = compute;
    l->a = a;
    l->size = a->size;
    l->seed = seed;
    l->most = a->size - 1 < lanczos_basis ? a->size - 1 : lanczos_basis;
    l->basis = sg_alloc_zero((size_t)l->most + 1, (size_t)l->size * sizeof *l->basis);
    l->parts = sg_alloc_zero((size_t)sg_chunks(l->size, lanczos_chunk),
                             ((size_t)l->most + 2) * sizeof *l->parts);
    if (l->basis == NULL || l->parts == NULL) {
        status = sg_fail(err, SG_ERR_MEMORY, "out of memory for eigenvectors");
    } else {
        lanczos_run(l, count, tolerance);
        memset(vectors, 0, (size_t)(count * l->size) * sizeof *vectors);
        memcpy(vectors, l->basis, (size_t)(l->keep * l->size) * sizeof *vectors);
        memcpy(values, l->values, (size_t)count * sizeof *values);
    }
    sg_free(l->basis);
    sg_free(l->parts);
    sg_free(l);
    return status;
}
