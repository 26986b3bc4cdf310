// Evaluation against a count by hand from logits; what the options may and may not change.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "alloc_failure.h"
#include "memory_fs.h"
#include "model/graph.h"
#include "pack_bytes.h"
#include "tiny_models.h"
#include "train/evaluate.h"
#include "sgatlin_data.h"

enum { T = 12, val_rows = 11 };
static memory_fs *fs;
static sg_context *context;
static sg_model *model;
static sg_data *concat, *padded; // both with val_rows in the validation split
static sg_model *make_model(sg_context *in, int64_t vocab, int64_t positions)
{
    sg_error err = {0};
    sg_model *made;
    sg_config c = tiny_config("sgatlin", vocab, positions);
    if (sg_model_new(in, &c, 3, &made, &err) != SG_OK) fail_msg("%s", err.message);
    // Sharper than fresh weights, so that batches differ.
    for (int64_t i = 0; i < made->params.specs[0].count; i++)
        made->values[0][i] *= 4;
    return made;
}

static sg_data *make_data(const char *folder, sg_pack_mode mode, const char *text, double val)
{
    sg_error err = {0};
    sg_data *data = NULL;
    sg_pack_encoder encoder = bytes_encoder();
    sg_pack_options options = sg_pack_options_default();
    options.seq_len = T;
    options.mode = mode;
    options.val_fraction = val;
    if (bytes_pack(text, &encoder, NULL, &options, folder, NULL, &err) != SG_OK ||
        sg_data_open(folder, SG_VERIFY_AUTO, &data, &err) != SG_OK)
        fail_msg("%s", err.message);
    return data;
}

static int set_up(void **state)
{
    (void)state;
    fs = memory_fs_new();
    sg_fs_set(memory_fs_table(fs));
    sg_context_options options = sg_context_options_default();
    options.threads = 2;
    if (sg_context_new(&options, &context, NULL) != SG_OK) return -1;
    model = make_model(context, BYTES_VOCAB, T);
    char text[4096];
    size_t used = 0;
    // Documents of 1 to 20 letters; all of them are validation.
    for (int i = 0; i < val_rows; i++) {
        for (int j = 0; j <= (i * 7) % 20; j++)
            text[used++] = (char)('a' + (i * j + i) % 26);
        used += (size_t)sprintf(text + used, "\n<|endoftext|>\n");
    }
    padded = make_data("padded", SG_PACK_PAD, text, 1);
    used = 0;
    for (int j = 0; j < val_rows * T - 1; j++)
        text[used++] = (char)('a' + (j * j + j / 5) % 26);
    text[used] = '\0';
    concat = make_data("concat", SG_PACK_CONCAT, text, 1);
    return sg_data_get_info(concat)->split[SG_SPLIT_VAL].rows == val_rows &&
                   sg_data_get_info(padded)->split[SG_SPLIT_VAL].rows == val_rows
               ? 0
               : -1;
}

typedef struct sequences {
    double loss[val_rows];
    int64_t targets[val_rows], next;
} sequences;

static void take_sequence(void *user, int64_t sequence, double loss, int64_t targets)
{
    sequences *s = user;
    assert_int_equal(sequence, s->next);
    s->loss[s->next] = loss;
    s->targets[s->next++] = targets;
}

// Sequences come in order, add up to the whole, and are the same whatever is computed at a time.
static void test_sequences(void **state)
{
    (void)state;
    const sg_data *both[] = {concat, padded};
    for (int d = 0; d < 2; d++) {
        sequences first = {0};
        for (int64_t micro = 1; micro <= 4; micro++) {
            sg_error err = {0};
            sg_eval_result plain, told;
            sequences s = {0};
            sg_eval_options options = sg_eval_options_default();
            options.batch_size = 4;
            options.micro_batch = micro;
            assert_int_equal(sg_evaluate(model, both[d], &options, &plain, &err), SG_OK);
            options.sequence = take_sequence;
            options.sequence_user = &s;
            assert_int_equal(sg_evaluate(model, both[d], &options, &told, &err), SG_OK);
            assert_true(plain.loss == told.loss && plain.tokens == told.tokens);
            double loss = 0;
            int64_t targets = 0;
            assert_int_equal(s.next, val_rows);
            for (int i = 0; i < val_rows; i++) {
                loss += s.loss[i];
                targets += s.targets[i];
                if (micro == 1) first = s;
                assert_int_equal(s.targets[i], first.targets[i]);
                assert_true(fabs(s.loss[i] - first.loss[i]) < 1e-4);
            }
            assert_int_equal(targets, told.tokens);
            assert_true(fabs(loss / (double)targets - told.loss) < 1e-9);
        }
    }
}

static int tear_down(void **state)
{
    (void)state;
    sg_data_free(concat);
    sg_data_free(padded);
    sg_model_free(model);
    sg_context_free(context);
    sg_fs_set(NULL);
    memory_fs_free(fs);
    return 0;
}

static sg_eval_result evaluate(sg_model *m, const sg_data *data, int64_t batch, int64_t micro,
                               int64_t most)
{
    sg_error err = {0};
    sg_eval_result r;
    sg_eval_options o = sg_eval_options_default();
    o.batch_size = batch;
    o.micro_batch = micro;
    o.max_batches = most;
    if (sg_evaluate(m, data, &o, &r, &err) != SG_OK) fail_msg("%s", err.message);
    return r;
}

// ---- by hand ----------------------------------------------------------------------------------

// Loss sum, targets and hits of one row, from the logits of a pass of its own.
static void row_by_hand(const sg_data *data, int64_t row, double *loss, int64_t *tokens,
                        int64_t *correct)
{
    const sg_data_info *info = sg_data_get_info(data);
    int32_t ids[T], inputs[T];
    assert_int_equal(sg_data_row(data, SG_SPLIT_VAL, row, ids, NULL), SG_OK);
    inputs[0] = (int32_t)info->eos_id;
    memcpy(inputs + 1, ids, (T - 1) * sizeof *ids);
    sg_graph_options options = {.batch = 1, .length = T, .output = SG_OUTPUT_LOGITS, .threads = 1};
    sg_graph *graph;
    assert_int_equal(sg_graph_new(&model->config, &model->params, model->values, NULL, &model->rope,
                                  &options, &graph, NULL),
                     SG_OK);
    graph->ids->data = inputs;
    sg_run run = {.compute = {.kernels = sg_kernels_fastest()}};
    sg_tape_forward(graph->tape, &run);
    *loss = 0;
    *tokens = *correct = 0;
    for (int t = 0; t < T; t++) {
        const sg_real *logits = sg_values(graph->logits) + t * BYTES_VOCAB;
        if (ids[t] == info->pad_id) continue;
        int32_t best = 0;
        double sum = 0;
        for (int v = 0; v < BYTES_VOCAB; v++) {
            if (logits[v] > logits[best]) best = v;
            sum += exp((double)logits[v]);
        }
        *loss += log(sum) - (double)logits[ids[t]];
        *correct += best == ids[t];
        ++*tokens;
    }
    sg_graph_free(graph);
}

static void expect_by_hand(const sg_data *data, int64_t batch, const sg_eval_result *r)
{
    double loss = 0, batch_loss = 0, means = 0, last = 0;
    int64_t tokens = 0, correct = 0, batch_tokens = 0, full = 0;
    for (int64_t row = 0; row < val_rows; row++) {
        double l;
        int64_t t, c;
        row_by_hand(data, row, &l, &t, &c);
        loss += l;
        tokens += t;
        correct += c;
        batch_loss += l;
        batch_tokens += t;
        if ((row + 1) % batch != 0 && row + 1 < val_rows) continue;
        last = exp(batch_loss / (double)batch_tokens);
        if ((row + 1) % batch == 0) {
            means += last;
            full++;
        }
        batch_loss = 0;
        batch_tokens = 0;
    }
    assert_int_equal(r->tokens, tokens);
    assert_int_equal(r->batches, full ? full : 1);
    assert_true(fabs(r->loss / (loss / (double)tokens) - 1) < 1e-5);
    assert_true(fabs(r->perplexity / exp(loss / (double)tokens) - 1) < 1e-4);
    assert_true(fabs(r->perplexity_batch_mean / (full ? means / (double)full : last) - 1) < 1e-4);
    assert_true(r->accuracy == (double)correct / (double)tokens);
}

static void test_by_hand(void **state)
{
    (void)state;
    const sg_data *both[] = {concat, padded};
    const int64_t batches[] = {1, 2, 3, 4, val_rows, 64};
    for (int d = 0; d < 2; d++)
        for (size_t b = 0; b < sizeof batches / sizeof *batches; b++) {
            sg_eval_result r = evaluate(model, both[d], batches[b], 2, 0);
            expect_by_hand(both[d], batches[b], &r);
        }
    assert_int_equal(evaluate(model, concat, 4, 2, 0).tokens, val_rows * T);
    assert_true(evaluate(model, padded, 4, 2, 0).tokens < val_rows * T);
}

// ---- what the options change --------------------------------------------------------------------

static void test_options(void **state)
{
    (void)state;
    const sg_data *both[] = {concat, padded};
    for (int d = 0; d < 2; d++) {
        sg_eval_result base = evaluate(model, both[d], 4, 2, 0);
        for (int64_t batch = 1; batch <= val_rows + 1; batch++)
            for (int64_t micro = 1; micro <= val_rows + 1; micro += 3) {
                sg_eval_result r = evaluate(model, both[d], batch, micro, 0);
                assert_true(fabs(r.loss - base.loss) < 1e-6 * base.loss);
                assert_true(r.tokens == base.tokens && r.accuracy == base.accuracy);
                sg_eval_result one = evaluate(model, both[d], batch, 1, 0);
                assert_true(fabs(r.perplexity_batch_mean / one.perplexity_batch_mean - 1) < 1e-6);
            }
        assert_true(evaluate(model, both[d], 1, 1, 0).perplexity_batch_mean !=
                    base.perplexity_batch_mean);
    }
    // Batches of equal weight: the mean of exponentials is not below that of the mean.
    sg_eval_result single = evaluate(model, concat, 1, 8, 0);
    assert_true(single.perplexity_batch_mean > single.perplexity);
    sg_eval_result whole = evaluate(model, concat, val_rows, 8, 0);
    assert_true(fabs(whole.perplexity_batch_mean / whole.perplexity - 1) < 1e-9);
    // A part: the first batches, and more than there are.
    sg_eval_result part = evaluate(model, concat, 4, 3, 2);
    assert_int_equal(part.tokens, 8 * T);
    assert_int_equal(part.batches, 2);
    assert_int_equal(evaluate(model, concat, 4, 3, 3).tokens, val_rows * T);
    assert_int_equal(evaluate(model, concat, 4, 3, 99).tokens, val_rows * T);
    // Sizes far beyond the data take no memory of their own.
    sg_eval_result huge = evaluate(model, concat, INT64_MAX, INT64_MAX, INT64_MAX);
    assert_int_equal(huge.tokens, val_rows * T);
    assert_int_equal(huge.batches, 1);
}

static void test_threads(void **state)
{
    (void)state;
    sg_eval_result base = {0};
    const int threads[] = {1, 2, 3, 8};
    for (int i = 0; i < 4; i++) {
        sg_context *own;
        sg_context_options options = sg_context_options_default();
        options.threads = threads[i];
        assert_int_equal(sg_context_new(&options, &own, NULL), SG_OK);
        sg_model *m = make_model(own, BYTES_VOCAB, T);
        sg_eval_result r = evaluate(m, padded, 4, 3, 0);
        if (i == 0) base = r;
        assert_memory_equal(&r, &base, sizeof r);
        sg_model_free(m);
        sg_context_free(own);
    }
}

// Narrow weights are evaluated as they are: like the f32 model of the very weights that they stand
// for, with the same bits for any number of threads, and not like the model they were made of.
static void test_narrow(void **state)
{
    (void)state;
    const sg_weights types[] = {SG_WEIGHTS_BF16, SG_WEIGHTS_INT8};
    const sg_eval_result wide = evaluate(model, padded, 4, 3, 0);
    for (int t = 0; t < 2; t++) {
        sg_error err = {0};
        sg_model *same = make_model(context, BYTES_VOCAB, T);
        sg_eval_result first = {0};
        for (int threads = 1; threads <= 3; threads++) {
            sg_context *own;
            sg_context_options options = sg_context_options_default();
            options.threads = threads;
            assert_int_equal(sg_context_new(&options, &own, NULL), SG_OK);
            sg_model *m = make_model(own, BYTES_VOCAB, T);
            assert_int_equal(sg_model_narrow(m, types[t], &err), SG_OK);
            assert_null(m->values[0]); // the classifier too
            sg_eval_result r = evaluate(m, padded, 4, 3, 0);
            if (threads == 1) first = r;
            assert_memory_equal(&r, &first, sizeof r);
            for (size_t i = 0; i < m->params.count; i++) {
                int64_t d = m->params.specs[i].shape[m->params.specs[i].rank - 1];
                if (sg_narrow_has(&m->narrow, i))
                    sg_stored_read(sg_kernels_fastest(), same->values[i], &m->narrow.items[i], 0,
                                   m->params.specs[i].count / d, d);
            }
            sg_model_free(m);
            sg_context_free(own);
        }
        sg_eval_result exact = evaluate(same, padded, 4, 3, 0);
        assert_int_equal(first.tokens, exact.tokens);
        assert_true(fabs(first.loss / exact.loss - 1) < 1e-5);
        assert_true(first.loss != wide.loss && fabs(first.loss / wide.loss - 1) < 0.1);
        sg_model_free(same);
    }
}

typedef struct watched {
    int calls, stop_at;
    int64_t done, total;
} watched;

static bool watch(void *user, int64_t done, int64_t total)
{
    watched *w = user;
    assert_true(done > w->done && done <= total);
    w->done = done;
    w->total = total;
    return ++w->calls != w->stop_at;
}

static void test_progress(void **state)
{
    (void)state;
    sg_error err = {0};
    sg_eval_result r;
    watched w = {0};
    sg_eval_options o = sg_eval_options_default();
    o.batch_size = 4;
    o.progress = watch;
    o.progress_user = &w;
    assert_int_equal(sg_evaluate(model, concat, &o, &r, &err), SG_OK);
    assert_true(w.calls == 3 && w.done == val_rows && w.total == val_rows);
    w = (watched){0};
    o.max_batches = 2;
    assert_int_equal(sg_evaluate(model, concat, &o, &r, &err), SG_OK);
    assert_true(w.calls == 2 && w.done == 8 && w.total == 8);
    w = (watched){.stop_at = 1};
    assert_int_equal(sg_evaluate(model, concat, &o, &r, &err), SG_ERR_STOPPED);
    assert_string_equal(err.message, "stopped after 1 batches");
}

// ---- refusals ---------------------------------------------------------------------------------

static void expect_refused(sg_model *m, const sg_data *data, sg_eval_options o, sg_status expected,
                           const char *message)
{
    sg_error err = {0};
    sg_eval_result r;
    int64_t live = sg_alloc_live();
    assert_int_equal(sg_evaluate(m, data, &o, &r, &err), expected);
    if (strstr(err.message, message) == NULL)
        fail_msg("found \"%s\", expected \"%s\"", err.message, message);
    assert_int_equal(sg_alloc_live(), live);
}

static void test_refusals(void **state)
{
    (void)state;
    sg_eval_options good = sg_eval_options_default(), o = good;
    sg_model *other = make_model(context, BYTES_VOCAB - 1, T);
    sg_model *shorter = make_model(context, BYTES_VOCAB, T - 1);
    expect_refused(other, concat, good, SG_ERR_MISMATCH,
                   "packed with a vocabulary of 259, expected at most the model's 258");
    expect_refused(shorter, concat, good, SG_ERR_MISMATCH,
                   "packed for sequences of 12, expected at most the model's 11");
    sg_data *train = make_data("train", SG_PACK_PAD, "abc", 0);
    expect_refused(model, train, good, SG_ERR_MISMATCH, "the validation split is empty");
    o.split = SG_SPLIT_TRAIN;
    expect_refused(model, concat, o, SG_ERR_MISMATCH, "the training split is empty");
    o.split = (sg_split)2;
    expect_refused(model, concat, o, SG_ERR_ARGUMENT, "split: found 2, expected 0 or 1");
    o = good;
    o.batch_size = 0;
    expect_refused(model, concat, o, SG_ERR_ARGUMENT, "batch-size: found 0");
    o = good;
    o.micro_batch = -1;
    expect_refused(model, concat, o, SG_ERR_ARGUMENT, "micro-batch: found -1");
    o = good;
    o.max_batches = -1;
    expect_refused(model, concat, o, SG_ERR_ARGUMENT, "batches: found -1");
    sg_model *damaged = make_model(context, BYTES_VOCAB, T);
    damaged->values[damaged->params.count - 1][0] = NAN; // the last norm
    expect_refused(damaged, concat, good, SG_ERR_NUMERIC, "the loss is nan");
    sg_model_free(damaged);
    sg_model_free(other);
    sg_model_free(shorter);
    sg_data_free(train);
}

static sg_status evaluate_operation(void *user, sg_error *err)
{
    (void)user;
    sg_eval_result r;
    sg_eval_options o = sg_eval_options_default();
    return sg_evaluate(model, padded, &o, &r, err);
}

static void test_failing_allocations(void **state)
{
    (void)state;
    assert_true(alloc_failure_loop(evaluate_operation, NULL) > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_hand),  cmocka_unit_test(test_sequences),
        cmocka_unit_test(test_options),  cmocka_unit_test(test_threads),
        cmocka_unit_test(test_narrow),   cmocka_unit_test(test_progress),
        cmocka_unit_test(test_refusals), cmocka_unit_test(test_failing_allocations),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
