// Points of whole models in double: the gradient handed out at each against differences of the loss
// when its values are written; what is only read changes no bit; values are seen once a pass.
#include "grad/gradcheck.h"
#include "model/config.h"
#include "model/graph.h"
#include "tiny_models.h"

enum { batch = 2, length = 5, vocab = 23, rows = batch * length };

typedef struct model {
    sg_config config;
    sg_param_list params;
    sg_param_block values, grads;
    sg_rope_table rope;
    int32_t ids[rows], targets[rows];
} model;

static void model_open(model *m, const char *kind)
{
    sg_error err = {0};
    *m = (model){.config = tiny_config(kind, vocab, length)};
    if (sg_config_complete(&m->config, &err) != SG_OK ||
        sg_config_params(&m->config, &m->params, &err) != SG_OK ||
        sg_param_block_new(&m->params, "weights", NULL, NULL, &m->values, &err) != SG_OK ||
        sg_param_block_new(&m->params, "gradients", NULL, NULL, &m->grads, &err) != SG_OK ||
        sg_rope_table_new(&m->rope, length, &(sg_rope_options){.dim = 8, .theta = 10000}, &err) !=
            SG_OK)
        fail_msg("%s: %s", kind, err.message);
    for (size_t i = 0; i < m->params.count; i++)
        sg_param_init(&m->params.specs[i], 3, NULL, m->values.parts[i]);
    for (int64_t i = 0; i < rows; i++) {
        m->ids[i] = (int32_t)sg_rng_below(5, 1, (uint64_t)i, vocab);
        m->targets[i] = i % 7 == 3 ? -1 : (int32_t)sg_rng_below(5, 2, (uint64_t)i, vocab);
    }
}

static void model_close(model *m)
{
    sg_rope_table_free(&m->rope);
    sg_param_block_free(&m->grads);
    sg_param_block_free(&m->values);
    sg_param_list_free(&m->params);
}

static sg_graph *model_graph(const model *m, const sg_points *points, bool gradient, bool recompute)
{
    sg_error err = {0};
    sg_graph *g = NULL;
    const sg_graph_options options = {.batch = batch,
                                      .length = length,
                                      .output = SG_OUTPUT_LOSS,
                                      .gradient = gradient,
                                      .recompute = recompute,
                                      .points = points,
                                      .threads = 2};
    if (sg_graph_new(&m->config, &m->params, m->values.parts, m->grads.parts, &m->rope, &options,
                     &g, &err) != SG_OK)
        fail_msg("%s", err.message);
    gc_poison(g->tape);
    g->ids->data = (void *)(uintptr_t)m->ids;
    g->targets->data = (void *)(uintptr_t)m->targets;
    g->stats.normaliser = 8;
    return g;
}

// The total of all losses.
static double graph_pass(sg_graph *g, bool backward)
{
    sg_error err = {0};
    sg_run run = {.compute = {.pool = gc_pool(2), .kernels = sg_kernels_fastest()}, .err = &err};
    if (sg_tape_forward(g->tape, &run) != SG_OK ||
        (backward && sg_tape_backward(g->tape, &run) != SG_OK))
        fail_msg("%s", err.message);
    sg_pool_free(run.compute.pool);
    double sum = 0;
    for (int i = 0; i < sg_tape_nodes(g->tape); i++) {
        const sg_node *node = sg_tape_node_at(g->tape, i);
        if (node->loss_weight != 0) sum += node->loss_weight * (double)sg_values(node->out[0])[0];
    }
    return sum;
}

// ---- gradients at points ------------------------------------------------------------------------

enum { seen_most = 4096 };

// One point: its values and gradient as seen, and what is added to the values, a direction.
typedef struct probe {
    double values[seen_most], gradient[seen_most];
    int64_t count;
    double step; // along the direction
    int forward, backward;
} probe;

static double direction(int64_t i)
{
    return sg_rng_normal(11, 3, (uint64_t)i);
}

// The double build's values are doubles.
static sg_status probe_call(void *user, const sg_point_values *p, sg_error *err)
{
    (void)err;
    probe *q = user;
    int64_t row = 1;
    for (int i = 1; i < p->rank; i++)
        row *= p->shape[i];
    const int64_t n = p->shape[0] * row, at = (p->first_row - (p->row_step - 1)) * row;
    assert_true(at + n <= seen_most);
    sg_real *values = (void *)p->values, *gradient = (void *)p->gradient;
    q->count = at + n;
    if (p->use == SG_POINT_GRADIENT) {
        q->backward++;
        for (int64_t i = 0; i < n; i++)
            q->gradient[at + i] = (double)gradient[i];
        return SG_OK;
    }
    q->forward++;
    for (int64_t i = 0; i < n; i++) {
        q->values[at + i] = (double)values[i];
        if (p->use == SG_POINT_WRITE) values[i] += (sg_real)(q->step * direction(at + i));
    }
    return SG_OK;
}

static double probe_loss(const model *m, const sg_points *points, probe *q, double step)
{
    q->step = step;
    sg_graph *g = model_graph(m, points, false, false);
    double loss = graph_pass(g, false);
    sg_graph_free(g);
    return loss;
}

// Read and written, with and without recomputation: one gradient, that of the differences.
static void check_point(const model *m, const char *kind, const sg_point_info *info, bool recompute)
{
    static probe q, w;
    q = (probe){0};
    w = (probe){0};
    sg_point_request request = {info->name, SG_POINT_READ | SG_POINT_GRADIENT, probe_call, &q};
    const sg_points points = {&request, 1};
    sg_graph *g = model_graph(m, &points, true, recompute);
    graph_pass(g, true);
    sg_graph_free(g);
    assert_true(q.forward >= 1);
    if (q.backward == 0) return; // nothing depends on it, but for what is selected
    request = (sg_point_request){info->name, SG_POINT_WRITE | SG_POINT_GRADIENT, probe_call, &w};
    g = model_graph(m, &points, true, recompute);
    graph_pass(g, true);
    sg_graph_free(g);
    assert_int_equal(w.forward, q.forward);
    assert_int_equal(w.backward, q.backward);
    double slope = 0, size = 0;
    for (int64_t i = 0; i < q.count; i++) {
        if (q.values[i] != w.values[i] || q.gradient[i] != w.gradient[i])
            fail_msg("%s, %s: %lld is %g, %g read and %g, %g written", kind, info->name,
                     (long long)i, q.values[i], q.gradient[i], w.values[i], w.gradient[i]);
        slope += q.gradient[i] * direction(i);
        size += q.gradient[i] * q.gradient[i];
    }
    const double step = 1e-6;
    double up = probe_loss(m, &points, &w, step), down = probe_loss(m, &points, &w, -step);
    double found = (up - down) / (2 * step);
    if (fabs(found - slope) > 1e-6 * (sqrt(size) + 1e-3))
        fail_msg("%s, %s: the gradient says %.10g, the loss %.10g", kind, info->name, slope, found);
}

static void test_gradients(void **state)
{
    (void)state;
    static const char *const kinds[] = {
        "sgatlin",  "moe",      "mlp",
        "glu",      "peer",     "avgk ffn_block_size=16 ffn_active_neurons=32 ffn_gate=after",
        "vanillam", "randhash", "switch",
        "pkm_ffn"};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        model m;
        sg_error err = {0};
        sg_point_list all;
        model_open(&m, kinds[i]);
        assert_int_equal(sg_graph_points(&m.config, &m.params, &all, &err), SG_OK);
        int checked = 0;
        for (size_t p = 0; p < all.count; p++) {
            if (!(all.items[p].can & SG_POINT_GRADIENT)) continue;
            check_point(&m, kinds[i], &all.items[p], p % 2 == 0);
            checked++;
        }
        assert_true(checked > 20);
        sg_free(all.items);
        model_close(&m);
    }
}

// ---- reading everything changes nothing ---------------------------------------------------------

typedef struct reader {
    int calls;
    double sum;
} reader;

static sg_status reader_call(void *user, const sg_point_values *p, sg_error *err)
{
    (void)err;
    reader *r = user;
    r->calls++;
    const sg_real *values = (const void *)(p->values ? p->values : p->gradient);
    if (values != NULL && p->shape[0] > 0) r->sum += (double)values[0];
    assert_int_equal(p->sequences, batch);
    assert_int_equal(p->length, length);
    assert_true(p->first_row + (p->shape[0] - 1) * p->row_step < rows);
    return SG_OK;
}

// Loss and every gradient to the bit, in every family, with and without recomputation.
static void test_read_only(void **state)
{
    (void)state;
    const char *kind;
    for (int i = 0; (kind = tiny_kind(i)) != NULL; i++) {
        for (int recompute = 0; recompute < 2; recompute++) {
            model m;
            reader r = {0};
            model_open(&m, kind);
            sg_graph *plain = model_graph(&m, NULL, true, recompute);
            double loss = graph_pass(plain, true);
            sg_param_block kept = m.grads;
            assert_int_equal(sg_param_block_new(&m.params, "more", NULL, NULL, &m.grads, NULL),
                             SG_OK);
            // What cannot be written cannot all be asked for its gradient by one pattern.
            const sg_point_request requests[] = {
                {"*", SG_POINT_READ, reader_call, &r},
                {"*hook_resid_p*", SG_POINT_READ | SG_POINT_GRADIENT, reader_call, &r},
                {"*hook_q", SG_POINT_GRADIENT, reader_call, &r},
                {"logits", SG_POINT_READ | SG_POINT_GRADIENT, reader_call, &r},
            };
            const sg_points points = {requests, sizeof requests / sizeof *requests};
            sg_graph *seen = model_graph(&m, &points, true, recompute);
            assert_true(graph_pass(seen, true) == loss);
            for (size_t p = 0; p < m.params.count; p++)
                assert_memory_equal(kept.parts[p], m.grads.parts[p],
                                    (size_t)m.params.specs[p].count * sizeof(sg_real));
            assert_true(r.calls > 40);
            // Sequence by sequence, once each: a second pass calls as often.
            int calls = r.calls;
            graph_pass(seen, true);
            assert_int_equal(r.calls, 2 * calls);
            sg_graph_free(seen);
            sg_graph_free(plain);
            sg_param_block_free(&kept);
            model_close(&m);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_read_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
