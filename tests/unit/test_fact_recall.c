// Recall of facts: models whose embeddings answer (all facts, wrong ones, by chance), whole answers
// against scores of single sessions in every family, intervals, what is not asked, what is refused,
// memory that fails.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "alloc_failure.h"
#include "base/alloc.h"
#include "memory_disk.h"
#include "model/model.h"
#include "model/session.h"
#include "probe/fact_scores.h"
#include "probe/fact_text.h"
#include "sweep/recall.h"
#include "tiny_models.h"
#include "word_tokenizer.h"
#include "sgatlin_recall.h"

enum { vocab = 15, d = 16 };
// Of the word tokenizer: " lake", " mum", " tree"; " icy", " proud", " big", " old".
enum { lake = 5, mum = 6, tree = 12, icy = 8, proud = 9, big = 10, old = 11 };

static const char three[] =
    "{\"format\": \"sgatlin facts\", \"version\": 2, \"relations\": [{\"name\": \"be\", "
    "\"prompts\": [\"The {subject} {answer}.\"]}], \"facts\": ["
    "{\"subject\": \"lake\", \"relation\": \"be\", \"answer\": \"icy\"},"
    "{\"subject\": \"mum\", \"relation\": \"be\", \"answer\": \"proud\"},"
    "{\"subject\": \"tree\", \"relation\": \"be\", \"answer\": \"old\"}]}";

static void assert_near(double found, double expected, double within)
{
    if (!(fabs(found - expected) <= within)) fail_msg("found %.9g, expected %.9g", found, expected);
}

static sg_context *make_context(int threads)
{
    sg_error err = {0};
    sg_context *context;
    sg_context_options o = sg_context_options_default();
    o.threads = threads;
    must(sg_context_new(&o, &context, &err), &err);
    return context;
}

static sg_model *make_model(sg_context *context, const char *kind, int64_t positions)
{
    sg_error err = {0};
    sg_model *model;
    const sg_config config = tiny_config(kind, vocab, positions);
    must(sg_model_new(context, &config, 3, &model, &err), &err);
    return model;
}

static void write_tensor(sg_model *model, const char *name, int64_t rows, const float *values)
{
    sg_error err = {0};
    must(sg_model_tensor_write(model, name, 0, rows, values, NULL, &err), &err);
}

// Layers add nothing, so that what is said behind a word is what its embedding is near: its own
// axis, that of `answer`, or, for -1, none.
static sg_model *make_planted(sg_context *context, int of_lake, int of_mum, int of_tree)
{
    static float zeros[24][24], table[vocab][d];
    char name[96];
    sg_model *model = make_model(context, "mlp", 16);
    for (int l = 0; l < 2; l++) {
        snprintf(name, sizeof name, "model.layers.%d.self_attn.o_proj.weight", l);
        write_tensor(model, name, d, &zeros[0][0]);
        snprintf(name, sizeof name, "model.layers.%d.mlp.down_proj.weight", l);
        write_tensor(model, name, d, &zeros[0][0]);
    }
    memset(table, 0, sizeof table);
    for (int id = 0; id < vocab; id++)
        table[id][id] = 12;
    const int of[][2] = {{lake, of_lake}, {mum, of_mum}, {tree, of_tree}};
    for (int i = 0; i < 3; i++) {
        table[of[i][0]][of[i][0]] = 0;
        if (of[i][1] >= 0) table[of[i][0]][of[i][1]] = 1;
    }
    write_tensor(model, "model.embed_tokens.weight", vocab, &table[0][0]);
    return model;
}

static sg_facts *parse(const char *text)
{
    sg_error err = {0};
    sg_facts *facts;
    must(sg_facts_parse(text, strlen(text), "facts.json", &facts, &err), &err);
    return facts;
}

static void write_text(const char *text)
{
    sg_error err = {0};
    must(sg_file_write_atomic("facts.json", text, strlen(text), &err), &err);
}

static sg_recall_options options_of(const sg_tokenizer *tokenizer)
{
    sg_recall_options o = sg_recall_options_default();
    o.facts = "facts.json";
    o.tokenizer = tokenizer;
    o.bootstrap = 100;
    return o;
}

static sg_recall_result recall(sg_model *model, const char *text)
{
    sg_error err = {0};
    sg_recall_result r;
    sg_tokenizer *tokenizer = make_tokenizer();
    const sg_recall_options o = options_of(tokenizer);
    write_text(text);
    must(sg_probe_recall(model, &o, &r, &err), &err);
    sg_tokenizer_free(tokenizer);
    return r;
}

// ---- planted answers ----------------------------------------------------------------------------

static void test_planted(void **state)
{
    (void)state;
    sg_context *context = make_context(2);
    sg_model *model = make_planted(context, icy, proud, old);
    sg_recall_result r = recall(model, three);
    assert_int_equal(r.count, 1);
    assert_string_equal(r.rows[0].relation, "be");
    assert_int_equal(r.rows[0].answers, 3);
    assert_int_equal(r.all.facts, 3);
    assert_int_equal(r.all.prompts, 3);
    assert_int_equal(r.all.recalled, 3);
    assert_int_equal(r.all.prompts_recalled, 3);
    assert_int_equal(r.all.prompts_greedy, 3);
    assert_int_equal(r.subjects, 3);
    assert_near(r.all.possible, 3 * log2(3), 1e-9);
    assert_near(r.all.bits.value, 3 * log2(3), 1e-6);
    assert_near(r.rows[0].bits.value, r.all.bits.value, 0);
    assert_near(r.all.share.low, 1, 0);
    assert_near(r.all.share.high, 1, 0);
    sg_buffer_free(r.rows);
    sg_model_free(model);
    sg_context_free(context);
}

// One fact of three is wrong, and the model is sure of it: less than nothing is learned of all.
static void test_sure_and_wrong(void **state)
{
    (void)state;
    sg_context *context = make_context(1);
    sg_model *model = make_planted(context, icy, proud, icy);
    sg_recall_result r = recall(model, three);
    assert_int_equal(r.all.recalled, 2);
    assert_int_equal(r.all.prompts_greedy, 2);
    assert_near(r.all.share.value, 2. / 3, 1e-12);
    assert_true(r.all.share.low < 0.5 && r.all.share.high > 0.9);
    assert_near(r.all.bits.value, 0, 0);
    sg_buffer_free(r.rows);
    sg_model_free(model);
    sg_context_free(context);
}

// The same probability for all answers: no bits, nothing recalled, although nothing is likelier.
static void test_no_idea(void **state)
{
    (void)state;
    sg_context *context = make_context(1);
    sg_model *model = make_planted(context, -1, -1, -1);
    sg_recall_result r = recall(model, three);
    assert_int_equal(r.all.facts, 3);
    assert_int_equal(r.all.recalled, 0);
    assert_near(r.all.bits.value, 0, 1e-9);
    sg_buffer_free(r.rows);
    sg_model_free(model);
    sg_context_free(context);
}

// Two right answers of three, and one relation beside that is all wrong and must take nothing away.
static void test_several_right(void **state)
{
    (void)state;
    static const char text[] =
        "{\"format\": \"sgatlin facts\", \"version\": 2, \"relations\": [{\"name\": \"be\", "
        "\"prompts\": [\"The {subject} {answer}.\"]}, {\"name\": \"none\", \"prompts\": [\"The "
        "{subject} {answer}\"]}, {\"name\": \"worse\", \"prompts\": [\"A {subject} {answer}\", "
        "\"The {subject} {answer}\"]}], \"facts\": ["
        "{\"subject\": \"lake\", \"relation\": \"be\", \"answer\": \"icy\"},"
        "{\"subject\": \"lake\", \"relation\": \"be\", \"answer\": \"big\"},"
        "{\"subject\": \"mum\", \"relation\": \"be\", \"answer\": \"proud\"},"
        "{\"subject\": \"lake\", \"relation\": \"worse\", \"answer\": \"proud\"},"
        "{\"subject\": \"mum\", \"relation\": \"worse\", \"answer\": \"icy\"}]}";
    sg_context *context = make_context(1);
    sg_model *model = make_planted(context, big, proud, old);
    sg_recall_result r = recall(model, text);
    assert_int_equal(r.count, 2);
    assert_string_equal(r.rows[1].relation, "worse");
    assert_int_equal(r.rows[0].recalled, 2);
    assert_near(r.rows[0].possible, log2(1.5) + log2(3), 1e-9);
    assert_near(r.rows[0].bits.value, log2(1.5) + log2(3), 1e-6);
    assert_int_equal(r.rows[1].recalled, 0);
    assert_int_equal(r.rows[1].prompts, 2); // "A" has no token
    assert_int_equal(r.lost, 2);
    assert_near(r.rows[1].bits.value, 0, 0);
    assert_near(r.all.bits.value, r.rows[0].bits.value, 0);
    sg_buffer_free(r.rows);
    sg_model_free(model);
    sg_context_free(context);
}

// ---- whole answers ------------------------------------------------------------------------------

// Answers of one to four tokens that begin alike, one of them the beginning of others; prompts of
// several lengths and wordings.
static const char words[] =
    "{\"format\": \"sgatlin facts\", \"version\": 2, \"relations\": [{\"name\": \"be\", "
    "\"prompts\": [\"The {subject} was {answer}.\", \"The old {subject} is {answer}\"]}], "
    "\"facts\": ["
    "{\"subject\": \"lake\", \"relation\": \"be\", \"answer\": \"ca\"},"
    "{\"subject\": \"mum\", \"relation\": \"be\", \"answer\": \"caf\"},"
    "{\"subject\": \"big tree\", \"relation\": \"be\", \"answer\": \"cff\"},"
    "{\"subject\": \"tree\", \"relation\": \"be\", \"answer\": \"icy\"},"
    "{\"subject\": \"icy lake\", \"relation\": \"be\", \"answer\": \"f\"},"
    "{\"subject\": \"icy mum\", \"relation\": \"be\", \"answer\": \"caf\"}]}";
static const char *const word_answers[] = {"ca", "caf", "cff", "icy", "f"};
enum { word_count = 5 };

// ln p of a whole answer behind a prompt, by a session that knows of nothing else.
static double naive_logp(sg_model *model, const sg_tokenizer *tokenizer, const char *prompt,
                         const char *answer)
{
    sg_error err = {0};
    sg_fact_text whole, front;
    sg_session *session;
    double nll[16], sum = 0;
    bool likeliest[16];
    must(sg_fact_text_encode(model, tokenizer, prompt, answer, &whole, &err), &err);
    must(sg_fact_text_encode(model, tokenizer, prompt, NULL, &front, &err), &err);
    must(sg_session_new(model, 0, &session, &err), &err);
    must(sg_session_score(session, whole.ids, whole.ids + 1, whole.count - 1, nll, likeliest, &err),
         &err);
    for (int64_t i = front.count - 1; i < whole.count - 1; i++)
        sum -= nll[i];
    sg_session_free(session);
    sg_fact_text_clear(&whole);
    sg_fact_text_clear(&front);
    return sum;
}

static double naive_bits(sg_model *model, const sg_tokenizer *tokenizer, const sg_facts *facts,
                         size_t fact, bool *recalled)
{
    sg_error err = {0};
    double bits = 0;
    const sg_relation *r = &facts->relations[0];
    *recalled = true;
    for (size_t w = 0; w < r->prompt_count; w++) {
        char *text;
        size_t before;
        double logp[word_count], all = 0;
        int right = -1;
        must(sg_fact_prompt_text(&facts->facts[fact], r->prompts[w], &text, &before, &err), &err);
        for (int i = 0; i < word_count; i++) {
            logp[i] = naive_logp(model, tokenizer, text, word_answers[i]);
            all += exp(logp[i]);
            if (strcmp(word_answers[i], facts->facts[fact].answers[0]) == 0) right = i;
        }
        for (int i = 0; i < word_count; i++)
            if (i != right && logp[i] >= logp[right]) *recalled = false;
        bits += log2(word_count) + (logp[right] - log(all)) / log(2);
        sg_free(text);
    }
    return bits;
}

static void check_scores(sg_model *model, const sg_tokenizer *tokenizer, const sg_facts *facts,
                         int64_t batch)
{
    sg_error err = {0};
    sg_fact_scores scores;
    const sg_fact_scores_options o = {.batch = batch};
    must(sg_fact_scores_new(model, tokenizer, facts, &o, &scores, &err), &err);
    assert_int_equal(scores.answers[0], word_count);
    for (size_t i = 0; i < facts->count; i++) {
        bool recalled;
        const double bits = naive_bits(model, tokenizer, facts, i, &recalled);
        assert_int_equal(scores.facts[i].prompts, 2);
        assert_near(scores.facts[i].possible, log2(word_count), 1e-12);
        assert_near(scores.facts[i].bits, bits, 1e-4);
        assert_int_equal(scores.facts[i].recalled == 2, recalled);
    }
    sg_fact_scores_clear(&scores);
}

static void test_whole_answers(void **state)
{
    (void)state;
    const char *kind;
    sg_tokenizer *tokenizer = make_tokenizer();
    sg_facts *facts = parse(words);
    sg_context *context = make_context(2);
    for (int i = 0; (kind = tiny_kind(i)) != NULL; i++) {
        sg_model *model = make_model(context, kind, 16);
        check_scores(model, tokenizer, facts, 0);
        if (i == 0) check_scores(model, tokenizer, facts, 1);
        if (i == 0) check_scores(model, tokenizer, facts, 2);
        sg_model_free(model);
    }
    sg_context_free(context);
    sg_facts_free(facts);
    sg_tokenizer_free(tokenizer);
}

// The same bits for any number of threads; a model with fresh weights knows about nothing.
static void test_threads(void **state)
{
    (void)state;
    sg_recall_result r[2];
    for (int i = 0; i < 2; i++) {
        sg_context *context = make_context(i == 0 ? 1 : 3);
        sg_model *model = make_model(context, "sgatlin", 16);
        r[i] = recall(model, words);
        sg_model_free(model);
        sg_context_free(context);
    }
    assert_memory_equal(&r[0].all.share, &r[1].all.share, sizeof r[0].all.share);
    assert_memory_equal(&r[0].all.greedy, &r[1].all.greedy, sizeof r[0].all.greedy);
    assert_memory_equal(&r[0].all.bits, &r[1].all.bits, sizeof r[0].all.bits);
    assert_true(r[0].all.bits.value < 0.3 * r[0].all.possible);
    for (int i = 0; i < 2; i++)
        sg_buffer_free(r[i].rows);
}

// ---- passes -------------------------------------------------------------------------------------

static void test_prompts_of_a_batch(void **state)
{
    (void)state;
    enum { rows = 3, length = 5 };
    const char *kind;
    const int32_t tokens[rows][length] = {{0, 4, 5, 7, 8}, {0, 4, 6, 7, 9}, {2, 2, 1, 12, 3}};
    sg_context *context = make_context(2);
    for (int i = 0; (kind = tiny_kind(i)) != NULL; i++) {
        sg_error err = {0};
        sg_model *model = make_model(context, kind, 16);
        sg_session *sessions[rows], *alone;
        sg_batch *batch;
        const float *logits, *own;
        must(sg_batch_new(model, rows, &batch, &err), &err);
        must(sg_session_new(model, 0, &alone, &err), &err);
        for (int r = 0; r < rows; r++)
            must(sg_session_new(model, 0, &sessions[r], &err), &err);
        must(sg_batch_feed_prompts(batch, sessions, &tokens[0][0], rows, length, &logits, &err),
             &err);
        for (int r = 0; r < rows; r++) {
            assert_int_equal(sg_session_length(sessions[r]), length);
            must(sg_session_rewind(alone, 0, &err), &err);
            must(sg_session_feed(alone, tokens[r], length, &own, &err), &err);
            for (int v = 0; v < vocab; v++)
                assert_near(logits[r * vocab + v], own[v], 1e-4);
        }
        assert_int_equal(sg_batch_feed_prompts(batch, sessions, tokens[0], 1, 0, &logits, &err),
                         SG_ERR_ARGUMENT);
        assert_int_equal(sg_batch_feed_prompts(batch, sessions, tokens[0], 1, 15, &logits, &err),
                         SG_ERR_ARGUMENT); // no room
        for (int r = 0; r < rows; r++)
            sg_session_free(sessions[r]);
        sg_session_free(alone);
        sg_batch_free(batch);
        sg_model_free(model);
    }
    sg_context_free(context);
}

// ---- what is not asked, and what is refused -----------------------------------------------------

static sg_status try_recall(sg_model *model, sg_recall_options o, sg_recall_result *r,
                            sg_error *err)
{
    sg_tokenizer *tokenizer = make_tokenizer();
    *err = (sg_error){0};
    o.tokenizer = tokenizer;
    const sg_status status = sg_probe_recall(model, &o, r, err);
    sg_tokenizer_free(tokenizer);
    if (status != SG_OK) {
        assert_null(r->rows);
        assert_int_equal(r->all.facts, 0);
    }
    return status;
}

static bool stop(void *user, int64_t done, int64_t total)
{
    int *calls = user;
    assert_true(done <= total);
    return --*calls >= 0;
}

static void test_refused(void **state)
{
    (void)state;
    sg_error err;
    sg_recall_result r;
    int calls = 1;
    sg_context *context = make_context(1);
    sg_model *model = make_model(context, "mlp", 16), *small = make_model(context, "mlp", 5);
    sg_recall_options o = options_of(NULL);
    write_text(words);
    // "The lake was ca": three ids of the prompt, and as many as answers need but one.
    assert_int_equal(try_recall(small, o, &r, &err), SG_ERR_MISMATCH);
    assert_non_null(strstr(err.message, "12 are longer than the model's positions"));
    o.bootstrap = -1;
    assert_int_equal(try_recall(model, o, &r, &err), SG_ERR_ARGUMENT);
    o = options_of(NULL);
    o.batch = SG_BATCH_MAX + 1;
    assert_int_equal(try_recall(model, o, &r, &err), SG_ERR_ARGUMENT);
    o = options_of(NULL);
    o.progress = stop;
    o.user = &calls;
    assert_int_equal(try_recall(model, o, &r, &err), SG_ERR_STOPPED);
    o = options_of(NULL);
    o.csv = "there.csv";
    must(sg_file_write_atomic("there.csv", "x", 1, &err), &err);
    assert_int_equal(try_recall(model, o, &r, &err), SG_ERR_ARGUMENT);
    o.facts = "none.json";
    assert_int_equal(try_recall(model, o, &r, &err), SG_ERR_NOT_FOUND);
    o.facts = NULL;
    assert_int_equal(try_recall(model, o, &r, &err), SG_ERR_ARGUMENT);
    write_text("{\"format\": \"sgatlin facts\", \"version\": 2, \"relations\": [{\"name\": \"be\", "
               "\"prompts\": [\"The {subject} {answer}\"]}], \"facts\": [{\"subject\": \"lake\", "
               "\"relation\": \"be\", \"answer\": \"icy\"}]}");
    o = options_of(NULL);
    assert_int_equal(try_recall(model, o, &r, &err), SG_ERR_MISMATCH);
    assert_non_null(strstr(err.message, "of 1 all answers of the relation are right"));
    sg_model_free(small);
    sg_model_free(model);
    sg_context_free(context);
}

static void test_csv(void **state)
{
    (void)state;
    sg_error err = {0};
    sg_recall_result r;
    char *text;
    size_t bytes;
    sg_context *context = make_context(1);
    sg_model *model = make_planted(context, icy, proud, icy);
    sg_recall_options o = options_of(NULL);
    write_text(three);
    o.csv = "facts.csv";
    assert_int_equal(try_recall(model, o, &r, &err), SG_OK);
    sg_buffer_free(r.rows);
    must(sg_file_read("facts.csv", 1 << 20, &text, &bytes, &err), &err);
    assert_string_equal(strtok(text, "\n"),
                        "relation,subject,answer,answers,prompts,recalled,greedy,possible,bits");
    assert_string_equal(strtok(NULL, "\n"), "be,lake,icy,1,1,1,1,1.58496,1.58496");
    assert_string_equal(strtok(NULL, "\n"), "be,mum,proud,1,1,1,1,1.58496,1.58496");
    assert_memory_equal(strtok(NULL, "\n"), "be,tree,old,1,1,0,0,1.58496,-", 29);
    assert_null(strtok(NULL, "\n"));
    sg_free(text);
    sg_model_free(model);
    sg_context_free(context);
}

// ---- sweeps -------------------------------------------------------------------------------------

static void test_of_a_sweep(void **state)
{
    (void)state;
    sg_error err = {0};
    sg_recall found;
    sg_tokenizer *tokenizer = make_tokenizer();
    sg_facts *facts = parse(three);
    sg_context *context = make_context(2);
    sg_model *model = make_planted(context, icy, proud, -1);
    must(sg_sweep_recall(model, tokenizer, facts, &found, &err), &err);
    assert_int_equal(found.facts, 3);
    assert_int_equal(found.recalled, 2);
    assert_near(found.bits, 2 * log2(3), 1e-6); // of the third it says it does not know
    assert_near(found.possible, 3 * log2(3), 1e-9);
    sg_model_free(model);
    sg_context_free(context);
    sg_facts_free(facts);
    sg_tokenizer_free(tokenizer);
}

// ---- memory -------------------------------------------------------------------------------------

static sg_status recall_once(void *user, sg_error *err)
{
    sg_recall_result r;
    sg_recall_options o = options_of(((void **)user)[1]);
    o.csv = "alloc.csv";
    o.force = true;
    o.bootstrap = 10;
    const sg_status status = sg_probe_recall(((void **)user)[0], &o, &r, err);
    sg_buffer_free(r.rows);
    return status;
}

static void test_memory(void **state)
{
    (void)state;
    sg_context *context = make_context(1);
    sg_model *model = make_model(context, "mlp", 16);
    sg_tokenizer *tokenizer = make_tokenizer();
    void *user[] = {model, tokenizer};
    sg_error err = {0};
    write_text(words);
    must(recall_once(user, &err), &err); // what a tokenizer keeps to work with is there from now on
    assert_true(alloc_failure_loop(recall_once, user) > 100);
    sg_tokenizer_free(tokenizer);
    sg_model_free(model);
    sg_context_free(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_planted, disk_begin, disk_end),
        cmocka_unit_test_setup_teardown(test_sure_and_wrong, disk_begin, disk_end),
        cmocka_unit_test_setup_teardown(test_no_idea, disk_begin, disk_end),
        cmocka_unit_test_setup_teardown(test_several_right, disk_begin, disk_end),
        cmocka_unit_test(test_whole_answers),
        cmocka_unit_test_setup_teardown(test_threads, disk_begin, disk_end),
        cmocka_unit_test(test_prompts_of_a_batch),
        cmocka_unit_test_setup_teardown(test_refused, disk_begin, disk_end),
        cmocka_unit_test_setup_teardown(test_csv, disk_begin, disk_end),
        cmocka_unit_test(test_of_a_sweep),
        cmocka_unit_test_setup_teardown(test_memory, disk_begin, disk_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
