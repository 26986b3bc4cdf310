// Runs that make layers sparse: what their options make of a model, ramps, exact runs, what the log
// says, LTE's two stages, and what is refused.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/file.h"
#include "ffn/sparsity.h"
#include "format/json.h"
#include "model/config.h"
#include "model/model.h"
#include "tiny_models.h"
#include "tiny_run.h"
#include "train/sparse_losses.h"
#include "sgatlin_train.h"

#define BASE "/base"

static void must(sg_status status, const sg_error *err)
{
    if (status != SG_OK) fail_msg("%s", err->message);
}

static sg_context *context_new(void)
{
    sg_error err = {0};
    sg_context *context;
    must(sg_context_new(&(sg_context_options){.threads = 1}, &context, &err), &err);
    return context;
}

static void save_base(const char *kind)
{
    sg_error err = {0};
    sg_context *context = context_new();
    sg_model *m;
    const sg_config config = tiny_config(kind, 330, 32);
    must(sg_model_new(context, &config, 8, &m, &err), &err);
    must(sg_model_save(m, NULL, BASE, &err), &err);
    sg_model_free(m);
    sg_context_free(context);
}

// Options to go on from the model in `folder`.
static sg_train_options options_from(const char *folder)
{
    sg_error err = {0};
    sg_train_options o;
    const sg_train_options tiny = tiny_options("glu");
    must(sg_train_options_from_model(folder, &o, &err), &err);
    o.seed = tiny.seed;
    o.batch_size = tiny.batch_size;
    o.lr = tiny.lr;
    o.steps = TINY_STEPS;
    o.checkpoint_every = tiny.checkpoint_every;
    o.warmup_steps = 2;
    return o;
}

static memory_fs *base_disk(const char *kind, sg_train_options *o)
{
    memory_fs *fs = tiny_disk();
    save_base(kind);
    *o = options_from(BASE);
    return fs;
}

// ---- ramps, activations -------------------------------------------------------------------------

static void test_ramps(void **state)
{
    (void)state;
    for (int64_t t = 0; t <= 10; t++) {
        assert_true(sg_ramp_at(SG_RAMP_CONSTANT, 3, t, 10) == 3);
        assert_true(sg_ramp_at(SG_RAMP_LINEAR, 3, t, 10) == 3 * ((double)t / 10));
        assert_true(sg_ramp_at(SG_RAMP_WARMUP, 3, t, 10) ==
                    (t < 5 ? 2 * sg_ramp_at(SG_RAMP_LINEAR, 3, t, 10) : 3));
    }
    assert_true(sg_ramp_at(SG_RAMP_LINEAR, 3, 20, 10) == 3);
    assert_true(sg_ramp_at(SG_RAMP_LINEAR, 3, 0, 0) == 3);
}

static void test_relufy(void **state)
{
    (void)state;
    static const char *const with[][3] = {
        {"mlp", "gelu", "relu"},      {"mlp", "gelu_erf", "relu"},
        {"mlp", "swish", "relu"},     {"mlp", "relu2", "relu2"},
        {"mlp", "relu", "relu"},      {"glu", "swiglu", "reglu"},
        {"glu", "geglu", "reglu"},    {"glu", "geglu_erf", "reglu"},
        {"glu", "reglu", "reglu"},    {"glu", "clamped_swiglu", "reglu"},
        {"moefied", "swish", "relu"}, {"moefied", "swiglu", "reglu"},
        {"moe", "swiglu", "reglu"},   {"peer", "gelu", "relu"},
        {"mlp", "identity", NULL},    {"sgatlin", "identity", NULL},
        {"pkm", "identity", NULL}};
    for (size_t i = 0; i < sizeof with / sizeof *with; i++) {
        sg_config c = {0};
        snprintf(c.ffn, sizeof c.ffn, "%s", with[i][0]);
        snprintf(c.ffn_activation, sizeof c.ffn_activation, "%s", with[i][1]);
        assert_int_equal(sg_relufy(&c), with[i][2] != NULL);
        assert_string_equal(c.ffn_activation, with[i][2] != NULL ? with[i][2] : with[i][1]);
    }
}

// ---- the log ------------------------------------------------------------------------------------

// A value of the last record that has it; NAN: none does.
static double logged(const char *run, const char *name)
{
    sg_error err = {0};
    char path[SG_PATH_MAX], *text, *rest, *line;
    size_t bytes;
    double value = NAN;
    snprintf(path, sizeof path, "%s/metrics.jsonl", run);
    must(sg_file_read(path, 1 << 24, &text, &bytes, &err), &err);
    rest = text;
    while ((line = strsep(&rest, "\n")) != NULL) {
        json_t *record;
        if (line[0] == '\0' || line >= text + bytes) continue;
        must(sg_json_parse(line, strlen(line), path, &record, &err), &err);
        const json_t *found = json_object_get(record, name);
        if (json_is_number(found)) value = json_number_value(found);
        json_decref(record);
    }
    sg_free(text);
    return value;
}

static tiny_end end_with(const char *run, const sg_train_options *o)
{
    tiny_life life = {.threads = 1};
    tiny_must(&life, run, o);
    return tiny_end_of(run);
}

// MLPs in attention have a mean of their own: what is measured of one part is what is measured of
// both, and with a weight zeros grow where it is.
static void test_modules(void **state)
{
    (void)state;
    sg_train_options o;
    memory_fs *fs = base_disk("mlp ffn_activation=relu attention_mlp_q=9 attention_mlp_v=0,8", &o);
    static const char *const runs[] = {"/plain", "/ffn", "/attention", "/both", "/moved"};
    tiny_end ends[5];
    ends[0] = end_with(runs[0], &o);
    o.sparsity_term = SG_SPARSITY_HOYER;
    for (int i = 1; i < 5; i++) {
        o.sparsity_modules = i == 4 ? SG_SPARSITY_OF_ATTENTION : (sg_sparsity_modules)(i - 1);
        o.sparsity_weight = i == 4 ? 0.5 : 0;
        ends[i] = end_with(runs[i], &o);
        if (i < 4) assert_memory_equal(ends[i].weights, ends[0].weights, ends[0].bytes);
    }
    assert_true(isnan(logged("/ffn", "aux/sparsity_attention")));
    assert_true(isnan(logged("/attention", "aux/sparsity")));
    assert_true(logged("/both", "aux/sparsity") == logged("/ffn", "aux/sparsity"));
    const double of = logged("/attention", "aux/sparsity_attention");
    assert_true(of >= 1 && of <= 9 && logged("/both", "aux/sparsity_attention") == of);
    for (int l = 1; l <= 2; l++) {
        char name[32];
        snprintf(name, sizeof name, "attention_zeros/layer_%d", l);
        const double zeros = logged("/attention", name);
        assert_true(zeros > 0.2 && zeros < 0.8 && isnan(logged("/ffn", name)));
        assert_true(logged("/moved", name) > zeros);
    }
    assert_true(logged("/moved", "aux/sparsity_attention") < of);
    for (int i = 0; i < 5; i++)
        tiny_end_free(&ends[i]);
    tiny_disk_free(fs);
}

// With a weight the term falls and zeros grow; without one it is measured, and changes no bit.
static void test_log(void **state)
{
    (void)state;
    static const double weights[] = {0, 0.5, 0};
    double zeros[2], terms[2];
    tiny_end ends[3];
    for (int i = 0; i < 3; i++) {
        sg_train_options o;
        memory_fs *fs = base_disk("mlp ffn_activation=relu", &o);
        tiny_life life = {0};
        o.sparsity_term = i < 2 ? SG_SPARSITY_L1 : SG_SPARSITY_NONE;
        o.sparsity_weight = weights[i];
        tiny_must(&life, "/run", &o);
        ends[i] = tiny_end_of("/run");
        if (i < 2) {
            terms[i] = logged("/run", "aux/sparsity");
            zeros[i] = logged("/run", "zeros/layer_1") + logged("/run", "zeros/layer_2");
        } else {
            assert_true(isnan(logged("/run", "aux/sparsity")));
            assert_true(isnan(logged("/run", "zeros/layer_1")));
        }
        assert_true(isnan(logged("/run", "unread/layer_1")));
        tiny_disk_free(fs);
    }
    assert_true(terms[1] < 0.8 * terms[0]);
    assert_true(zeros[1] > zeros[0] + 0.05 && zeros[1] <= 2);
    assert_int_equal(ends[0].bytes, ends[2].bytes);
    assert_memory_equal(ends[0].weights, ends[2].weights, ends[0].bytes);
    for (int i = 0; i < 3; i++)
        tiny_end_free(&ends[i]);
}

// ---- exact --------------------------------------------------------------------------------------

static const char *const exact_kinds[] = {"mlp", "glu ffn_activation=swiglu",
                                          "moefied ffn_activation=relu", "moefied",
                                          "sgatlin ffn_layers=2 ffn_dense=mlp"};
enum { exact_count = sizeof exact_kinds / sizeof *exact_kinds };

static sg_train_options exact_options(int which)
{
    sg_train_options o = options_from(BASE);
    o.grad_accum = 2;
    o.relufy = which < 2;
    o.sparsity_weight = 0.1;
    o.sparsity_ramp = which % 2 == 0 ? SG_RAMP_LINEAR : SG_RAMP_WARMUP;
    o.sparsity_term = which % 2 == 0 ? SG_SPARSITY_HOYER : SG_SPARSITY_CLAMPED;
    if (which != 3) return o;
    o.lte_stage = 1;
    o.lte_efficiency = 0.5;
    o.sparsity_term = SG_SPARSITY_L1;
    return o;
}

// Killed and resumed, with other threads: the same bits, in weights and in the log.
static void test_exact(void **state)
{
    (void)state;
    for (int which = 0; which < exact_count; which++) {
        tiny_end ends[2];
        for (int i = 0; i < 2; i++) {
            memory_fs *fs = tiny_disk();
            save_base(exact_kinds[which]);
            const sg_train_options o = exact_options(which);
            tiny_life life = {.threads = i ? 3 : 1, .stop_at = i ? 5 : 0};
            sg_status status = tiny_train(&life, "/run", &o);
            if (i == 1) {
                assert_int_equal(status, SG_ERR_STOPPED);
                life.stop_at = 0;
                life.threads = 2;
                status = tiny_train(&life, "/run", NULL);
            }
            must(status, &life.err);
            ends[i] = tiny_end_of("/run");
            tiny_disk_free(fs);
        }
        tiny_same(&ends[1], &ends[0], "a run that was resumed");
        tiny_end_free(&ends[0]);
        tiny_end_free(&ends[1]);
    }
}

// ---- what the options make of a model -----------------------------------------------------------

static sg_config config_of(const char *folder)
{
    sg_error err = {0};
    sg_context *context = context_new();
    sg_model *m;
    must(sg_model_open(context, folder, &m, &err), &err);
    const sg_config c = m->config;
    sg_model_free(m);
    sg_context_free(context);
    return c;
}

static void test_relufied_run(void **state)
{
    (void)state;
    sg_train_options o;
    memory_fs *fs = base_disk("glu", &o);
    tiny_life life = {0};
    o.relufy = true;
    tiny_must(&life, "/run", &o);
    assert_non_null(strstr(life.log, "ffn_activation: \"clamped_swiglu\" -> \"reglu\""));
    assert_string_equal(config_of("/run").ffn_activation, "reglu");
    assert_int_equal(config_of("/run").ffn_bias, 1);
    // A run from fresh weights, whose configuration is filled in, has nothing to say.
    const sg_train_options fresh = tiny_options("glu");
    memset(&life, 0, sizeof life);
    tiny_must(&life, "/fresh", &fresh);
    assert_null(strstr(life.log, "ffn_"));
    // Again, from what it left: nothing is replaced, and nothing said.
    o = options_from("/run");
    o.relufy = true;
    memset(&life, 0, sizeof life);
    tiny_must(&life, "/again", &o);
    assert_null(strstr(life.log, "ffn_activation"));
    tiny_disk_free(fs);
}

static void values_of(const char *folder, const char *part, sg_real *sum)
{
    sg_error err = {0};
    sg_context *context = context_new();
    sg_model *m;
    must(sg_model_open(context, folder, &m, &err), &err);
    *sum = 0;
    for (size_t i = 0; i < m->params.count; i++)
        for (int64_t j = 0;
             strstr(m->params.specs[i].name, part) != NULL && j < m->params.specs[i].count; j++)
            *sum += m->values[i][j] * (sg_real)(1 + j % 7);
    sg_model_free(m);
    sg_context_free(context);
}

// Stage 1 learns routers, and evaluates and saves what stage 2 trains; that leaves them as they
// are, to the bit.
static void test_lte(void **state)
{
    (void)state;
    static const char *const kinds[] = {
        "moefied ffn_top_k=4 ffn_activation=relu",
        "moefied ffn_layer_block_size=2,6 ffn_layer_top_k=3,1 ffn_gate=after ffn_bias=1"};
    for (int i = 0; i < 2; i++) {
        sg_train_options o;
        memory_fs *fs = base_disk(kinds[i], &o);
        tiny_life life = {0};
        sg_real before, one, two, out[2];
        o.lte_stage = 1;
        o.lte_efficiency = 4;
        o.lte_separability = 1e-4;
        o.steps = 40;
        tiny_must(&life, "/one", &o);
        const sg_config c = config_of("/one");
        assert_string_equal(c.ffn_select, "threshold");
        assert_string_equal(c.ffn_gate, "none");
        assert_true(c.ffn_threshold == 0.5);
        assert_string_equal(c.ffn_layer_top_k, i == 0 ? "" : "12,4");
        if (i == 0) assert_int_equal(c.ffn_top_k, 12);
        assert_non_null(strstr(life.log, "-> \"threshold\""));
        assert_true(isfinite(life.result.val.loss));
        assert_true(logged("/one", "aux/efficiency") < 0.25);
        assert_true(logged("/one", "aux/separability") >= 4);
        const double unread = logged("/one", "unread/layer_1") + logged("/one", "unread/layer_2");
        assert_true(unread > 1 && unread <= 2);
        o = options_from("/one");
        o.lte_stage = 2;
        tiny_must(&life, "/two", &o);
        assert_true(life.result.trained < life.result.parameters);
        values_of(BASE, ".mlp.router.", &before);
        values_of("/one", ".mlp.router.", &one);
        values_of("/two", ".mlp.router.", &two);
        values_of("/one", ".mlp.experts.", &out[0]);
        values_of("/two", ".mlp.experts.", &out[1]);
        assert_true(before < one || before > one);
        assert_memory_equal(&one, &two, sizeof one);
        assert_true(out[0] < out[1] || out[0] > out[1]);
        tiny_disk_free(fs);
    }
}

// ---- refusals -----------------------------------------------------------------------------------

static void expect_refused(const sg_train_options *o, const char *message)
{
    tiny_life life = {0};
    const sg_status found = tiny_train(&life, "/run", o);
    if (found != SG_ERR_ARGUMENT || strstr(life.err.message, message) == NULL)
        fail_msg("found %s \"%s\", expected \"%s\"", sg_status_name(found), life.err.message,
                 message);
    assert_false(sg_path_exists("/run"));
}

static void test_refusals(void **state)
{
    (void)state;
    sg_train_options good, o;
    memory_fs *fs = base_disk("glu", &good);
    o = good;
    o.sparsity_weight = 1;
    expect_refused(&o, "sparsity-weight: given, but there is no sparsity-term");
    o = good;
    o.sparsity_modules = SG_SPARSITY_OF_BOTH;
    expect_refused(&o, "sparsity-modules: given, but there is no sparsity-term");
    o.sparsity_term = SG_SPARSITY_HOYER;
    expect_refused(&o, "sparsity-modules: found both, but no projection of attention is an MLP");
    o = good;
    o.sparsity_ramp = SG_RAMP_WARMUP;
    expect_refused(&o, "sparsity-ramp: given, but there is no sparsity-term");
    o = good;
    o.sparsity_term = SG_SPARSITY_L1;
    expect_refused(&o, "sparsity-term: found clamped_swiglu, whose gates have no zeros");
    o = good;
    o.lte_least = 0.1;
    expect_refused(&o, "lte-least: given, but there is no lte-stage 1");
    o = good;
    o.lte_stage = 2;
    o.lte_efficiency = 0.1;
    expect_refused(&o, "lte-efficiency: given, but there is no lte-stage 1");
    o = good;
    o.lte_stage = 1;
    expect_refused(&o, "lte-stage: found family glu with router all, expected moefied with");
    o = tiny_options("mlp");
    o.relufy = true;
    expect_refused(&o, "relufy: given, but there is no model to go on from");
    o = tiny_options("sgatlin");
    o.sparsity_term = SG_SPARSITY_HOYER;
    expect_refused(&o, "sparsity-term: found family sgatlin, none of whose layers");
    save_base("sgatlin");
    o = options_from(BASE);
    o.relufy = true;
    expect_refused(&o, "relufy: found ffn_activation identity of family sgatlin");
    save_base("moefied ffn_select=threshold ffn_threshold=0.1 ffn_mean=1");
    o = options_from(BASE);
    o.sparsity_term = SG_SPARSITY_CLAMPED;
    expect_refused(&o, "sparsity-term: found clamped with ffn_select threshold, expected top_k");
    o = options_from(BASE);
    o.lte_stage = 1;
    expect_refused(&o, "lte-stage: found 1 with ffn_mean 1");
    o.lora_rank = 1;
    snprintf(o.lora_targets, sizeof o.lora_targets, "q_proj");
    expect_refused(&o, "lte-stage: found 1 with lora-rank");
    tiny_disk_free(fs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ramps),   cmocka_unit_test(test_relufy),
        cmocka_unit_test(test_log),     cmocka_unit_test(test_exact),
        cmocka_unit_test(test_lte),     cmocka_unit_test(test_relufied_run),
        cmocka_unit_test(test_modules), cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
