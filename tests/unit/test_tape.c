// The tape as shipped: that its plan never lets two values that are needed at once share memory,
// that nothing is read before it is written, what recomputation saves, and that a failed allocation
// anywhere leaks nothing. On random graphs and on whole models.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "model/config.h"
#include "model/graph.h"
#include "tensor/tape_inside.h"

// ---- following a plan -------------------------------------------------------------------------

// Replays the steps with a book of which values memory holds, from what operations declare and not
// from what the plan believes: a write ends every other value whose bytes it touches.
enum { of_value, of_half, of_gradient, of_count };
static const char *const of_names[] = {"value", "half", "gradient"};

typedef struct ledger {
    const sg_tape *tape;
    bool *there[of_count]; // by tensor
    int step;
} ledger;

static size_t tensor_bytes(const sg_tensor *t, int of)
{
    const size_t width = of == of_half                                  ? sizeof(sg_bf16)
                         : of == of_gradient || t->kind == SG_KIND_REAL ? sizeof(sg_real)
                                                                        : sizeof(int32_t);
    return (size_t)t->count * width;
}

static const char *tensor_place(const sg_tensor *t, int of)
{
    return of == of_gradient ? (const char *)t->grad
           : of == of_half   ? (const char *)t->half
                             : (const char *)t->data;
}

static void ledger_write(ledger *l, const sg_tensor *tensor, int of)
{
    const sg_tensor *t = tensor->base;
    l->there[of][t->index] = true;
    if (t->leaf) return;
    const char *begin = tensor_place(t, of), *end = begin + tensor_bytes(t, of);
    assert_non_null(begin);
    assert_true((const unsigned char *)begin >= l->tape->memory);
    assert_true((const unsigned char *)end <= l->tape->memory + l->tape->scratch_offset);
    for (int i = 0; i < l->tape->n_tensors; i++)
        for (int g = 0; g < of_count; g++) {
            const sg_tensor *o = l->tape->tensors[i];
            if (o->leaf || o->base != o || !l->there[g][i]) continue;
            const char *at = tensor_place(o, g);
            if (at < end && begin < at + tensor_bytes(o, g)) l->there[g][i] = false;
        }
    l->there[of][t->index] = true;
}

static void ledger_read(const ledger *l, const sg_tensor *tensor, int of)
{
    const sg_tensor *t = tensor->base;
    if (!t->leaf && !l->there[of][t->index])
        fail_msg("step %d reads %s %d (%s), which is not there", l->step, t->name, t->index,
                 of_names[of]);
}

// In which form an operation says that it reads an input, and in its backward pass an output.
static int ledger_form(const sg_node *n, int i, bool again)
{
    return sg_reads_half(n, i, again) && n->in[i]->base->has_half ? of_half : of_value;
}

static int ledger_form_out(const sg_node *n, int i)
{
    return n->op->reads_half_out >> i & 1 && n->out[i]->base->has_half ? of_half : of_value;
}

// A forward pass writes both forms, but for f32 that nobody reads.
static bool ledger_has(const sg_node *n, int i, int of)
{
    const sg_tensor *t = n->out[i]->base;
    return of == of_half ? t->has_half : !t->no_data || !(n->op->writes_half >> i & 1);
}

static bool ledger_wants(const sg_tensor *t)
{
    return t != NULL && t->base->wants_grad && (t->base->leaf || t->base->grad != NULL);
}

// Whether an input before this one is the same tensor.
static bool ledger_twin(const sg_node *n, int i)
{
    for (int j = 0; j < i; j++)
        if (n->in[j] != NULL && n->in[j]->base == n->in[i]->base && ledger_wants(n->in[j]))
            return true;
    return false;
}

// Whether the gradient of an input of a sum is in the place of the output's.
static bool ledger_shares(const sg_node *n, int i)
{
    return (n->op->passes_gradient >> i & 1) && n->in[i]->grad == n->out[0]->grad;
}

// Whoever is first to touch a gradient writes it, all others add.
static void ledger_write_grads(ledger *l, const sg_node *n)
{
    for (int i = 0; i < n->n_in; i++) {
        if (!ledger_wants(n->in[i])) continue;
        bool there = l->there[of_gradient][n->in[i]->base->index];
        if (n->first[i] == there)
            fail_msg("step %d: %s, input %d: %s a gradient that is %s", l->step, n->op->name, i,
                     n->first[i] ? "writes" : "adds to", there ? "there" : "not there");
        // Shared with the output's: the numbers that are there.
        if (ledger_shares(n, i))
            l->there[of_gradient][n->in[i]->base->index] = true;
        else
            ledger_write(l, n->in[i], of_gradient);
    }
}

// Everything a step reads or writes, which at its end has to be there all together.
static void ledger_operands(const ledger *l, const sg_node *n, bool backward)
{
    const bool again = l->step < l->tape->n_steps && l->tape->steps[l->step].again;
    for (int i = 0; i < n->n_in; i++) {
        if (n->in[i] == NULL) continue;
        if (!backward || (n->op->backward_reads_in >> i & 1))
            ledger_read(l, n->in[i], ledger_form(n, i, backward || again));
        if (backward && ledger_wants(n->in[i]) && !n->first[i] && !ledger_twin(n, i))
            ledger_read(l, n->in[i], of_gradient);
    }
    for (int i = 0; i < n->n_out && backward; i++) {
        if (n->op->backward_reads_out >> i & 1) ledger_read(l, n->out[i], ledger_form_out(n, i));
        if (ledger_wants(n->out[i])) ledger_read(l, n->out[i], of_gradient);
    }
    for (int i = 0; i < n->n_saved && backward; i++)
        ledger_read(l, n->saved[i], of_value);
}

static void ledger_results(const ledger *l, const sg_node *n, bool backward)
{
    for (int i = 0; i < n->n_out && !backward; i++)
        for (int of = of_value; of <= of_half; of++)
            if (ledger_has(n, i, of)) ledger_read(l, n->out[i], of);
    for (int i = 0; i < n->n_saved && !backward; i++)
        ledger_read(l, n->saved[i], of_value);
    for (int i = 0; i < n->n_in && (backward || n->op->gradient_in_forward); i++)
        if (ledger_wants(n->in[i])) ledger_read(l, n->in[i], of_gradient);
}

static void ledger_step(ledger *l, const sg_node *n, bool backward)
{
    ledger_operands(l, n, backward);
    for (int i = 0; i < n->n_out && !backward; i++)
        for (int of = of_value; of <= of_half; of++)
            if (ledger_has(n, i, of)) ledger_write(l, n->out[i], of);
    for (int i = 0; i < n->n_saved && !backward; i++)
        ledger_write(l, n->saved[i], of_value);
    if (backward || n->op->gradient_in_forward) ledger_write_grads(l, n);
    ledger_operands(l, n, backward);
    ledger_results(l, n, backward);
}

// A tape that has memory. Returns how often a value is computed again.
static int follow(const sg_tape *tape)
{
    ledger l = {.tape = tape};
    int again = 0;
    for (int g = 0; g < of_count; g++) {
        l.there[g] = sg_alloc_zero((size_t)tape->n_tensors, sizeof(bool));
        assert_non_null(l.there[g]);
    }
    for (l.step = 0; l.step <= tape->n_steps; l.step++) {
        if (l.step == tape->forward_steps)
            for (int n = 0; n < tape->n_nodes; n++) {
                const sg_node *node = tape->nodes[n];
                if (node->loss_weight != 0 && node->out[0]->grad != NULL)
                    ledger_write(&l, node->out[0], of_gradient);
            }
        // What the caller may read is there after the forward pass and at the very end.
        if (l.step == tape->forward_steps || l.step == tape->n_steps) {
            for (int i = 0; i < tape->n_keep; i++)
                ledger_read(&l, tape->keep[i], of_value);
            for (int n = 0; n < tape->n_nodes; n++)
                if (tape->nodes[n]->loss_weight != 0)
                    ledger_read(&l, tape->nodes[n]->out[0], of_value);
        }
        if (l.step == tape->n_steps) break;
        again += l.step >= tape->forward_steps && !tape->steps[l.step].backward;
        ledger_step(&l, tape->nodes[tape->steps[l.step].node], tape->steps[l.step].backward);
    }
    for (int g = 0; g < of_count; g++)
        sg_free(l.there[g]);
    return again;
}

// ---- random graphs ----------------------------------------------------------------------------

enum { graph_rows = 6, graph_d = 8, graph_leaves = 6, graph_values = 40 };

static void sum_forward(const sg_run *run, const sg_node *node)
{
    (void)run;
    sg_real sum = 0;
    for (int64_t i = 0; i < node->in[0]->count; i++)
        sum += sg_values(node->in[0])[i] * (sg_real)(i % 7 - 3);
    sg_values(node->out[0])[0] = sum;
}

static void sum_backward(const sg_run *run, const sg_node *node)
{
    bool add = false;
    sg_real *dx = sg_grad_in(run, node, 0, &add), dy = node->out[0]->grad[0];
    for (int64_t i = 0; dx != NULL && i < node->in[0]->count; i++)
        dx[i] = (add ? dx[i] : 0) + dy * (sg_real)(i % 7 - 3);
}

static const sg_op op_sum = {.name = "sum", .forward = sum_forward, .backward = sum_backward};

static sg_tensor *sum_of(sg_tape *tape, sg_tensor *x)
{
    if (x == NULL) return NULL;
    return sg_node_output(tape, sg_tape_node(tape, &op_sum, 1, &x), "sum", SG_KIND_REAL, 1,
                          (int64_t[]){1});
}

typedef struct random_graph {
    bool apart; // gradients of sums are copied
    int shared; // how many are not
    sg_real data[graph_leaves][graph_rows * 16], grad[graph_leaves][graph_rows * 16];
    sg_real losses[2], kept;
    sg_compute_kind kind;
    sg_rng rng;
} random_graph;

static uint64_t pick(random_graph *g, uint64_t bound)
{
    return sg_rng_next_below(&g->rng, bound);
}

// leaves: two (rows, d), three weights (d, d), a norm's scale (d).
static void random_leaves(random_graph *g, sg_tape *tape, sg_tensor **leaves)
{
    const int64_t shapes[graph_leaves][2] = {{6, 8}, {6, 8}, {8, 8}, {8, 8}, {8, 8}, {1, 8}};
    for (int i = 0; i < graph_leaves; i++) {
        for (int j = 0; j < graph_rows * 16; j++)
            g->data[i][j] = (sg_real)sg_rng_normal(8, (uint32_t)i, (uint64_t)j) / 2;
        leaves[i] = sg_tape_leaf(tape, "leaf", SG_KIND_REAL, 2, shapes[i], g->data[i], g->grad[i],
                                 pick(g, 5) != 0);
    }
}

// Two channels of 2 of 3 columns each, read from a shared pool of the 6 rows of the first leaves.
static sg_tensor *random_memory(random_graph *g, sg_tape *tape, sg_tensor *a, sg_tensor *b,
                                sg_tensor *const *values)
{
    const int64_t pool[] = {1, 6, 8};
    sg_selection s = sg_topk(tape, sg_linear(tape, a, values[0], NULL), 2, 2);
    return sg_memory_neurons(tape, b, &s, sg_reshape(tape, values[0], 3, pool),
                             sg_reshape(tape, values[1], 3, pool), SG_ACT_SWISH,
                             (sg_gate)pick(g, 3));
}

static sg_tensor *random_sum(const random_graph *g, sg_tape *tape, sg_tensor *a, sg_tensor *b)
{
    static sg_op copies;
    sg_tensor *sum = sg_add(tape, a, b);
    if (sum == NULL || !g->apart) return sum;
    sg_node *node = tape->nodes[tape->n_nodes - 1];
    copies = *node->op;
    copies.passes_gradient = 0;
    node->op = &copies;
    return sum;
}

static int random_shared(const sg_tape *tape)
{
    int shared = 0;
    for (int n = 0; n < tape->n_nodes; n++)
        for (int i = 0; i < tape->nodes[n]->n_in; i++)
            shared += tape->nodes[n]->in[i] != NULL && tape->nodes[n]->in[i]->grad != NULL &&
                      ledger_shares(tape->nodes[n], i);
    return shared;
}

// One operation on values recorded before.
static sg_tensor *random_value(random_graph *g, sg_tape *tape, sg_tensor *const *leaves,
                               sg_tensor *const *values, uint64_t count)
{
    // Mostly what is recent, so that graphs are deep.
    uint64_t recent = count < 5 ? count : 5;
    sg_tensor *a = values[count - 1 - pick(g, recent)], *b = values[pick(g, count)];
    sg_tensor *w = leaves[2 + pick(g, 3)];
    switch (pick(g, 9)) {
    case 0:
        return random_sum(g, tape, a, b);
    case 1:
        return sg_activate(tape, a, (sg_activation)pick(g, SG_ACT_COUNT));
    case 2:
        return sg_linear(tape, a, w, NULL);
    case 3:
        return sg_rmsnorm(tape, a, leaves[5], 1e-6);
    case 4:
        return sg_softmax(tape, a, 4);
    case 5:
        return sg_attention(tape, a, b, values[pick(g, count)],
                            &(sg_attention_options){.length = 3, .heads = 2});
    case 6:
        return sg_topk(tape, a, 2, 4).scores;
    case 7: {
        const int64_t turned[] = {8, 6}, shape[] = {6, 8};
        return sg_reshape(tape, sg_reshape(tape, a, 2, turned), 2, shape);
    }
    default:
        return random_memory(g, tape, a, b, values);
    }
}

static sg_status random_record(random_graph *g, uint64_t seed, const sg_tape_options *options,
                               sg_tape **tape, sg_tensor **watched, sg_error *err)
{
    sg_tensor *leaves[graph_leaves], *values[graph_values];
    g->rng = (sg_rng){.seed = seed, .stream = 3};
    SG_TRY(sg_tape_new(tape, err));
    sg_tape_compute(*tape, g->kind, SG_COMPUTE_F32);
    random_leaves(g, *tape, leaves);
    values[0] = leaves[0];
    values[1] = leaves[1];
    for (uint64_t n = 2; n < graph_values; n++) {
        if (pick(g, 4) == 0) sg_tape_segment_end(*tape);
        if (pick(g, 4) == 0) sg_tape_segment_begin(*tape);
        values[n] = random_value(g, *tape, leaves, values, n);
    }
    watched[0] = sum_of(*tape, values[graph_values - 1]);
    sg_tape_add_loss(*tape, watched[0], 1);
    sg_tape_segment_end(*tape);
    watched[1] = sum_of(*tape, values[2 + pick(g, graph_values - 2)]);
    sg_tape_add_loss(*tape, watched[1], 0.25);
    watched[2] = values[2 + pick(g, graph_values - 2)];
    sg_tape_keep(*tape, watched[2]);
    SG_TRY(sg_tape_finish(*tape, options, err));
    return sg_tape_allocate(*tape, err);
}

static sg_real total(const sg_tensor *t)
{
    sg_real sum = 0;
    for (int64_t i = 0; i < t->count; i++)
        sum += sg_values(t)[i];
    return sum;
}

// Runs with memory filled before; the gradients and results stay in `g`.
static int random_run(random_graph *g, uint64_t seed, const sg_tape_options *options, int fill)
{
    sg_error err = {0};
    sg_tape *tape;
    sg_tensor *watched[3];
    *g = (random_graph){.kind = g->kind, .apart = g->apart};
    if (random_record(g, seed, options, &tape, watched, &err) != SG_OK)
        fail_msg("seed %d: %s", (int)seed, err.message);
    sg_run run = {.compute = {.kernels = sg_kernels_fastest()}};
    if (options->threads > 1)
        assert_int_equal(sg_pool_new(options->threads, &run.compute.pool, &err), SG_OK);
    memset(tape->memory, fill, tape->memory_bytes);
    sg_tape_forward(tape, &run);
    sg_real kept = total(watched[2]);
    if (options->gradient) sg_tape_backward(tape, &run);
    g->kept = total(watched[2]);
    assert_memory_equal(&kept, &g->kept, sizeof kept);
    for (int i = 0; i < 2; i++)
        g->losses[i] = sg_values(watched[i])[0];
    assert_true(isfinite(g->losses[0]) && isfinite(g->losses[1]) && isfinite(g->kept));
    int again = follow(tape);
    g->shared = random_shared(tape);
    sg_pool_free(run.compute.pool);
    sg_tape_free(tape);
    return again;
}

// How often values were computed again without recomputation, and with it.
static void random_kind(sg_compute_kind kind, int again[2])
{
    random_graph first = {.kind = kind}, other = {.kind = kind};
    random_graph copied = {.kind = kind, .apart = true};
    int shared = 0;
    for (uint64_t seed = 0; seed < 150; seed++) {
        again[0] += random_run(&first, seed, &(sg_tape_options){.gradient = true, .threads = 1}, 0);
        random_run(&other, seed, &(sg_tape_options){.gradient = true, .threads = 3}, 0xff);
        assert_memory_equal(first.grad, other.grad, sizeof first.grad);
        assert_memory_equal(first.losses, other.losses, sizeof first.losses);
        shared += first.shared;
        random_run(&copied, seed, &(sg_tape_options){.gradient = true, .threads = 1}, 0xff);
        assert_int_equal(copied.shared, 0);
        assert_memory_equal(first.grad, copied.grad, sizeof first.grad);
        again[1] +=
            random_run(&other, seed,
                       &(sg_tape_options){.gradient = true, .recompute = true, .threads = 1}, 0xff);
        assert_memory_equal(first.grad, other.grad, sizeof first.grad);
        assert_memory_equal(first.losses, other.losses, sizeof first.losses);
        random_run(&other, seed, &(sg_tape_options){.threads = 1}, 0xff);
        assert_memory_equal(first.losses, other.losses, sizeof first.losses);
        assert_memory_equal(&first.kept, &other.kept, sizeof first.kept);
    }
    print_message("%s: %d values were computed again, with recomputation %d; %d gradients shared\n",
                  sg_compute_kind_name(kind), again[0], again[1], shared);
    assert_true(shared > 100);
    assert_true(again[1] > 500); // recomputation happened at all
}

static void test_random_graphs(void **state)
{
    (void)state;
    int f32[2] = {0}, bf16[2] = {0};
    random_kind(SG_COMPUTE_F32, f32);
    assert_int_equal(f32[0], 0);
    random_kind(SG_COMPUTE_BF16, bf16);
    assert_true(bf16[0] > 200);
}

// ---- models -----------------------------------------------------------------------------------

static const char *const families[] = {"mlp", "glu", "moe", "peer", "sgatlin"};

typedef struct model {
    sg_config config;
    sg_param_list params;
    sg_rope_table rope;
    sg_real **values, **grads;
    int32_t ids[24], targets[24];
} model;

static sg_status model_new(model *m, const char *family, int64_t layers, sg_error *err)
{
    memset(m, 0, sizeof *m);
    m->config = (sg_config){.vocab_size = 11,
                            .hidden_size = 8,
                            .num_hidden_layers = layers,
                            .head_dim = 4,
                            .max_position_embeddings = 12,
                            .pad_token_id = -1,
                            .eos_token_id = -1,
                            .bos_token_id = -1};
    // Each family is given the sizes it has.
    bool neurons = strcmp(family, "peer") == 0 || strcmp(family, "sgatlin") == 0;
    bool experts = strcmp(family, "moe") == 0;
    m->config.ffn_intermediate_size = neurons ? 0 : 16;
    m->config.ffn_experts = experts ? 4 : 0;
    m->config.ffn_channels = neurons ? 2 : 0;
    m->config.ffn_neurons = neurons ? 16 : 0;
    m->config.ffn_key_size = neurons ? 4 : 0;
    m->config.ffn_top_k = neurons || experts ? 2 : 0;
    snprintf(m->config.ffn, sizeof m->config.ffn, "%s", family);
    SG_TRY(sg_config_complete(&m->config, err));
    SG_TRY(sg_config_params(&m->config, &m->params, err));
    SG_TRY(sg_rope_table_new(&m->rope, 12, &(sg_rope_options){.dim = 4, .theta = 10000}, err));
    m->values = sg_alloc_zero(m->params.count, sizeof *m->values);
    m->grads = sg_alloc_zero(m->params.count, sizeof *m->grads);
    if (m->values == NULL || m->grads == NULL) return sg_fail(err, SG_ERR_MEMORY, "no memory");
    for (size_t i = 0; i < m->params.count; i++) {
        m->values[i] = sg_alloc_zero((size_t)m->params.specs[i].count, sizeof(sg_real));
        m->grads[i] = sg_alloc_zero((size_t)m->params.specs[i].count, sizeof(sg_real));
        if (!m->values[i] || !m->grads[i]) return sg_fail(err, SG_ERR_MEMORY, "no memory");
        sg_param_init(&m->params.specs[i], 5, NULL, m->values[i]);
    }
    for (int r = 0; r < 24; r++) {
        m->ids[r] = (int32_t)sg_rng_below(5, 1, (uint64_t)r, 11);
        m->targets[r] = (int32_t)sg_rng_below(5, 2, (uint64_t)r, 11);
    }
    return SG_OK;
}

static void model_free(model *m)
{
    for (size_t i = 0; m->values && m->grads && i < m->params.count; i++) {
        sg_free(m->values[i]);
        sg_free(m->grads[i]);
    }
    sg_free(m->values);
    sg_free(m->grads);
    sg_rope_table_free(&m->rope);
    sg_param_list_free(&m->params);
}

static const sg_graph_options training = {
    .batch = 2, .length = 12, .output = SG_OUTPUT_LOSS, .gradient = true, .threads = 1};

// One step with memory filled before; a hash of all gradients and the loss.
static uint64_t model_step(model *m, sg_compute_kind kind, bool recompute, int threads, int fill)
{
    sg_error err = {0};
    sg_graph_options options = training;
    options.compute = kind;
    options.recompute = recompute;
    options.threads = threads;
    sg_graph *graph;
    assert_int_equal(
        sg_graph_new(&m->config, &m->params, m->values, m->grads, &m->rope, &options, &graph, &err),
        SG_OK);
    graph->ids->data = m->ids;
    graph->targets->data = m->targets;
    graph->stats.normaliser = 24;
    sg_run run = {.compute = {.kernels = sg_kernels_fastest()}};
    if (threads > 1) assert_int_equal(sg_pool_new(threads, &run.compute.pool, &err), SG_OK);
    memset(graph->tape->memory, fill, graph->tape->memory_bytes);
    sg_tape_forward(graph->tape, &run);
    sg_tape_backward(graph->tape, &run);
    follow(graph->tape);
    uint64_t hash = 14695981039346656037u;
    assert_true(isfinite(graph->stats.loss_sum) && graph->stats.loss_sum > 1);
    for (size_t p = 0; p < m->params.count; p++)
        for (int64_t i = 0; i < m->params.specs[p].count; i++) {
            uint32_t bits;
            assert_true(isfinite(m->grads[p][i]));
            memcpy(&bits, &m->grads[p][i], sizeof bits);
            hash = (hash ^ bits) * 1099511628211u;
        }
    hash ^= (uint64_t)(graph->stats.loss_sum * 1e12);
    sg_pool_free(run.compute.pool);
    sg_graph_free(graph);
    return hash;
}

static void models_of_kind(sg_compute_kind kind)
{
    for (size_t f = 0; f < sizeof families / sizeof *families; f++) {
        model m;
        assert_int_equal(model_new(&m, families[f], 3, NULL), SG_OK);
        uint64_t hash = model_step(&m, kind, false, 1, 0);
        assert_true(model_step(&m, kind, false, 1, 0xff) == hash);
        assert_true(model_step(&m, kind, true, 1, 0xff) == hash);
        assert_true(model_step(&m, kind, false, 2, 0xff) == hash);
        assert_true(model_step(&m, kind, false, 3, 0xff) == hash);
        assert_true(model_step(&m, kind, true, 8, 0x7f) == hash);
        model_free(&m);
    }
}

static void test_models(void **state)
{
    (void)state;
    models_of_kind(SG_COMPUTE_F32);
    models_of_kind(SG_COMPUTE_BF16X3);
    models_of_kind(SG_COMPUTE_BF16);
}

// Bytes of activations of a training step.
static size_t planned_bytes(const model *m, bool recompute)
{
    sg_error err = {0};
    sg_graph_options options = training;
    options.recompute = recompute;
    sg_graph *graph;
    assert_int_equal(
        sg_graph_new(&m->config, &m->params, NULL, NULL, &m->rope, &options, &graph, &err), SG_OK);
    size_t bytes = sg_tape_bytes(graph->tape) - graph->tape->worker_stride;
    sg_graph_free(graph);
    return bytes;
}

static void test_recompute_saves_memory(void **state)
{
    (void)state;
    for (size_t f = 0; f < sizeof families / sizeof *families; f++) {
        model shallow, deep;
        assert_int_equal(model_new(&shallow, families[f], 1, NULL), SG_OK);
        assert_int_equal(model_new(&deep, families[f], 8, NULL), SG_OK);
        size_t plain = planned_bytes(&deep, false), less = planned_bytes(&deep, true);
        size_t one = planned_bytes(&shallow, false);
        print_message("%s: 1 layer %zu bytes, 8 layers %zu, recomputed %zu\n", families[f], one,
                      plain, less);
        assert_true(less < plain / 2);
        // A layer more costs about its input: 24 rows of 8 numbers.
        assert_true(less <= one + 7 * 2 * 24 * 8 * sizeof(sg_real));
        model_free(&shallow);
        model_free(&deep);
    }
}

// What lies in a segment is computed again only where its own backward pass reads it: the sum that
// ends a block goes on living in the next one.
static void test_recompute_does_no_more(void **state)
{
    (void)state;
    model m;
    sg_error err = {0};
    assert_int_equal(model_new(&m, "mlp", 4, NULL), SG_OK);
    sg_graph_options options = training;
    options.recompute = true;
    sg_graph *graph;
    assert_int_equal(
        sg_graph_new(&m.config, &m.params, NULL, NULL, &m.rope, &options, &graph, &err), SG_OK);
    const sg_tape *tape = graph->tape;
    int again = 0;
    for (int s = tape->forward_steps; s < tape->n_steps; s++)
        again += !tape->steps[s].backward;
    // A block has 14 nodes; its last product and its last sum are read by nobody in it.
    assert_int_equal(tape->n_nodes, 1 + 4 * 14 + 2);
    assert_int_equal(again, 4 * 12);
    sg_graph_free(graph);
    model_free(&m);
}

// ---- failing allocations ----------------------------------------------------------------------

static bool fail_at_zero(void *user, size_t bytes)
{
    (void)bytes;
    return (*(int64_t *)user)-- != 0;
}

static void test_failing_allocations(void **state)
{
    (void)state;
    for (int recompute = 0; recompute < 2; recompute++) {
        sg_tape_options options = {.gradient = true, .recompute = recompute, .threads = 2};
        int64_t live = sg_alloc_live();
        sg_status status = SG_ERR_MEMORY;
        for (int64_t n = 0; status != SG_OK; n++) {
            random_graph g = {.kind = recompute ? SG_COMPUTE_BF16 : SG_COMPUTE_F32};
            sg_error err = {0};
            sg_tape *tape = NULL;
            sg_tensor *watched[3];
            int64_t left = n;
            sg_alloc_set_hook(fail_at_zero, &left);
            status = random_record(&g, 7, &options, &tape, watched, &err);
            sg_alloc_set_hook(NULL, NULL);
            if (status == SG_OK) assert_true(left >= 0 && n > 10);
            if (status != SG_OK) assert_int_equal(status, SG_ERR_MEMORY);
            if (status != SG_OK) assert_true(err.message[0] != '\0');
            sg_tape_free(tape);
            assert_int_equal(sg_alloc_live(), live);
        }
    }
}

static void test_failing_allocations_of_a_model(void **state)
{
    (void)state;
    model m;
    assert_int_equal(model_new(&m, "sgatlin", 2, NULL), SG_OK);
    int64_t live = sg_alloc_live();
    sg_status status = SG_ERR_MEMORY;
    for (int64_t n = 0; status != SG_OK; n++) {
        sg_error err = {0};
        sg_graph *graph = NULL;
        int64_t left = n;
        sg_alloc_set_hook(fail_at_zero, &left);
        status =
            sg_graph_new(&m.config, &m.params, m.values, m.grads, &m.rope, &training, &graph, &err);
        sg_alloc_set_hook(NULL, NULL);
        if (status != SG_OK) {
            assert_int_equal(status, SG_ERR_MEMORY);
            assert_null(graph);
        }
        sg_graph_free(graph);
        assert_int_equal(sg_alloc_live(), live);
    }
    model_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_graphs),
        cmocka_unit_test(test_models),
        cmocka_unit_test(test_recompute_saves_memory),
        cmocka_unit_test(test_recompute_does_no_more),
        cmocka_unit_test(test_failing_allocations),
        cmocka_unit_test(test_failing_allocations_of_a_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
