// Narrow weights: what rounding does to rows, products with them, and models that decode with them.
// A narrow model must say what the f32 model of the very weights it stores says, but for rounding
// of sums; how far it is from the model it was made of is bounded by what its types can hold.
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "alloc_failure.h"
#include "base/alloc.h"
#include "base/file.h"
#include "base/rng.h"
#include "format/model_folder.h"
#include "memory_fs.h"
#include "model/graph.h"
#include "model/model.h"
#include "model/session.h"
#include "tiny_models.h"
#include "compute_on.h"

enum { vocab = 60, positions = 64 };
static sg_context *contexts[3]; // one, two, three threads
static const sg_weights narrow_types[] = {SG_WEIGHTS_BF16, SG_WEIGHTS_INT8};

static void must(sg_status status, const sg_error *err)
{
    if (status != SG_OK) fail_msg("%s: %s", sg_status_name(status), err->message);
}

static int set_up(void **state)
{
    (void)state;
    for (int t = 0; t < 3; t++) {
        sg_context_options options = {.threads = t + 1};
        if (sg_context_new(&options, &contexts[t], NULL) != SG_OK) return -1;
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (int t = 0; t < 3; t++)
        sg_context_free(contexts[t]);
    return 0;
}

static void fill(sg_real *x, int64_t count, uint64_t seed)
{
    for (int64_t i = 0; i < count; i++)
        x[i] = (sg_real)sg_rng_normal(seed, 5, (uint64_t)i);
}

// ---- rows -------------------------------------------------------------------------------------

static void test_rows(void **state)
{
    (void)state;
    enum { rows = 300, d = 131 };
    sg_real *x = malloc(rows * d * sizeof *x), *back = malloc(rows * d * sizeof *back);
    int8_t *q = malloc(rows * d);
    float scales[rows];
    fill(x, rows * d, 1);
    for (int i = 0; i < d; i++) {
        x[i] = 0;                             // a row of zeros
        x[d + i] = (sg_real)(i % 3) * 1e-41f; // denormals: the scale has no digits left
        x[2 * d + i] = i == 7 ? NAN : 1;      // rows that are not numbers
        x[3 * d + i] = i == d - 1 ? INFINITY : 1;
        x[4 * d + i] = (sg_real)(i - 65) * 2; // multiples of the scale, 130 / 127 of it at most
    }
    x[5 * d + 3] = FLT_MAX;
    sg_stored w = {.type = SG_WEIGHTS_INT8, .rows = q, .scales = scales};
    sg_stored_write(contexts[1]->compute, &w, 0, rows, d, x);
    sg_stored_read(sg_kernels_fastest(), back, &w, 0, rows, d);
    for (int r = 0; r < rows; r++) {
        double most = 0;
        for (int i = 0; i < d; i++)
            most = fmax(most, fabs((double)x[r * d + i]));
        for (int i = 0; i < d; i++) {
            double found = (double)back[r * d + i], wanted = (double)x[r * d + i];
            if (r == 2 || r == 3)
                assert_true(isnan(found));
            else if (r == 1)
                assert_true(fabs(found - wanted) <= 1e-41);
            else if (!(fabs(found - wanted) <= most / 127 / 2 * (1 + 1e-4)))
                fail_msg("row %d, element %d: found %g, expected %g", r, i, found, wanted);
            assert_true(q[r * d + i] >= -127);
        }
        if (r >= 4) // the largest is met, so the whole range is used
            assert_true(fabs((double)scales[r] * 127 - most) <= most * 1e-6);
    }
    free(x);
    free(back);
    free(q);
}

static void test_names(void **state)
{
    (void)state;
    sg_weights type = SG_WEIGHTS_INT8;
    sg_error err = {0};
    assert_string_equal(sg_weights_name(SG_WEIGHTS_F32), "f32");
    assert_string_equal(sg_weights_name(SG_WEIGHTS_MXFP4), "mxfp4");
    assert_null(sg_weights_name((sg_weights)(SG_WEIGHTS_MXFP4 + 1)));
    assert_null(sg_weights_name((sg_weights)-1));
    must(sg_weights_parse("bf16", "weights", &type, &err), &err);
    assert_int_equal(type, SG_WEIGHTS_BF16);
    // A type that files have, and none that a model can be stored in by choice.
    assert_int_equal(sg_weights_parse("q8_0", "weights", &type, &err), SG_ERR_ARGUMENT);
    assert_int_equal(sg_weights_parse("fp4", "weights", &type, &err), SG_ERR_ARGUMENT);
    assert_string_equal(err.message, "weights: found \"fp4\", expected f32, bf16 or int8");
}

// ---- products ---------------------------------------------------------------------------------

// Against the plain product with the widened weights, on both ways and for all threads.
static void check_product(sg_weights type, int64_t m, int64_t n, int64_t k, sg_real beta)
{
    sg_real *x = malloc((size_t)(m * k) * sizeof *x), *wide = malloc((size_t)(n * k) * sizeof *x);
    const int64_t ldc = n + 3;
    size_t bytes = (size_t)(m * ldc) * sizeof *x, stride = sg_stored_scratch_bytes(m, n, k);
    sg_real *c = malloc(bytes), *first = malloc(bytes), *start = malloc(bytes);
    void *rows = malloc((size_t)(n * k) * 2);
    float *scales = malloc((size_t)n * sizeof *scales);
    unsigned char *scratch = malloc(3 * stride + 1);
    fill(x, m * k, 2);
    fill(wide, n * k, 3);
    fill(start, m * ldc, 4);
    sg_stored w = {.type = type, .rows = rows, .scales = scales};
    sg_stored_write(compute_on(NULL), &w, 0, n, k, wide);
    sg_stored_read(sg_kernels_fastest(), wide, &w, 0, n, k);
    for (int t = 0; t < 3; t++) {
        sg_gemm_args args = {.m = m,
                             .n = n,
                             .k = k,
                             .alpha = (sg_real)0.5,
                             .a = x,
                             .lda = k,
                             .beta = beta,
                             .c = c,
                             .ldc = ldc};
        memcpy(c, start, bytes);
        sg_stored_product(contexts[t]->compute, &args, &w, scratch, stride);
        if (t == 0) memcpy(first, c, bytes);
        assert_memory_equal(c, first, bytes);
    }
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < ldc; j++) {
            double exact = 0, size = 0;
            for (int64_t p = 0; j < n && p < k; p++) {
                double term = 0.5 * (double)x[i * k + p] * (double)wide[j * k + p];
                exact += term;
                size += fabs(term);
            }
            exact += (j < n ? (double)beta : 1) * (double)start[i * ldc + j];
            double allowed = j < n ? (size + fabs(exact)) * ((double)k + 8) * FLT_EPSILON : 0;
            if (!(fabs((double)c[i * ldc + j] - exact) <= allowed))
                fail_msg("%s %lld x %lld x %lld at %lld, %lld: found %.9g, expected %.9g",
                         sg_weights_name(type), (long long)m, (long long)n, (long long)k,
                         (long long)i, (long long)j, (double)c[i * ldc + j], exact);
        }
    free(x);
    free(wide);
    free(c);
    free(first);
    free(start);
    free(rows);
    free(scales);
    free(scratch);
}

static void test_products(void **state)
{
    (void)state;
    static const int64_t rows[] = {1, 2, 4, 5, 8, 9, 33};
    for (int t = 0; t < 2; t++)
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
            check_product(narrow_types[t], rows[i], 1, 1, 0);
            check_product(narrow_types[t], rows[i], 70, 129, 1);
            check_product(narrow_types[t], rows[i], 1100, 64, (sg_real)0.25);
        }
}

// ---- models -----------------------------------------------------------------------------------

static sg_model *make_model(const char *kind, sg_context *context)
{
    sg_error err = {0};
    sg_model *model;
    sg_config c = tiny_config(kind, vocab, positions);
    c.hidden_size = 32;
    c.head_dim = 16;
    must(sg_model_new(context, &c, 3, &model, &err), &err);
    return model;
}

static sg_model *make_narrow(const char *kind, sg_context *context, sg_weights type)
{
    sg_error err = {0};
    sg_model *model = make_model(kind, context);
    must(sg_model_narrow(model, type, &err), &err);
    return model;
}

// The f32 model of the weights that a narrow model stores.
static sg_model *widened(const char *kind, const sg_model *narrow)
{
    sg_model *m = make_model(kind, contexts[0]);
    for (size_t i = 0; i < m->params.count; i++) {
        const sg_param_spec *spec = &m->params.specs[i];
        int64_t d = spec->shape[spec->rank - 1];
        if (sg_narrow_has(&narrow->narrow, i))
            sg_stored_read(sg_kernels_fastest(), m->values[i], &narrow->narrow.items[i], 0,
                           spec->count / d, d);
    }
    return m;
}

// Logits behind a prompt long enough for dense products, then behind single tokens: 30 x (V).
enum { prompt = 20, steps = 30 };
static void say(sg_model *m, float *logits)
{
    sg_error err = {0};
    sg_session *s;
    const float *last;
    int32_t tokens[prompt + steps];
    for (int i = 0; i < prompt + steps; i++)
        tokens[i] = (int32_t)(sg_rng_uniform(8, 1, (uint64_t)i) * vocab);
    must(sg_session_new(m, 0, &s, &err), &err);
    must(sg_session_feed(s, tokens, prompt, &last, &err), &err);
    for (int i = 0; i < steps; i++) {
        memcpy(logits + i * vocab, last, vocab * sizeof *logits);
        must(sg_session_feed(s, tokens + prompt + i, 1, &last, &err), &err);
    }
    sg_session_free(s);
}

// Root mean square of the difference over that of b.
static double distance(const float *a, const float *b)
{
    double difference = 0, size = 0;
    for (int i = 0; i < steps * vocab; i++) {
        difference += pow((double)a[i] - (double)b[i], 2);
        size += pow((double)b[i], 2);
    }
    return sqrt(difference / size);
}

// Norms and biases; and what a router reads by an operation that wants f32: the mean of blocks.
static bool stays_wide(const char *kind, const char *name)
{
    return strstr(name, "norm") != NULL || strstr(name, "bias") != NULL ||
           strstr(name, "mean") != NULL ||
           (strncmp(kind, "avgk", 4) == 0 && strstr(name, "w_in") != NULL);
}

static void test_decoding(void **state)
{
    (void)state;
    static float wide[steps * vocab], narrow[steps * vocab], exact[steps * vocab];
    for (int k = 0; tiny_kind(k) != NULL; k++) {
        sg_model *m = make_model(tiny_kind(k), contexts[0]);
        say(m, wide);
        int64_t bytes = sg_model_weight_bytes(m);
        sg_model_free(m);
        for (int t = 0; t < 2; t++) {
            const char *what = tiny_kind(k), *type = sg_weights_name(narrow_types[t]);
            m = make_narrow(tiny_kind(k), contexts[0], narrow_types[t]);
            say(m, narrow);
            bool all = true;
            for (size_t i = 0; i < m->params.count; i++) {
                const char *name = m->params.specs[i].name;
                bool wide_one = stays_wide(what, name);
                if (sg_narrow_has(&m->narrow, i) == wide_one)
                    fail_msg("%s, %s: %s is narrow or not, expected the other", what, type, name);
                assert_true((m->values[i] == NULL) == !wide_one);
                all = all && (!wide_one || m->params.specs[i].rank == 1);
            }
            if (all) assert_true(sg_model_weight_bytes(m) < bytes * (t == 0 ? 6 : 4) / 10);
            sg_model *same = widened(tiny_kind(k), m);
            say(same, exact);
            double rounding = distance(narrow, exact), whole = distance(narrow, wide);
            if (!(rounding < 1e-5))
                fail_msg("%s in %s: logits are %.2g off those of the same weights in f32", what,
                         type, rounding);
            // Where one of a few neurons is selected in place of another, by raw scores say, it
            // shows.
            bool steady = strchr(what, ' ') == NULL && strcmp(what, "avgk") != 0 &&
                          strcmp(what, "lorkm") != 0 && strncmp(what, "pkm", 3) != 0 &&
                          strcmp(what, "moefied") != 0;
            double limit = !steady ? 0.5 : t == 0 ? 0.02 : 0.06;
            if (!(whole > 1e-4 && whole < limit))
                fail_msg("%s in %s: logits are %.2g off those of the f32 model", what, type, whole);
            sg_model_free(same);
            sg_model_free(m);
            for (int threads = 1; threads < 3; threads++) {
                m = make_narrow(tiny_kind(k), contexts[threads], narrow_types[t]);
                say(m, exact);
                assert_memory_equal(exact, narrow, sizeof narrow);
                sg_model_free(m);
            }
        }
    }
}

// ---- folders ----------------------------------------------------------------------------------

static const char folder[] = "/model";

// A model folder on a disk in memory, its weights in the type named.
static memory_fs *save(const char *kind, sg_dtype dtype)
{
    memory_fs *fs = memory_fs_new();
    sg_fs_set(memory_fs_table(fs));
    sg_model *m = make_model(kind, contexts[0]);
    size_t n = m->params.count;
    sg_tensor_view views[64];
    uint16_t *halves[64] = {0};
    char *config;
    sg_error err = {0};
    assert_true(n <= 64);
    sg_model_views(m, views);
    for (size_t i = 0; i < n && dtype == SG_DTYPE_BF16; i++) {
        int64_t count = m->params.specs[i].count;
        halves[i] = malloc((size_t)count * sizeof **halves);
        sg_kernels_fastest()->to_bf16(halves[i], m->values[i], count);
        views[i] =
            sg_tensor_view_make(views[i].name, dtype, views[i].ndim, views[i].shape, halves[i]);
    }
    must(sg_model_config_text(m, &config, &err), &err);
    const sg_named_bytes file = {"config.json", config, strlen(config)};
    must(sg_model_folder_save(folder, 0, views, n, NULL, 0, &file, 1, &err), &err);
    for (size_t i = 0; i < n; i++)
        free(halves[i]);
    sg_free(config);
    sg_model_free(m);
    return fs;
}

static void forget(memory_fs *fs)
{
    assert_true(memory_fs_open_handles(fs) == 0 && memory_fs_open_maps(fs) == 0);
    sg_fs_set(NULL);
    memory_fs_free(fs);
}

static void test_folders(void **state)
{
    (void)state;
    static float found[steps * vocab], expected[steps * vocab];
    static const sg_dtype dtypes[] = {SG_DTYPE_F32, SG_DTYPE_BF16};
    const char *const kinds[] = {"moe", "sgatlin"}; // moe, sgatlin
    for (int k = 0; k < 2; k++)
        for (int t = 0; t < 2; t++) {
            sg_model *m = make_narrow(kinds[k], contexts[0], narrow_types[t]);
            say(m, expected);
            sg_model_free(m);
            for (int f = 0; f < 2; f++) {
                sg_error err = {0};
                memory_fs *fs = save(kinds[k], dtypes[f]);
                must(sg_model_open_narrow(contexts[1], folder, narrow_types[t], &m, &err), &err);
                // Only bf16 weights that are wanted as they are stay in the file.
                assert_int_equal(m->file != NULL, f == 1 && t == 0);
                assert_int_equal(m->narrow.memory == NULL, f == 1 && t == 0);
                say(m, found);
                if (f == 0)
                    assert_memory_equal(found, expected, sizeof found);
                else if (t == 0)
                    assert_memory_equal(found, expected, sizeof found); // norms are 1 in both
                else if (!(distance(found, expected) < 0.06))           // rounded twice
                    fail_msg("%s: %g", kinds[k], distance(found, expected));
                sg_model_free(m);
                must(sg_model_open_narrow(contexts[1], folder, SG_WEIGHTS_F32, &m, &err), &err);
                assert_null(m->narrow.items);
                sg_model_free(m);
                forget(fs);
            }
        }
}

static void test_refused(void **state)
{
    (void)state;
    sg_error err = {0};
    memory_fs *fs = save("sgatlin", SG_DTYPE_F32);
    sg_model *m;
    assert_int_equal(sg_model_open_narrow(contexts[0], folder, (sg_weights)7, &m, &err),
                     SG_ERR_ARGUMENT);
    assert_null(m);
    assert_int_equal(sg_model_open_narrow(contexts[0], "/none", SG_WEIGHTS_INT8, &m, &err),
                     SG_ERR_NOT_FOUND);
    must(sg_model_open_narrow(contexts[0], folder, SG_WEIGHTS_INT8, &m, &err), &err);
    assert_int_equal(sg_model_save(m, NULL, "/other", &err), SG_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "found a model with int8 weights, expected f32 ones"));
    int rank, with = 0, without = 0;
    int64_t shape[4];
    for (size_t i = 0; i < sg_model_tensor_count(m); i++)
        if (sg_model_tensor_values(m, i, &rank, shape) == NULL)
            without++;
        else
            with++;
    assert_true(with > 0 && without > 0);
    // A gradient reads the embedding in f32.
    sg_graph_options options = {.batch = 1,
                                .length = 2,
                                .output = SG_OUTPUT_LOSS,
                                .gradient = true,
                                .threads = 1,
                                .narrow = m->narrow.items};
    sg_graph *graph;
    assert_int_equal(
        sg_graph_new(&m->config, &m->params, m->values, NULL, &m->rope, &options, &graph, &err),
        SG_ERR_ARGUMENT);
    assert_string_equal(err.message, "model.embed_tokens.weight: found narrow weights, which have "
                                     "no gradients, expected f32: open the model in f32");
    sg_model_free(m);
    forget(fs);
}

// ---- failures ---------------------------------------------------------------------------------

static sg_status act_open(void *user, sg_error *err)
{
    sg_model *m;
    sg_status status = sg_model_open_narrow(contexts[0], folder, *(sg_weights *)user, &m, err);
    if (status == SG_OK) sg_model_free(m);
    return status;
}

static sg_status act_narrow(void *user, sg_error *err)
{
    sg_config c = tiny_config("sgatlin", vocab, positions);
    sg_model *m;
    sg_status status = sg_model_new(contexts[0], &c, 3, &m, err);
    if (status != SG_OK) return status;
    status = sg_model_narrow(m, *(sg_weights *)user, err);
    if (status != SG_OK) { // as it was
        assert_null(m->narrow.items);
        for (size_t i = 0; i < m->params.count; i++)
            assert_non_null(m->values[i]);
    }
    sg_model_free(m);
    return status;
}

static void test_failures(void **state)
{
    (void)state;
    for (int f = 0; f < 2; f++) {
        memory_fs *fs = save("sgatlin", f ? SG_DTYPE_BF16 : SG_DTYPE_F32);
        for (int t = 0; t < 2; t++) {
            sg_weights type = narrow_types[t];
            assert_true(alloc_failure_loop(act_open, &type) > 20);
            if (f == 0) assert_true(alloc_failure_loop(act_narrow, &type) > 20);
        }
        forget(fs);
    }
}

// ---- rows of two tables side by side ------------------------------------------------------------

// Tables whose rows lie between each other's hold, and give, what they hold and give apart.
static void check_beside(const sg_kernels *kernels, int64_t d)
{
    enum { beside_rows = 90, beside_count = 150 };
    sg_compute compute = compute_on(NULL);
    compute.kernels = kernels;
    const int64_t count = beside_rows * d;
    sg_real *x = sg_alloc_array((size_t)(4 * count), sizeof *x), *back = x + 2 * count;
    sg_bf16 *apart = sg_alloc_array((size_t)(4 * count), sizeof *apart),
            *joined = apart + 2 * count;
    int32_t ids[2 * beside_count];
    sg_real z[beside_count], a[beside_count], b[beside_count];
    fill(x, 2 * count, (uint64_t)d);
    fill(z, beside_count, 3);
    for (int i = 0; i < 2 * beside_count; i++)
        ids[i] = (int32_t)sg_rng_below(7, 8, (uint64_t)i, beside_rows);
    for (int t = 0; t < 2; t++) {
        const sg_stored one = {.type = SG_WEIGHTS_BF16, .rows = apart + t * count};
        const sg_stored two = {.type = SG_WEIGHTS_BF16, .rows = joined + t * d, .step = 2};
        sg_stored_write(compute, &one, 0, beside_rows, d, x + t * count);
        sg_stored_write(compute, &two, 0, beside_rows, d, x + t * count);
        const sg_stored part = sg_stored_at(&two, 5, d);
        for (int64_t n = 1; n <= beside_count; n += n < 20 ? 1 : 43) {
            const int32_t *next = n % 2 ? ids + n : NULL;
            sg_gather_dots_next(kernels, a, x, &one, ids, next, n, d);
            sg_gather_dots_next(kernels, b, x, &two, ids, next, n, d);
            assert_memory_equal(a, b, (size_t)n * sizeof *a);
            memset(back, 0, (size_t)(2 * d) * sizeof *back);
            sg_gather_sum_next(kernels, back, z, &one, ids, next, n, d);
            sg_gather_sum_next(kernels, back + d, z, &two, ids, next, n, d);
            assert_memory_equal(back, back + d, (size_t)d * sizeof *back);
        }
        sg_stored_read(kernels, back, &part, 1, beside_rows - 6, d);
        sg_stored_read(kernels, back + count, &one, 6, beside_rows - 6, d);
        assert_memory_equal(back, back + count, (size_t)((beside_rows - 6) * d) * sizeof *back);
    }
    sg_free(x);
    sg_free(apart);
}

static void test_beside(void **state)
{
    (void)state;
    const sg_kernels *tables[SG_TABLES_MAX];
    for (int t = sg_kernels_list(tables); t-- > 0;) {
        check_beside(tables[t], 32);
        check_beside(tables[t], 37);
        check_beside(tables[t], 256);
    }
}

// Large tables that are read together are put so, for a training run; smaller ones, and others, lie
// each by itself.
static void test_pairs(void **state)
{
    (void)state;
    const int64_t large[] = {1 << 16, 256}, small[] = {1 << 10, 256};
    const bool mask[] = {true, true, true, true, true, true};
    sg_param_list list = {0};
    sg_narrow_set set;
    sg_error err = {0};
    for (int i = 0; i < 6; i++) {
        sg_param_add(&list, "p", (const char[]){(char)('a' + i), 0}, 2, i < 4 ? large : small,
                     SG_INIT_ZERO, 0);
        if (i == 1 || i == 5) sg_param_paired(&list);
    }
    must(list.status, &err);
    must(sg_narrow_set_new(&list, mask, NULL, SG_WEIGHTS_BF16, NULL, &set, &err), &err);
    const sg_bf16 *first = set.items[0].rows;
    for (int i = 0; i < 6; i++)
        assert_int_equal(set.items[i].step, i < 2 ? 2 : 0);
    assert_ptr_equal(set.items[1].rows, first + 256);
    assert_ptr_equal(set.items[2].rows, first + 2 * large[0] * large[1]);
    assert_ptr_equal(sg_stored_at(&set.items[0], 3, 256).rows, first + 6 * 256);
    sg_narrow_set_free(&set);
    sg_param_list_free(&list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),     cmocka_unit_test(test_names),
        cmocka_unit_test(test_products), cmocka_unit_test(test_decoding),
        cmocka_unit_test(test_folders),  cmocka_unit_test(test_refused),
        cmocka_unit_test(test_failures), cmocka_unit_test(test_beside),
        cmocka_unit_test(test_pairs),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
