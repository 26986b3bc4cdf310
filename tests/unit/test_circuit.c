// Circuits in models in which one neuron carries all facts, since its rows are written so: that
// neuron, and no other, is what is found; random sets do nothing; what is refused; memory that
// fails.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "alloc_failure.h"
#include "base/rng.h"
#include "memory_disk.h"
#include "model/model.h"
#include "probe/neuron_tables.h"
#include "tiny_models.h"
#include "sgatlin_edit.h"

// Ids: <s>, " cold", " hot", then the subjects "aa", "ab", …, each a word of its own; last ".".
enum { cold = 1, hot = 2, first_subject = 3, subjects = 40, dot = first_subject + subjects };
enum { vocab = dot + 1 };
enum { d = 16 };

typedef struct planted {
    sg_context *context;
    sg_model *model;
    sg_tokenizer *tokenizer;
    int64_t neuron; // of layer 0, channel 0
    bool is_cold[subjects], used[subjects];
} planted;

static sg_tokenizer *make_tokenizer(void)
{
    static char text[8192];
    size_t used = (size_t)snprintf(
        text, sizeof text,
        "{\"version\":\"1.0\",\"added_tokens\":[{\"id\":0,\"content\":\"<s>\",\"special\":true,"
        "\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false}],"
        "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":"
        "true,\"use_regex\":true},\"decoder\":{\"type\":\"ByteLevel\",\"add_prefix_space\":true,"
        "\"trim_offsets\":true,\"use_regex\":true},\"model\":{\"type\":\"BPE\",\"ignore_merges\":"
        "true,\"vocab\":{\"<s>\":0,\"\\u0120cold\":1,\"\\u0120hot\":2");
    for (int i = 0; i < subjects; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, ",\"%c%c\":%d", 'a' + i / 26,
                                 'a' + i % 26, first_subject + i);
    snprintf(text + used, sizeof text - used, ",\".\":%d},\"merges\":[]}}", dot);
    sg_error err = {0};
    sg_tokenizer *t;
    must(sg_tokenizer_from_memory(text, strlen(text), "tokenizer.json", &t, &err), &err);
    return t;
}

static void write_rows(sg_model *model, const char *name, int64_t first, int64_t rows,
                       const float *values)
{
    sg_error err = {0};
    must(sg_model_tensor_write(model, name, first, rows, values, NULL, &err), &err);
}

static void zero_tensor(sg_model *model, const char *name)
{
    sg_error err = {0};
    size_t index;
    sg_tensor_info info;
    must(sg_model_tensor_find(model, name, &index, &err), &err);
    must(sg_model_tensor_info(model, index, &info, &err), &err);
    float *zeros = calloc((size_t)(info.rows * info.columns), sizeof *zeros);
    write_rows(model, name, 0, info.rows, zeros);
    free(zeros);
}

static bool is_subject(int id)
{
    return id >= first_subject && id < dot;
}

// Axis 0 is what all subjects have, axis 1 cold against hot, axis 2 a property of half of them.
static void write_embeddings(sg_model *model)
{
    static float table[vocab][d];
    for (int i = 0; i < vocab; i++) {
        for (int j = 3; j < d; j++)
            table[i][j] = is_subject(i) ? (float)sg_rng_normal(5, 1, (uint64_t)(i * d + j)) : 0;
        table[i][0] = is_subject(i) ? 3 : 0;
        table[i][1] = i == cold ? 4 : i == hot ? -4 : is_subject(i) ? -0.3F : 0;
        table[i][2] = is_subject(i) ? (i % 2 == 0 ? 3 : -3) : 0;
    }
    write_rows(model, "model.embed_tokens.weight", 0, vocab, &table[0][0]);
}

// Nothing is added to the stream: attention and all neurons write 0.
static planted make_blank(const char *kind, const char *w_out)
{
    planted p = {0};
    sg_error err = {0};
    char name[96];
    must(sg_context_new(NULL, &p.context, &err), &err);
    p.tokenizer = make_tokenizer();
    const sg_config config = tiny_config(kind, vocab, 16);
    assert_int_equal(config.hidden_size, d);
    must(sg_model_new(p.context, &config, 3, &p.model, &err), &err);
    for (int l = 0; l < 2; l++) {
        snprintf(name, sizeof name, "model.layers.%d.self_attn.o_proj.weight", l);
        zero_tensor(p.model, name);
        snprintf(name, sizeof name, "model.layers.%d.mlp.%s.weight", l, w_out);
        zero_tensor(p.model, name);
    }
    write_embeddings(p.model);
    return p;
}

static void free_planted(planted *p)
{
    sg_model_free(p->model);
    sg_tokenizer_free(p->tokenizer);
    sg_context_free(p->context);
}

static void write_facts(const planted *p)
{
    static char text[8192];
    sg_error err = {0};
    size_t used = (size_t)snprintf(
        text, sizeof text,
        "{\"format\": \"sgatlin facts\", \"version\": 2, \"relations\": [{\"name\": \"feels\", "
        "\"prompts\": [\"{subject} {answer}\", \".{subject} {answer}\"]}], \"facts\": [");
    for (int i = 0, n = 0; i < subjects; i++)
        if (p->used[i])
            used += (size_t)snprintf(text + used, sizeof text - used,
                                     "%s{\"subject\": \"%c%c\", \"relation\": \"feels\", "
                                     "\"answer\": \"%s\"}",
                                     n++ > 0 ? ", " : "", 'a' + i / 26, 'a' + i % 26,
                                     p->is_cold[i] ? "cold" : "hot");
    snprintf(text + used, sizeof text - used, "]}");
    must(sg_file_write_atomic("facts.json", text, strlen(text), &err), &err);
}

static sg_circuit_options options_of(const planted *p)
{
    sg_circuit_options o = sg_circuit_options_default();
    o.facts = "facts.json";
    o.tokenizer = p->tokenizer;
    o.random = 50;
    o.pairs = 8;
    o.bootstrap = 200;
    return o;
}

// An effect of 1, but for what the streams of two subjects have beside.
static bool is_whole(double effect)
{
    return effect > 0.7 && effect < 1.3;
}

static void check_one(const planted *p, const sg_circuit_set *set)
{
    assert_int_equal(set->count, 1);
    assert_int_equal(set->neurons[0].layer, 0);
    assert_int_equal(set->neurons[0].channel, 0);
    assert_int_equal(set->neurons[0].neuron, p->neuron);
    assert_true(is_whole(set->neurons[0].alone));
    assert_true(fabs(set->neurons[0].without) < 1e-3);
    assert_true(set->flips);
    assert_true(set->candidates > 1);
    assert_true(set->found.minimal == 1);
}

static void check_measure(const sg_circuit_measure *m, bool random)
{
    assert_true(m->pairs > 0);
    assert_true(m->flips.mean == 1 && m->flips.low == 1 && m->flips.high == 1);
    assert_true(is_whole(m->effect.mean));
    assert_true(m->all_flips.mean == 1);
    assert_true(m->still_flips.mean == 0);
    assert_true(is_whole(m->lost.mean));
    if (!random) return;
    assert_true(m->random_flips == 0);
    assert_true(fabs(m->random_effect) < 1e-3);
    assert_true(fabs(m->p_flips - 1.0 / 51) < 1e-9);
    assert_true(fabs(m->p_effect - 1.0 / 51) < 1e-9);
}

static void check_planted(planted *p)
{
    sg_error err = {0};
    sg_circuit_result *result;
    size_t count;
    write_facts(p);
    const sg_circuit_options o = options_of(p);
    must(sg_probe_circuit(p->model, &o, &result, &err), &err);
    const sg_circuit_counts *c = sg_circuit_result_counts(result);
    assert_int_equal(c->known, c->looked_at); // the model knows all of them
    assert_true(c->found_pairs > 0 && c->tested_pairs > 0);
    const sg_circuit_set *sets = sg_circuit_result_sets(result, &count);
    assert_int_equal(count, 1 + c->tested_pairs);
    assert_string_equal(sets[0].relation, "feels");
    assert_null(sets[0].counterfactual);
    check_measure(&sets[0].found, true);
    check_measure(&sets[0].tested, true);
    check_measure(sg_circuit_result_pairs(result), true);
    check_measure(sg_circuit_result_wordings(result), true);
    assert_int_equal(sg_circuit_result_wordings(result)->pairs, c->tested_pairs);
    assert_int_equal(c->other_wordings, c->tested_pairs);
    for (size_t i = 0; i < count; i++) {
        check_one(p, &sets[i]);
        if (i == 0) continue;
        check_measure(&sets[i].found, false);
        check_measure(&sets[i].tested, false);
    }
    sg_circuit_result_free(result);
}

// ---- a dense layer ------------------------------------------------------------------------------

static planted plant_dense(void)
{
    planted p = make_blank("mlp ffn_activation=identity", "down_proj");
    float row[d] = {0};
    sg_neuron_table t;
    sg_error err = {0};
    must(sg_neuron_table_of(p.model, 0, &t, &err), &err);
    p.neuron = 5;
    row[2] = 1;
    write_rows(p.model, "model.layers.0.mlp.up_proj.weight", p.neuron, 1, row);
    float *down = calloc((size_t)(d * t.neurons), sizeof *down);
    down[1 * t.neurons + p.neuron] = 6; // reads axis 2, writes axis 1
    write_rows(p.model, "model.layers.0.mlp.down_proj.weight", 0, d, down);
    free(down);
    for (int i = 0; i < subjects; i++) {
        p.used[i] = i < 16;
        p.is_cold[i] = (first_subject + i) % 2 == 0;
    }
    return p;
}

static void test_dense(void **state)
{
    (void)state;
    planted p = plant_dense();
    check_planted(&p);
    free_planted(&p);
}

// ---- a sparse layer -----------------------------------------------------------------------------

// Scores of neurons of channel 0 for each subject; 0: not selected.
typedef struct gates {
    float scores[subjects][25];
    int32_t ids[8];
    int subject;
} gates;

static sg_status see_gates(void *user, const sg_point_values *v, sg_error *err)
{
    (void)err;
    gates *g = user;
    const int64_t k = v->shape[2], row = (v->shape[0] - 1) * v->shape[1] * k;
    for (int64_t i = 0; i < k; i++) {
        if (v->kind == SG_POINT_I32)
            g->ids[i] = v->ids[row + i];
        else
            g->scores[g->subject][g->ids[i]] = v->values[row + i];
    }
    return SG_OK;
}

static void read_gates(const planted *p, gates *g)
{
    sg_error err = {0};
    const sg_point_request asked[] = {
        {"blocks.0.mlp.hook_gate_ids", SG_POINT_READ, see_gates, g},
        {"blocks.0.mlp.hook_gate_scores", SG_POINT_READ, see_gates, g}};
    const sg_points points = {asked, 2};
    const sg_session_options options = {.points = &points};
    sg_session *session;
    const float *logits;
    must(sg_session_open(p->model, &options, &session, &err), &err);
    for (g->subject = 0; g->subject < subjects; g->subject++) {
        const int32_t tokens[] = {0, first_subject + g->subject};
        must(sg_session_rewind(session, 0, &err), &err);
        must(sg_session_feed(session, tokens, 2, &logits, &err), &err);
    }
    sg_session_free(session);
}

// The neuron that the router selects, with a score that counts, for the most of the subjects but at
// most two thirds: those are cold, the others, which do not select it, hot.
static planted plant_sparse(void)
{
    planted p = make_blank("sgatlin", "experts.w_out");
    gates *g = calloc(1, sizeof *g);
    float reads[d] = {0}, writes[d] = {0};
    int best = 0;
    read_gates(&p, g);
    for (int n = 0; n < 25; n++) {
        int clear = 0;
        for (int s = 0; s < subjects; s++)
            clear += g->scores[s][n] > 0.05F;
        if (clear <= best || clear > 2 * subjects / 3) continue;
        best = clear;
        p.neuron = n;
    }
    assert_true(best >= 6);
    for (int s = 0; s < subjects; s++) {
        p.is_cold[s] = g->scores[s][p.neuron] > 0.05F;
        p.used[s] = p.is_cold[s] || g->scores[s][p.neuron] == 0;
    }
    reads[0] = 1;
    writes[1] = 100;
    write_rows(p.model, "model.layers.0.mlp.experts.w_in.weight", p.neuron, 1, reads);
    write_rows(p.model, "model.layers.0.mlp.experts.w_out.weight", p.neuron, 1, writes);
    free(g);
    return p;
}

static void test_sparse(void **state)
{
    (void)state;
    planted p = plant_sparse();
    check_planted(&p);
    free_planted(&p);
}

// ---- what is refused, and memory ----------------------------------------------------------------

static void test_refused(void **state)
{
    (void)state;
    sg_error err = {0};
    sg_circuit_result *result;
    planted p = plant_dense();
    for (int i = 0; i < subjects; i++)
        p.is_cold[i] = !p.is_cold[i];
    write_facts(&p);
    sg_circuit_options o = options_of(&p);
    // What the model does not know has no circuit.
    assert_int_equal(sg_probe_circuit(p.model, &o, &result, &err), SG_ERR_MISMATCH);
    assert_null(result);
    assert_non_null(strstr(err.message, "found 0 and 0 pairs"));
    o.share = 0;
    assert_int_equal(sg_probe_circuit(p.model, &o, &result, &err), SG_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "share: found 0"));
    o = options_of(&p);
    o.facts = "none.json";
    assert_int_equal(sg_probe_circuit(p.model, &o, &result, &err), SG_ERR_NOT_FOUND);
    free_planted(&p);
}

static sg_status circuit_once(void *user, sg_error *err)
{
    planted *p = user;
    sg_circuit_options o = options_of(p);
    sg_circuit_result *result;
    o.random = 1;
    o.pairs = 1;
    o.bootstrap = 2;
    o.most = 2;
    SG_TRY(sg_probe_circuit(p->model, &o, &result, err));
    sg_circuit_result_free(result);
    return SG_OK;
}

static void test_memory(void **state)
{
    (void)state;
    sg_error err = {0};
    planted p = plant_dense();
    write_facts(&p);
    must(circuit_once(&p, &err), &err); // the model and the tokenizer make what they keep
    assert_true(alloc_failure_loop(circuit_once, &p) > 100);
    free_planted(&p);
}

#define ON_DISK(test) cmocka_unit_test_setup_teardown(test, disk_begin, disk_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_DISK(test_dense),
        ON_DISK(test_sparse),
        ON_DISK(test_refused),
        ON_DISK(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
