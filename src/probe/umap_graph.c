// The fuzzy graph of UMAP (McInnes, Healy, Melville 2018, section 4.1 and algorithms 2 and 3), of
// exact nearest rows. Of row i with its k - 1 nearest others j at distances d_ij, itself being the
// k-th:
//
//     rho_i   = the least distance that is not 0
//     sigma_i : sum over j of exp(-max(0, d_ij - rho_i) / sigma_i) = log2 k, by 64 bisections
//     a_ij    = exp(-max(0, d_ij - rho_i) / sigma_i)
//     w_ij    = a_ij + a_ji - a_ij a_ji
//
// sigma is at least a thousandth of the mean distance of the row, or of all where rho is 0, as in
// umap-learn, so that equal rows do not divide by 0.
#include "probe/umap_graph.h"

#include <float.h>
#include <math.h>

#include "base/alloc.h"

enum { umap_bisections = 64 };

// ---- one row ------------------------------------------------------------------------------------

typedef struct umap_near {
    const int32_t *ids;
    const double *distances;
    int64_t count;
} umap_near;

static umap_near umap_near_of(int64_t row, int64_t count, const int32_t *ids,
                              const double *distances)
{
    umap_near near = {ids + row * count, distances + row * count, count};
    while (near.count > 0 && near.ids[near.count - 1] < 0)
        near.count--;
    return near;
}

static double umap_sum(umap_near near)
{
    double sum = 0;
    for (int64_t j = 0; j < near.count; j++)
        sum += near.distances[j];
    return sum;
}

static double umap_likeness(double distance, double rho, double sigma)
{
    return distance <= rho || sigma == 0 ? 1 : exp(-(distance - rho) / sigma);
}

static double umap_rho(umap_near near)
{
    double rho = 0;
    for (int64_t j = near.count; j-- > 0;)
        if (near.distances[j] > 0) rho = near.distances[j];
    return rho;
}

static double umap_sigma(umap_near near, double rho, double least)
{
    const double goal = log2((double)near.count + 1);
    double low = 0, high = INFINITY, sigma = 1;
    for (int n = 0; n < umap_bisections; n++) {
        double sum = 0;
        for (int64_t j = 0; j < near.count; j++)
            sum += umap_likeness(near.distances[j], rho, sigma);
        if (fabs(sum - goal) < 1e-5) break;
        if (sum > goal)
            high = sigma;
        else
            low = sigma;
        sigma = isinf(high) ? 2 * sigma : (low + high) / 2;
    }
    return fmax(sigma, least);
}

// ---- both directions ----------------------------------------------------------------------------

typedef struct umap_arrows {
    int64_t count;
    const int32_t *ids; // (rows, count)
    float *out;         // (rows, count): a_ij
    int64_t *in_begins; // (rows + 2)
    int32_t *in_ids;    // who points to a row, ascending
    float *in;          // with which a_ij
} umap_arrows;

static void umap_weigh(int64_t rows, const umap_arrows *a, const double *distances)
{
    double all = 0;
    int64_t pairs = 0;
    for (int64_t i = 0; i < rows; i++) {
        const umap_near near = umap_near_of(i, a->count, a->ids, distances);
        all += umap_sum(near);
        pairs += near.count + 1;
    }
    for (int64_t i = 0; i < rows; i++) {
        const umap_near near = umap_near_of(i, a->count, a->ids, distances);
        const double rho = umap_rho(near);
        const double mean =
            rho > 0 ? umap_sum(near) / (double)(near.count + 1) : all / (double)pairs;
        const double sigma = umap_sigma(near, rho, 1e-3 * mean);
        for (int64_t j = 0; j < near.count; j++)
            a->out[i * a->count + j] = (float)umap_likeness(near.distances[j], rho, sigma);
    }
}

static void umap_turn(int64_t rows, umap_arrows *a)
{
    for (int64_t i = 0; i < rows * a->count; i++)
        if (a->ids[i] >= 0) a->in_begins[a->ids[i] + 2]++;
    for (int64_t i = 0; i < rows; i++)
        a->in_begins[i + 2] += a->in_begins[i + 1];
    for (int64_t i = 0; i < rows * a->count; i++) {
        if (a->ids[i] < 0) continue;
        const int64_t at = a->in_begins[a->ids[i] + 1]++;
        a->in_ids[at] = (int32_t)(i / a->count);
        a->in[at] = a->out[i];
    }
}

// The arrows from row i by the number of the other end. order (count); returns how many.
static int64_t umap_sort(const umap_arrows *a, int64_t i, int32_t *order)
{
    const int32_t *ids = a->ids + i * a->count;
    int64_t count = 0;
    for (int32_t j = 0; j < (int32_t)a->count; j++) {
        if (ids[j] < 0 || a->out[i * a->count + j] == 0) continue;
        int64_t at = count++;
        for (; at > 0 && ids[order[at - 1]] > ids[j]; at--)
            order[at] = order[at - 1];
        order[at] = j;
    }
    return count;
}

// Row i of the union, from both directions in order. Returns where its next row begins.
static int64_t umap_join(const umap_arrows *a, int64_t i, int32_t *order, sg_graph_edges *g)
{
    const int32_t *ids = a->ids + i * a->count;
    const float *out = a->out + i * a->count;
    const int64_t outs = umap_sort(a, i, order), in_end = a->in_begins[i + 1];
    int64_t at = g->begins[i], in = a->in_begins[i], j = 0;
    while (j < outs || in < in_end) {
        const int32_t to = j < outs ? ids[order[j]] : INT32_MAX;
        const int32_t from = in < in_end ? a->in_ids[in] : INT32_MAX;
        const double x = to <= from ? out[order[j]] : 0, y = from <= to ? a->in[in] : 0;
        const float weight = (float)(x + y - x * y);
        j += to <= from;
        in += from <= to;
        if (weight == 0) continue;
        g->ids[at] = to <= from ? to : from;
        g->weights[at++] = weight;
    }
    return at;
}

sg_status sg_umap_graph(int64_t rows, int64_t count, const int32_t *ids, const double *distances,
                        sg_graph_edges *g, sg_error *err)
{
    const size_t arrows = (size_t)(rows * count);
    umap_arrows a = {.count = count, .ids = ids};
    *g = (sg_graph_edges){.rows = rows};
    a.out = sg_alloc_zero(arrows, sizeof *a.out);
    a.in_begins = sg_alloc_zero((size_t)rows + 2, sizeof *a.in_begins);
    a.in_ids = sg_alloc_array(arrows, sizeof *a.in_ids);
    a.in = sg_alloc_array(arrows, sizeof *a.in);
    int32_t *order = sg_alloc_array((size_t)count, sizeof *order);
    g->begins = sg_alloc_zero((size_t)rows + 1, sizeof *g->begins);
    g->ids = sg_alloc_array(2 * arrows, sizeof *g->ids);
    g->weights = sg_alloc_array(2 * arrows, sizeof *g->weights);
    sg_status status = SG_OK;
    if (a.out == NULL || a.in_begins == NULL || a.in_ids == NULL || a.in == NULL || order == NULL ||
        g->begins == NULL || g->ids == NULL || g->weights == NULL) {
        status = sg_fail(err, SG_ERR_MEMORY, "out of memory for a graph of neighbours");
        sg_umap_graph_free(g);
    } else {
        umap_weigh(rows, &a, distances);
        umap_turn(rows, &a);
        for (int64_t i = 0; i < rows; i++)
            g->begins[i + 1] = umap_join(&a, i, order, g);
    }
    sg_free(a.out);
    sg_free(a.in_begins);
    sg_free(a.in_ids);
    sg_free(a.in);
    sg_free(order);
    return status;
}

void sg_umap_graph_free(sg_graph_edges *g)
{
    sg_free(g->begins);
    sg_free(g->ids);
    sg_free(g->weights);
    *g = (sg_graph_edges){0};
}

// ---- parts --------------------------------------------------------------------------------------

int64_t sg_umap_parts(const sg_graph_edges *g, int32_t *part, int32_t *stack)
{
    int32_t parts = 0;
    for (int64_t i = 0; i < g->rows; i++)
        part[i] = -1;
    for (int64_t i = 0; i < g->rows; i++) {
        if (part[i] >= 0) continue;
        int64_t count = 1;
        stack[0] = (int32_t)i;
        part[i] = parts;
        while (count > 0) {
            const int32_t at = stack[--count];
            for (int64_t e = g->begins[at]; e < g->begins[at + 1]; e++) {
                if (part[g->ids[e]] >= 0) continue;
                part[g->ids[e]] = parts;
                stack[count++] = g->ids[e];
            }
        }
        parts++;
    }
    return parts;
}
