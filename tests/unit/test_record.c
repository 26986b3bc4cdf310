// Records against what callbacks see, for every family; stops and resumptions; what is refused.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <signal.h>
#include <cmocka.h>

#include "alloc_failure.h"
#include "probe/neuron_tables.h"
#include "record_helpers.h"

enum { most_rows = 256, most_layers = 2, most_numbers = 512, length = 16 };

static sg_context *context;

static int group_begin(void **state)
{
    (void)state;
    context = context_on(2);
    return 0;
}

static int group_end(void **state)
{
    (void)state;
    sg_context_free(context);
    return 0;
}

static void expect_fail(sg_status status, sg_status expected, const sg_error *err, const char *says)
{
    if (status != expected || strstr(err->message, says) == NULL)
        fail_msg("found %s: \"%s\", expected %s: \"%s\"", sg_status_name(status), err->message,
                 sg_status_name(expected), says);
}

// ---- against callbacks --------------------------------------------------------------------------

typedef struct seen_layer {
    int32_t ids[most_rows][most_numbers], counts[most_rows][64];
    float scores[most_rows][most_numbers], post[most_rows][most_numbers];
    int64_t channels, k, width; // width: of post, a channel
    bool selects, scores_seen;
} seen_layer;

typedef struct seen {
    seen_layer layers[most_layers];
    int32_t tokens[most_rows], targets[most_rows];
    float logits[most_rows][BYTES_VOCAB];
} seen;

static void see_rows(seen_layer *l, const sg_point_values *p, int64_t first)
{
    const bool dense = p->rank == 2;
    const int64_t C = dense ? 1 : p->shape[1], n = dense ? p->shape[1] : p->shape[2];
    assert_true(C * n <= most_numbers && C <= 64);
    l->channels = C;
    for (int64_t r = 0; r < p->shape[0] && first + r < most_rows; r++) {
        const size_t bytes = (size_t)(C * n) * sizeof(float);
        if (p->ids != NULL) {
            l->k = n;
            l->selects = true;
            memcpy(l->ids[first + r], p->ids + r * C * n, bytes);
            for (int64_t c = 0; c < C; c++)
                l->counts[first + r][c] = p->counts ? p->counts[r * C + c] : (int32_t)n;
        } else if (strstr(p->name, "scores") != NULL) {
            l->scores_seen = true;
            memcpy(l->scores[first + r], p->values + r * C * n, bytes);
        } else {
            l->width = n;
            memcpy(l->post[first + r], p->values + r * C * n, bytes);
        }
    }
}

static sg_status see(void *user, const sg_point_values *p, sg_error *err)
{
    (void)err;
    seen *s = user;
    const int64_t first = p->first_sequence * length + p->first_row;
    if (strcmp(p->name, "logits") == 0) {
        for (int64_t r = 0; r < p->shape[0] && first + r < most_rows; r++) {
            memcpy(s->logits[first + r], p->values + r * BYTES_VOCAB, sizeof s->logits[0]);
            s->tokens[first + r] = p->tokens[p->first_row + r];
            s->targets[first + r] = p->targets[p->first_row + r];
        }
        return SG_OK;
    }
    see_rows(&s->layers[p->layer], p, first);
    return SG_OK;
}

static void see_all(sg_model *model, const sg_data *data, seen *s)
{
    memset(s, 0, sizeof *s);
    const sg_point_request requests[] = {{"*hook_gate_*", SG_POINT_READ, see, s},
                                         {"*hook_post", SG_POINT_READ, see, s},
                                         {"logits", SG_POINT_READ, see, s}};
    bool sparse = false;
    sg_point_info *list;
    size_t count;
    sg_error err = {0};
    must(sg_points_of(model, &list, &count, &err), &err);
    for (size_t i = 0; i < count; i++)
        sparse = sparse || strstr(list[i].name, "hook_gate_ids") != NULL;
    sg_buffer_free(list);
    const sg_points points = {requests + (sparse ? 0 : 1), sparse ? 3 : 2};
    sg_eval_options o = sg_eval_options_default();
    sg_eval_result result;
    o.micro_batch = o.batch_size = 3;
    o.points = &points;
    must(sg_evaluate(model, data, &o, &result, &err), &err);
}

typedef struct item {
    sg_record_hit hit;
    float weight;
} item;

// What a channel of a token should have, in order.
static int64_t expect_items(const seen_layer *l, const sg_record_layer *info, const float *norms,
                            int64_t row, int64_t c, item *items)
{
    const int64_t k = l->selects ? l->counts[row][c] : 1, g = l->selects ? l->width / l->k : 1;
    const float *post = l->post[row] + c * l->width;
    int64_t n = 0;
    const int64_t all = l->selects ? (info->unit > 1 ? k : k * g) : l->width;
    for (int64_t i = 0; i < all; i++) {
        const int64_t b = info->unit > 1 ? i : i / g, at = c * l->k + b;
        item it = {.hit = {.neuron = (int32_t)i, .score = 1, .activation = post[i]}};
        if (l->scores_seen) it.hit.score = l->scores[row][at];
        if (l->selects && info->unit == 1) it.hit.neuron = (int32_t)(l->ids[row][at] * g + i % g);
        if (info->unit > 1) {
            double sum = 0;
            for (int64_t j = 0; j < g; j++)
                sum += (double)post[i * g + j] * (double)post[i * g + j];
            it.hit.neuron = l->ids[row][at];
            it.hit.activation = (float)sqrt(sum);
        }
        it.weight = fabsf(it.hit.activation) * (norms != NULL ? norms[it.hit.neuron] : 1);
        items[n++] = it;
    }
    if (!info->strongest) return n;
    for (int64_t i = 1; i < n; i++) // stable
        for (int64_t j = i; j > 0 && items[j].weight > items[j - 1].weight; j--) {
            const item swap = items[j];
            items[j] = items[j - 1];
            items[j - 1] = swap;
        }
    return n < info->slots ? n : info->slots;
}

// Blocks multiply the rows of all tokens that select them together: which others are in the batch
// may move their last bits.
static bool same(float found, float expected, bool blocks)
{
    return blocks ? fabsf(found - expected) <= 1e-6f + 1e-5f * fabsf(expected) : found == expected;
}

static void check_channel(sg_record *record, const sg_model *model, const seen *s,
                          const sg_record_layer *info, int64_t c, const sg_record_token *t)
{
    static item items[most_numbers];
    static float norms[4096];
    sg_record_hit hits[256];
    sg_neuron_table table;
    int64_t count;
    sg_error err = {0};
    must(sg_neuron_table_of(model, info->layer, &table, &err), &err);
    assert_true(table.pools * table.neurons <= 4096);
    must(sg_neuron_out_norms(&table, norms, &err), &err);
    const float *own = info->unit > 1 ? NULL : norms + (table.pools > 1 ? c : 0) * table.neurons;
    const int64_t expected = expect_items(&s->layers[info->layer], info, own, t->id, c, items);
    must(sg_record_token_hits(record, info->layer, c, t->id, 256, hits, &count, &err), &err);
    assert_int_equal(count, expected);
    for (int64_t i = 0; i < count; i++) {
        assert_int_equal(hits[i].token, t->id);
        assert_int_equal(hits[i].neuron, items[i].hit.neuron);
        assert_true(same(hits[i].score, items[i].hit.score, info->block > 1));
        assert_true(same(hits[i].activation, items[i].hit.activation, info->block > 1));
    }
}

static void check_next(sg_record *record, const seen *s, const sg_record_token *t)
{
    sg_scored_token next[5];
    int64_t count;
    sg_error err = {0};
    const float *logits = s->logits[t->id];
    double sum = 0;
    for (int i = 0; i < BYTES_VOCAB; i++)
        sum += exp((double)logits[i]);
    assert_int_equal(t->token, s->tokens[t->id]);
    assert_int_equal(t->next, s->targets[t->id]);
    assert_true(fabs(t->logprob - ((double)logits[t->next] - log(sum))) < 1e-5);
    must(sg_record_predictions(record, t->id, 5, next, &count, &err), &err);
    assert_int_equal(count, 5);
    for (int i = 0; i < 5; i++) {
        int above = 0;
        for (int j = 0; j < BYTES_VOCAB; j++)
            above += logits[j] > logits[next[i].id] ||
                     (logits[j] == logits[next[i].id] && j < next[i].id);
        assert_int_equal(above, i);
        assert_true(fabs(next[i].logprob - ((double)logits[next[i].id] - log(sum))) < 1e-5);
    }
}

static void check_kind(const fixture *f, const sg_data *data, const char *kind, int64_t top,
                       sg_record_unit unit)
{
    static seen s;
    static sg_record_token tokens[most_rows];
    sg_error err = {0};
    int64_t count;
    sg_model *model = model_of(context, kind, 3);
    sg_record_options o = options_of(path_in(f, "r.db"), data);
    sg_record_plan plan;
    o.force = true;
    o.top = top;
    o.unit = unit;
    must(sg_probe_record(model, &o, &plan, &err), &err);
    see_all(model, data, &s);
    sg_record *record = open_of(o.path);
    const sg_record_info *info = sg_record_get_info(record);
    assert_true(info->complete);
    assert_int_equal(info->layer_count, 2);
    must(sg_record_tokens(record, 0, most_rows, tokens, &count, &err), &err);
    assert_int_equal(count, info->tokens);
    assert_true(count > plan.tokens - length); // what fills the last row up is not recorded
    assert_int_equal(info->gates, count * plan.channels);
    for (int64_t i = 0; i < count; i++) {
        check_next(record, &s, &tokens[i]);
        for (size_t c = 0; c < info->channel_count; c++)
            check_channel(record, model, &s, sg_record_find_layer(record, info->channels[c].layer),
                          info->channels[c].channel, &tokens[i]);
    }
    sg_record_free(record);
    sg_model_free(model);
}

static void test_values(void **state)
{
    const fixture *f = *state;
    const char *kind;
    sg_data *data = data_of(f, 20, length, false);
    for (int i = 0; (kind = tiny_kind(i)) != NULL; i++) {
        check_kind(f, data, kind, 64, SG_RECORD_AUTO);
        check_kind(f, data, kind, 4, i % 2 == 0 ? SG_RECORD_NEURON : SG_RECORD_AUTO);
    }
    check_kind(f, data, "moe", 64, SG_RECORD_BLOCK);
    sg_data_free(data);
}

// ---- what is derived from the rows --------------------------------------------------------------

static void check_neuron(sg_record *record, const sg_gate_rows *gates, const sg_gate_rows *posts,
                         const sg_record_neuron *sums, int64_t layer, int64_t channel, int64_t n)
{
    sg_record_hit *hits;
    int64_t count, at = 0;
    double score = 0, activation = 0;
    sg_error err = {0};
    must(sg_record_neuron_hits(record, layer, channel, n, &hits, &count, &err), &err);
    for (int64_t r = 0; r < gates->rows; r++)
        for (int64_t i = gates->begins[r]; i < gates->begins[r + 1]; i++) {
            assert_true(i == gates->begins[r] || gates->neurons[i] > gates->neurons[i - 1]);
            if (gates->neurons[i] != n) continue;
            assert_true(at < count);
            assert_int_equal(hits[at].token, gates->tokens[r]);
            assert_true(hits[at].score == gates->scores[i]);
            assert_true(hits[at].activation == posts->scores[i]);
            score += (double)gates->scores[i];
            activation += fabs((double)posts->scores[i]);
            at++;
        }
    assert_int_equal(at, count);
    assert_int_equal(sums[n].hits, count);
    assert_true(sums[n].score == score);
    assert_true(sums[n].activation == activation);
    sg_buffer_free(hits);
}

static void check_derived(const char *path)
{
    sg_record *record = open_of(path);
    const sg_record_info *info = sg_record_get_info(record);
    sg_error err = {0};
    for (size_t c = 0; c < info->channel_count; c++) {
        sg_gate_rows gates, posts;
        const int64_t layer = info->channels[c].layer, channel = info->channels[c].channel;
        const int64_t neurons = sg_record_find_layer(record, layer)->neurons;
        sg_record_neuron *sums = calloc((size_t)neurons, sizeof *sums);
        must(sg_record_gates(record, layer, channel, 0, &gates, &err), &err);
        must(sg_record_activations(record, layer, channel, 0, &posts, &err), &err);
        must(sg_record_neurons(record, layer, channel, sums, &err), &err);
        assert_int_equal(gates.columns, neurons);
        assert_int_equal(gates.rows * (int64_t)info->channel_count, info->gates);
        for (int64_t n = 0; n < neurons; n++)
            check_neuron(record, &gates, &posts, sums, layer, channel, n);
        sg_gate_rows_free(&gates);
        sg_gate_rows_free(&posts);
        free(sums);
    }
    sg_record_free(record);
}

// More tokens than a span has; and part of one where it was stopped.
static bool stop_at(void *user, int64_t done, int64_t total)
{
    (void)total;
    return done < *(const int64_t *)user;
}

static void test_derived(void **state)
{
    const fixture *f = *state;
    sg_error err = {0};
    int64_t stop = 9000;
    sg_data *data = data_of(f, 1400, length, false);
    sg_model *model = model_of(context, "sgatlin ffn_layers=2", 3);
    sg_record_options o = options_of(path_in(f, "r.db"), data);
    o.micro_batch = 8;
    o.layers = "1";
    o.progress = stop_at;
    o.user = &stop;
    expect_fail(sg_probe_record(model, &o, NULL, &err), SG_ERR_STOPPED, &err, "--resume goes on");
    sg_record *record = open_of(o.path);
    assert_false(sg_record_get_info(record)->complete);
    assert_true(sg_record_get_info(record)->tokens > 8192);
    sg_record_free(record);
    check_derived(o.path);
    o.progress = NULL;
    o.resume = true;
    must(sg_probe_record(model, &o, NULL, &err), &err);
    check_derived(o.path);
    const uint64_t resumed = digest_of(o.path);
    o.resume = false;
    o.force = true;
    must(sg_probe_record(model, &o, NULL, &err), &err);
    assert_true(digest_of(o.path) == resumed);
    sg_model_free(model);
    sg_data_free(data);
}

// ---- what decides nothing, and what does --------------------------------------------------------

static uint64_t record_with(int threads, const sg_record_options *o)
{
    sg_error err = {0};
    sg_context *own = context_on(threads);
    sg_model *model = model_of(own, "peer", 5);
    must(sg_probe_record(model, o, NULL, &err), &err);
    sg_model_free(model);
    sg_context_free(own);
    return digest_of(o->path);
}

static void test_threads(void **state)
{
    const fixture *f = *state;
    sg_data *data = data_of(f, 60, length, false);
    sg_record_options o = options_of(path_in(f, "r.db"), data);
    o.force = true;
    const uint64_t one = record_with(1, &o);
    assert_true(record_with(2, &o) == one);
    assert_true(record_with(5, &o) == one);
    sg_data_free(data);
}

// Stopped everywhere, and gone on with.
static void test_resume(void **state)
{
    const fixture *f = *state;
    sg_error err = {0};
    sg_data *data = data_of(f, 60, length, false);
    sg_model *model = model_of(context, "sgatlin", 3);
    sg_record_options o = options_of(path_in(f, "r.db"), data);
    o.force = true;
    must(sg_probe_record(model, &o, NULL, &err), &err);
    const uint64_t whole = digest_of(o.path);
    for (int64_t stop = 1; stop < 500; stop += 100) {
        int64_t at = stop, before = -1;
        int stops = 0;
        sg_status status;
        o.force = true;
        o.resume = false;
        o.progress = stop_at;
        o.user = &at;
        while ((status = sg_probe_record(model, &o, NULL, &err)) == SG_ERR_STOPPED) {
            sg_record *record = open_of(o.path);
            assert_false(sg_record_get_info(record)->complete);
            assert_true(sg_record_get_info(record)->tokens > before);
            before = sg_record_get_info(record)->tokens;
            sg_record_free(record);
            at = before + stop;
            stops++;
            o.force = false;
            o.resume = true;
        }
        must(status, &err);
        assert_true(stops > 0);
        assert_true(digest_of(o.path) == whole);
    }
    sg_model_free(model);
    sg_data_free(data);
}

static bool no_plan(void *user, const sg_record_plan *plan)
{
    *(sg_record_plan *)user = *plan;
    return false;
}

static void test_choices(void **state)
{
    const fixture *f = *state;
    sg_error err = {0};
    sg_data *data = data_of(f, 20, length, true);
    sg_model *model = model_of(context, "sgatlin", 3);
    sg_record_options o = options_of(path_in(f, "r.db"), data);
    sg_record_token tokens[64];
    sg_record_plan plan;
    int64_t count;
    o.plan = no_plan;
    o.user = &plan;
    expect_fail(sg_probe_record(model, &o, NULL, &err), SG_ERR_STOPPED, &err, "before the first");
    assert_false(sg_path_exists(o.path));
    assert_int_equal(plan.tokens, plan.sequences * length);
    assert_int_equal(plan.gates, plan.tokens * 4);
    assert_true(plan.bytes > 0 && plan.seconds >= 0);
    o.plan = NULL;
    o.layers = "1";
    o.channels = "1";
    o.first_position = 2;
    o.last_position = 4;
    o.stop_at_layer = 1;
    must(sg_probe_record(model, &o, &plan, &err), &err);
    sg_record *record = open_of(o.path);
    const sg_record_info *info = sg_record_get_info(record);
    assert_int_equal(info->channel_count, 1);
    assert_int_equal(info->stop_at_layer, 1);
    assert_int_equal(info->predictions, 0);
    assert_true(info->tokens < plan.tokens); // padding is not recorded
    must(sg_record_tokens(record, 0, 64, tokens, &count, &err), &err);
    for (int64_t i = 0; i < count; i++) {
        sg_record_hit hits[8];
        int64_t n;
        assert_true(isnan(tokens[i].logprob));
        assert_int_equal(tokens[i].id, tokens[i].sequence * length + tokens[i].position);
        must(sg_record_token_hits(record, 1, 1, tokens[i].id, 8, hits, &n, &err), &err);
        assert_int_equal(n, tokens[i].position >= 2 && tokens[i].position <= 4 ? 3 : 0);
    }
    expect_fail(sg_record_check_channel(record, 1, 0, &err), SG_ERR_NOT_FOUND, &err,
                "channel 0 of layer 1 is not recorded");
    expect_fail(sg_record_check_channel(record, 0, 0, &err), SG_ERR_NOT_FOUND, &err,
                "that layer is not recorded");
    sg_record_free(record);
    check_derived(o.path);
    sg_model_free(model);
    sg_data_free(data);
}

// A layer ends the pass: what comes before it is the same.
static void test_stop_at_layer(void **state)
{
    const fixture *f = *state;
    sg_error err = {0};
    sg_data *data = data_of(f, 20, length, false);
    sg_model *model = model_of(context, "sgatlin", 3);
    sg_record_options o = options_of(path_in(f, "r.db"), data);
    sg_gate_rows a, b;
    must(sg_probe_record(model, &o, NULL, &err), &err);
    sg_record *whole = open_of(o.path);
    o.path = path_in(f, "s.db");
    o.stop_at_layer = 0;
    must(sg_probe_record(model, &o, NULL, &err), &err);
    sg_record *part = open_of(o.path);
    assert_int_equal(sg_record_get_info(part)->layer_count, 1);
    must(sg_record_gates(whole, 0, 1, 0, &a, &err), &err);
    must(sg_record_gates(part, 0, 1, 0, &b, &err), &err);
    assert_int_equal(a.rows, b.rows);
    assert_memory_equal(a.neurons, b.neurons, (size_t)a.begins[a.rows] * sizeof *a.neurons);
    assert_memory_equal(a.scores, b.scores, (size_t)a.begins[a.rows] * sizeof *a.scores);
    sg_gate_rows_free(&a);
    sg_gate_rows_free(&b);
    sg_record_free(whole);
    sg_record_free(part);
    sg_model_free(model);
    sg_data_free(data);
}

// ---- what is refused ----------------------------------------------------------------------------

static void refuse(sg_model *model, const sg_record_options *o, sg_status status, const char *says)
{
    sg_error err = {0};
    expect_fail(sg_probe_record(model, o, NULL, &err), status, &err, says);
}

static void test_refused(void **state)
{
    const fixture *f = *state;
    sg_error err = {0};
    int64_t stop = 100;
    sg_data *data = data_of(f, 60, length, false);
    sg_model *model = model_of(context, "sgatlin", 3), *other = model_of(context, "sgatlin", 4);
    const sg_record_options good = options_of(path_in(f, "r.db"), data);
    sg_record_options o = good;
    o.progress = stop_at;
    o.user = &stop;
    refuse(model, &o, SG_ERR_STOPPED, "--resume");
    o.progress = NULL;
    refuse(model, &o, SG_ERR_ARGUMENT, "is there already");
    o.resume = true;
    refuse(other, &o, SG_ERR_MISMATCH, "model_checksum: found");
    o.layers = "1";
    refuse(model, &o, SG_ERR_MISMATCH, "options: found");
    o = good;
    o.resume = true;
    o.max_tokens = 150;
    refuse(model, &o, SG_ERR_MISMATCH, "options: found");
    o = good;
    o.resume = true;
    must(sg_probe_record(model, &o, NULL, &err), &err);
    refuse(model, &o, SG_ERR_ARGUMENT, "is complete");
    o.force = true;
    refuse(model, &o, SG_ERR_ARGUMENT, "resume and force");
    o = good;
    o.path = path_in(f, "n.db");
    o.layers = "2";
    refuse(model, &o, SG_ERR_ARGUMENT, "layers: found \"2\"");
    o.layers = "1";
    o.stop_at_layer = 0;
    refuse(model, &o, SG_ERR_ARGUMENT, "behind stop-at-layer 0");
    o = good;
    o.path = path_in(f, "n.db");
    o.channels = "0-7";
    refuse(model, &o, SG_ERR_ARGUMENT, "channels: found \"0-7\"");
    o.channels = NULL;
    o.top = 0;
    refuse(model, &o, SG_ERR_ARGUMENT, "top: found 0");
    o.top = 64;
    o.predictions = 200;
    refuse(model, &o, SG_ERR_ARGUMENT, "predictions: found 200");
    o.predictions = 0;
    o.text = "both";
    refuse(model, &o, SG_ERR_ARGUMENT, "found both");
    assert_false(sg_path_exists(o.path));
    sg_model_free(other);
    sg_model_free(model);
    sg_data_free(data);
}

// No room for all of it: what is committed stays, and is gone on with.
static void test_full(void **state)
{
    const fixture *f = *state;
    sg_error err = {0};
    sg_data *data = data_of(f, 400, length, false);
    sg_model *model = model_of(context, "sgatlin", 3);
    sg_record_options o = options_of(path_in(f, "r.db"), data);
    must(sg_probe_record(model, &o, NULL, &err), &err);
    const uint64_t whole = digest_of(o.path);
    o.path = path_in(f, "s.db");
    struct rlimit limit = {300000, RLIM_INFINITY}, none = {RLIM_INFINITY, RLIM_INFINITY};
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    const sg_status status = sg_probe_record(model, &o, NULL, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
    expect_fail(status, SG_ERR_IO, &err, "stays, and can be resumed: ");
    o.resume = true;
    must(sg_probe_record(model, &o, NULL, &err), &err);
    assert_true(digest_of(o.path) == whole);
    sg_model_free(model);
    sg_data_free(data);
}

// ---- memory -------------------------------------------------------------------------------------

typedef struct memory_case {
    sg_model *model;
    sg_record_options options;
} memory_case;

static sg_status record_once(void *user, sg_error *err)
{
    const memory_case *c = user;
    return sg_probe_record(c->model, &c->options, NULL, err);
}

static sg_status read_once(void *user, sg_error *err)
{
    const memory_case *c = user;
    sg_record *record;
    sg_record_excerpt excerpt;
    sg_record_hit *hits;
    sg_gate_rows gates;
    int64_t count;
    SG_TRY(sg_record_open(c->options.path, &record, err));
    sg_status status = sg_record_excerpt_of(record, 3, 2, 2, &excerpt, err);
    if (status == SG_OK) {
        sg_record_excerpt_clear(&excerpt);
        status = sg_record_gates(record, 0, 0, 0, &gates, err);
    }
    if (status == SG_OK) {
        status = sg_record_neuron_hits(record, 0, 0, gates.neurons[0], &hits, &count, err);
        if (status == SG_OK) sg_buffer_free(hits);
        sg_gate_rows_free(&gates);
    }
    sg_record_free(record);
    return status;
}

static void test_memory(void **state)
{
    const fixture *f = *state;
    sg_data *data = data_of(f, 4, length, false);
    memory_case c = {model_of(context, "sgatlin ffn_layers=2", 3),
                     options_of(path_in(f, "r.db"), data)};
    c.options.force = true;
    c.options.layers = "1";
    c.options.max_tokens = 16;
    c.options.micro_batch = 8; // one batch: nothing runs beside it
    assert_true(alloc_failure_loop(record_once, &c) > 20);
    c.options.layers = NULL;
    sg_error err = {0};
    must(sg_probe_record(c.model, &c.options, NULL, &err), &err);
    assert_true(alloc_failure_loop(read_once, &c) > 5);
    sg_model_free(c.model);
    sg_data_free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FILE_TEST(test_values),  FILE_TEST(test_derived), FILE_TEST(test_threads),
        FILE_TEST(test_resume),  FILE_TEST(test_choices), FILE_TEST(test_stop_at_layer),
        FILE_TEST(test_refused), FILE_TEST(test_full),    FILE_TEST(test_memory),
    };
    return cmocka_run_group_tests_name("record", tests, group_begin, group_end);
}
