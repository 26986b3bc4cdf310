// Training parts of a model: what is trained has the gradients it has when all is, to the bit, and
// what is not keeps its bits and takes no memory.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "model/graph.h"
#include "model/model.h"
#include "tiny_models.h"
#include "tiny_run.h"
#include "train/optimizer.h"
#include "train/trained.h"
#include "sgatlin_train.h"

enum { vocab = 23, length = 6, batch = 2, rows = batch * length };

static void must(sg_status status, const sg_error *err)
{
    if (status != SG_OK) fail_msg("%s", err->message);
}

// ---- gradients ----------------------------------------------------------------------------------

typedef struct pass {
    int32_t ids[rows], targets[rows];
    size_t tape_bytes;
} pass;

static void gradients_of(const sg_model *m, pass *p, sg_real *const *grads)
{
    sg_error err = {0};
    sg_graph *graph;
    sg_graph_options options = {
        .batch = batch, .length = length, .output = SG_OUTPUT_LOSS, .gradient = true, .threads = 1};
    must(sg_graph_new(&m->config, &m->params, m->values, grads, &m->rope, &options, &graph, &err),
         &err);
    for (int r = 0; r < rows; r++) {
        p->ids[r] = (int32_t)sg_rng_below(7, 1, (uint64_t)r, vocab);
        p->targets[r] = (int32_t)sg_rng_below(7, 2, (uint64_t)r, vocab);
    }
    graph->ids->data = p->ids;
    graph->targets->data = p->targets;
    graph->stats.normaliser = rows;
    sg_run run = {.compute = {.kernels = sg_kernels_fastest()}};
    sg_tape_forward(graph->tape, &run);
    sg_tape_backward(graph->tape, &run);
    p->tape_bytes = sg_tape_bytes(graph->tape);
    sg_graph_free(graph);
}

// Every parameter of every family alone.
static void test_gradients(void **state)
{
    (void)state;
    sg_error err = {0};
    sg_context *context;
    must(sg_context_new(&(sg_context_options){.threads = 1}, &context, &err), &err);
    for (int k = 0; tiny_kind(k) != NULL; k++) {
        sg_model *m;
        pass p;
        sg_param_block all, one;
        const sg_config config = tiny_config(tiny_kind(k), vocab, length);
        must(sg_model_new(context, &config, 4, &m, &err), &err);
        must(sg_param_block_new(&m->params, "gradients", NULL, NULL, &all, &err), &err);
        must(sg_param_block_new(&m->params, "gradients", NULL, NULL, &one, &err), &err);
        gradients_of(m, &p, all.parts);
        const size_t whole = p.tape_bytes;
        for (size_t i = 0; i < m->params.count; i++) {
            if (m->params.specs[i].buffer != SG_BUFFER_NONE) continue;
            for (size_t j = 0; j < m->params.count; j++)
                m->params.specs[j].frozen = j != i;
            memset(one.memory, 0, one.bytes);
            gradients_of(m, &p, one.parts);
            for (size_t j = 0; j < m->params.count; j++) {
                const sg_param_spec *spec = &m->params.specs[j];
                sg_real none = 0;
                for (int64_t n = 0; j != i && n < spec->count; n++)
                    if (one.parts[j][n] != 0) none = 1;
                if (none != 0)
                    fail_msg("%s: only %s: a gradient of %s", tiny_kind(k), m->params.specs[i].name,
                             spec->name);
            }
            if (memcmp(one.parts[i], all.parts[i],
                       (size_t)m->params.specs[i].count * sizeof(sg_real)) != 0)
                fail_msg("%s: only %s: its gradient is another", tiny_kind(k),
                         m->params.specs[i].name);
            // The last norm needs no gradient of what is before it.
            if (strcmp(m->params.specs[i].name, "model.norm.weight") == 0)
                assert_true(p.tape_bytes < whole);
        }
        sg_param_block_free(&all);
        sg_param_block_free(&one);
        sg_model_free(m);
    }
    sg_context_free(context);
}

// ---- runs ---------------------------------------------------------------------------------------

static sg_train_options part_options(const char *kind, const char *only)
{
    sg_train_options o = tiny_options(kind);
    snprintf(o.train_only, sizeof o.train_only, "%s", only);
    return o;
}

static sg_model *open_run(sg_context *context, const char *folder)
{
    sg_error err = {0};
    sg_model *m;
    must(sg_model_open(context, folder, &m, &err), &err);
    return m;
}

// Weights behind a run of parts: those named moved, all others are what a run begins with.
static void check_moved(const char *run, const sg_train_options *o, const char *pattern)
{
    sg_error err = {0};
    sg_context *context;
    sg_model *fresh;
    must(sg_context_new(&(sg_context_options){.threads = 1}, &context, &err), &err);
    sg_model *m = open_run(context, run);
    must(sg_model_new(context, sg_model_config(m), o->seed, &fresh, &err), &err);
    for (size_t i = 0; i < m->params.count; i++) {
        const sg_param_spec *spec = &m->params.specs[i];
        const bool same =
            memcmp(m->values[i], fresh->values[i], (size_t)spec->count * sizeof(sg_real)) == 0;
        if (same != (strstr(spec->name, pattern) == NULL))
            fail_msg("%s: %s %s", o->train_only, spec->name, same ? "did not move" : "moved");
    }
    sg_model_free(fresh);
    sg_model_free(m);
    sg_context_free(context);
}

// With lazy rows, buffers, a bf16 copy beside tables that stay, and decay, which moves all it may.
static void test_runs(void **state)
{
    (void)state;
    static const char *const cases[][3] = {
        {"glu", "*.self_attn.*", "self_attn"},
        {"sgatlin", "*experts*", "experts"},
        {"sgatlin lazy", "*experts*", "experts"},
        {"sgatlin bf16", "*self_attn*", "self_attn"},
        {"lorkm ffn_query_norm=batchnorm", "*self_attn*", "self_attn"},
        {"lorkm ffn_query_norm=batchnorm", "*router*", "router"},
        {"moe ffn_bias_rate=0.01", "*.layers.0.*", ".layers.0."},
        {"peer ffn_share_pool=1", "model.embed_tokens.weight,model.embed_tokens*", "embed_tokens"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char kind[64];
        snprintf(kind, sizeof kind, "%s", cases[i][0]);
        char *extra = strstr(kind, " lazy") ? strstr(kind, " lazy") : strstr(kind, " bf16");
        if (extra != NULL) *extra = '\0';
        sg_train_options o = part_options(kind, cases[i][1]);
        o.weight_decay = 0.1;
        if (extra != NULL && extra[1] == 'l') {
            snprintf(o.optimizer_rows, sizeof o.optimizer_rows, "lazy");
            o.config.ffn_neurons = 1024;
        }
        if (extra != NULL && extra[1] == 'b') o.table_dtype = SG_WEIGHTS_BF16;
        memory_fs *fs = tiny_disk();
        tiny_life life = {0};
        tiny_must(&life, "/whole", &o);
        check_moved("/whole", &o, cases[i][2]);
        assert_true(life.result.trained > 0 && life.result.trained < life.result.parameters);
        char told[64];
        snprintf(told, sizeof told, "training %lld of %lld weights", (long long)life.result.trained,
                 (long long)life.result.parameters);
        if (strstr(life.log, told) == NULL) fail_msg("%s: \"%s\"", told, life.log);
        const int64_t tables = strstr(cases[i][0], "lazy") ? 4 : 0;
        assert_int_equal(life.result.lazy_tables, tables);
        tiny_end expected = tiny_end_of("/whole");
        life = (tiny_life){.stop_at = 4, .threads = 3};
        sg_status status = tiny_train(&life, "/parts", &o);
        for (int64_t at = 8; status == SG_ERR_STOPPED; at += 4) {
            life.stop_at = at;
            life.threads = (int)(at / 4);
            status = tiny_train(&life, "/parts", NULL);
        }
        must(status, &life.err);
        tiny_end end = tiny_end_of("/parts");
        tiny_same(&end, &expected, cases[i][0]);
        tiny_end_free(&end);
        tiny_end_free(&expected);
        tiny_disk_free(fs);
    }
}

static void test_memory(void **state)
{
    (void)state;
    sg_error err = {0};
    sg_context *context;
    sg_model *m;
    sg_gradients g;
    sg_optimizer *optimizer;
    size_t states;
    const sg_config config = tiny_config("glu", vocab, length);
    const sg_optimizer_options adamw = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8};
    must(sg_context_new(&(sg_context_options){.threads = 1}, &context, &err), &err);
    must(sg_model_new(context, &config, 4, &m, &err), &err);
    const sg_train_options o = {.train_only = "*.k_proj.weight,model.norm.weight"};
    must(sg_trained_choose(&o, m, &err), &err);
    assert_int_equal(sg_trained_count(&m->params), 2 * 16 * 16 + 16);
    must(sg_gradients_new(&m->params, SG_ROWS_AUTO, rows, NULL, &g, &err), &err);
    assert_int_equal(sg_gradients_bytes(&g), (2 * 16 * 16 + 16) * sizeof(sg_real));
    must(sg_optimizer_new(&m->params, m->values, &g, &adamw, &optimizer, &err), &err);
    assert_int_equal(sg_optimizer_moment_bytes(optimizer),
                     2 * (2 * 16 * 16 + 16) * sizeof(sg_real));
    sg_optimizer_state(optimizer, &states);
    assert_int_equal(states, 2 * 3);
    sg_optimizer_free(optimizer);
    sg_gradients_free(&g);
    sg_model_free(m);
    sg_context_free(context);
}

static void test_refusals(void **state)
{
    (void)state;
    static const char *const cases[][3] = {
        {"glu", "q_proj", "train-only: found \"q_proj\", which fits no parameter"},
        {"glu", "*q_proj*,*x_proj*", "found \"*x_proj*\""},
        {"glu", "*q_proj*,", "found \"\""},
        {"moe ffn_bias_rate=0.01", "*router.bias", "which leaves nothing to train"},
    };
    memory_fs *fs = tiny_disk();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tiny_life life = {0};
        sg_train_options o = part_options(cases[i][0], cases[i][1]);
        if (tiny_train(&life, "/run", &o) != SG_ERR_ARGUMENT) fail_msg("%s: is taken", cases[i][1]);
        if (strstr(life.err.message, cases[i][2]) == NULL)
            fail_msg("found \"%s\", expected \"%s\"", life.err.message, cases[i][2]);
    }
    tiny_disk_free(fs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_runs),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
