// What a sparse model loses at several settings: losses are those of an evaluation, work that of a
// plain count, the control reads as much, and all blocks lose nothing; another share of blocks; the
// files.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "alloc_failure.h"
#include "base/alloc.h"
#include "sgatlin_probe.h"
#include "sgatlin_sparsify.h"
#include "word_models.h"

// The text has five windows of five tokens, the first of which begins it.
enum { blocks = 12, window = 5, points_max = 16 };

static sg_sparsify_curve_options tiny(void)
{
    sg_sparsify_curve_options o = sg_sparsify_curve_options_default();
    o.text = text;
    o.text_bytes = strlen(text);
    o.tokenizer = tokenizer;
    o.context = window;
    o.resamples = 50;
    return o;
}

typedef struct curves {
    sg_sparsify_point items[points_max];
    double losses[points_max][8];
    int count, stop_after;
} curves;

static bool take(void *user, const sg_sparsify_point *p, const double *losses)
{
    curves *c = user;
    assert_true(c->count < points_max && p->windows <= 8);
    memcpy(c->losses[c->count], losses, (size_t)p->windows * sizeof *losses);
    c->items[c->count++] = *p;
    return c->count != c->stop_after;
}

static curves curve_of(sg_model *m, const sg_sparsify_curve_options *o)
{
    sg_error err = {0};
    curves c = {0};
    const int64_t live = sg_alloc_live();
    must(sg_sparsify_curve(m, o, take, &c, &err), &err);
    assert_int_equal(sg_alloc_live(), live);
    return c;
}

// ---- losses and work ----------------------------------------------------------------------------

// By the evaluation of texts, and by FLOPs of a layer that reads so many blocks of two neurons,
// each of two rows of 16 numbers or, gated, three.
static void check_point(sg_model *m, const sg_sparsify_point *p, const double *losses, double each,
                        int rows, double router)
{
    sg_error err = {0};
    const sg_eval_text_options o = {.context = window, .stride = window};
    sg_eval_text_result r;
    must(sg_evaluate_text(m, tokenizer, text, strlen(text), &o, &r, &err), &err);
    const double block = 2.0 * rows * 16 * 2, all = blocks * block;
    double sum = 0;
    for (int64_t w = 0; w < p->windows; w++)
        sum += losses[w];
    assert_int_equal(p->tokens, r.tokens);
    assert_int_equal(p->windows, r.windows);
    assert_true(fabs(p->loss - r.loss) < 1e-12);
    assert_true(fabs(sum / (double)p->tokens - r.loss) < 1e-12);
    assert_true(fabs(p->perplexity - exp(r.loss)) < 1e-9);
    assert_true(p->loss_low <= p->loss && p->loss <= p->loss_high);
    assert_true(p->loss_low < p->loss_high);
    assert_true(fabs(p->blocks - each) < 1e-12);
    assert_true(fabs(p->read - each / blocks) < 1e-12);
    assert_true(fabs(p->router - router / all) < 1e-12);
    assert_true(fabs(p->flops - (each * block + router) / all) < 1e-12);
}

static void test_active(void **state)
{
    (void)state;
    static const double active[] = {0.25, 0.5, 1};
    sg_error err = {0};
    sg_model *m = model_of("moefied ffn_activation=swiglu");
    const sg_config before = *sg_model_config(m);
    sg_sparsify_curve_options o = tiny();
    o.active = active;
    o.active_count = 3;
    const curves c = curve_of(m, &o);
    assert_int_equal(c.count, 3);
    assert_memory_equal(sg_model_config(m), &before, sizeof before);
    for (int i = 0; i < 3; i++) {
        const sg_sparsify_point *p = &c.items[i];
        assert_true(p->active == active[i] && isnan(p->threshold) && p->control == SG_CONTROL_NONE);
        assert_true(isnan(p->excess) && isnan(p->tokens_per_second));
        assert_string_equal(p->family, "moefied");
        must(sg_sparsify_set_active(m, active[i], &err), &err);
        assert_int_equal(sg_model_config(m)->ffn_top_k, 12 * active[i]);
        check_point(m, p, c.losses[i], 12 * active[i], 3, 2 * 16 * 12);
    }
    assert_true(fabs(c.items[0].loss - c.items[2].loss) > 1e-6);
    sg_model_free(m);
}

// A threshold of 0 keeps all of scores between 0 and 1, one of 2 nothing.
static void test_thresholds(void **state)
{
    (void)state;
    static const double thresholds[] = {0, 0.5, 2}, active[] = {0.1};
    sg_error err = {0};
    sg_model *m = model_of("moefied ffn_select=threshold ffn_threshold=0.3 ffn_top_k=12");
    sg_sparsify_curve_options o = tiny();
    o.thresholds = thresholds;
    o.threshold_count = 3;
    o.active = active; // for others
    o.active_count = 1;
    const curves c = curve_of(m, &o);
    assert_int_equal(c.count, 3);
    assert_true(c.items[0].read == 1 && c.items[2].read == 0);
    assert_true(c.items[1].read > 0 && c.items[1].read < 1);
    for (int i = 0; i < 3; i++) {
        assert_true(isnan(c.items[i].active) && c.items[i].threshold == thresholds[i]);
        must(sg_sparsify_set_threshold(m, thresholds[i], &err), &err);
        check_point(m, &c.items[i], c.losses[i], c.items[i].blocks, 2, 2 * 16 * 12);
    }
    sg_model_free(m);
}

// Of settings that come to the same the first is read: of 12 blocks 0.1 and 0.01 are 1, 0.5 and
// 0.52 are 6. Layers count apart.
static void test_same(void **state)
{
    (void)state;
    static const double active[] = {0.5, 0.1, 0.52, 0.01, 0.1, 1}, thresholds[] = {0.5, 0.2, 0.5};
    static const double kept[] = {0.5, 0.1, 1};
    sg_model *m = model_of("moefied"), *counted;
    sg_model *sized = model_of("moefied ffn_layer_block_size=2,8 ffn_layer_top_k=4,2");
    sg_sparsify_curve_options o = tiny();
    o.active = active;
    o.active_count = 6;
    o.thresholds = thresholds;
    o.threshold_count = 3;
    const curves c = curve_of(m, &o);
    assert_int_equal(c.count, 3);
    for (int i = 0; i < 3; i++)
        assert_true(c.items[i].active == kept[i]);
    const double apart[] = {0.34, 0.4, 0.3}; // 4 of 12 and 1 of 3; 5 and 1; 4 and 1
    o.active = apart;
    o.active_count = 3;
    const curves layers = curve_of(sized, &o);
    assert_int_equal(layers.count, 2);
    assert_true(layers.items[1].active == 0.4);
    counted = model_of("moefied ffn_select=threshold ffn_threshold=0.3 ffn_top_k=12");
    const curves by_threshold = curve_of(counted, &o);
    assert_int_equal(by_threshold.count, 2);
    assert_true(by_threshold.items[1].threshold == 0.2);
    sg_model_free(counted);
    sg_model_free(sized);
    sg_model_free(m);
}

typedef struct left_out {
    double values[4];
    int count;
} left_out;

static void hear_left_out(void *user, double active, const char *why)
{
    left_out *l = user;
    assert_non_null(strstr(why, "of 14 blocks, expected more than the 2 shared ones"));
    l->values[l->count++] = active;
}

// Two of 14 blocks are shared: 0.01 and 0.15 are not above them, the other shares are read. Of such
// shares alone nothing is left, and what is wrong for any model is refused all the same.
static void test_left_out(void **state)
{
    (void)state;
    static const double active[] = {0.01, 0.5, 0.15, 1, 2};
    sg_error err = {0};
    sg_model *m = model_of("moefied ffn_activation=swiglu ffn_shared_experts=1 ffn_shared_size=4");
    sg_sparsify_curve_options o = tiny();
    left_out left = {0};
    curves none = {0};
    o.active = active;
    o.active_count = 4;
    const curves silent = curve_of(m, &o);
    o.left_out = hear_left_out;
    o.left_out_user = &left;
    const curves c = curve_of(m, &o);
    assert_true(c.count == 2 && c.items[0].active == 0.5 && c.items[1].active == 1);
    assert_true(c.items[0].blocks == 5 && silent.count == 2);
    assert_true(left.count == 2 && left.values[0] == 0.01 && left.values[1] == 0.15);
    o.active_count = 1;
    assert_int_equal(sg_sparsify_curve(m, &o, take, &none, &err), SG_ERR_ARGUMENT);
    assert_string_equal(err.message,
                        "active: found 0.01 of 14 blocks, expected more than the 2 shared ones");
    o.active_count = 5;
    assert_int_equal(sg_sparsify_curve(m, &o, take, &none, &err), SG_ERR_ARGUMENT);
    assert_string_equal(err.message, "active: found 2, expected more than 0 and at most 1");
    assert_int_equal(none.count, 0);
    sg_model_free(m);
}

// One point of what has nothing to be set, and no control of what does not choose.
static void test_one_point(void **state)
{
    (void)state;
    static const double active[] = {0.5, 1};
    static const char *const kinds[] = {"mlp", "glu", "moe", "sgatlin"};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        sg_model *m = model_of(kinds[k]);
        sg_sparsify_curve_options o = tiny();
        o.active = active;
        o.active_count = 2;
        o.random = true;
        const curves c = curve_of(m, &o);
        assert_int_equal(c.count, 1);
        assert_true(isnan(c.items[0].active) && c.items[0].control == SG_CONTROL_NONE);
        if (k < 2)
            assert_true(c.items[0].flops == 1 && c.items[0].router == 0 && c.items[0].blocks == 0);
        else
            assert_true(c.items[0].flops > c.items[0].router && c.items[0].blocks > 0);
        sg_model_free(m);
    }
    sg_model *m = model_of("moefied"); // no setting: as it is
    const sg_sparsify_curve_options o = tiny();
    const curves c = curve_of(m, &o);
    assert_int_equal(c.count, 1);
    assert_true(c.items[0].blocks == 3);
    sg_model_free(m);
}

// ---- neurons by their gates ---------------------------------------------------------------------

static sg_status count_neurons(void *user, const sg_point_values *p, sg_error *err)
{
    int64_t *count = user;
    (void)err;
    for (int64_t i = 0; i < p->shape[0] * p->shape[1] * p->shape[2]; i++)
        *count += p->values[i] < 0 || p->values[i] > 0;
    return SG_OK;
}

// Gates are read of all 24 neurons, the other two rows of those that they leave in.
static void test_gate(void **state)
{
    (void)state;
    static const double thresholds[] = {0, 0.02, 1e6};
    sg_error err = {0};
    sg_model *m = model_of("moefied ffn_router=gate ffn_activation=swiglu ffn_block_size=0 "
                           "ffn_top_k=1 ffn_select=threshold");
    sg_sparsify_curve_options o = tiny();
    o.thresholds = thresholds;
    o.threshold_count = 3;
    o.random = true; // there is nothing to choose
    const curves c = curve_of(m, &o);
    assert_int_equal(c.count, 3);
    for (int i = 0; i < 3; i++) {
        int64_t count = 0;
        sg_eval_text_result r;
        const sg_point_request request = {"blocks.*.mlp.hook_post", SG_POINT_READ, count_neurons,
                                          &count};
        const sg_points points = {&request, 1};
        const sg_eval_text_options read = {.context = window, .stride = window, .points = &points};
        must(sg_sparsify_set_threshold(m, thresholds[i], &err), &err);
        must(sg_evaluate_text(m, tokenizer, text, strlen(text), &read, &r, &err), &err);
        const double each = (double)count / 2 / (double)r.tokens; // in each of two layers
        assert_true(fabs(c.items[i].loss - r.loss) < 1e-12);
        assert_true(fabs(c.items[i].blocks - each) < 1e-12);
        assert_true(fabs(c.items[i].read - each / 24) < 1e-12);
        assert_true(fabs(c.items[i].flops - (24 + 2 * each) / 72) < 1e-12);
        assert_true(c.items[i].router == 0);
    }
    assert_true(c.items[0].flops == 1 && c.items[2].blocks == 0);
    assert_true(c.items[1].blocks > 0 && c.items[1].blocks < 24);
    assert_int_equal(sg_sparsify_set_active(m, 0.5, &err), SG_ERR_UNSUPPORTED);
    sg_model_free(m);
}

// A threshold of 0 leaves out what is 0 already, which spares w_out alone: gated two rows of three
// are read of all neurons. A layer of its own threshold counts by it.
static void test_gate_of_zeros(void **state)
{
    (void)state;
    static const double thresholds[] = {0};
    sg_model *m = model_of("moefied ffn_router=gate ffn_activation=reglu ffn_block_size=0 "
                           "ffn_top_k=1 ffn_select=threshold ffn_active_neurons=6");
    sg_model *mixed = model_of("moefied ffn_router=gate ffn_activation=reglu ffn_block_size=0 "
                               "ffn_top_k=1 ffn_select=threshold ffn_layer_threshold=0,1e6");
    sg_sparsify_curve_options o = tiny();
    const curves half = curve_of(mixed, &o);
    o.thresholds = thresholds;
    o.threshold_count = 1;
    const curves c = curve_of(m, &o);
    const sg_sparsify_point *p = &c.items[0];
    assert_true(c.count == 1 && p->read > 0.2 && p->read < 0.8);
    assert_true(fabs(p->flops - (2 + p->read) / 3) < 1e-12);
    // Of the second layer the gate alone, and of the first what the mean of both says.
    assert_true(half.count == 1 && half.items[0].read > 0.1 && half.items[0].read < 0.4);
    assert_true(fabs(half.items[0].flops - ((2 + 2 * half.items[0].read) / 3 + 1.0 / 3) / 2) <
                1e-12);
    sg_model_free(mixed);
    sg_model_free(m);
}

// ---- inputs -------------------------------------------------------------------------------------

typedef struct input_sizes {
    double threshold;
    int64_t read, all;
} input_sizes;

static sg_status count_inputs(void *user, const sg_point_values *p, sg_error *err)
{
    input_sizes *s = user;
    const int64_t n = p->shape[0] * p->shape[1] * (p->rank > 2 ? p->shape[2] : 1);
    (void)err;
    for (int64_t i = 0; i < n; i++)
        s->read += !(fabsf(p->values[i]) <= (float)s->threshold);
    s->all += n;
    return SG_OK;
}

// With copies of matrices by columns, which the model keeps from the first session on.
static sg_model *model_with_copies(const char *kind)
{
    sg_error err = {0};
    sg_model *m = model_of(kind);
    sg_session *first;
    must(sg_session_new(m, 1, &first, &err), &err);
    sg_session_free(first);
    return m;
}

// Thresholds of both layers are multiplied by those of the curve; work is that of plain counts.
static void test_inputs(void **state)
{
    (void)state;
    static const double factors[] = {0, 1, 2};
    static const char *const points[] = {"blocks.*.ln1.hook_normalized", "blocks.*.attn.hook_z",
                                         "blocks.*.ln2.hook_normalized", "blocks.*.mlp.hook_post"};
    static const double own[] = {0.4, 0.01, 0.5, 0.001};
    sg_error err = {0};
    sg_model *m = model_with_copies("glu ffn_activation=swiglu trim_attention=0.4,0.4 "
                                    "trim_attention_out=0.01,0.01 trim_ffn=0.5,0.5 "
                                    "trim_ffn_down=0.001,0.001");
    const sg_config before = *sg_model_config(m);
    sg_sparsify_curve_options o = tiny();
    o.thresholds = factors;
    o.threshold_count = 3;
    o.random = true; // there is nothing to choose
    const curves c = curve_of(m, &o);
    assert_int_equal(c.count, 3);
    assert_memory_equal(sg_model_config(m), &before, sizeof before);
    for (int i = 0; i < 3; i++) {
        input_sizes sizes[4];
        sg_point_request requests[4];
        double share[4];
        sg_eval_text_result r;
        sg_model *same = model_of("glu ffn_activation=swiglu trim_attention=0.4,0.4 "
                                  "trim_attention_out=0.01,0.01 trim_ffn=0.5,0.5 "
                                  "trim_ffn_down=0.001,0.001");
        for (int k = 0; k < 4; k++) {
            // Behind activations what is left out is 0 already.
            sizes[k] = (input_sizes){.threshold = k < 3 ? factors[i] * own[k] : 0};
            if (factors[i] == 0 && k < 3) sizes[k].threshold = -1;
            requests[k] = (sg_point_request){points[k], SG_POINT_READ, count_inputs, &sizes[k]};
        }
        const sg_points list = {requests, 4};
        const sg_eval_text_options read = {.context = window, .stride = window, .points = &list};
        must(sg_sparsify_set_threshold(same, factors[i], &err), &err);
        must(sg_evaluate_text(same, tokenizer, text, strlen(text), &read, &r, &err), &err);
        for (int k = 0; k < 4; k++)
            share[k] = (double)sizes[k].read / (double)sizes[k].all;
        const sg_sparsify_point *p = &c.items[i];
        assert_string_equal(p->select, "inputs");
        assert_true(p->threshold == factors[i] && fabs(p->loss - r.loss) < 1e-12);
        assert_true(fabs(p->flops - (2 * share[2] + share[3]) / 3) < 1e-12);
        // Matrices are 16 by 16, of the layer 24 by 16.
        const double all = (16 * (3 * share[0] + share[1]) + 24 * (2 * share[2] + share[3])) / 136;
        assert_true(fabs(p->layer_flops - all) < 1e-12 && fabs(p->read - all) < 1e-12);
        sg_model_free(same);
    }
    assert_true(c.items[0].flops == 1 && c.items[1].flops < 1);
    assert_true(c.items[2].layer_flops < c.items[1].layer_flops);
    assert_int_equal(sg_sparsify_set_active(m, 0.5, &err), SG_ERR_UNSUPPORTED);
    sg_model_free(m);
}

// A place whose threshold is 0 is read whole, also behind activations that are 0.
static void test_inputs_of_zeros(void **state)
{
    (void)state;
    sg_model *m = model_with_copies("mlp ffn_activation=relu trim_ffn=0,0 trim_ffn_down=0,1e-9");
    const sg_sparsify_curve_options o = tiny();
    const curves c = curve_of(m, &o);
    const sg_sparsify_point *p = &c.items[0];
    // One of four matrices has zeros, about half of its inputs.
    assert_true(c.count == 1 && p->flops > 0.75 + 0.05 && p->flops < 1 - 0.05);
    sg_model_free(m);
}

// ---- the control --------------------------------------------------------------------------------

static void test_random(void **state)
{
    (void)state;
    static const double active[] = {0.25, 1}, thresholds[] = {0.5};
    sg_model *m = model_of("moefied"), *counted;
    sg_sparsify_curve_options o = tiny();
    o.active = active;
    o.active_count = 2;
    o.thresholds = thresholds;
    o.threshold_count = 1;
    o.random = true;
    const curves c = curve_of(m, &o), again = curve_of(m, &o);
    o.seed = 2;
    const curves other = curve_of(m, &o);
    assert_int_equal(c.count, 4);
    for (int i = 0; i < 4; i++) {
        assert_true(c.items[i].control == (i % 2 ? SG_CONTROL_RANDOM : SG_CONTROL_NONE));
        assert_true(c.items[i].loss == again.items[i].loss);
        assert_true(c.items[i].blocks == c.items[i / 2 * 2].blocks);
        assert_true(c.items[i].flops == c.items[i / 2 * 2].flops);
    }
    assert_true(c.items[0].loss != c.items[1].loss);
    assert_true(c.items[1].loss != other.items[1].loss && c.items[0].loss == other.items[0].loss);
    // Of all blocks any choice is the same one.
    assert_true(fabs(c.items[2].loss - c.items[3].loss) < 1e-6);
    sg_model_free(m);
    counted = model_of("moefied ffn_select=threshold ffn_threshold=0.3 ffn_top_k=12");
    const curves varied = curve_of(counted, &o);
    assert_int_equal(varied.count, 2);
    assert_true(varied.items[0].blocks > 0 && varied.items[0].blocks < blocks);
    assert_true(varied.items[0].loss != varied.items[1].loss);
    sg_model_free(counted);
}

// Oracles read as much as the router, not the same blocks; of all blocks they choose the same. Two
// blocks of unlike neurons may be told apart by sums and lengths alike, many are not.
static void test_oracle(void **state)
{
    (void)state;
    static const double active[] = {0.25, 1};
    sg_model *m = model_of("moefied ffn_activation=swiglu");
    sg_sparsify_curve_options o = tiny();
    o.active = active;
    o.active_count = 2;
    o.oracle = true;
    const curves c = curve_of(m, &o);
    assert_int_equal(c.count, 6);
    static const sg_sparsify_control order[] = {SG_CONTROL_NONE, SG_CONTROL_ORACLE,
                                                SG_CONTROL_ORACLE_NORM};
    for (int i = 0; i < 6; i++) {
        assert_int_equal(c.items[i].control, order[i % 3]);
        assert_true(c.items[i].flops == c.items[i / 3 * 3].flops);
        assert_true(c.items[i].blocks == c.items[i / 3 * 3].blocks);
    }
    assert_true(c.items[0].loss != c.items[1].loss && c.items[0].loss != c.items[2].loss);
    assert_true(c.items[1].loss != c.items[2].loss);
    assert_true(fabs(c.items[4].loss - c.items[3].loss) < 1e-6);
    assert_true(fabs(c.items[5].loss - c.items[3].loss) < 1e-6);
    assert_string_equal(sg_sparsify_control_name(SG_CONTROL_ORACLE_NORM), "oracle_norm");
    sg_model_free(m);
}

// ---- beside a base ------------------------------------------------------------------------------

static void test_base(void **state)
{
    (void)state;
    static const double active[] = {0.5, 1};
    sg_error err = {0};
    sg_model *dense = model_of("mlp ffn_activation=relu"), *m;
    sg_sparsify_options how = sg_sparsify_options_default();
    sg_sparsify_curve_options o = tiny();
    how.block_size = 2;
    must(sg_sparsify(dense, &how, &m, NULL, &err), &err);
    const curves base = curve_of(dense, &o);
    o.active = active;
    o.active_count = 2;
    o.base = base.losses[0];
    o.base_count = base.items[0].windows;
    const curves c = curve_of(m, &o);
    for (int i = 0; i < 2; i++) {
        const sg_sparsify_point *p = &c.items[i];
        assert_true(fabs(p->excess - (p->loss - base.items[0].loss)) < 1e-12);
        assert_true(p->excess_low <= p->excess && p->excess <= p->excess_high);
    }
    // Differences vary less than losses: all blocks make none.
    assert_true(fabs(c.items[1].excess) < 1e-6);
    assert_true(c.items[1].excess_high - c.items[1].excess_low < 1e-5);
    assert_true(c.items[0].excess_high - c.items[0].excess_low > 1e-5);
    o.base_count--;
    curves none = {0};
    assert_int_equal(sg_sparsify_curve(m, &o, take, &none, &err), SG_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "base: found 4 windows, expected the 5"));
    sg_model_free(m);
    sg_model_free(dense);
}

// ---- another share of blocks --------------------------------------------------------------------

static void test_set_active(void **state)
{
    (void)state;
    sg_error err = {0};
    sg_model *m = model_of("moefied"), *dense = model_of("glu");
    sg_model *sized = model_of("moefied ffn_layer_block_size=2,8 ffn_layer_top_k=4,2");
    sg_model *shared =
        model_of("moefied ffn_activation=swiglu ffn_shared_experts=1 ffn_shared_size=4");
    const double wrong[] = {0, -1, 1.01, NAN};
    must(sg_sparsify_set_active(m, 0.001, &err), &err);
    assert_int_equal(sg_model_config(m)->ffn_top_k, 1);
    must(sg_sparsify_set_active(m, 0.5, &err), &err);
    assert_int_equal(sg_model_config(m)->ffn_top_k, 6);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(sg_sparsify_set_active(m, wrong[i], &err), SG_ERR_ARGUMENT);
    assert_int_equal(sg_model_config(m)->ffn_top_k, 6);
    must(sg_sparsify_set_active(sized, 0.5, &err), &err);
    assert_string_equal(sg_model_config(sized)->ffn_layer_top_k, "6,2"); // 3 blocks: 1.5
    must(sg_sparsify_set_active(sized, 1, &err), &err);
    assert_string_equal(sg_model_config(sized)->ffn_layer_top_k, "12,3");
    // Two blocks that every token reads are of the 14, and are read whatever the share.
    must(sg_sparsify_set_active(shared, 0.5, &err), &err);
    assert_int_equal(sg_model_config(shared)->ffn_top_k, 5);
    assert_int_equal(sg_sparsify_set_active(shared, 0.1, &err), SG_ERR_ARGUMENT);
    sg_model_free(shared);
    assert_int_equal(sg_sparsify_set_active(dense, 0.5, &err), SG_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "family glu"));
    sg_session *s;
    must(sg_session_new(m, 0, &s, &err), &err);
    assert_int_equal(sg_sparsify_set_active(m, 0.5, &err), SG_ERR_ARGUMENT);
    sg_session_free(s);
    sg_model_free(sized);
    sg_model_free(dense);
    sg_model_free(m);
}

// ---- files --------------------------------------------------------------------------------------

static size_t read_file(const char *path, char *out, size_t room)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    const size_t bytes = fread(out, 1, room - 1, f);
    out[bytes] = '\0';
    fclose(f);
    return bytes;
}

static int count_of(const char *in, const char *what)
{
    int n = 0;
    for (const char *at = in; (at = strstr(at, what)) != NULL; at += strlen(what))
        n++;
    return n;
}

static void test_files(void **state)
{
    (void)state;
    static char found[1 << 18];
    char folder[] = "/tmp/sg_curve_XXXXXX", csv[64], svg[64], html[64];
    sg_error err = {0};
    sg_sparsify_point p[4];
    assert_non_null(mkdtemp(folder));
    snprintf(csv, sizeof csv, "%s/a.csv", folder);
    snprintf(svg, sizeof svg, "%s/a.svg", folder);
    snprintf(html, sizeof html, "%s/a.html", folder);
    for (int i = 0; i < 4; i++)
        p[i] = (sg_sparsify_point){.model = i == 0 ? "a, \"b\"" : "c",
                                   .family = i == 0 ? "glu" : "moefied",
                                   .select = i == 0 ? "" : "top_k",
                                   .active = i == 0 ? NAN : 0.25 * i,
                                   .threshold = NAN,
                                   .control = i == 3 ? SG_CONTROL_RANDOM : SG_CONTROL_NONE,
                                   .loss = 1,
                                   .perplexity = 2 + i,
                                   .perplexity_low = 1 + i,
                                   .perplexity_high = 3 + i,
                                   .excess = NAN,
                                   .excess_low = NAN,
                                   .excess_high = NAN,
                                   .flops = 1 - 0.2 * i,
                                   .tokens = 20,
                                   .windows = 5,
                                   .tokens_per_second = NAN,
                                   .speed = NAN,
                                   .speed_low = NAN,
                                   .speed_high = NAN};
    sg_sparsify_files files = {
        .csv = csv, .svg = svg, .html = html, .command = "sgatlin curve", .text = "<b>.txt"};
    must(sg_sparsify_write(NULL, 0, &files, &err), &err);
    must(sg_sparsify_write(p, 4, &files, &err), &err);
    read_file(csv, found, sizeof found);
    assert_int_equal(count_of(found, "\n"), 5);
    char *line = strchr(found, '\n') + 1;
    *strchr(line, '\n') = '\0';
    assert_string_equal(line, "\"a, \"\"b\"\"\",glu,,,,,2,1,3,1,0,0,,,,0,0,1,0,0,20,5,,,,");
    assert_int_equal(count_of(found, ","), count_of(line, ",") + 25); // its header
    read_file(svg, found, sizeof found);
    assert_int_equal(count_of(found, ">c<"), 1);
    assert_int_equal(count_of(found, "c, random blocks"), 1);
    assert_int_equal(count_of(found, "speed of decoding"), 0);
    read_file(html, found, sizeof found);
    const char *data = strstr(found, "<script type=\"application/json\" id=\"curve\">");
    assert_non_null(data);
    assert_int_equal(count_of(data, "\"perplexity\":"), 4);
    assert_int_equal(count_of(data, "\"layer_flops\":"), 4);
    assert_int_equal(count_of(data, "\"control\":\"random\""), 1);
    assert_non_null(strstr(data, "\\u003cb>.txt")); // no text ends the script
    // Nothing is written over without being told to, and nothing is written then.
    for (int i = 0; i < 3; i++) {
        files = (sg_sparsify_files){
            .csv = i == 0 ? csv : NULL, .svg = i == 1 ? svg : NULL, .html = i == 2 ? html : NULL};
        assert_int_equal(sg_sparsify_write(NULL, 0, &files, &err), SG_ERR_ARGUMENT);
    }
    p[1].speed = 1.3;
    files = (sg_sparsify_files){.svg = svg, .force = true};
    must(sg_sparsify_write(p, 4, &files, &err), &err);
    read_file(svg, found, sizeof found);
    assert_int_equal(count_of(found, "speed of decoding"), 1);
    unlink(html);
    unlink(csv);
    unlink(svg);
    rmdir(folder);
}

// ---- what is wrong ------------------------------------------------------------------------------

static void test_refuses(void **state)
{
    (void)state;
    static const double wrong[] = {0.5, 2};
    sg_error err = {0};
    sg_model *m = model_of("moefied");
    sg_sparsify_curve_options o = tiny();
    curves c = {.stop_after = 1};
    o.text = NULL;
    assert_int_equal(sg_sparsify_curve(m, &o, take, &c, &err), SG_ERR_ARGUMENT);
    o = tiny();
    o.resamples = 0;
    assert_int_equal(sg_sparsify_curve(m, &o, take, &c, &err), SG_ERR_ARGUMENT);
    o = tiny();
    o.context = positions + 1;
    assert_int_equal(sg_sparsify_curve(m, &o, take, &c, &err), SG_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "context"));
    assert_int_equal(c.count, 0);
    o = tiny();
    assert_int_equal(sg_sparsify_curve(m, &o, take, &c, &err), SG_ERR_STOPPED);
    c = (curves){0};
    o.active = wrong;
    o.active_count = 2;
    assert_int_equal(sg_sparsify_curve(m, &o, take, &c, &err), SG_ERR_ARGUMENT);
    assert_int_equal(c.count, 0);                       // before anything is read
    assert_int_equal(sg_model_config(m)->ffn_top_k, 3); // as it was
    sg_model_free(m);
}

static bool hear(void *user, const sg_sparsify_point *p, const double *losses)
{
    (void)user;
    return p->windows > 0 && losses[0] > 0;
}

static sg_status curve_once(void *user, sg_error *err)
{
    static const double active[] = {0.5};
    sg_sparsify_curve_options o = tiny();
    o.active = active;
    o.active_count = 1;
    o.random = o.oracle = true;
    return sg_sparsify_curve(user, &o, hear, NULL, err);
}

static void test_memory_fails(void **state)
{
    (void)state;
    sg_model *m = model_of("moefied");
    assert_true(alloc_failure_loop(curve_once, m) > 30);
    sg_model_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_active),
        cmocka_unit_test(test_same),
        cmocka_unit_test(test_left_out),
        cmocka_unit_test(test_thresholds),
        cmocka_unit_test(test_one_point),
        cmocka_unit_test(test_inputs),
        cmocka_unit_test(test_gate),
        cmocka_unit_test(test_gate_of_zeros),
        cmocka_unit_test(test_inputs_of_zeros),
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_oracle),
        cmocka_unit_test(test_base),
        cmocka_unit_test(test_set_active),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_memory_fails),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
