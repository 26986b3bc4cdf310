// What must hold of points in every family: the stream is the sum of what is added to it, a layer
// is the sum of its neurons, what is only read or written back changes no bit, and a layer whose
// points are those of another run is that run's layer.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "model/model.h"
#include "probe/neuron_tables.h"
#include "tiny_models.h"
#include "sgatlin_probe.h"

enum { vocab = 60, positions = 32, count = 13, width = 16, layers = 2 };
enum { kept_points = 80, kept_row = 128 };
static sg_context *context;
static int32_t tokens[count], others[count];

static int set_up(void **state)
{
    (void)state;
    sg_context_options options = sg_context_options_default();
    options.threads = 2;
    for (int i = 0; i < count; i++) {
        tokens[i] = (int32_t)sg_rng_below(7, 1, (uint64_t)i, vocab);
        others[i] = (int32_t)sg_rng_below(7, 2, (uint64_t)i, vocab);
    }
    return sg_context_new(&options, &context, NULL) == SG_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    sg_context_free(context);
    return 0;
}

// other: one stream for both layers, learned positions, norms that shift, keys shared by heads, a
// window in the first layer, sinks.
static sg_model *make_model(const char *kind, bool other)
{
    sg_error err = {0};
    sg_model *model;
    sg_config c = tiny_config(kind, vocab, positions);
    if (other) {
        c.parallel_residual = 1;
        c.num_key_value_heads = 1;
        c.sliding_window = 6;
        c.attention_sinks = 1;
        snprintf(c.sliding_layers, sizeof c.sliding_layers, "1");
        snprintf(c.positions, sizeof c.positions, "learned");
        snprintf(c.norm, sizeof c.norm, "layernorm");
    }
    if (sg_model_new(context, &c, 3, &model, &err) != SG_OK) fail_msg("%s", err.message);
    return model;
}

// ---- values of all points -----------------------------------------------------------------------

// (count) rows of each point of a pass from position 0.
typedef struct kept {
    char names[kept_points][64];
    int64_t columns[kept_points], channels[kept_points];
    float values[kept_points][count][kept_row];
    int32_t counts[kept_points][count][8];
    bool counted[kept_points];
    int points;
} kept;

static int kept_find(const kept *k, const char *format, int layer)
{
    char name[64];
    snprintf(name, sizeof name, format, layer);
    for (int i = 0; i < k->points; i++)
        if (strcmp(k->names[i], name) == 0) return i;
    return -1;
}

static int64_t row_size(const sg_point_values *p)
{
    int64_t columns = 1;
    for (int i = 1; i < p->rank; i++)
        columns *= p->shape[i];
    return columns;
}

static sg_status keep(void *user, const sg_point_values *p, sg_error *err)
{
    (void)err;
    kept *k = user;
    const int64_t n = row_size(p);
    int at = kept_find(k, p->name, 0);
    if (at < 0) {
        at = k->points++;
        assert_true(at < kept_points);
        snprintf(k->names[at], sizeof k->names[at], "%s", p->name);
        k->columns[at] = n;
        k->channels[at] = p->shape[1];
    }
    assert_true(n <= kept_row);
    for (int64_t i = 0; i < p->shape[0]; i++)
        for (int64_t j = 0; j < n; j++)
            k->values[at][p->first_row + i][j] =
                p->kind == SG_POINT_I32 ? (float)p->ids[i * n + j] : p->values[i * n + j];
    k->counted[at] = p->counts != NULL;
    for (int64_t i = 0; p->counts != NULL && i < p->shape[0] * p->shape[1]; i++)
        k->counts[at][i / p->shape[1]][i % p->shape[1]] = p->counts[i];
    return SG_OK;
}

// What a pass over all tokens gives: -log p, to the bit.
static void score(sg_model *model, const int32_t *ids, const sg_point_request *items, size_t n,
                  double nll[count])
{
    const sg_points points = {items, n};
    sg_session_options options = sg_session_options_default();
    sg_session *session;
    sg_error err = {0};
    bool likeliest[count];
    if (n > 0) options.points = &points;
    if (sg_session_open(model, &options, &session, &err) != SG_OK ||
        sg_session_score(session, ids, others, count, nll, likeliest, &err) != SG_OK)
        fail_msg("%s", err.message);
    sg_session_free(session);
}

static sg_status leave(void *user, const sg_point_values *p, sg_error *err)
{
    (void)err;
    int *calls = user;
    assert_int_equal(p->use, SG_POINT_WRITE);
    ++*calls;
    return SG_OK;
}

static sg_status put_zero(void *user, const sg_point_values *p, sg_error *err)
{
    (void)user;
    (void)err;
    memset(p->values, 0, (size_t)(p->shape[0] * row_size(p)) * sizeof *p->values);
    return SG_OK;
}

// ---- sums ---------------------------------------------------------------------------------------

// hook_embed + hook_pos_embed + every hook_attn_out + every hook_mlp_out so far = hook_resid_post.
static void check_stream(const kept *k, const char *kind)
{
    const int position = kept_find(k, "hook_pos_embed", 0);
    for (int t = 0; t < count; t++)
        for (int j = 0; j < width; j++) {
            double sum = (double)k->values[kept_find(k, "hook_embed", 0)][t][j];
            if (position >= 0) sum += (double)k->values[position][t][j];
            for (int l = 0; l < layers; l++) {
                sum += (double)k->values[kept_find(k, "blocks.%d.hook_attn_out", l)][t][j];
                sum += (double)k->values[kept_find(k, "blocks.%d.hook_mlp_out", l)][t][j];
                const double post =
                    (double)k->values[kept_find(k, "blocks.%d.hook_resid_post", l)][t][j];
                if (!(fabs(sum - post) < 1e-5 * (1 + fabs(post))))
                    fail_msg("%s: layer %d, row %d: the sum is %.9g, the stream %.9g", kind, l, t,
                             sum, post);
            }
        }
}

// Adds hook_post times w_out of what row t selects, channel by channel.
static void add_neurons(const kept *k, const sg_neuron_table *table, int layer, int t,
                        const char *kind, double sum[width])
{
    const int ids = kept_find(k, "blocks.%d.mlp.hook_gate_ids", layer);
    const int post = kept_find(k, "blocks.%d.mlp.hook_post", layer);
    const int64_t columns = table->selected;
    assert_true(post >= 0);
    assert_int_equal(k->columns[post], table->channels * columns);
    for (int64_t c = 0; c < table->channels; c++)
        for (int64_t i = 0; i < columns; i++) {
            float row[width];
            int64_t neuron = i;
            if (!table->dense) {
                // An id is of as many neurons as there are numbers for it.
                const int64_t slots = k->columns[ids] / table->channels, unit = columns / slots;
                const int64_t slot = i / unit;
                if (k->counted[ids] && slot >= k->counts[ids][t][c]) continue;
                const int64_t block = (int64_t)k->values[ids][t][c * slots + slot];
                neuron = block * unit + i % unit;
            }
            sg_error err = {0};
            if (sg_neuron_out(table, c, neuron, row, &err) != SG_OK)
                fail_msg("%s: %s", kind, err.message);
            const double weight = (double)k->values[post][t][c * columns + i];
            for (int j = 0; j < width; j++)
                sum[j] += weight * (double)row[j];
        }
}

// hook_mlp_out is the sum of neurons and what is there without them: biases, shared experts.
static void check_neurons(sg_model *model, const kept *k, const char *kind)
{
    static kept without;
    double nll[count];
    for (int l = 0; l < layers; l++) {
        sg_neuron_table table;
        char name[64];
        assert_int_equal(sg_neuron_table_of(model, l, &table, NULL), SG_OK);
        if (!table.summed) continue;
        memset(&without, 0, sizeof without);
        snprintf(name, sizeof name, "blocks.%d.mlp.hook_post", l);
        const sg_point_request requests[] = {{name, SG_POINT_WRITE, put_zero, NULL},
                                             {"*.hook_mlp_out", SG_POINT_READ, keep, &without}};
        score(model, tokens, requests, 2, nll);
        const int out = kept_find(k, "blocks.%d.hook_mlp_out", l);
        const int rest = kept_find(&without, "blocks.%d.hook_mlp_out", l);
        for (int t = 0; t < count; t++) {
            double sum[width], size = 0;
            for (int j = 0; j < width; j++) {
                sum[j] = (double)without.values[rest][t][j];
                size = fmax(size, fabs((double)k->values[out][t][j]));
            }
            assert_true(size > 0);
            add_neurons(k, &table, l, t, kind, sum);
            for (int j = 0; j < width; j++)
                if (!(fabs(sum[j] - (double)k->values[out][t][j]) < 1e-5 * (size + 1e-3)))
                    fail_msg("%s: layer %d, row %d: neurons sum up to %.9g, the layer is %.9g",
                             kind, l, t, sum[j], (double)k->values[out][t][j]);
        }
    }
}

// Reading everything changes no bit.
static void test_sums(void **state)
{
    (void)state;
    static kept k;
    const char *kind;
    for (int i = 0; (kind = tiny_kind(i)) != NULL; i++) {
        double plain[count], read[count];
        memset(&k, 0, sizeof k);
        sg_model *model = make_model(kind, i % 3 == 2);
        const sg_point_request every = {"*", SG_POINT_READ, keep, &k};
        score(model, tokens, NULL, 0, plain);
        score(model, tokens, &every, 1, read);
        assert_memory_equal(plain, read, sizeof plain);
        check_stream(&k, kind);
        check_neurons(model, &k, kind);
        sg_model_free(model);
    }
}

// ---- writing what was read ----------------------------------------------------------------------

// Those that are computed in another order where they are written (sgatlin_probe.h).
static bool rounds_otherwise(const sg_point_info *info, const sg_model *model)
{
    sg_neuron_table table;
    if (strstr(info->name, "hook_scale") || strstr(info->name, "hook_pattern")) return true;
    if (strstr(info->name, "hook_post") == NULL || info->layer < 0) return false;
    assert_int_equal(sg_neuron_table_of(model, info->layer, &table, NULL), SG_OK);
    return !table.dense && table.out_columns;
}

static void test_write_back(void **state)
{
    (void)state;
    const char *kind;
    for (int i = 0; (kind = tiny_kind(i)) != NULL; i++) {
        double plain[count], written[count];
        sg_model *model = make_model(kind, i % 3 == 1);
        sg_point_info *list;
        sg_point_request requests[kept_points];
        size_t n, exact = 0;
        int calls = 0;
        score(model, tokens, NULL, 0, plain);
        assert_int_equal(sg_points_of(model, &list, &n, NULL), SG_OK);
        for (size_t p = 0; p < n; p++)
            if (!rounds_otherwise(&list[p], model))
                requests[exact++] = (sg_point_request){list[p].name, SG_POINT_WRITE, leave, &calls};
        score(model, tokens, requests, exact, written);
        assert_memory_equal(plain, written, sizeof plain);
        assert_true(calls >= (int)exact && exact > 20 && exact < n);
        const sg_point_request every = {"*", SG_POINT_WRITE, leave, &calls};
        score(model, tokens, &every, 1, written);
        for (int t = 0; t < count; t++)
            assert_true(fabs(plain[t] - written[t]) < 1e-5 * (1 + fabs(plain[t])));
        sg_buffer_free(list);
        sg_model_free(model);
    }
}

// Weights and divisors that are written back token by token behind a cache.
static void test_write_back_decoding(void **state)
{
    (void)state;
    int calls = 0;
    const sg_point_request requests[] = {{"*.hook_pattern", SG_POINT_WRITE, leave, &calls},
                                         {"*.hook_scale", SG_POINT_WRITE, leave, &calls}};
    const sg_points points = {requests, 2};
    for (int other = 0; other < 2; other++) {
        sg_model *model = make_model("sgatlin", other == 1);
        sg_session_options options = sg_session_options_default();
        sg_session *written, *plain;
        const float *found, *expected;
        options.points = &points;
        assert_int_equal(sg_session_open(model, &options, &written, NULL), SG_OK);
        assert_int_equal(sg_session_new(model, 0, &plain, NULL), SG_OK);
        for (int t = 0, n = 4; t < count; t += n, n = 1) {
            assert_int_equal(sg_session_feed(written, tokens + t, n, &found, NULL), SG_OK);
            assert_int_equal(sg_session_feed(plain, tokens + t, n, &expected, NULL), SG_OK);
            for (int v = 0; v < vocab; v++)
                assert_true(fabsf(found[v] - expected[v]) < 1e-5F * (1 + fabsf(expected[v])));
        }
        sg_session_free(written);
        sg_session_free(plain);
        sg_model_free(model);
    }
    assert_true(calls > 50);
}

// All weight on the first token, twice: z is twice its value, whoever looks.
static sg_status look_at_first(void *user, const sg_point_values *p, sg_error *err)
{
    (void)user;
    (void)err;
    for (int64_t i = 0; i < p->shape[0] * p->shape[1]; i++)
        for (int64_t j = 0; j < p->shape[2]; j++)
            p->values[i * p->shape[2] + j] = j == 0 ? 2 : 0;
    return SG_OK;
}

static sg_status put_four(void *user, const sg_point_values *p, sg_error *err)
{
    (void)user;
    (void)err;
    for (int64_t i = 0; i < p->shape[0]; i++)
        p->values[i] = 4;
    return SG_OK;
}

static void test_written_weights(void **state)
{
    (void)state;
    static kept k;
    memset(&k, 0, sizeof k);
    double nll[count];
    sg_model *model = make_model("sgatlin", false);
    const sg_point_request requests[] = {
        {"blocks.0.attn.hook_pattern", SG_POINT_WRITE, look_at_first, NULL},
        {"blocks.0.ln2.hook_scale", SG_POINT_WRITE, put_four, NULL},
        {"*", SG_POINT_READ, keep, &k}};
    score(model, tokens, requests, 3, nll);
    const int v = kept_find(&k, "blocks.0.attn.hook_v", 0);
    const int z = kept_find(&k, "blocks.0.attn.hook_z", 0);
    const int mid = kept_find(&k, "blocks.0.hook_resid_mid", 0);
    const int normed = kept_find(&k, "blocks.0.ln2.hook_normalized", 0);
    size_t weight;
    float scale[width];
    assert_int_equal(sg_model_tensor_find(model, "model.layers.0.post_attention_layernorm.weight",
                                          &weight, NULL),
                     SG_OK);
    assert_int_equal(sg_model_tensor_read(model, weight, 0, width, scale, NULL), SG_OK);
    for (int t = 0; t < count; t++)
        for (int j = 0; j < width; j++) {
            assert_true(k.values[z][t][j] == 2 * k.values[v][0][j]);
            assert_true(k.values[normed][t][j] == k.values[mid][t][j] / 4 * scale[j]);
        }
    sg_model_free(model);
}

// ---- another run's layer ------------------------------------------------------------------------

static sg_status put(void *user, const sg_point_values *p, sg_error *err)
{
    (void)err;
    const kept *k = user;
    const int at = kept_find(k, p->name, 0);
    const int64_t n = row_size(p);
    assert_true(at >= 0);
    for (int64_t i = 0; i < p->shape[0]; i++)
        for (int64_t j = 0; j < n; j++) {
            const float value = k->values[at][p->first_row + i][j];
            if (p->kind == SG_POINT_I32)
                p->ids[i * n + j] = (int32_t)value;
            else
                p->values[i * n + j] = value;
        }
    return SG_OK;
}

// From the stream in front of the layer on, and at all of its points.
static void test_layer_of_another(void **state)
{
    (void)state;
    static kept k, seen;
    const char *kind;
    for (int i = 0; (kind = tiny_kind(i)) != NULL; i++) {
        // What a token is hashed to is not in the stream.
        if (strncmp(kind, "randhash", 8) == 0) continue;
        sg_model *model = make_model(kind, i % 3 == 0);
        double plain[count], expected[count], found[count];
        memset(&k, 0, sizeof k);
        const sg_point_request every = {"*", SG_POINT_READ, keep, &k};
        score(model, tokens, NULL, 0, plain);
        score(model, others, &every, 1, expected);
        const sg_point_request from = {"blocks.1.hook_resid_pre", SG_POINT_WRITE, put, &k};
        score(model, tokens, &from, 1, found);
        assert_memory_equal(found, expected, sizeof found);
        assert_memory_not_equal(found, plain, sizeof found);
        memset(&seen, 0, sizeof seen);
        const sg_point_request all[] = {{"blocks.1.*", SG_POINT_WRITE, put, &k},
                                        {"blocks.1.*", SG_POINT_READ, keep, &seen}};
        score(model, tokens, all, 2, found);
        assert_memory_equal(found, expected, sizeof found);
        for (int p = 0; p < seen.points; p++) {
            const int at = kept_find(&k, seen.names[p], 0);
            assert_memory_equal(seen.values[p], k.values[at], sizeof seen.values[p]);
        }
        assert_true(seen.points >= 13);
        sg_model_free(model);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums),
        cmocka_unit_test(test_write_back),
        cmocka_unit_test(test_write_back_decoding),
        cmocka_unit_test(test_written_weights),
        cmocka_unit_test(test_layer_of_another),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
