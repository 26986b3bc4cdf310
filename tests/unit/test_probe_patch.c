// sg_probe_patch as a whole: what must hold of effects and controls, files, stops and errors.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "alloc_failure.h"
#include "format/sqlite.h"
#include "model/model.h"
#include "system_folder.h"
#include "tiny_models.h"
#include "word_tokenizer.h"
#include "sgatlin_patch.h"

enum { facts = 4, ordered = facts * (facts - 1) };

static const char world[] =
    "{\"format\": \"sgatlin story world\", \"version\": 1, \"template\": \"The {noun} was "
    "{adjective}.\", \"facts\": [{\"noun\": \"lake\", \"adjective\": \"icy\"}, {\"noun\": "
    "\"mum\", \"adjective\": \"proud\"}, {\"noun\": \"tree\", \"adjective\": \"big\"}, {\"noun\": "
    "\"is\", \"adjective\": \"old\"}]}";

typedef struct patch_case {
    sg_context *context;
    sg_model *model;
    sg_tokenizer *tokenizer;
    sg_patch_options options;
    char facts[SG_PATH_MAX];
} patch_case;

static void must(sg_status status, const sg_error *err)
{
    if (status != SG_OK) fail_msg("%s", err->message);
}

static patch_case make_case(const fixture *f, const char *kind, int threads)
{
    patch_case c = {.options = sg_patch_options_default(), .tokenizer = make_tokenizer()};
    sg_error err = {0};
    sg_context_options o = sg_context_options_default();
    o.threads = threads;
    must(sg_context_new(&o, &c.context, &err), &err);
    const sg_config config = tiny_config(kind, sg_tokenizer_vocab_size(c.tokenizer), 16);
    must(sg_model_new(c.context, &config, 3, &c.model, &err), &err);
    snprintf(c.facts, sizeof c.facts, "%s/facts.json", f->folder);
    put(c.facts, world);
    c.options.tokenizer = c.tokenizer;
    c.options.bootstrap = 40;
    c.options.permutations = 40;
    return c;
}

static void free_case(patch_case *c)
{
    sg_model_free(c->model);
    sg_tokenizer_free(c->tokenizer);
    sg_context_free(c->context);
}

static sg_patch_result run(patch_case *c)
{
    sg_error err = {0};
    sg_patch_result result;
    c->options.facts = c->facts;
    must(sg_probe_patch(c->model, &c->options, &result, &err), &err);
    return result;
}

static const sg_patch_summary *find(const sg_patch_result *r, const char *point, const char *layers,
                                    const char *position, sg_patch_control control,
                                    sg_patch_metric metric, sg_patch_direction direction)
{
    for (size_t i = 0; i < r->count; i++) {
        const sg_patch_summary *s = &r->items[i];
        if (strcmp(s->point, point) == 0 && strcmp(s->layers, layers) == 0 &&
            strcmp(s->position, position) == 0 && s->control == control && s->metric == metric &&
            s->direction == direction)
            return s;
    }
    fail_msg("found no %s %s %s %s %s", point, layers, position, sg_patch_control_name(control),
             sg_patch_metric_name(metric));
    return NULL;
}

static double mean(const sg_patch_result *r, const char *layers, const char *position,
                   sg_patch_control control, sg_patch_metric metric)
{
    return find(r, "gates", layers, position, control, metric, SG_PATCH_NOISE)->mean;
}

// ---- what must hold -----------------------------------------------------------------------------

// Of any family: the last layer before the last token changes nothing, its whole output everything.
static void test_ends(void **state)
{
    const char *kind;
    for (int i = 0; (kind = tiny_even_kind(&i)) != NULL; i++) {
        patch_case c = make_case(*state, kind, 2);
        c.options.controls = 0;
        c.options.points = "gates,hook_resid_post";
        c.options.positions = "subject,all";
        const sg_patch_result r = run(&c);
        assert_int_equal(r.counts.pairs, ordered);
        assert_int_equal(r.counts.used, facts);
        const sg_patch_summary *s =
            find(&r, "gates", "1", "subject", SG_PATCH_ITSELF, SG_PATCH_KL, SG_PATCH_NOISE);
        assert_int_equal(s->pairs, ordered);
        assert_true(s->mean < 1e-9);
        s = find(&r, "hook_resid_post", "1", "all", SG_PATCH_ITSELF, SG_PATCH_EFFECT,
                 SG_PATCH_NOISE);
        if (!(fabs(s->mean - 1) < 1e-4) || !(fabs(s->of_sums - 1) < 1e-4) ||
            !(s->high - s->low < 1e-3))
            fail_msg("%s: an effect of %g [%g, %g], %g of sums", kind, s->mean, s->low, s->high,
                     s->of_sums);
        sg_buffer_free(r.items);
        free_case(&c);
    }
}

// The untrained control is the same call on a model with fresh weights.
static void test_untrained(void **state)
{
    sg_error err = {0};
    patch_case c = make_case(*state, "sgatlin", 2);
    c.options.seed = 9;
    c.options.controls = 1U << SG_PATCH_UNTRAINED;
    sg_patch_result r = run(&c);
    const double first = mean(&r, "all", "subject", SG_PATCH_UNTRAINED, SG_PATCH_LOGPROB);
    const double other = mean(&r, "all", "subject", SG_PATCH_ITSELF, SG_PATCH_LOGPROB);
    assert_true(fabs(first - other) > 1e-6);
    assert_true(r.runs == 2 * (facts + 6 * ordered));
    sg_buffer_free(r.items);
    const sg_config config = c.model->config;
    sg_model_free(c.model);
    must(sg_model_new(c.context, &config, 9, &c.model, &err), &err);
    c.options.controls = 0;
    r = run(&c);
    assert_true(mean(&r, "all", "subject", SG_PATCH_ITSELF, SG_PATCH_LOGPROB) == first);
    sg_buffer_free(r.items);
    free_case(&c);
}

// At another token the patch of the subject is that of the last, and the other way round. What is
// exchanged is the same, but it stands in other rows of a pass, and a library of products may sum
// the last rows of a matrix otherwise.
static void assert_same_exchange(double value, double expected)
{
    assert_true(fabs(value - expected) <= 1e-5 * fmax(1, fabs(expected)));
}

static void test_position(void **state)
{
    patch_case c = make_case(*state, "sgatlin", 2);
    c.options.controls = 1U << SG_PATCH_POSITION;
    const sg_patch_result r = run(&c);
    for (int m = 0; m < SG_PATCH_METRICS; m++) {
        const sg_patch_metric metric = (sg_patch_metric)m;
        assert_same_exchange(mean(&r, "all", "subject", SG_PATCH_POSITION, metric),
                             mean(&r, "all", "last", SG_PATCH_ITSELF, metric));
        assert_same_exchange(mean(&r, "0", "last", SG_PATCH_POSITION, metric),
                             mean(&r, "0", "subject", SG_PATCH_ITSELF, metric));
    }
    sg_buffer_free(r.items);
    free_case(&c);
}

// All that the last layer passes on of a third fact: its answers, whatever those of the pair.
static void test_mismatched(void **state)
{
    patch_case c = make_case(*state, "sgatlin", 2);
    c.options.controls = 1U << SG_PATCH_MISMATCHED;
    c.options.points = "hook_resid_post";
    c.options.layers = "1";
    c.options.positions = "all";
    const sg_patch_result r = run(&c);
    const sg_patch_summary *s = find(&r, "hook_resid_post", "1", "all", SG_PATCH_MISMATCHED,
                                     SG_PATCH_EFFECT, SG_PATCH_NOISE);
    assert_int_equal(s->pairs, ordered);
    assert_true(fabs(s->mean - 1) > 1e-3);
    sg_buffer_free(r.items);
    free_case(&c);
}

// Each pair is there in both orders, so that denoising is noising in the words of the other answer.
static void test_directions(void **state)
{
    patch_case c = make_case(*state, "peer", 2);
    c.options.controls = 0;
    c.options.direction = SG_PATCH_BOTH;
    const sg_patch_result r = run(&c);
    const sg_patch_control patch = SG_PATCH_ITSELF;
    for (int noise = 1; noise >= 0; noise--) {
        const sg_patch_direction a = noise ? SG_PATCH_NOISE : SG_PATCH_DENOISE;
        const sg_patch_direction b = noise ? SG_PATCH_DENOISE : SG_PATCH_NOISE;
        assert_true(fabs(find(&r, "gates", "0", "subject", patch, SG_PATCH_EFFECT, a)->mean -
                         find(&r, "gates", "0", "subject", patch, SG_PATCH_EFFECT, b)->mean) <
                    1e-6);
        assert_true(fabs(find(&r, "gates", "0", "subject", patch, SG_PATCH_LOGPROB, a)->mean -
                         find(&r, "gates", "0", "subject", patch, SG_PATCH_LOGPROB_CF, b)->mean) <
                    1e-9);
    }
    sg_buffer_free(r.items);
    free_case(&c);
}

static void test_neurons(void **state)
{
    patch_case c = make_case(*state, "sgatlin ffn_router=dense ffn_activation=relu", 2);
    c.options.neurons = "0:0:1,0:1:3,1:0:7";
    c.options.positions = "all";
    const sg_patch_result r = run(&c);
    const sg_patch_summary *s =
        find(&r, "neurons", "neurons", "all", SG_PATCH_RANDOM, SG_PATCH_EFFECT, SG_PATCH_NOISE);
    assert_true(s->pairs > 0 && s->pairs <= ordered);
    assert_true(!isnan(s->mean));
    sg_buffer_free(r.items);
    free_case(&c);
}

// Random neurons of gates: there where a channel has as many to spare, and not what the patch does.
static void test_random(void **state)
{
    static const char *const kinds[] = {"sgatlin", "peer", "pkm", "moe", "mlp"};
    for (int i = 0; i < 5; i++) {
        patch_case c = make_case(*state, kinds[i], 2);
        c.options.controls = 1U << SG_PATCH_RANDOM;
        c.options.layers = "all";
        c.options.positions = "last";
        const sg_patch_result r = run(&c);
        if (i < 3) {
            const sg_patch_summary *s =
                find(&r, "gates", "all", "last", SG_PATCH_RANDOM, SG_PATCH_KL, SG_PATCH_NOISE);
            assert_int_equal(s->pairs, ordered);
            assert_true(s->mean > 1e-9);
            assert_true(fabs(s->mean - mean(&r, "all", "last", SG_PATCH_ITSELF, SG_PATCH_KL)) >
                        1e-9);
        }
        // Of four experts two are taken by each run; a dense layer has no others.
        for (size_t n = 0; n < r.count; n++)
            assert_true(i < 3 || r.items[n].control == SG_PATCH_ITSELF ||
                        r.items[n].pairs < ordered);
        sg_buffer_free(r.items);
        free_case(&c);
    }
}

static void test_known(void **state)
{
    patch_case c = make_case(*state, "sgatlin", 2);
    c.options.controls = 0;
    c.options.known_only = true;
    sg_error err = {0};
    sg_patch_result r;
    c.options.facts = c.facts;
    const sg_status status = sg_probe_patch(c.model, &c.options, &r, &err);
    if (status != SG_OK) {
        assert_int_equal(status, SG_ERR_MISMATCH);
        assert_non_null(strstr(err.message, "whose two answers the model prefers"));
    } else {
        assert_true(r.correct_clean >= 1);
        assert_int_equal(r.counts.pairs + r.counts.unsure, ordered);
    }
    sg_buffer_free(r.items);
    free_case(&c);
}

static void test_threads(void **state)
{
    sg_patch_result r[2];
    for (int i = 0; i < 2; i++) {
        patch_case c = make_case(*state, "sgatlin", 1 + 2 * i);
        r[i] = run(&c);
        free_case(&c);
    }
    assert_int_equal(r[0].count, r[1].count);
    for (size_t i = 0; i < r[0].count; i++) {
        const sg_patch_summary *a = &r[0].items[i], *b = &r[1].items[i];
        assert_memory_equal(&a->mean, &b->mean, sizeof a->mean);
        assert_memory_equal(&a->low, &b->low, sizeof a->low);
        assert_memory_equal(&a->p_holm, &b->p_holm, sizeof a->p_holm);
    }
    sg_buffer_free(r[0].items);
    sg_buffer_free(r[1].items);
}

// ---- files --------------------------------------------------------------------------------------

static double query(sg_database *db, const char *sql)
{
    sg_error err = {0};
    sg_statement *s;
    bool row;
    double value;
    must(sg_database_prepare(db, sql, &s, &err), &err);
    must(sg_statement_step(s, &row, &err), &err);
    assert_true(row);
    must(sg_statement_real(s, 0, &value, &err), &err);
    sg_statement_free(s);
    return value;
}

static void test_files(void **state)
{
    const fixture *f = *state;
    const sg_database_kind kind = {
        .name = "results of patching", .application = 0x73675054, .version = 1};
    sg_error err = {0};
    sg_database *db;
    patch_case c = make_case(f, "sgatlin", 2);
    c.options.out = path_in(f, "patch.db");
    c.options.csv = path_in(f, "patch.csv");
    const sg_patch_result r = run(&c);
    must(sg_database_open(c.options.out, &kind, &db, &err), &err);
    must(sg_database_verify(db, &err), &err);
    // Six patches; each with itself and four controls.
    assert_true(query(db, "SELECT count(*) * 1.0 FROM result") ==
                6 * 5 * ordered * SG_PATCH_METRICS);
    assert_true(query(db, "SELECT count(*) * 1.0 FROM summary") == 6 * 5 * SG_PATCH_METRICS);
    const double of_rows =
        query(db, "SELECT avg(value) FROM results WHERE metric = 'effect' AND control = 'patch' "
                  "AND layers = 'all' AND position = 'subject'");
    const double found = mean(&r, "all", "subject", SG_PATCH_ITSELF, SG_PATCH_EFFECT);
    assert_true(fabs(of_rows - found) < 1e-9 * fmax(1, fabs(found)));
    assert_true(fabs(query(db, "SELECT mean FROM summaries WHERE metric = 'rank' AND control = "
                               "'untrained' AND layers = '0' AND position = 'last'") -
                     mean(&r, "0", "last", SG_PATCH_UNTRAINED, SG_PATCH_RANK)) < 1e-9);
    assert_true(query(db, "SELECT count(*) * 1.0 FROM results WHERE clean = 'lake' AND "
                          "counterfactual_answers = 'proud' AND metric = 'kl' AND layers = '1' "
                          "AND position = 'last' AND control = 'patch'") == 1);
    sg_database_free(db);
    int64_t bytes;
    must(sg_path_bytes(c.options.csv, &bytes, &err), &err);
    assert_true(bytes > 6 * 5 * ordered * SG_PATCH_METRICS * 40);
    sg_buffer_free(r.items);
    // Nothing is replaced unasked.
    sg_patch_result none;
    assert_int_equal(sg_probe_patch(c.model, &c.options, &none, &err), SG_ERR_ARGUMENT);
    free_case(&c);
}

static bool stop_late(void *user, int64_t done, int64_t total)
{
    (void)user;
    return done < total / 2;
}

static void test_stop(void **state)
{
    const fixture *f = *state;
    sg_error err = {0};
    sg_patch_result r;
    patch_case c = make_case(f, "sgatlin", 2);
    c.options.out = path_in(f, "patch.db");
    c.options.facts = c.facts;
    c.options.progress = stop_late;
    assert_int_equal(sg_probe_patch(c.model, &c.options, &r, &err), SG_ERR_STOPPED);
    assert_null(r.items);
    char **names;
    size_t count;
    must(sg_folder_list(f->folder, &names, &count, &err), &err);
    assert_int_equal(count, 1); // the facts
    sg_names_free(names, count);
    free_case(&c);
}

// ---- errors -------------------------------------------------------------------------------------

static void test_errors(void **state)
{
    sg_error err = {0};
    sg_patch_result r;
    patch_case c = make_case(*state, "sgatlin", 1);
    assert_int_equal(sg_probe_patch(c.model, &c.options, &r, &err), SG_ERR_ARGUMENT);
    assert_string_equal(err.message, "patch: found no facts");
    c.options.facts = c.facts;
    sg_patch_options o = c.options;
    o.direction = 0;
    assert_int_equal(sg_probe_patch(c.model, &o, &r, &err), SG_ERR_ARGUMENT);
    o = c.options;
    o.bootstrap = 0;
    assert_int_equal(sg_probe_patch(c.model, &o, &r, &err), SG_ERR_ARGUMENT);
    o = c.options;
    o.pairs = -1;
    assert_int_equal(sg_probe_patch(c.model, &o, &r, &err), SG_ERR_ARGUMENT);
    o = c.options;
    o.layers = "";
    assert_int_equal(sg_probe_patch(c.model, &o, &r, &err), SG_ERR_ARGUMENT);
    o = c.options;
    o.positions = "99";
    assert_int_equal(sg_probe_patch(c.model, &o, &r, &err), SG_ERR_ARGUMENT);
    o = c.options;
    o.positions = "9"; // the model has it, no prompt does: nothing is measured
    must(sg_probe_patch(c.model, &o, &r, &err), &err);
    assert_int_equal(r.count, 0);
    sg_buffer_free(r.items);
    free_case(&c);
}

static sg_status patch_once(void *user, sg_error *err)
{
    patch_case *c = user;
    sg_patch_result r;
    SG_TRY(sg_probe_patch(c->model, &c->options, &r, err));
    sg_buffer_free(r.items);
    return SG_OK;
}

static void test_memory(void **state)
{
    sg_error err = {0};
    patch_case c = make_case(*state, "sgatlin", 1);
    c.options.facts = c.facts;
    c.options.layers = "0";
    c.options.positions = "subject";
    c.options.controls = 1U << SG_PATCH_MISMATCHED;
    c.options.bootstrap = 2;
    c.options.permutations = 2;
    must(patch_once(&c, &err), &err); // the tokenizer makes what it keeps
    assert_true(alloc_failure_loop(patch_once, &c) > 50);
    free_case(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FILE_TEST(test_ends),       FILE_TEST(test_untrained),  FILE_TEST(test_position),
        FILE_TEST(test_mismatched), FILE_TEST(test_directions), FILE_TEST(test_neurons),
        FILE_TEST(test_known),      FILE_TEST(test_random),     FILE_TEST(test_threads),
        FILE_TEST(test_files),      FILE_TEST(test_stop),       FILE_TEST(test_errors),
        FILE_TEST(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
