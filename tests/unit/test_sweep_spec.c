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
#include "sgatlin_sweep.h"
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

// ---- refusals -----------------------------------------------------------------------------------

static void refused(const char *text, const char *message)
{
    sg_sweep_spec spec;
    sg_error err = {0};
    assert_true(parse(text, &spec, &err) != SG_OK);
    assert_string_equal(err.message, message);
    assert_true(spec.root == NULL && spec.cells == NULL && spec.cell_count == 0);
}

#define STEPS "\"options\": {\"steps\": 10}"

static void test_members_refused(void **state)
{
    (void)state;
    refused("[]", "f.json: found no JSON object, expected one");
    refused("{\"format\": \"sgatlin edits\"}",
            "f.json: format: found \"sgatlin edits\", expected \"sgatlin sweep\"");
    refused("{\"format\": \"sgatlin sweep\", \"version\": 2, \"name\": \"n\"}",
            "f.json: \"version\": found 2, expected 1 to 1");
    refused("{\"format\": \"sgatlin sweep\", \"version\": 1}",
            "f.json: \"name\" is missing, expected a string");
    refused(FILE_OF("\"axis\": {}"),
            "f.json: axis: found a member that is not known, did you mean axes?");
    refused(FILE_OF(STEPS ", \"seeds\": []"), "f.json: seeds: expected 1 to 64 of them");
    refused(FILE_OF(STEPS ", \"seeds\": [1, -2]"),
            "f.json: seeds[1]: expected an integer from 0 to 9e18");
    refused(FILE_OF(STEPS ", \"seeds\": [1, 2, 1]"),
            "f.json: seeds[2]: expected another seed than those before it");
    refused(FILE_OF(STEPS ", \"seeds_at\": \"some\""),
            "f.json: seeds_at: expected \"all\" or \"best\"");
    refused(FILE_OF(STEPS ", \"max_epochs\": 0"),
            "f.json: max_epochs: expected a number above 0, at most 1e9");
    refused(FILE_OF(STEPS ", \"blocks\": 0"), "f.json: \"blocks\": found 0, expected 1 to 4096");
    refused(FILE_OF(STEPS ", \"scale_ladder\": [4, 1]"),
            "f.json: scale_ladder: expected [lowest, highest] scale that may be added, above 0");
    refused(FILE_OF(STEPS ", \"scale_ladder\": [1, 4]"),
            "f.json: scale_ladder: expected it beside an axis scale");
    refused(FILE_OF("\"axes\": {}, \"groups\": []"),
            "f.json: axes: expected them in the groups, or no groups");
    refused(FILE_OF("\"groups\": []"), "f.json: groups: expected some");
    refused(FILE_OF("\"groups\": [3]"), "f.json: groups[0]: expected an object");
    refused(FILE_OF("\"groups\": [{\"name\": 3}]"),
            "f.json: groups[0].name: found a member that is not known, did you mean note?");
}

static void test_search_refused(void **state)
{
    (void)state;
    refused(FILE_OF(STEPS ", \"search\": {\"clip\": [1, 2]}"),
            "f.json: search.clip: found a member that is not known");
    refused(FILE_OF(STEPS ", \"search\": {\"lr\": [1e-3]}"),
            "f.json: search.lr: expected a list of 2 to 16 values");
    refused(FILE_OF(STEPS ", \"search\": {\"lr\": [2e-3, 1e-3]}"),
            "f.json: search.lr: expected values in ascending order");
    refused(FILE_OF(STEPS ", \"search\": {\"lr\": [1e-3, 2e-3, 8e-3]}"),
            "f.json: search.lr: expected values with a constant ratio between neighbours");
    refused(FILE_OF(STEPS ", \"search\": {\"beta2\": [0.9, 1]}"),
            "f.json: search.beta2[1]: expected a number above 0, at most 0.99999999");
    refused(FILE_OF(STEPS ", \"search\": {\"warmup_steps\": {\"values\": [5, 7.5]}}"),
            "f.json: search.warmup_steps.values[1]: expected an integer above 0, at most 1e+12");
    refused(FILE_OF(STEPS ", \"search\": {\"lr\": {\"values\": [1e-3, 2e-3], \"halving\": 1}}"),
            "f.json: search.lr.halving: found a member that is not known, did you mean halvings?");
    refused(FILE_OF(STEPS ", \"search\": {\"lr\": {\"values\": [1e-3, 2e-3], \"extend\": -1}}"),
            "f.json: search.lr: \"extend\": found -1, expected 0 to 16");
    refused(
        FILE_OF("\"options\": {\"steps\": 10, \"lr\": 1e-3}, \"search\": {\"lr\": [1e-3, 2e-3]}"),
        "f.json: options.lr: found beside search.lr");
    refused(FILE_OF("\"axes\": {\"budget\": [1e12], \"b\": [{\"name\": \"x\", \"beta2\": 0.9}]}, "
                    "\"search\": {\"beta2\": [0.9, 0.95]}"),
            "f.json: axes.b: found beside search.beta2");
    refused(FILE_OF(STEPS ", \"search_budget\": 1e12"),
            "f.json: search_budget: expected it beside a search");
    refused(FILE_OF("\"axes\": {\"budget\": [1e12]}, \"search\": {\"lr\": [1e-3, 2e-3]}, "
                    "\"search_budget\": 2e12"),
            "f.json: search_budget: expected one of the values of axes.budget");
}

static void test_options_refused(void **state)
{
    (void)state;
    refused(FILE_OF("\"options\": {\"stepz\": 10}"),
            "f.json: options.stepz: stepz: there is no such option, did you mean steps?");
    refused(
        FILE_OF("\"options\": {\"steps\": []}"),
        "f.json: options.steps: found no plain value, expected a text, a number, true or false");
    refused(FILE_OF("\"options\": {\"steps\": \"many\"}"),
            "f.json: options.steps: steps: found \"many\", expected an integer from "
            "-9223372036854775808 to 9223372036854775807");
    refused(FILE_OF("\"options\": {\"steps\": 10, \"seed\": 3}"),
            "f.json: options.seed: found a seed, expected it in \"seeds\"");
    refused(FILE_OF("\"options\": {\"steps\": 10, \"init\": \"m\"}"),
            "f.json: options.init: init: found \"m\", expected none: runs begin from fresh weights "
            "here");
    refused(FILE_OF("\"options\": {\"steps\": 10, \"batch-size\": 4, \"batch_size\": 5}"),
            "f.json: options.batch-size: found beside batch_size, which is the same option");
    refused(FILE_OF("\"options\": {\"steps\": 10, \"tokens\": 1000}"),
            "f.json: cell 0: found 2 budgets, expected one of steps, tokens, flops and epochs "
            "above 0");
    refused(FILE_OF("\"options\": {\"clip\": 1}"),
            "f.json: cell 0: found 0 budgets, expected one of steps, tokens, flops and epochs "
            "above 0");
    refused(FILE_OF("\"options\": {\"steps\": 10}, \"axes\": {\"budget\": [1e12]}"),
            "f.json: cell 0 (budget 1e+12): found 2 budgets, expected one of steps, tokens, "
            "flops and epochs above 0");
    refused(FILE_OF("\"options\": {\"steps\": 10, \"ffn_experts\": 4}"),
            "f.json: cell 0: ffn_experts: found \"4\", expected none: family sgatlin has no "
            "such field");
}

static void test_axes_refused(void **state)
{
    (void)state;
    refused(FILE_OF(STEPS ", \"axes\": {\"lr\": []}"),
            "f.json: axes.lr: found no values, expected some");
    refused(FILE_OF(STEPS ", \"axes\": {\"lr\": 1e-3}"),
            "f.json: axes.lr: expected a list of values");
    refused(FILE_OF(STEPS ", \"axes\": {\"lr\": [1e-3, 2e-3, 0.001]}"),
            "f.json: axes.lr[2]: found the value of axes.lr[0] again");
    refused(FILE_OF(STEPS ", \"axes\": {\"lr\": [1e-3, -1]}"),
            "f.json: axes.lr[1]: lr: found -1, expected 0 to 1000");
    refused(FILE_OF(STEPS ", \"axes\": {\"lrr\": [1e-3]}"),
            "f.json: axes.lrr: there is no such option, did you mean lr?");
    refused(FILE_OF(STEPS ", \"axes\": {\"size\": [{\"name\": \"a\"}, 3]}"),
            "f.json: axes.size[1]: expected an object {\"name\": …, options}: size is no option");
    refused(FILE_OF(STEPS ", \"axes\": {\"size\": [{\"clip\": 1}]}"),
            "f.json: axes.size[0].name: expected a text of 1 to 63 bytes");
    refused(FILE_OF(STEPS ", \"axes\": {\"size\": [{\"name\": \"a\", \"clib\": 1}]}"),
            "f.json: axes.size[0].clib: clib: there is no such option, did you mean clip?");
    refused(FILE_OF(STEPS ", \"axes\": {\"log_every\": [1, 2]}"),
            "f.json: axes.log_every[0]: found an option that changes no result, expected it in "
            "\"options\"");
    refused(
        FILE_OF(STEPS ", \"axes\": {\"family\": [\"mlp\", {\"name\": \"wide\"}]}"),
        "f.json: axes.family[1]: found no family \"wide\", expected its \"ffn\" beside the name");
    refused(FILE_OF(STEPS ", \"axes\": {\"family\": [\"lstm\"]}"),
            "f.json: cell 0 (lstm): ffn: found \"lstm\", expected one of mlp, glu, moe, peer, "
            "sgatlin, switch, randhash, avgk, vanillam, lorkm, pkm, pkm_ffn, memory_plus, omnimoe, "
            "moefied");
    refused(FILE_OF(STEPS ", \"axes\": {\"budget\": [0]}"),
            "f.json: axes.budget[0]: expected a number above 0");
    refused(FILE_OF(STEPS ", \"axes\": {\"scale\": [2]}"),
            "f.json: axes.scale: has no effect, expected {scale} in an option such as \"preset\": "
            "\"laptop-{family}-s{scale}\"");
    refused(FILE_OF("\"options\": {\"steps\": 10, \"preset\": \"laptop-mlp-s{scale}\"}"),
            "f.json: axes: found {scale} in an option, but no axis scale");
    refused(FILE_OF("\"options\": {\"steps\": 10, \"preset\": \"laptop-{family}-s1\"}"),
            "f.json: axes: found {family} in an option, but no axis family");
    refused(FILE_OF("\"options\": {\"steps\": 10, \"clip\": 1}, \"axes\": {\"clip\": [1, 2]}"),
            "f.json: options.clip: found beside axes.clip, which sets it");
    refused(
        FILE_OF(STEPS ", \"axes\": {\"clip\": [1, 2], \"b\": [{\"name\": \"x\", \"clip\": 3}]}"),
        "f.json: axes.clip: sets clip, which axes.b sets too: expected one of them");
    refused(FILE_OF("\"groups\": [{" STEPS "}, {" STEPS "}]"),
            "f.json: cells 0 and 1 are the same (sgatlin, {}): expected an axis that tells them "
            "apart");
}

static void test_most_cells(void **state)
{
    (void)state;
    enum { VALUES = 400 };
    char *text = sg_alloc(1 << 16);
    size_t used = 0;
    used += (size_t)sprintf(
        text,
        "{\"format\": \"sgatlin sweep\", \"version\": 1, \"name\": \"n\", " STEPS ", \"axes\": {");
    for (int axis = 0; axis < 2; axis++) {
        used += (size_t)sprintf(text + used, "%s\"%s\": [", axis ? ", " : "", axis ? "clip" : "lr");
        for (int i = 0; i < VALUES; i++)
            used += (size_t)sprintf(text + used, "%s0.%d", i ? ", " : "", 1000 + i);
        used += (size_t)sprintf(text + used, "]");
    }
    sprintf(text + used, "}}");
    refused(text, "f.json: axes: make more than 100000 cells, expected fewer");
    sg_free(text);
}

// Data that are given beside the file take its place in it too.
static void test_data(void **state)
{
    (void)state;
    static const char text[] = FILE_OF("\"data\": \"a\", " STEPS);
    sg_sweep_spec s;
    sg_error err = {0};
    assert_int_equal(sg_sweep_spec_parse(text, strlen(text), "f", "b", &s, &err), SG_OK);
    assert_string_equal(s.data, "b");
    assert_string_equal(json_string_value(json_object_get(s.root, "data")), "b");
    sg_sweep_spec_clear(&s);
    assert_int_equal(sg_sweep_spec_parse(text, strlen(text), "f", "\xff", &s, &err),
                     SG_ERR_ARGUMENT);
}

static void test_groups(void **state)
{
    (void)state;
    sg_sweep_spec s = must_parse(
        FILE_OF("\"options\": {\"steps\": 10, \"clip\": 1, \"beta1\": 0.8},"
                "\"groups\": [{\"options\": {\"clip\": 2}, \"axes\": {\"lr\": [1e-3, 2e-3]}},"
                "  {\"axes\": {\"eps\": [1e-7, 1e-6, 1e-5]}}]"));
    assert_int_equal(s.cell_count, 5);
    for (size_t i = 0; i < 5; i++) {
        const sg_train_options o = options_of(&s, i);
        assert_true(o.clip == (i < 2 ? 2 : 1) && o.beta1 == 0.8 && s.cells[i].index == i);
        assert_true(o.lr == (i == 0 ? 1e-3 : i == 1 ? 2e-3 : 3e-3));
    }
    assert_string_equal(s.cells[1].settings, "{\"lr\": \"0.002\"}");
    assert_string_equal(s.cells[4].settings, "{\"eps\": \"1e-05\"}");
    sg_sweep_spec_clear(&s);
}

// ---- memory -------------------------------------------------------------------------------------

static sg_status read_once(void *user, sg_error *err)
{
    sg_sweep_spec spec;
    (void)user;
    sg_status status = parse(FILE_OF("\"options\": {\"preset\": \"laptop-{family}-s{scale}\"},"
                                     "\"axes\": {\"family\": [\"mlp\"], \"scale\": [1],"
                                     "  \"budget\": [1e12]}"),
                             &spec, err);
    sg_sweep_spec_clear(&spec);
    return status;
}

static sg_status write_once(void *user, sg_error *err)
{
    sg_isoflop_options o = sg_isoflop_options_default();
    static const char *const families[] = {"mlp"};
    char *text;
    (void)user;
    o.families = families;
    o.budgets = (const double[]){1e12};
    o.scales = (const double[]){1};
    o.family_count = o.budget_count = o.scale_count = 1;
    sg_status status = sg_isoflop_write(&o, &text, err);
    sg_free(text);
    return status;
}

static void test_no_memory(void **state)
{
    (void)state;
    assert_true(alloc_failure_loop(read_once, NULL) > 10);
    assert_true(alloc_failure_loop(write_once, NULL) > 10);
}

// ---- isoflop ------------------------------------------------------------------------------------

static void test_isoflop(void **state)
{
    (void)state;
    static const char *const families[] = {"mlp", "avgk"};
    sg_isoflop_options o = sg_isoflop_options_default();
    sg_error err = {0};
    char *text;
    o.budgets = (const double[]){1e12, 4e12};
    o.scales = (const double[]){2, 3, 4};
    o.seeds = (const uint64_t[]){1, 2};
    o.families = families;
    o.budget_count = o.seed_count = o.family_count = 2;
    o.scale_count = 3;
    o.search_budget = 1e12;
    o.data = "corpus";
    if (sg_isoflop_write(&o, &text, &err) != SG_OK) fail_msg("%s", err.message);
    assert_non_null(strstr(text, "\"scale\": [2, 3, 4]")); // as people write it
    assert_non_null(strstr(text, "\"values\": [0.0015, 0.003, 0.006]"));
    sg_sweep_spec s = must_parse(text);
    assert_string_equal(s.name, "isoflop");
    assert_string_equal(s.data, "corpus");
    assert_true(s.cell_count == 12 && s.seed_count == 2 && s.seeds_at_best);
    assert_true(s.scale_ladder[0] == 1 && s.scale_ladder[1] == 12 && s.search_budget == 1e12);
    assert_true(s.search_count == 1 && s.searches[0].count == 3);
    assert_true(s.searches[0].values[0] == 1.5e-3 && s.searches[0].values[2] == 6e-3);
    assert_true(s.searches[0].halvings == 1 && s.searches[0].extend == 2);
    const sg_train_options options = options_of(&s, 11);
    assert_string_equal(options.config.ffn, "avgk");
    assert_true(options.config.hidden_size == 64 && options.flops == 4e12);
    sg_sweep_spec_clear(&s);
    sg_free(text);
    // One rate is no search; a base without presets of a family takes sizes of the ladder.
    o.rates = (const double[]){1e-3};
    o.rate_count = 1;
    o.search_budget = NAN;
    o.base = "slimpajama";
    assert_int_equal(sg_isoflop_write(&o, &text, &err), SG_OK);
    s = must_parse(text);
    assert_int_equal(s.search_count, 0);
    assert_true(options_of(&s, 11).lr == 1e-3);
    assert_string_equal(options_of(&s, 11).config.ffn, "avgk");
    assert_int_equal(options_of(&s, 11).config.hidden_size, 512);
    sg_sweep_spec_clear(&s);
    sg_free(text);
}

static void isoflop_refused(const sg_isoflop_options *o, const char *message)
{
    sg_error err = {0};
    char *text;
    assert_true(sg_isoflop_write(o, &text, &err) != SG_OK);
    assert_non_null(strstr(err.message, message));
    assert_null(text);
}

static void test_isoflop_refused(void **state)
{
    (void)state;
    static const char *const families[] = {"mlp", "lstm"};
    sg_isoflop_options o = sg_isoflop_options_default();
    isoflop_refused(&o, "budgets: found none");
    o.budgets = (const double[]){1e12, -1};
    o.budget_count = 1;
    isoflop_refused(&o, "families: found none");
    o.families = families;
    o.family_count = 1;
    isoflop_refused(&o, "scales: found none, expected some of 1 to 12");
    o.scales = (const double[]){2, 2.5};
    o.scale_count = 1;
    o.base = "demo";
    isoflop_refused(&o, "preset: found \"demo\"");
    o.base = "tinystories";
    isoflop_refused(&o, "scales: found some, expected none");
    o.base = NULL;
    o.family_count = 2;
    isoflop_refused(&o, "ffn: found \"lstm\"");
    o.family_count = 1;
    o.budget_count = 2;
    isoflop_refused(&o, "axes.budget[1]");
    o.budget_count = 1;
    o.scale_count = 2;
    isoflop_refused(&o, "found \"laptop-mlp-s2.5\"");
    o.scale_count = 1;
    o.rates = (const double[]){2e-3, 1e-3};
    o.rate_count = 2;
    isoflop_refused(&o, "search.lr.values: expected values in ascending order");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_members),
        cmocka_unit_test(test_cells),
        cmocka_unit_test(test_at_scale),
        cmocka_unit_test(test_members_refused),
        cmocka_unit_test(test_search_refused),
        cmocka_unit_test(test_options_refused),
        cmocka_unit_test(test_axes_refused),
        cmocka_unit_test(test_most_cells),
        cmocka_unit_test(test_data),
        cmocka_unit_test(test_groups),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_isoflop),
        cmocka_unit_test(test_isoflop_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
