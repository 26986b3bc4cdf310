// The ready sweep files (sweeps/) against what was published: steps and parameters of every run,
// and the options of the published recipe to the letter. And the ladder of laptops: its sizes, at
// about equal cost.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "ffn/ffn.h"
#include "sweep/spec.h"
#include "train/run_options.h"

static sg_sweep_spec read_ready(const char *name)
{
    sg_sweep_spec spec;
    sg_error err = {0};
    char path[SG_PATH_MAX];
    snprintf(path, sizeof path, "%s/../sweeps/%s.json", SG_TEST_DIR, name);
    if (sg_sweep_spec_read(path, NULL, &spec, &err) != SG_OK) fail_msg("%s", err.message);
    assert_string_equal(spec.name, name);
    return spec;
}

static sg_train_options options_of(const sg_sweep_spec *spec, const sg_sweep_cell *cell)
{
    sg_train_options o;
    sg_error err = {0};
    if (sg_sweep_cell_options(spec, cell, &o, &err) != SG_OK) fail_msg("%s", err.message);
    return o;
}

// As the data of the published runs would complete them.
static sg_cost cost_of(sg_train_options *o, int64_t vocabulary)
{
    sg_cost cost;
    sg_error err = {0};
    if (o->config.vocab_size == 0) o->config.vocab_size = vocabulary;
    const sg_cost_options options = {
        .seq_len = o->config.max_position_embeddings, .batch = 1, .threads = 1};
    if (sg_config_cost_of(&o->config, &options, &cost, &err) != SG_OK) fail_msg("%s", err.message);
    return cost;
}

static int64_t steps_of(const sg_train_options *o, const sg_cost *cost, int64_t rows)
{
    int64_t steps;
    sg_error err = {0};
    if (sg_run_options_steps(o, o->config.max_position_embeddings, rows, cost, &steps, &err) !=
        SG_OK)
        fail_msg("%s", err.message);
    return steps;
}

// ---- published ----------------------------------------------------------------------------------

static const char *const families[] = {"mlp", "glu", "moe", "peer", "sgatlin"};

// Spec 5.10, rows without a star: s 2 to 8; 0: not in the file.
static const struct published {
    const char *file;
    double budget;
    int64_t steps[5][7];
} published[] = {
    {"slimpajama-1e17",
     1e17,
     {{60632, 19598, 9328, 5174, 2994},
      {53895, 16583, 7823, 4311, 2449},
      {53709, 18695, 8642, 4694, 2831},
      {28533, 12202, 6554, 4000, 2650},
      {60632, 24405, 12437, 7253, 4619}}},
    {"slimpajama-6e17",
     6e17,
     {{0, 117591, 55968, 31044, 17965, 11879},
      {0, 99500, 46941, 25870, 14698, 9697},
      {0, 112173, 51855, 28168, 16991, 11034},
      {0, 73217, 39329, 24003, 15903, 11161},
      {0, 146434, 74625, 43519, 27717, 18791}}},
    {"slimpajama-1e18",
     1e18,
     {{0, 0, 17833, 10211, 6124, 4124},
      {0, 0, 15546, 8819, 5182, 3473},
      {0, 0, 16813, 9450, 5850, 3877},
      {0, 24875, 13473, 8291, 5537, 3914},
      {0, 41996, 22048, 13199, 8600, 5948}}},
    {"slimpajama-6e18",
     6e18,
     {{0, 0, 0, 61271, 36747, 24748, 17490},
      {0, 0, 0, 52916, 31093, 20840, 14669},
      {0, 0, 0, 56701, 35101, 23263, 16222},
      {0, 0, 0, 49750, 33223, 23489, 17323},
      {0, 0, 0, 79194, 51602, 35688, 25801}}},
};

static const int64_t parameters[5][7] = {
    {14966016, 27562368, 44616192, 68224640, 104679168, 147819392, 202494976},
    {15495424, 29936256, 49883648, 78092160, 123611904, 176797824, 244536320},
    {26565888, 65458560, 135055872, 245581440, 407258880, 630311808, 924963840},
    {32529664, 84676992, 189319680, 376735360, 684279552, 1156385664, 1844564992},
    {67132672, 223777152, 573622784, 1235420800, 2356233984, 4111436672, 6704714752},
};

// The same run as `train --recipe published` makes, but that a sweep has no recipe to keep to.
static void check_recipe(const sg_train_options *o, const char *preset)
{
    sg_train_options recipe;
    sg_error err = {0};
    if (sg_train_options_published(preset, o->flops, &recipe, &err) != SG_OK)
        fail_msg("%s", err.message);
    memset(recipe.recipe, 0, sizeof recipe.recipe);
    recipe.config.vocab_size = o->config.vocab_size;
    json_t *a = sg_run_options_json(o), *b = sg_run_options_json(&recipe);
    assert_non_null(a);
    assert_true(json_equal(a, b));
    json_decref(a);
    json_decref(b);
}

static void check_cell(const sg_sweep_spec *spec, const struct published *p, size_t cell,
                       int64_t left[5][7])
{
    const sg_sweep_cell *c = &spec->cells[cell];
    sg_train_options o = options_of(spec, c);
    const sg_cost cost = cost_of(&o, 50258);
    const size_t s = (size_t)c->scale - 2;
    size_t f = 0;
    char preset[96];
    while (strcmp(families[f], c->family) != 0)
        f++;
    assert_true(c->budget == p->budget && o.flops == p->budget && s < 7);
    assert_int_equal(steps_of(&o, &cost, 0), p->steps[f][s]);
    assert_int_equal(cost.parameters, parameters[f][s]);
    snprintf(preset, sizeof preset, "slimpajama-%s-s%zu", c->family, s + 2);
    check_recipe(&o, preset);
    left[f][s] = 0;
}

static void test_slimpajama(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof published / sizeof *published; i++) {
        const struct published *p = &published[i];
        sg_sweep_spec spec = read_ready(p->file);
        int64_t left[5][7];
        memcpy(left, p->steps, sizeof left);
        for (size_t cell = 0; cell < spec.cell_count; cell++)
            check_cell(&spec, p, cell, left);
        for (size_t f = 0; f < 5; f++)
            for (size_t s = 0; s < 7; s++)
                assert_int_equal(left[f][s], 0); // nothing of the table is missing
        assert_true(spec.seed_count == 1 && spec.seeds[0] == 1 && spec.search_count == 0);
        sg_sweep_spec_clear(&spec);
    }
}

static void test_slimpajama_ablations(void **state)
{
    (void)state;
    static const struct {
        const char *file, *values[4];
    } files[] = {{"slimpajama-ablation-activation", {"identity", "gelu", "relu", "swish"}},
                 {"slimpajama-ablation-router", {"product_key_value", "product_dense"}}};
    for (size_t f = 0; f < 2; f++) {
        sg_sweep_spec spec = read_ready(files[f].file);
        assert_int_equal(spec.cell_count, f == 0 ? 4 : 2);
        for (size_t i = 0; i < spec.cell_count; i++) {
            const sg_train_options o = options_of(&spec, &spec.cells[i]);
            assert_string_equal(f == 0 ? o.config.ffn_activation : o.config.ffn_router,
                                files[f].values[i]);
            assert_string_equal(spec.cells[i].family, "sgatlin");
            assert_true(o.config.hidden_size == 768 && o.config.ffn_channels == 8);
            assert_true(o.flops == 6e18 && o.batch_size == 128 && o.seed == 1);
            assert_true(o.config.max_position_embeddings == 2048);
        }
        sg_sweep_spec_clear(&spec);
    }
}

static void test_tinystories(void **state)
{
    (void)state;
    static const int64_t of_family[] = {5245696, 6303488, 28396288, 7604992, 20318976};
    sg_sweep_spec spec = read_ready("tinystories");
    assert_int_equal(spec.cell_count, 5);
    for (size_t i = 0; i < spec.cell_count; i++) {
        sg_train_options o = options_of(&spec, &spec.cells[i]);
        const sg_cost cost = cost_of(&o, 8192);
        char preset[96];
        assert_string_equal(spec.cells[i].family, families[i]);
        assert_int_equal(steps_of(&o, &cost, 2119719), 8280);
        assert_int_equal(cost.parameters, of_family[i]);
        snprintf(preset, sizeof preset, "tinystories-%s", families[i]);
        check_recipe(&o, preset);
    }
    sg_sweep_spec_clear(&spec);
}

// ---- laptops ------------------------------------------------------------------------------------

// Every family at every scale: sizes by the rules of docs/MODEL.md, FLOPs of the whole model 0.8 to
// 1.7 times the dense one's, but for vanillam, which reads all its keys.
static void test_laptop_ladder(void **state)
{
    (void)state;
    for (size_t f = 0; sg_family_name(f) != NULL; f++)
        for (int s = 1; s <= 12; s++) {
            char name[64], dense[64];
            sg_preset p, mlp;
            sg_cost cost, of_dense;
            sg_error err = {0};
            snprintf(name, sizeof name, "laptop-%s-s%d", sg_family_name(f), s);
            snprintf(dense, sizeof dense, "laptop-mlp-s%d", s);
            if (sg_preset_find(name, &p, &err) != SG_OK ||
                sg_config_cost(&p.config, 128, 8, false, 1, &cost, &err) != SG_OK)
                fail_msg("%s: %s", name, err.message);
            assert_int_equal(sg_preset_find(dense, &mlp, &err), SG_OK);
            assert_int_equal(sg_config_cost(&mlp.config, 128, 8, false, 1, &of_dense, &err), SG_OK);
            assert_true(p.config.hidden_size == 16 * s && p.config.head_dim == 16);
            assert_true(p.config.num_hidden_layers == 2 && p.seq_len == 128);
            assert_true(p.batch_size == 8 && p.warmup_steps == 50 && p.clip == 1 && p.lr == 3e-3);
            assert_int_equal(mlp.config.ffn_intermediate_size, 128 * s / 3 / 16 * 16);
            const double ratio =
                cost.forward_flops_per_sequence / of_dense.forward_flops_per_sequence;
            if (strcmp(sg_family_name(f), "vanillam") != 0 && !(ratio > 0.8 && ratio < 1.7))
                fail_msg("%s costs %.2f times what %s does", name, ratio, dense);
            // The family of another preset of the scale is the same.
            assert_int_equal(sg_preset_set_family(&mlp, sg_family_name(f), &err), SG_OK);
            assert_memory_equal(&mlp.config, &p.config, sizeof p.config);
        }
    sg_preset p;
    assert_int_equal(sg_preset_find("laptop-sgatlin-s4", &p, NULL), SG_OK);
    assert_true(p.config.ffn_channels == 8 && p.config.ffn_top_k == 8);
    assert_true(p.config.ffn_key_size == 32 && p.config.ffn_neurons == 24 * 24);
    assert_int_equal(sg_preset_find("laptop-peer-s4", &p, NULL), SG_OK);
    assert_true(p.config.ffn_key_size == 16 && p.config.ffn_neurons == 48 * 48);
}

static void test_laptop_files(void **state)
{
    (void)state;
    sg_sweep_spec spec = read_ready("laptop-isoflop");
    assert_int_equal(spec.cell_count, 6 * (6 + 5 + 5));
    assert_true(spec.search_count == 1 && spec.searches[0].count == 3);
    assert_true(spec.seed_count == 3 && spec.seeds_at_best);
    sg_sweep_spec_clear(&spec);
    spec = read_ready("laptop-isoflop-kernel");
    assert_int_equal(spec.cell_count, 6 * (6 + 5));
    sg_sweep_spec_clear(&spec);
    spec = read_ready("laptop-ablations");
    assert_int_equal(spec.cell_count, 1 + 3 + 2 + 4 + 5);
    assert_int_equal(spec.seed_count, 3);
    sg_sweep_spec_clear(&spec);
}

// What tools/sparse_memory.sh, which laptop-memories.json replaces, gave to `sgatlin train` beside
// what all of its runs had: --preset demo, --hidden-size 128, --num-hidden-layers 4, --seq-len 128,
// --batch-size 16, --lr 2e-3, --flops 4e12, --seed 1, --keep-last 1 and --ffn.
#define MEMORY "ffn_intermediate_size=512 ffn_layers=every:2 ffn_dense=mlp "
#define CELLS  MEMORY "ffn_memory_factor=8 "
#define HEADS  "ffn_channels=4 ffn_active_neurons=128 ffn_key_size=64"
#define SWITCH "ffn_balance_loss=0.01 ffn_renormalise=1 ffn_block_size="
static const struct old_run {
    const char *family, *block, *options;
} old_runs[] = {
    {"mlp", NULL, "ffn_intermediate_size=512"},
    {"switch", "512", CELLS "ffn_balance_loss=0.01 ffn_block_size=512"},
    {"switch", "128", CELLS SWITCH "128"},
    {"switch", "32", CELLS SWITCH "32"},
    {"switch", "8", CELLS SWITCH "8"},
    {"switch", "1", CELLS SWITCH "1"},
    {"randhash", "512", CELLS "ffn_block_size=512"},
    {"randhash", "128", CELLS "ffn_block_size=128"},
    {"randhash", "32", CELLS "ffn_block_size=32"},
    {"randhash", "8", CELLS "ffn_block_size=8"},
    {"randhash", "1", CELLS "ffn_block_size=1"},
    {"avgk", "512", CELLS "ffn_block_size=512"},
    {"avgk", "128", CELLS "ffn_block_size=128"},
    {"avgk", "32", CELLS "ffn_block_size=32"},
    {"avgk", "8", CELLS "ffn_block_size=8"},
    {"avgk", "1", CELLS "ffn_block_size=1"},
    {"vanillam", "512", CELLS "ffn_block_size=512"},
    {"vanillam", "128", CELLS "ffn_block_size=128"},
    {"vanillam", "32", CELLS "ffn_block_size=32"},
    {"vanillam", "8", CELLS "ffn_block_size=8"},
    {"vanillam", "1", CELLS "ffn_block_size=1"},
    {"lorkm", NULL, CELLS "ffn_key_size=16"},
    {"pkm", NULL, MEMORY "ffn_memory_factor=18 " HEADS},
    {"pkm_ffn", NULL, CELLS HEADS},
    {"moe", NULL, MEMORY},
    {"peer", NULL, "ffn_layers=every:2 ffn_dense=mlp ffn_dense_size=512"},
    {"sgatlin", NULL, "ffn_layers=every:2 ffn_dense=mlp ffn_dense_size=512"},
};

static sg_train_options old_options(const struct old_run *run)
{
    sg_setting settings[24] = {{"preset", "demo"},         {"hidden_size", "128"},
                               {"num_hidden_layers", "4"}, {"seq_len", "128"},
                               {"batch_size", "16"},       {"lr", "2e-3"},
                               {"flops", "4e12"},          {"seed", "1"},
                               {"keep_last", "1"},         {"ffn", run->family}};
    size_t count = 10;
    char words[256], *rest = words;
    sg_train_options o;
    sg_error err = {0};
    snprintf(words, sizeof words, "%s", run->options);
    for (char *word; (word = strtok_r(rest, " ", &rest)) != NULL;) {
        char *value = strchr(word, '=');
        *value = '\0';
        settings[count++] = (sg_setting){word, value + 1};
    }
    if (sg_train_options_named(settings, count, &o, &err) != SG_OK) fail_msg("%s", err.message);
    return o;
}

static void test_laptop_memories(void **state)
{
    (void)state;
    const size_t count = sizeof old_runs / sizeof *old_runs;
    sg_sweep_spec spec = read_ready("laptop-memories");
    assert_int_equal(spec.cell_count, count);
    for (size_t i = 0; i < count; i++) {
        const sg_train_options old = old_options(&old_runs[i]);
        char settings[64] = "{}";
        if (old_runs[i].block != NULL)
            snprintf(settings, sizeof settings, "{\"ffn_block_size\": \"%s\"}", old_runs[i].block);
        size_t cell = 0;
        while (strcmp(spec.cells[cell].family, old_runs[i].family) != 0 ||
               strcmp(spec.cells[cell].settings, settings) != 0)
            assert_true(++cell < count);
        const sg_train_options o = options_of(&spec, &spec.cells[cell]);
        json_t *a = sg_run_options_json(&o), *b = sg_run_options_json(&old);
        if (!json_equal(a, b))
            fail_msg("%s %s: other options than before", old_runs[i].family, settings);
        json_decref(a);
        json_decref(b);
    }
    sg_sweep_spec_clear(&spec);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slimpajama),   cmocka_unit_test(test_slimpajama_ablations),
        cmocka_unit_test(test_tinystories),  cmocka_unit_test(test_laptop_ladder),
        cmocka_unit_test(test_laptop_files), cmocka_unit_test(test_laptop_memories),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
