// Usage and co-activation against numpy (tests/twins/usage_twin.py).
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "alloc_failure.h"
#include "base/file.h"
#include "format/json.h"
#include "format/npy.h"
#include "sgatlin_usage.h"

enum { rows_most = 128, channels_most = 4, hits_most = 512 };

// A case of the file as selections.
typedef struct twin {
    json_t *json;
    sg_layer_selections layer;
    sg_selection_rows gates[channels_most];
    int64_t numbers[channels_most], begins[channels_most][rows_most + 1], sequences[rows_most];
    int32_t neurons[channels_most][hits_most], tokens[rows_most];
} twin;

static json_t *file;

static int64_t whole(const json_t *json, const char *name)
{
    return json_integer_value(json_object_get(json, name));
}

static void read_channel(twin *t, int64_t c, const json_t *ids)
{
    int64_t used = 0;
    t->begins[c][0] = 0;
    for (int64_t r = 0; r < t->layer.rows; r++) {
        const json_t *row = json_array_get(json_array_get(ids, (size_t)r), (size_t)c);
        for (size_t i = 0; i < json_array_size(row); i++)
            t->neurons[c][used++] = (int32_t)json_integer_value(json_array_get(row, i));
        t->begins[c][r + 1] = used;
    }
    assert_true(used <= hits_most);
    t->numbers[c] = 10 + c;
    t->gates[c] = (sg_selection_rows){t->begins[c], t->neurons[c]};
}

static twin *read_case(size_t index)
{
    twin *t = calloc(1, sizeof *t);
    assert_non_null(t);
    t->json = json_array_get(file, index);
    const json_t *ids = json_object_get(t->json, "ids");
    t->layer = (sg_layer_selections){.layer = 3,
                                     .rows = (int64_t)json_array_size(ids),
                                     .neurons = whole(t->json, "neurons"),
                                     .channels = (int64_t)json_array_size(json_array_get(ids, 0)),
                                     .channel_numbers = t->numbers,
                                     .gates = t->gates,
                                     .shared = json_is_true(json_object_get(t->json, "shared")),
                                     .sub_keys = whole(t->json, "sub_keys"),
                                     .tokens = t->tokens,
                                     .sequences = t->sequences};
    assert_true(t->layer.rows <= rows_most && t->layer.channels <= channels_most);
    for (int64_t r = 0; r < t->layer.rows; r++) {
        const json_t *tokens = json_object_get(t->json, "tokens");
        const json_t *sequences = json_object_get(t->json, "sequences");
        t->tokens[r] = (int32_t)json_integer_value(json_array_get(tokens, (size_t)r));
        t->sequences[r] = json_integer_value(json_array_get(sequences, (size_t)r));
    }
    for (int64_t c = 0; c < t->layer.channels; c++)
        read_channel(t, c, ids);
    return t;
}

static void near(double found, const json_t *json, const char *name)
{
    const json_t *value = json_object_get(json, name);
    assert_true(json_is_number(value));
    if (!(fabs(found - json_number_value(value)) <= 1e-12))
        fail_msg("%s: found %.15g, expected %.15g", name, found, json_number_value(value));
}

static void compare_usage(const sg_gate_usage *u, const json_t *json)
{
    near((double)u->selections, json, "selections");
    near(u->used, json, "used");
    near(u->entropy, json, "entropy");
    near(u->gini, json, "gini");
    near(u->max_load, json, "max_load");
    near(u->min_max, json, "min_max");
    near(u->deviation, json, "deviation");
    near(u->token_gini, json, "token_gini");
    near(u->first_gini, json, "first_gini");
}

static void test_usage(void **state)
{
    (void)state;
    for (size_t i = 0; i < json_array_size(file); i++) {
        twin *t = read_case(i);
        sg_gate_usage usage[channels_most + 1];
        sg_published_usage p;
        sg_error err;
        assert_int_equal(sg_gate_usage_of(&t->layer, usage, &p, &err), SG_OK);
        const json_t *channels = json_object_get(t->json, "channels");
        for (int64_t c = 0; c < t->layer.channels; c++) {
            compare_usage(&usage[c], json_array_get(channels, (size_t)c));
            assert_int_equal(usage[c].channel, 10 + c);
        }
        compare_usage(&usage[t->layer.channels], json_object_get(t->json, "layer"));
        assert_int_equal(usage[t->layer.channels].channel, -1);
        const json_t *published = json_object_get(t->json, "published");
        const json_t *each = json_object_get(published, "sequence");
        const json_t *all = json_object_get(published, "global");
        near(p.sequence_used, each, "used");
        near(p.sequence_entropy, each, "entropy");
        near(p.sequence_min_max, each, "min_max");
        near(p.sequence_deviation, each, "deviation");
        near(p.global_used, all, "used");
        near(p.global_entropy, all, "entropy");
        near(p.global_min_max, all, "min_max");
        near(p.global_deviation, all, "deviation");
        free(t);
    }
}

static void test_pairs(void **state)
{
    (void)state;
    for (size_t i = 0; i < json_array_size(file); i++) {
        twin *t = read_case(i);
        sg_coactivation c;
        sg_error err;
        assert_int_equal(sg_coactivation_find(&t->layer, 0, 6, 5, &c, &err), SG_OK);
        const json_t *together = json_object_get(t->json, "together");
        const json_t *pairs = json_object_get(together, "pairs");
        assert_int_equal(c.count, json_array_size(pairs));
        assert_true(c.count > 3);
        for (int64_t p = 0; p < c.count; p++) {
            const json_t *pair = json_array_get(pairs, (size_t)p);
            assert_int_equal(c.pairs[p].a, json_integer_value(json_array_get(pair, 0)));
            assert_int_equal(c.pairs[p].b, json_integer_value(json_array_get(pair, 1)));
            assert_int_equal(c.pairs[p].count, json_integer_value(json_array_get(pair, 2)));
            const double low = fmin(c.pairs[p].given_a, c.pairs[p].given_b);
            assert_true(fabs(low - json_number_value(json_array_get(pair, 3))) < 1e-12);
        }
        if (t->layer.sub_keys > 0) {
            near(c.same_first, together, "same_first");
            near(c.same_second, together, "same_second");
            // Of the pairs that there could be: n - 1 of the n^2 - 1 others.
            assert_true(fabs(c.chance - 3.0 / 15.0) < 1e-12);
        } else {
            assert_true(isnan(c.same_first) && isnan(c.chance));
        }
        sg_coactivation_free(&c);
        free(t);
    }
}

static void compare_matrix(const twin *t, sg_coactivation_form form, const char *name,
                           const char *path)
{
    sg_error err;
    sg_npy npy;
    assert_int_equal(sg_coactivation_write(&t->layer, 0, form, path, true, &err), SG_OK);
    assert_int_equal(sg_npy_open(path, &npy, &err), SG_OK);
    assert_int_equal(npy.view.ndim, 2);
    assert_int_equal(npy.view.shape[0], t->layer.neurons);
    assert_int_equal(npy.view.shape[1], t->layer.neurons);
    const json_t *rows = json_object_get(json_object_get(t->json, "together"), name);
    for (int64_t i = 0; i < t->layer.neurons; i++)
        for (int64_t j = 0; j < t->layer.neurons; j++) {
            float found;
            memcpy(&found, (const char *)npy.view.data + (i * t->layer.neurons + j) * 4, 4);
            const json_t *row = json_array_get(rows, (size_t)i);
            assert_float_equal(found, json_number_value(json_array_get(row, (size_t)j)), 1e-6);
        }
    sg_npy_close(&npy);
}

static void test_matrix(void **state)
{
    (void)state;
    char folder[64] = "/tmp/sg-usage-XXXXXX", path[96];
    sg_error err = {0};
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/m.npy", folder);
    for (size_t i = 0; i < json_array_size(file); i++) {
        twin *t = read_case(i);
        compare_matrix(t, SG_COACTIVATION_CONDITIONAL, "conditional", path);
        compare_matrix(t, SG_COACTIVATION_PUBLISHED, "published", path);
        // What is there is kept.
        assert_int_equal(
            sg_coactivation_write(&t->layer, 0, SG_COACTIVATION_CONDITIONAL, path, false, &err),
            SG_ERR_ARGUMENT);
        // Partners of a neuron are its row of the matrix.
        sg_neuron_pair *pairs;
        int64_t count, sum = 0;
        assert_int_equal(sg_coactive_neurons(&t->layer, 0, 1, 100, &pairs, &count, &err), SG_OK);
        const json_t *rows = json_object_get(json_object_get(t->json, "together"), "conditional");
        for (int64_t p = 0; p < count; p++) {
            const json_t *row = json_array_get(rows, 1);
            assert_float_equal(pairs[p].given_a,
                               json_number_value(json_array_get(row, (size_t)pairs[p].b)), 1e-7);
            assert_true(p == 0 || pairs[p].count <= pairs[p - 1].count);
            sum += pairs[p].count;
        }
        assert_int_equal(sum, pairs[0].of_a * (t->layer.channels == 2 ? 2 : 1)); // k - 1 each
        sg_buffer_free(pairs);
        free(t);
    }
    assert_int_equal(sg_tree_remove(folder, &err), SG_OK);
}

// Nothing was read: nothing is said that would be a number.
static void test_nothing(void **state)
{
    (void)state;
    static const int64_t begins[1] = {0}, number[1] = {0};
    const sg_selection_rows gates = {begins, NULL};
    const sg_layer_selections layer = {
        .neurons = 4, .channels = 1, .channel_numbers = number, .gates = &gates, .sub_keys = 2};
    sg_gate_usage usage[2];
    sg_published_usage p;
    sg_coactivation c;
    sg_error err;
    assert_int_equal(sg_gate_usage_of(&layer, usage, &p, &err), SG_OK);
    assert_true(usage[0].used == 0 && isnan(usage[0].gini) && isnan(usage[0].deviation));
    assert_true(isnan(p.sequence_used) && p.sequences == 0);
    assert_int_equal(sg_coactivation_find(&layer, 0, 3, 1, &c, &err), SG_OK);
    assert_true(c.count == 0 && c.events == 0 && isnan(c.same_first));
    sg_coactivation_free(&c);
}

static sg_status count_all(void *user, sg_error *err)
{
    const twin *t = user;
    sg_gate_usage usage[channels_most + 1];
    sg_coactivation c = {0};
    sg_neuron_pair *pairs = NULL;
    int64_t count;
    sg_status status = sg_gate_usage_of(&t->layer, usage, NULL, err);
    if (status == SG_OK) status = sg_coactivation_find(&t->layer, 0, 4, 1, &c, err);
    sg_coactivation_free(&c);
    if (status == SG_OK) status = sg_coactive_neurons(&t->layer, 0, 0, 4, &pairs, &count, err);
    sg_buffer_free(pairs);
    return status;
}

static void test_allocation_failures(void **state)
{
    (void)state;
    twin *t = read_case(0);
    assert_true(alloc_failure_loop(count_all, t) >= 10);
    free(t);
}

int main(void)
{
    sg_error err;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_usage),
        cmocka_unit_test(test_pairs),
        cmocka_unit_test(test_matrix),
        cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_allocation_failures),
    };
    if (sg_json_read(SG_TEST_DIR "/golden/usage/usage.json", 1 << 20, &file, &err) != SG_OK) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    json_decref(file);
    return failed;
}
