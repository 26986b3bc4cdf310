// Sweep files: what a file means, cell by cell, and how it is refused.
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "alloc_failure.h"
#include "base/alloc.h"
#include "sweep/spec.h"

// Members after the first ones, in a file that is otherwise right.
#define FILE_OF(members)                                                                           \
    "{\"format\": \"sgatlin sweep\", \"version\": 1, \"name\": \"n\", " members "}"

static sg_status parse(const char *text, sg_sweep_spec *spec, sg_error *err)
{
    return sg_sweep_spec_parse(text, strlen(text), "f.json", NULL, spec, err);
}

static sg_sweep_spec must_parse(const char *text)
{
    sg_sweep_spec spec;
    sg_error err = {0};
    if (parse(text, &spec, &err) != SG_OK) fail_msg("%s", err.message);
    return spec;
}

static sg_train_options options_of(const sg_sweep_spec *spec, size_t cell)
{
    sg_train_options o;
    sg_error err = {0};
    if (sg_sweep_cell_options(spec, &spec->cells[cell], &o, &err) != SG_OK)
        fail_msg("%s", err.message);
    return o;
}

// ---- what a file means --------------------------------------------------------------------------

static const char full[] = FILE_OF(
    "\"note\": \"why\", \"data\": \"corpus\", \"facts\": \"facts.json\","
    "\"options\": {\"preset\": \"laptop-{family}-s{scale}\", \"clip\": 0.5, \"batch-size\": 8},"
    "\"axes\": {\"family\": [\"mlp\", \"avgk\","
    "  {\"name\": \"gelu\", \"ffn\": \"sgatlin\", \"ffn_activation\": \"gelu\"}],"
    "  \"scale\": [2, 4], \"budget\": [1e12, 4e12],"
    "  \"decay_fraction\": [0.1, 0.2],"
    "  \"weights\": [{\"name\": \"none\", \"weight_decay\": 0}, {\"name\": \"some\"}]},"
    "\"search\": {\"lr\": {\"values\": [1e-3, 2e-3, 4e-3], \"halvings\": 2, \"extend\": 3},"
    "  \"beta2\": [0.95, 0.98, 0.99]}, \"search_budget\": 1e12,"
    "\"seeds\": [3, 1], \"seeds_at\": \"best\", \"max_epochs\": 2.5, \"blocks\": 32,"
    "\"scale_ladder\": [1, 8]");

static void test_members(void **state)
{
    (void)state;
    sg_sweep_spec s = must_parse(full);
    assert_string_equal(s.name, "n");
    assert_string_equal(s.note, "why");
    assert_string_equal(s.data, "corpus");
    assert_string_equal(s.facts, "facts.json");
    assert_true(s.seed_count == 2 && s.seeds[0] == 3 && s.seeds[1] == 1 && s.seeds_at_best);
    assert_true(s.max_epochs == 2.5 && s.blocks == 32);
    assert_true(s.scale_ladder[0] == 1 && s.scale_ladder[1] == 8 && s.search_budget == 1e12);
    assert_int_equal(s.search_count, 2);
    assert_string_equal(s.searches[0].field, "lr");
    assert_true(s.searches[0].count == 3 && s.searches[0].values[2] == 4e-3);
    assert_true(s.searches[0].halvings == 2 && s.searches[0].extend == 3);
    assert_string_equal(s.searches[1].field, "beta2");
    assert_true(s.searches[1].halvings == 1 && s.searches[1].extend == 2);
    sg_sweep_spec_clear(&s);
    s = must_parse(FILE_OF("\"options\": {\"steps\": 10}"));
    assert_true(s.cell_count == 1 && s.seed_count == 1 && s.seeds[0] == 1 && !s.seeds_at_best);
    assert_true(s.max_epochs == 1 && s.blocks == 64 && s.search_count == 0);
    assert_true(isnan(s.scale_ladder[0]) && isnan(s.search_budget));
    assert_string_equal(s.data, "");
    assert_string_equal(s.cells[0].family, "sgatlin"); // that of the demo
    assert_string_equal(s.cells[0].settings, "{}");
    assert_true(isnan(s.cells[0].scale) && isnan(s.cells[0].budget));
    sg_sweep_spec_clear(&s);
}

// The last axis runs fastest.
static void test_cells(void **state)
{
    (void)state;
    sg_sweep_spec s = must_parse(full);
    assert_int_equal(s.cell_count, 3 * 2 * 2 * 2 * 2);
    for (size_t i = 0; i < s.cell_count; i++) {
        static const char *const names[] = {"mlp", "avgk", "gelu"}, *const ffn[] = {"mlp", "avgk",
                                                                                    "sgatlin"};
        const sg_sweep_cell *c = &s.cells[i];
        const size_t family = i / 16, scale = i / 8 % 2, budget = i / 4 % 2, decay = i / 2 % 2;
        const sg_train_options o = options_of(&s, i);
        char settings[80];
        snprintf(settings, sizeof settings, "{\"decay_fraction\": \"%s\", \"weights\": \"%s\"}",
                 decay ? "0.2" : "0.1", i % 2 ? "some" : "none");
        assert_string_equal(c->settings, settings);
        assert_int_equal(c->index, i);
        assert_string_equal(c->family, names[family]);
        assert_true(c->scale == (scale ? 4 : 2) && c->budget == (budget ? 4e12 : 1e12));
        assert_string_equal(o.config.ffn, ffn[family]);
        assert_string_equal(o.config.ffn_activation,
                            family == 2 ? "gelu" : o.config.ffn_activation);
        assert_int_equal(o.config.hidden_size, scale ? 64 : 32);
        assert_true(o.flops == c->budget && o.steps == 0 && o.clip == 0.5 && o.batch_size == 8);
        assert_true(o.decay_fraction == (decay ? 0.2 : 0.1));
        assert_true(o.weight_decay == (i % 2 ? 0.1 : 0) && o.lr == 3e-3 && o.seed == 3);
        assert_int_equal(o.config.vocab_size, 0); // the data's
        assert_int_equal(o.config.max_position_embeddings, 0);
    }
    sg_sweep_spec_clear(&s);
}

static void test_at_scale(void **state)
{
    (void)state;
    sg_sweep_spec s = must_parse(full);
    sg_sweep_cell added;
    sg_error err = {0};
    sg_train_options o;
    for (size_t i = 0; i < s.cell_count; i++) {
        const sg_sweep_cell *c = &s.cells[i];
        assert_int_equal(sg_sweep_cell_at_scale(&s, c, c->scale, &added, &err), SG_OK);
        assert_true(json_equal(added.options, c->options) && added.index == c->index);
        assert_string_equal(added.settings, c->settings);
        sg_sweep_cell_clear(&added);
    }
    assert_int_equal(sg_sweep_cell_at_scale(&s, &s.cells[33], 12, &added, &err), SG_OK);
    assert_true(added.scale == 12 && added.index == 33 && added.budget == s.cells[33].budget);
    assert_string_equal(added.family, "gelu");
    assert_int_equal(sg_sweep_cell_options(&s, &added, &o, &err), SG_OK);
    assert_int_equal(o.config.hidden_size, 192);
    sg_sweep_cell_clear(&added);
    assert_true(sg_sweep_cell_at_scale(&s, &s.cells[33], 13, &added, &err) != SG_OK);
    assert_non_null(strstr(err.message, "found \"laptop-sgatlin-s13\""));
    assert_null(added.options);
    assert_true(sg_sweep_cell_at_scale(&s, &s.cells[33], NAN, &added, &err) != SG_OK);
    sg_sweep_spec_clear(&s);
    s = must_parse(FILE_OF("\"options\": {\"steps\": 10}"));
    assert_true(sg_sweep_cell_at_scale(&s, &s.cells[0], 2, &added, &err) == SG_ERR_ARGUMENT);
    assert_string_equal(err.message, "cell 0: there is no axis \"scale\"");
    sg_sweep_spec_clear(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_members),
        cmocka_unit_test(test_cells),
        cmocka_unit_test(test_at_scale),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
