// The direct memories, Memory+ and OmniMoE as layers: every family and switch by differences, with
// the selection held fixed; what they must be equal to (brute force over all keys, each other, a
// dense layer); batch norm in use; published counts; and the rules that a configuration must keep.
#include "ffn/ffn.h"
#include "grad/gradcheck.h"

#include "model/config.h"

static void expect_close(const char *what, const sg_real *found, const sg_real *expected,
                         int64_t count)
{
    assert_true(gc_largest(expected, count) > 1e-3);
    gc_expect_close(what, found, expected, count);
}

// ---- a layer as a case --------------------------------------------------------------------------

enum { layer_d = 6, layer_rows = 9, layer_parameters = 12 };

typedef struct layer {
    char name[96];
    sg_config config;
    sg_param_list params;
    bool training;
    sg_real *buffers[layer_parameters]; // by parameter, NULL for others
} layer;

// "FAMILY [FIELD=VALUE …]" over 36 cells of which a token reads 8, or 25 neurons of which it reads
// 3.
static sg_config direct_config(const char *kind)
{
    static const char *const sizes[][2] = {
        {"ffn_intermediate_size", "12"}, {"ffn_memory_factor", "3"}, {"ffn_active_neurons", "8"},
        {"ffn_block_size", "2"},         {"ffn_channels", "2"},      {"ffn_key_size", "5"},
        {"ffn_neurons", "25"},           {"ffn_top_k", "3"}};
    sg_error err = {0};
    sg_config c = {.vocab_size = 7,
                   .hidden_size = layer_d,
                   .num_hidden_layers = 1,
                   .head_dim = layer_d,
                   .max_position_embeddings = 4};
    char words[192], *rest = words;
    snprintf(words, sizeof words, "%s", kind);
    assert_int_equal(sg_config_set(&c, "ffn", strsep(&rest, " "), &err), SG_OK);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        assert_int_equal(sg_config_set(&c, sizes[i][0], sizes[i][1], &err), SG_OK);
    while (rest != NULL) {
        char *word = strsep(&rest, " "), *value = strchr(word, '=');
        *value = '\0';
        if (sg_config_set(&c, word, value + 1, &err) != SG_OK) fail_msg("%s", err.message);
    }
    return c;
}

typedef struct layer_builder {
    const layer *l;
    sg_tape *tape;
    sg_tensor *const *in;
} layer_builder;

static sg_tensor *layer_parameter(void *user, const char *prefix, const char *name)
{
    const layer_builder *b = user;
    int input = 1; // x is input 0
    for (size_t i = 0; i < b->l->params.count; i++) {
        const sg_param_spec *spec = &b->l->params.specs[i];
        bool buffer = spec->buffer != SG_BUFFER_NONE;
        if (strcmp(spec->name + strlen(prefix), name) == 0)
            return buffer ? sg_tape_leaf(b->tape, spec->name, SG_KIND_REAL, spec->rank, spec->shape,
                                         b->l->buffers[i], NULL, false)
                          : b->in[input];
        input += !buffer;
    }
    return sg_tape_fail(b->tape, SG_ERR_INTERNAL, "%s: no such parameter", name);
}

static sg_tensor *build_layer(const gc_case *c, sg_tape *tape, sg_tensor *const *in)
{
    layer_builder user = {c->user, tape, in};
    sg_builder b = {.tape = tape,
                    .config = &user.l->config,
                    .prefix = "",
                    .parameter = layer_parameter,
                    .user = &user,
                    .training = user.l->training,
                    .loss_share = 1};
    return sg_ffn_build(&b, in[0]);
}

static void layer_new(layer *l, const char *kind, bool training)
{
    sg_error err = {0};
    *l = (layer){.config = direct_config(kind), .training = training};
    snprintf(l->name, sizeof l->name, "%s", kind);
    if (sg_config_complete(&l->config, &err) != SG_OK) fail_msg("%s: %s", kind, err.message);
    sg_ffn_params(&l->config, 0, "", &l->params);
    assert_int_equal(l->params.status, SG_OK);
    assert_true(l->params.count <= layer_parameters);
}

static void layer_free(layer *l, gc_case *c)
{
    for (int i = 0; i < layer_parameters; i++)
        sg_free(l->buffers[i]);
    sg_param_list_free(&l->params);
    gc_free(c);
}

// Inputs of a case: x, then the parameters.
static void layer_inputs(layer *l, gc_case *c, int64_t rows, uint64_t seed)
{
    gc_free(c);
    *c = (gc_case){.name = l->name, .build = build_layer, .user = l, .components = 12};
    gc_add(c, "x", 2, (int64_t[]){rows, layer_d}, 1, seed);
    for (size_t i = 0; i < l->params.count; i++) {
        const sg_param_spec *spec = &l->params.specs[i];
        if (spec->buffer == SG_BUFFER_NONE) {
            gc_add(c, spec->name, spec->rank, spec->shape, 0.8, seed);
            continue;
        }
        sg_free(l->buffers[i]);
        l->buffers[i] = gc_room(spec->count);
        for (int64_t j = 0; j < spec->count; j++) // a variance too: positive
            l->buffers[i][j] = 0.3 + fabs(sg_rng_normal(seed, 8, (uint64_t)j));
    }
}

// ---- by differences -----------------------------------------------------------------------------

// Whether the layer bends only smoothly within a little more than a step of each input: its second
// differences would show a cell that comes or goes, or a relu that turns.
static bool smooth(const gc_case *c, int64_t rows)
{
    const double step = 1e-4;
    sg_real *y[3] = {gc_room(rows * layer_d), gc_room(rows * layer_d), gc_room(rows * layer_d)};
    bool good = true;
    gc_forward(c, y[0], rows * layer_d);
    for (int trial = 0; trial < 24 && good; trial++) {
        const gc_input *in = &c->in[trial % c->n_in];
        for (int s = 0; s < 2; s++) {
            for (int64_t i = 0; i < in->count; i++)
                in->data[i] += (s ? -2 : 1) * step * sg_rng_normal(6, (uint32_t)trial, (uint64_t)i);
            gc_forward(c, y[1 + s], rows * layer_d);
        }
        for (int64_t i = 0; i < in->count; i++)
            in->data[i] += step * sg_rng_normal(6, (uint32_t)trial, (uint64_t)i);
        for (int64_t i = 0; i < rows * layer_d; i++)
            good = good && fabs(y[1][i] + y[2][i] - 2 * y[0][i]) < 2e-5;
    }
    for (int i = 0; i < 3; i++)
        sg_free(y[i]);
    return good;
}

static void check_layer(const char *kind, int64_t rows)
{
    layer l;
    gc_case c = {0};
    layer_new(&l, kind, true);
    uint64_t seed = 0;
    do {
        if (++seed > 300) fail_msg("%s: no seed of 300 keeps its selection", kind);
        layer_inputs(&l, &c, rows, seed);
    } while (!smooth(&c, rows));
    gc_check(&c);
    layer_free(&l, &c);
}

static void test_gradients(void **state)
{
    (void)state;
    const char *const kinds[] = {
        "vanillam",
        "vanillam ffn_block_size=1 ffn_activation=swish",
        "vanillam ffn_block_size=4 ffn_activation=identity",
        "vanillam ffn_block_size=12 ffn_active_neurons=12 ffn_activation=relu",
        "lorkm",
        "lorkm ffn_activation=swish ffn_query_norm=layernorm",
        "lorkm ffn_query_norm=batchnorm",
        "pkm",
        "pkm ffn_query_bias=1",
        "pkm ffn_normaliser=sigmoid ffn_query_norm=layernorm",
        "pkm ffn_normaliser=relu ffn_channels=4",
        "pkm ffn_normaliser=gelu ffn_query_norm=batchnorm",
        "pkm_ffn",
        "pkm_ffn ffn_normaliser=sigmoid ffn_query_bias=1 ffn_query_norm=layernorm",
        "pkm_ffn ffn_normaliser=relu ffn_activation=swish",
        "pkm_ffn ffn_normaliser=gelu ffn_query_norm=batchnorm ffn_activation=identity",
        "memory_plus",
        "memory_plus ffn_query_bias=1 ffn_query_norm=layernorm",
        "memory_plus ffn_channels=4 ffn_query_norm=batchnorm",
        "omnimoe",
        "omnimoe ffn_activation=gelu ffn_top_k=1",
        "omnimoe ffn_activation=relu ffn_neurons=36 ffn_intermediate_size=5",
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        check_layer(kinds[i], strstr(kinds[i], "batchnorm") ? 5 : 3);
}

// ---- identities ---------------------------------------------------------------------------------

static sg_real *input_of(const gc_case *c, const char *name)
{
    for (int i = 0; i < c->n_in; i++)
        if (strcmp(c->in[i].name, name) == 0) return c->in[i].data;
    fail_msg("%s: no %s", c->name, name);
    return NULL;
}

// Low-rank keys of full rank are keys.
static void test_low_rank_is_keys(void **state)
{
    (void)state;
    layer a, b;
    gc_case ca = {0}, cb = {0};
    sg_real y[2][layer_rows * layer_d];
    layer_new(&a, "vanillam ffn_block_size=1", false);
    layer_new(&b, "lorkm ffn_key_size=6", false);
    layer_inputs(&a, &ca, layer_rows, 3);
    layer_inputs(&b, &cb, layer_rows, 3);
    sg_real *query = input_of(&cb, "mlp.router.query.weight");
    for (int i = 0; i < layer_d * layer_d; i++)
        query[i] = i / layer_d == i % layer_d;
    memcpy(input_of(&cb, "mlp.router.keys.weight"), input_of(&ca, "mlp.experts.w_in.weight"),
           36 * layer_d * sizeof(sg_real));
    memcpy(input_of(&cb, "mlp.experts.w_out.weight"), input_of(&ca, "mlp.experts.w_out.weight"),
           36 * layer_d * sizeof(sg_real));
    gc_forward(&ca, y[0], layer_rows * layer_d);
    gc_forward(&cb, y[1], layer_rows * layer_d);
    expect_close("lorkm", y[1], y[0], layer_rows * layer_d);
    layer_free(&a, &ca);
    layer_free(&b, &cb);
}

// All cells chosen: the mlp of width N.
static void test_all_is_dense(void **state)
{
    (void)state;
    const char *const kinds[] = {"vanillam ffn_active_neurons=36 ffn_block_size=1",
                                 "vanillam ffn_active_neurons=36 ffn_block_size=4",
                                 "vanillam ffn_active_neurons=36 ffn_block_size=36"};
    for (int k = 0; k < 3; k++) {
        layer a, b;
        gc_case ca = {0}, cb = {0};
        sg_real y[2][layer_rows * layer_d];
        layer_new(&a, kinds[k], false);
        layer_new(&b, "mlp ffn_intermediate_size=36", false);
        layer_inputs(&a, &ca, layer_rows, 4);
        layer_inputs(&b, &cb, layer_rows, 4);
        memcpy(input_of(&cb, "mlp.up_proj.weight"), input_of(&ca, "mlp.experts.w_in.weight"),
               36 * layer_d * sizeof(sg_real));
        sg_real *down = input_of(&cb, "mlp.down_proj.weight");
        const sg_real *values = input_of(&ca, "mlp.experts.w_out.weight");
        for (int i = 0; i < 36 * layer_d; i++)
            down[i % layer_d * 36 + i / layer_d] = values[i];
        gc_forward(&ca, y[0], layer_rows * layer_d);
        gc_forward(&cb, y[1], layer_rows * layer_d);
        expect_close(kinds[k], y[0], y[1], layer_rows * layer_d);
        layer_free(&a, &ca);
        layer_free(&b, &cb);
    }
}

static void copy_input(const gc_case *to, const char *name, const gc_case *from, const char *other)
{
    for (int i = 0; i < to->n_in; i++)
        if (strcmp(to->in[i].name, name) == 0)
            memcpy(to->in[i].data, input_of(from, other),
                   (size_t)to->in[i].count * sizeof(sg_real));
}

static void set_identity(sg_real *square)
{
    for (int i = 0; i < layer_d * layer_d; i++)
        square[i] = i / layer_d == i % layer_d;
}

// Memory+ with a gate of 1 and a projection that changes nothing is PKM.
static void test_memory_plus_is_pkm(void **state)
{
    (void)state;
    layer a, b;
    gc_case ca = {0}, cb = {0};
    sg_real y[2][layer_rows * layer_d];
    layer_new(&a, "memory_plus ffn_query_bias=1", false);
    layer_new(&b, "pkm ffn_query_bias=1", false);
    layer_inputs(&a, &ca, layer_rows, 7);
    layer_inputs(&b, &cb, layer_rows, 7);
    for (int i = 0; i < cb.n_in; i++) // all of pkm is there
        copy_input(&cb, cb.in[i].name, &ca, cb.in[i].name);
    memset(input_of(&ca, "mlp.gate_proj.weight"), 0, layer_d * layer_d * sizeof(sg_real));
    set_identity(input_of(&ca, "mlp.out_proj.weight"));
    for (int i = 0; i < layer_d; i++) {
        input_of(&ca, "mlp.gate_proj.bias")[i] = 1.2784645427610738; // its silu is 1
        input_of(&ca, "mlp.out_proj.bias")[i] = 0;
    }
    gc_forward(&ca, y[0], layer_rows * layer_d);
    gc_forward(&cb, y[1], layer_rows * layer_d);
    expect_close("memory_plus", y[0], y[1], layer_rows * layer_d);
    layer_free(&a, &ca);
    layer_free(&b, &cb);
}

// OmniMoE is one head of PEER, whose query is x and whose keys are as wide, and a GLU.
static void test_omnimoe_is_peer_and_glu(void **state)
{
    (void)state;
    const char *const kinds[] = {
        "omnimoe",
        "peer ffn_router=product_dense ffn_channels=1 ffn_key_size=6 ffn_activation=swish",
        "glu ffn_activation=swiglu"};
    layer l[3];
    gc_case c[3] = {0};
    sg_real y[3][layer_rows * layer_d];
    for (int i = 0; i < 3; i++) {
        layer_new(&l[i], kinds[i], false);
        layer_inputs(&l[i], &c[i], layer_rows, 8);
        memcpy(c[i].in[0].data, c[0].in[0].data, layer_rows * layer_d * sizeof(sg_real));
    }
    set_identity(input_of(&c[1], "mlp.router.query.weight"));
    const char *const of_peer[] = {"mlp.router.keys.weight", "mlp.experts.w_in.weight",
                                   "mlp.experts.w_out.weight"};
    for (int i = 0; i < 3; i++)
        copy_input(&c[1], of_peer[i], &c[0], of_peer[i]);
    copy_input(&c[2], "mlp.gate_up_proj.weight", &c[0], "mlp.shared_experts.gate_up_proj.weight");
    copy_input(&c[2], "mlp.down_proj.weight", &c[0], "mlp.shared_experts.down_proj.weight");
    for (int i = 0; i < 3; i++)
        gc_forward(&c[i], y[i], layer_rows * layer_d);
    for (int i = 0; i < layer_rows * layer_d; i++)
        y[1][i] += y[2][i];
    expect_close("omnimoe", y[0], y[1], layer_rows * layer_d);
    for (int i = 0; i < 3; i++)
        layer_free(&l[i], &c[i]);
}

// With neurons that all give 1 and a branch that gives nothing y is the sum of the gates, 1.
static void test_gates_sum_to_one(void **state)
{
    (void)state;
    layer l;
    gc_case c = {0};
    sg_real y[layer_rows * layer_d], one[layer_rows * layer_d];
    layer_new(&l, "omnimoe ffn_activation=relu", false);
    layer_inputs(&l, &c, layer_rows, 9);
    memset(input_of(&c, "mlp.shared_experts.down_proj.weight"), 0, layer_d * 12 * sizeof(sg_real));
    sg_real *w_in = input_of(&c, "mlp.experts.w_in.weight");
    for (int i = 0; i < 25 * layer_d; i++) {
        w_in[i] = i % layer_d == 0;
        input_of(&c, "mlp.experts.w_out.weight")[i] = 1;
    }
    for (int i = 0; i < layer_rows * layer_d; i++) {
        if (i % layer_d == 0) c.in[0].data[i] = 1;
        one[i] = 1;
    }
    gc_forward(&c, y, layer_rows * layer_d);
    expect_close("sum of gates", y, one, layer_rows * layer_d);
    layer_free(&l, &c);
}

static double dot(const sg_real *a, const sg_real *b, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

// A row of pkm or pkm_ffn by scoring all 36 keys of both heads one by one.
static void brute_force(const gc_case *c, bool full, const sg_real *x, sg_real *y)
{
    enum { K = 5, H = 2, n = 6, N = 36, k = 4 };
    const sg_real *query = input_of(c, "mlp.router.query.weight");
    const sg_real *bias = input_of(c, "mlp.router.query.bias");
    const sg_real *keys = input_of(c, "mlp.router.keys.weight");
    const sg_real *w_out = input_of(c, "mlp.experts.w_out.weight");
    sg_real q[2 * H * K];
    for (int i = 0; i < 2 * H * K; i++)
        q[i] = dot(query + i * layer_d, x, layer_d) + bias[i];
    memset(y, 0, layer_d * sizeof *y);
    for (int h = 0; h < H; h++) {
        double score[N], total = 0, weight[k];
        int chosen[k];
        for (int i = 0; i < N; i++)
            score[i] = dot(q + h * K, keys + (h * n + i / n) * K, K) +
                       dot(q + (H + h) * K, keys + ((H + h) * n + i % n) * K, K);
        for (int s = 0; s < k; s++) {
            chosen[s] = 0;
            for (int i = 1; i < N; i++)
                if (score[i] > score[chosen[s]]) chosen[s] = i;
            weight[s] = exp(score[chosen[s]]);
            total += weight[s];
            score[chosen[s]] = -INFINITY;
        }
        for (int s = 0; s < k; s++) {
            const sg_real *w_in = full ? input_of(c, "mlp.experts.w_in.weight") : NULL;
            double m = weight[s] / total;
            if (full) m *= fmax(0, dot(w_in + chosen[s] * layer_d, x, layer_d));
            for (int j = 0; j < layer_d; j++)
                y[j] += m * w_out[chosen[s] * layer_d + j];
        }
    }
}

static void test_brute_force(void **state)
{
    (void)state;
    for (int full = 0; full < 2; full++) {
        layer l;
        gc_case c = {0};
        sg_real y[layer_rows * layer_d], expected[layer_rows * layer_d];
        layer_new(&l,
                  full ? "pkm_ffn ffn_query_bias=1 ffn_activation=relu" : "pkm ffn_query_bias=1",
                  false);
        layer_inputs(&l, &c, layer_rows, 5);
        for (int r = 0; r < layer_rows; r++)
            brute_force(&c, full, c.in[0].data + r * layer_d, expected + r * layer_d);
        gc_forward(&c, y, layer_rows * layer_d);
        expect_close(l.name, y, expected, layer_rows * layer_d);
        layer_free(&l, &c);
    }
}

// Outside of training a row's result is its own; in training batch norm makes it the batch's.
static void test_batch_does_not_matter(void **state)
{
    (void)state;
    for (int training = 0; training < 2; training++) {
        layer l;
        gc_case c = {0};
        sg_real all[layer_rows * layer_d], one[layer_d];
        layer_new(&l, "pkm ffn_query_norm=batchnorm", training);
        layer_inputs(&l, &c, layer_rows, 6);
        gc_forward(&c, all, layer_rows * layer_d);
        c.in[0].shape[0] = 1; // the first row alone
        c.in[0].count = layer_d;
        gc_forward(&c, one, layer_d);
        bool same = true;
        for (int i = 0; i < layer_d; i++)
            same = same && fabs(one[i] - all[i]) < 1e-12;
        assert_int_equal(same, !training);
        layer_free(&l, &c);
    }
}

// ---- counts and rules ---------------------------------------------------------------------------

// Section 6.3 of the specification, with N = 36, k = 8, d = 6, K = 5, 2 heads, n = 6.
static void test_counts(void **state)
{
    (void)state;
    const struct {
        const char *kind;
        double router, memory;
        int64_t parameters, buffers, idle;
    } expected[] = {
        {"vanillam", 2 * 36 * 6, 2 * 8 * 6, 2 * 36 * 6, 0, 28 * 6},
        {"lorkm", 2 * 6 * 5 + 2 * 36 * 5, 2 * 8 * 6, 5 * 6 + 36 * 5 + 36 * 6, 0, 28 * 6},
        {"lorkm ffn_query_norm=layernorm", 420, 96, 30 + 180 + 216 + 5, 0, 168},
        {"pkm", 2 * (2 * 6 * 10 + 2 * 6 * 10), 2 * 8 * 6, 20 * 6 + 2 * 2 * 6 * 5 + 36 * 6, 0, 168},
        {"pkm ffn_query_norm=batchnorm", 480, 96, 120 + 120 + 216 + 40, 40, 168},
        {"pkm_ffn ffn_query_bias=1", 480, 4 * 8 * 6, 120 + 120 + 432 + 20, 0, 2 * 168},
        {"memory_plus ffn_query_bias=1", 480, 2 * 8 * 6 + 4 * 6 * 6,
         120 + 120 + 216 + 20 + 2 * (36 + 6), 0, 168},
    };
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        layer l;
        gc_case c = {0};
        layer_new(&l, expected[i].kind, false);
        sg_ffn_count count = sg_ffn_counts(&l.config, 0);
        assert_true(count.router_flops == expected[i].router);
        assert_true(count.memory_flops == expected[i].memory);
        assert_int_equal(l.params.total - l.params.buffers, expected[i].parameters);
        assert_int_equal(l.params.buffers, expected[i].buffers);
        assert_int_equal(count.idle_parameters, expected[i].idle);
        assert_int_equal(count.neurons, 36);
        assert_int_equal(count.active_neurons, 8);
        layer_free(&l, &c);
    }
}

// Section 7: 2 d (N_r + N_c) + K 4 d + 6 d F with N = 25, K = 3, d = 6, F = 12; and section 6 at
// d = 1024, where it comes to 12.8 MFLOP and a table of 2^30 numbers.
static void test_published_counts(void **state)
{
    (void)state;
    layer l;
    gc_case c = {0};
    layer_new(&l, "omnimoe", false);
    sg_ffn_count count = sg_ffn_counts(&l.config, 0);
    assert_true(count.router_flops == 2 * 6 * (5 + 5));
    assert_true(count.memory_flops == 3 * 4 * 6 + 6 * 6 * 12);
    assert_int_equal(l.params.total, 10 * 6 + 2 * 25 * 6 + 3 * 6 * 12);
    assert_int_equal(count.idle_parameters, 22 * 2 * 6);
    assert_int_equal(count.neurons, 25 + 12);
    assert_int_equal(count.active_neurons, 3 + 12);
    layer_free(&l, &c);
    sg_config big = direct_config("memory_plus ffn_query_bias=1 ffn_intermediate_size=1024 "
                                  "ffn_memory_factor=1024 ffn_channels=4 ffn_key_size=256 "
                                  "ffn_active_neurons=128");
    sg_error err = {0};
    big.hidden_size = 1024;
    assert_int_equal(sg_ffn_complete(&big, &err), SG_OK);
    count = sg_ffn_counts(&big, 0);
    assert_true(count.router_flops + count.memory_flops == 12845056);
    assert_int_equal(count.neurons * big.hidden_size, 1 << 30);
}

static void test_rules(void **state)
{
    (void)state;
    const struct {
        const char *kind, *message;
    } bad[] = {
        {"pkm ffn_memory_factor=2", "which times ffn_intermediate_size makes 24 cells, expected a "
                                    "square"},
        {"pkm ffn_active_neurons=12",
         "ffn_active_neurons: found 12, which is 6 a channel, expected "
         "less than the square root of the cells, 6"},
        {"pkm_ffn ffn_channels=3", "ffn_channels: found 3, expected a divisor of the 8 active"},
        {"pkm ffn_channels=0", "ffn_channels: found 0, expected 1 to"},
        {"pkm ffn_key_size=0", "ffn_key_size: found 0, expected 1 to"},
        {"pkm ffn_query_bias=2", "ffn_query_bias: found 2, expected 0 or 1"},
        {"pkm ffn_normaliser=tanh", "ffn_normaliser: found \"tanh\", expected one of softmax, "
                                    "sigmoid, relu, gelu for family pkm"},
        {"lorkm ffn_query_norm=rmsnorm", "ffn_query_norm: found \"rmsnorm\", expected one of none, "
                                         "layernorm, batchnorm for family lorkm"},
        {"lorkm ffn_active_neurons=37", "ffn_active_neurons: found 37, expected at most the 36"},
        {"vanillam ffn_block_size=5", "ffn_block_size: found 5, expected a divisor of the 36"},
        {"memory_plus ffn_active_neurons=12", "less than the square root of the cells, 6"},
        {"memory_plus ffn_normaliser=relu", "expected one of softmax for family memory_plus"},
        {"omnimoe ffn_neurons=26", "ffn_neurons: found 26, expected a square for router "
                                   "product_linear"},
        {"omnimoe ffn_top_k=5", "ffn_top_k: found 5, expected less than the square root of the "
                                "neurons, 5"},
        {"omnimoe ffn_intermediate_size=0", "ffn_intermediate_size: found 0, expected 1 to"},
        {"vanillam ffn_block_size=3",
         "ffn_block_size: found 3, expected a divisor of the 8 active"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        sg_error err = {0};
        sg_config c = direct_config(bad[i].kind);
        assert_int_equal(sg_config_complete(&c, &err), SG_ERR_ARGUMENT);
        if (strstr(err.message, bad[i].message) == NULL)
            fail_msg("%s: \"%s\", expected \"%s\"", bad[i].kind, err.message, bad[i].message);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_low_rank_is_keys),
        cmocka_unit_test(test_all_is_dense),
        cmocka_unit_test(test_memory_plus_is_pkm),
        cmocka_unit_test(test_omnimoe_is_peer_and_glu),
        cmocka_unit_test(test_gates_sum_to_one),
        cmocka_unit_test(test_brute_force),
        cmocka_unit_test(test_batch_does_not_matter),
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_published_counts),
        cmocka_unit_test(test_rules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
