// The gradient check that every operation has to pass, for tests linked with the library built with
// double in place of float.
//
// A case is a callback that records an operation (or a few) over real leaves. The check makes the
// result a scalar, L = sum_i w_i y_i with fixed random weights w, through an operation of its own,
// and then asserts, with all of the tape's memory poisoned before every pass:
//   * every gradient agrees with central differences of L (gc_differences has the metric);
//   * 1, 2, 3 and 8 threads, and recomputation on or off, give the same bits;
//   * an accumulating pass gives old + new;
//   * operations recorded twice over the same leaves add their gradients;
//   * leaves whose gradient is not wanted change nothing for the others, and are not touched.
#ifndef GRADCHECK_H
#define GRADCHECK_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "op/op.h"
#include "tensor/tape_inside.h"

#ifndef SG_REAL_DOUBLE
#error "gradient checks need the library built with double"
#endif

enum { GC_INPUTS = 12, GC_COMPONENTS = 24 };
static const double gc_tolerance = 1e-6;
static const double gc_step = 1e-5;

typedef struct gc_input {
    const char *name;
    int rank;
    int64_t shape[SG_RANK_MAX];
    int64_t count;
    sg_real *data;
} gc_input;

typedef struct gc_case {
    const char *name;
    gc_input in[GC_INPUTS];
    int n_in;
    // Records the operations under test; NULL fails the case.
    sg_tensor *(*build)(const struct gc_case *c, sg_tape *tape, sg_tensor *const *in);
    const void *user;
    bool own_loss;  // the result is a loss by itself
    int components; // checked one by one of each input; 0: GC_COMPONENTS
} gc_case;

// ---- random inputs ----------------------------------------------------------------------------

static inline int64_t gc_count(int rank, const int64_t *shape)
{
    int64_t count = 1;
    for (int i = 0; i < rank; i++)
        count *= shape[i];
    return count;
}

// An input of normal values times scale; the values may be changed afterwards.
static inline sg_real *gc_add(gc_case *c, const char *name, int rank, const int64_t *shape,
                              double scale, uint64_t seed)
{
    assert_true(c->n_in < GC_INPUTS);
    gc_input *in = &c->in[c->n_in++];
    *in = (gc_input){.name = name, .rank = rank, .count = gc_count(rank, shape)};
    for (int i = 0; i < rank; i++)
        in->shape[i] = shape[i];
    in->data = sg_alloc_array((size_t)in->count, sizeof *in->data);
    assert_non_null(in->data);
    for (int64_t i = 0; i < in->count; i++)
        in->data[i] = scale * sg_rng_normal(seed, sg_rng_stream(name), (uint64_t)i);
    return in->data;
}

static inline void gc_free(gc_case *c)
{
    for (int i = 0; i < c->n_in; i++)
        sg_free(c->in[i].data);
    c->n_in = 0;
}

// ---- the terminal operation -------------------------------------------------------------------

static inline double gc_weight(int64_t i)
{
    return sg_rng_normal(77, 5, (uint64_t)i);
}

static void gc_sum_forward(const sg_run *run, const sg_node *node)
{
    (void)run;
    const sg_tensor *x = node->in[0];
    double sum = 0;
    for (int64_t i = 0; i < x->count; i++)
        sum += gc_weight(i) * sg_values(x)[i];
    sg_values(node->out[0])[0] = sum;
}

static void gc_sum_backward(const sg_run *run, const sg_node *node)
{
    bool add = false;
    sg_real *dx = sg_grad_in(run, node, 0, &add);
    for (int64_t i = 0; dx != NULL && i < node->in[0]->count; i++)
        dx[i] = (add ? dx[i] : 0) + gc_weight(i) * node->out[0]->grad[0];
}

static const sg_op gc_op_sum = {
    .name = "weighted_sum", .forward = gc_sum_forward, .backward = gc_sum_backward};

static inline sg_tensor *gc_sum(sg_tape *tape, sg_tensor *x, double weight)
{
    if (x == NULL) return NULL;
    sg_node *node = sg_tape_node(tape, &gc_op_sum, 1, &x);
    sg_tensor *loss = sg_node_output(tape, node, "sum", SG_KIND_REAL, 1, (int64_t[]){1});
    sg_tape_add_loss(tape, loss, weight);
    return loss;
}

// ---- one pass ---------------------------------------------------------------------------------

typedef struct gc_pass {
    int threads;
    bool recompute, accumulate, twice;
    unsigned unwanted; // bit i: no gradient for input i
    bool no_place;     // these are wanted, but have no place
    sg_real *grads[GC_INPUTS];
    sg_row_grads *rows[GC_INPUTS]; // in place of grads where not NULL
    double loss;
} gc_pass;

static inline sg_pool *gc_pool(int threads)
{
    sg_pool *pool = NULL;
    sg_error err;
    if (threads > 1) assert_int_equal(sg_pool_new(threads, &pool, &err), SG_OK);
    return pool;
}

static inline void gc_poison(sg_tape *tape)
{
    memset(tape->memory, 0xff, tape->memory_bytes); // NaN, and -1 as an id
}

// Records the case; a recorded segment is there to be recomputed.
static inline sg_tape *gc_record(const gc_case *c, const gc_pass *p, bool gradient,
                                 sg_tensor **loss, sg_tensor **result)
{
    sg_error err = {0};
    sg_tape *tape;
    assert_int_equal(sg_tape_new(&tape, &err), SG_OK);
    sg_tensor *in[GC_INPUTS] = {0};
    for (int i = 0; i < c->n_in; i++) {
        bool wanted = !(p->unwanted >> i & 1);
        in[i] = sg_tape_leaf(
            tape, c->in[i].name, SG_KIND_REAL, c->in[i].rank, c->in[i].shape, c->in[i].data,
            gradient && (wanted || !p->no_place) ? p->grads[i] : NULL, wanted || p->no_place);
        if (gradient && p->rows[i] != NULL) {
            in[i]->grad = NULL;
            in[i]->row_grads = p->rows[i];
        }
    }
    for (int i = 0; i <= p->twice; i++) {
        sg_tape_segment_begin(tape);
        sg_tensor *y = c->build(c, tape, in);
        sg_tape_segment_end(tape);
        if (result != NULL) sg_tape_keep(tape, y);
        if (result != NULL) *result = y;
        double weight = i == 0 ? 1 : 0.5;
        if (c->own_loss) sg_tape_add_loss(tape, y, weight);
        sg_tensor *sum = c->own_loss ? y : gc_sum(tape, y, weight);
        if (loss != NULL) *loss = sum;
    }
    sg_tape_options options = {
        .gradient = gradient, .recompute = p->recompute, .threads = p->threads};
    if (sg_tape_finish(tape, &options, &err) != SG_OK || sg_tape_allocate(tape, &err) != SG_OK)
        fail_msg("%s: %s", c->name, err.message);
    gc_poison(tape);
    return tape;
}

// A whole pass. Gradients are written to p->grads; what is not wanted there must stay as it is.
static inline void gc_run(const gc_case *c, gc_pass *p)
{
    sg_tensor *loss = NULL;
    sg_tape *tape = gc_record(c, p, true, &loss, NULL);
    sg_run run = {.compute = {.pool = gc_pool(p->threads), .kernels = sg_kernels_fastest()},
                  .accumulate = p->accumulate};
    sg_tape_forward(tape, &run);
    sg_tape_backward(tape, &run);
    p->loss = sg_values(loss)[0];
    sg_pool_free(run.compute.pool);
    sg_tape_free(tape);
}

// The result of a forward pass alone, in the caller's `y`.
static inline void gc_forward(const gc_case *c, sg_real *y, int64_t count)
{
    sg_tensor *result = NULL;
    gc_pass p = {.threads = 1};
    sg_tape *tape = gc_record(c, &p, false, NULL, &result);
    sg_run run = {.compute = {.kernels = sg_kernels_fastest()}};
    sg_tape_forward(tape, &run);
    assert_int_equal(result->count, count);
    memcpy(y, result->data, (size_t)count * sizeof *y);
    sg_tape_free(tape);
}

static inline void gc_pass_new(const gc_case *c, gc_pass *p, double fill)
{
    for (int i = 0; i < c->n_in; i++) {
        p->grads[i] = sg_alloc_array((size_t)c->in[i].count, sizeof(sg_real));
        assert_non_null(p->grads[i]);
        for (int64_t j = 0; j < c->in[i].count; j++)
            p->grads[i][j] = fill;
    }
}

static inline void gc_pass_free(const gc_case *c, gc_pass *p)
{
    for (int i = 0; i < c->n_in; i++)
        sg_free(p->grads[i]);
}

// ---- the checks -------------------------------------------------------------------------------

// Zeros.
static inline sg_real *gc_room(int64_t count)
{
    sg_real *values = sg_alloc_zero((size_t)count, sizeof *values);
    assert_non_null(values);
    return values;
}

static inline double gc_largest(const sg_real *x, int64_t n)
{
    double top = 0;
    for (int64_t i = 0; i < n; i++)
        if (!(fabs(x[i]) <= top)) top = fabs(x[i]);
    return top;
}

static inline void gc_expect_close(const char *what, const sg_real *found, const sg_real *expected,
                                   int64_t count)
{
    double largest = gc_largest(expected, count);
    for (int64_t i = 0; i < count; i++)
        if (!(fabs(found[i] - expected[i]) <= 1e-11 * (1 + largest)))
            fail_msg("%s: element %lld is %.17g, expected %.17g", what, (long long)i, found[i],
                     expected[i]);
}

// An activation, and a gated linear unit, by their formulas.
static inline double gc_act(double x, sg_activation act)
{
    switch (act) {
    case SG_ACT_GELU:
        return 0.5 * x * (1 + tanh(sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x)));
    case SG_ACT_GELU_ERF:
        return 0.5 * x * (1 + erf(x / sqrt(2)));
    case SG_ACT_RELU:
        return x > 0 ? x : 0;
    case SG_ACT_SWISH:
        return x / (1 + exp(-x));
    case SG_ACT_SIGMOID:
        return 1 / (1 + exp(-x));
    case SG_ACT_RELU2:
        return x > 0 ? x * x : 0;
    case SG_ACT_TANH:
        return tanh(x);
    case SG_ACT_ABS:
        return fabs(x);
    default:
        return x;
    }
}

static inline double gc_glu(double gate, double linear, sg_glu_kind kind)
{
    if (kind != SG_GLU_CLAMPED) return gc_act(gate, sg_glu_activation(kind)) * linear;
    gate = fmin(gate, 7);
    linear = fmax(fmin(linear, 7), -7);
    return gate / (1 + exp(-1.702 * gate)) * (linear + 1);
}

// |found - expected| over max(|found|, |expected|) + 1e-3 * (largest gradient of the input) + 1e-6:
// relative, with a floor under values that are small next to their neighbours, where the rounding
// of the differences (about 1e-16 |L| / step) would count and the gradient does not.
static inline double gc_error(double found, double expected, double largest)
{
    double size = fabs(found) > fabs(expected) ? fabs(found) : fabs(expected);
    return fabs(found - expected) / (size + 1e-3 * largest + 1e-6);
}

typedef struct gc_probe {
    sg_tape *tape;
    sg_run run;
    sg_tensor *loss;
} gc_probe;

static inline double gc_value(gc_probe *probe)
{
    gc_poison(probe->tape);
    sg_tape_forward(probe->tape, &probe->run);
    return sg_values(probe->loss)[0];
}

static inline void gc_compare(const gc_case *c, const gc_input *in, const char *what, int64_t at,
                              double found, double expected, double largest)
{
    double error = gc_error(found, expected, largest);
    if (!(error <= gc_tolerance))
        fail_msg("%s: gradient of %s, %s %lld: found %.12g, central difference %.12g, error %.3g",
                 c->name, in->name, what, (long long)at, found, expected, error);
}

// Some components of one input, then one random direction through all of them.
static inline void gc_input_differences(const gc_case *c, gc_probe *probe, const gc_input *in,
                                        const sg_real *grad)
{
    double largest = gc_largest(grad, in->count);
    int64_t wanted = c->components ? c->components : GC_COMPONENTS;
    int64_t checked = in->count < wanted ? in->count : wanted;
    for (int64_t n = 0; n < checked; n++) {
        int64_t i = (int64_t)sg_rng_permute(9, 1, (uint64_t)n, (uint64_t)in->count);
        sg_real old = in->data[i];
        double h = gc_step * (fabs(old) > 1 ? fabs(old) : 1);
        in->data[i] = old + h;
        double up = gc_value(probe), high = in->data[i];
        in->data[i] = old - h;
        double down = gc_value(probe), low = in->data[i];
        in->data[i] = old;
        gc_compare(c, in, "component", i, grad[i], (up - down) / (high - low), largest);
    }
    sg_real *kept = sg_alloc_array((size_t)in->count, sizeof *kept);
    sg_real *direction = sg_alloc_array((size_t)in->count, sizeof *direction);
    assert_non_null(kept);
    assert_non_null(direction);
    memcpy(kept, in->data, (size_t)in->count * sizeof *kept);
    // A longer step where there are more components, each of which then still moves less than
    // above.
    double norm = 0, slope = 0, value[2], step = gc_step * pow((double)in->count, 0.25);
    for (int64_t i = 0; i < in->count; i++) {
        direction[i] = sg_rng_normal(9, 2, (uint64_t)i);
        norm += direction[i] * direction[i];
    }
    for (int64_t i = 0; i < in->count; i++) {
        direction[i] /= sqrt(norm);
        slope += direction[i] * grad[i];
    }
    for (int s = 0; s < 2; s++) {
        for (int64_t i = 0; i < in->count; i++)
            in->data[i] = kept[i] + (s ? -step : step) * direction[i];
        value[s] = gc_value(probe);
    }
    memcpy(in->data, kept, (size_t)in->count * sizeof *kept);
    gc_compare(c, in, "direction", 0, slope, (value[0] - value[1]) / (2 * step), largest);
    sg_free(kept);
    sg_free(direction);
}

static inline void gc_differences(const gc_case *c, const gc_pass *base)
{
    gc_pass p = {.threads = 1};
    gc_probe probe = {.run = {.compute = {.kernels = sg_kernels_fastest()}}};
    probe.tape = gc_record(c, &p, false, &probe.loss, NULL);
    double again = gc_value(&probe);
    if (memcmp(&again, &base->loss, sizeof again) != 0)
        fail_msg("%s: without a gradient the result is %.17g, with one %.17g", c->name, again,
                 base->loss);
    for (int i = 0; i < c->n_in; i++)
        gc_input_differences(c, &probe, &c->in[i], base->grads[i]);
    sg_tape_free(probe.tape);
}

// All gradients but those in `skip` have the same bits.
static inline void gc_same_bits(const gc_case *c, const gc_pass *a, const gc_pass *b, unsigned skip,
                                const char *what)
{
    for (int i = 0; i < c->n_in; i++)
        if (!(skip >> i & 1) &&
            memcmp(a->grads[i], b->grads[i], (size_t)c->in[i].count * sizeof(sg_real)) != 0)
            fail_msg("%s: %s changes the gradient of %s", c->name, what, c->in[i].name);
    if (!b->twice && memcmp(&a->loss, &b->loss, sizeof a->loss) != 0)
        fail_msg("%s: %s changes the result", c->name, what);
}

static inline void gc_variant(const gc_case *c, const gc_pass *base, gc_pass p, const char *what)
{
    const double fill = 0.25; // so that adding to it shows as much as writing
    gc_pass_new(c, &p, fill);
    gc_run(c, &p);
    gc_same_bits(c, base, &p, p.unwanted, what);
    for (int i = 0; i < c->n_in; i++)
        for (int64_t j = 0; (p.unwanted >> i & 1) && j < c->in[i].count; j++)
            if (p.grads[i][j] != fill)
                fail_msg("%s: %s: a gradient of %s that nobody wants is written", c->name, what,
                         c->in[i].name);
    gc_pass_free(c, &p);
}

// A pass whose gradients must be offset + factor * those of `base`.
static inline void gc_scaled(const gc_case *c, const gc_pass *base, gc_pass p, double offset,
                             double factor, const char *what)
{
    gc_pass_new(c, &p, offset);
    gc_run(c, &p);
    for (int i = 0; i < c->n_in; i++) {
        double largest = gc_largest(base->grads[i], c->in[i].count);
        for (int64_t j = 0; j < c->in[i].count; j++) {
            double expected = (p.accumulate ? offset : 0) + factor * base->grads[i][j];
            if (!(fabs(p.grads[i][j] - expected) <= 1e-13 * (largest + fabs(expected))))
                fail_msg("%s: %s: gradient of %s %lld: found %.17g, expected %.17g", c->name, what,
                         c->in[i].name, (long long)j, p.grads[i][j], expected);
        }
    }
    gc_pass_free(c, &p);
}

static inline void gc_unwanted(const gc_case *c, const gc_pass *base)
{
    unsigned all = (1u << c->n_in) - 1;
    for (int i = 0; i < c->n_in; i++) {
        gc_variant(c, base, (gc_pass){.threads = 1, .unwanted = 1u << i},
                   "one input without a gradient");
        gc_variant(c, base, (gc_pass){.threads = 1, .unwanted = all & ~(1u << i)},
                   "only one input with a gradient");
        gc_variant(c, base, (gc_pass){.threads = 1, .unwanted = 1u << i, .no_place = true},
                   "a gradient without a place");
    }
    gc_variant(c, base, (gc_pass){.threads = 1, .unwanted = all}, "no input with a gradient");
}

static inline void gc_check(const gc_case *c)
{
    gc_pass base = {.threads = 1};
    gc_pass_new(c, &base, NAN);
    gc_run(c, &base);
    if (!isfinite(base.loss)) fail_msg("%s: the result is %g", c->name, base.loss);
    gc_differences(c, &base);
    gc_variant(c, &base, (gc_pass){.threads = 1}, "a second pass");
    gc_variant(c, &base, (gc_pass){.threads = 2}, "2 threads");
    gc_variant(c, &base, (gc_pass){.threads = 3}, "3 threads");
    gc_variant(c, &base, (gc_pass){.threads = 8}, "8 threads");
    gc_variant(c, &base, (gc_pass){.threads = 1, .recompute = true}, "recomputation");
    gc_variant(c, &base, (gc_pass){.threads = 3, .recompute = true}, "recomputation, 3 threads");
    gc_scaled(c, &base, (gc_pass){.threads = 1, .accumulate = true}, 0.75, 1, "accumulating");
    gc_scaled(c, &base, (gc_pass){.threads = 2, .twice = true}, NAN, 1.5, "recorded twice");
    gc_scaled(c, &base, (gc_pass){.threads = 2, .twice = true, .accumulate = true}, -0.5, 1.5,
              "recorded twice, accumulating");
    gc_unwanted(c, &base);
    gc_pass_free(c, &base);
}

#endif
