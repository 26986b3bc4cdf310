// Weights in blocks and halves: what the Python package says they stand for, bit for bit, every
// table alike; and products with them.
#include "kernel_check.h"

#include "base/half.h"
#include "base/parallel.h"
#include "format/gguf.h"
#include "format/safetensors.h"
#include "kernel/quant.h"
#include "kernel/stored.h"
#include "compute_on.h"

static const sg_weights block_types[] = {SG_WEIGHTS_Q8_0, SG_WEIGHTS_Q4_0, SG_WEIGHTS_Q4_1,
                                         SG_WEIGHTS_Q5_0, SG_WEIGHTS_Q5_1, SG_WEIGHTS_Q4_K,
                                         SG_WEIGHTS_Q5_K, SG_WEIGHTS_Q6_K, SG_WEIGHTS_MXFP4};
enum { block_type_count = sizeof block_types / sizeof *block_types, table_count = SG_TABLES_MAX };

static void must(sg_status status, const sg_error *err)
{
    if (status != SG_OK) fail_msg("%s", err->message);
}

// Table t of those that this processor can run, or NULL.
static const sg_kernels *table_at(int t)
{
    const sg_kernels *tables[SG_TABLES_MAX];
    return t < sg_kernels_list(tables) ? tables[t] : NULL;
}

static void same_bits(const char *what, const float *found, const float *expected, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (memcmp(found + i, expected + i, sizeof *found) != 0 &&
            !(isnan(found[i]) && isnan(expected[i])))
            fail_msg("%s[%lld]: found %.9g, expected %.9g", what, (long long)i, (double)found[i],
                     (double)expected[i]);
}

// ---- what blocks stand for --------------------------------------------------------------------

// Rows of a type in exactly as much memory as they take, one byte off any alignment, but for
// halves.
typedef struct block_rows {
    sg_stored stored;
    unsigned char *memory, *exponents;
    int64_t rows, d;
} block_rows;

static const int scale_places[][2] = {
    [SG_WEIGHTS_Q8_0] = {0, -1}, [SG_WEIGHTS_Q4_0] = {0, -1},  [SG_WEIGHTS_Q4_1] = {0, 2},
    [SG_WEIGHTS_Q5_0] = {0, -1}, [SG_WEIGHTS_Q5_1] = {0, 2},   [SG_WEIGHTS_Q4_K] = {0, 2},
    [SG_WEIGHTS_Q5_K] = {0, 2},  [SG_WEIGHTS_Q6_K] = {208, -1}};

// Random bytes whose scales are moderate halves.
static block_rows random_rows(sg_weights type, int64_t rows, int64_t d, uint64_t seed)
{
    const int64_t block = sg_stored_block(type);
    const size_t bytes = sg_stored_row_bytes(type, block),
                 all = sg_stored_row_bytes(type, rows * d);
    block_rows r = {.memory = malloc(all + 1), .rows = rows, .d = d};
    r.exponents = malloc((size_t)(rows * d / 32) + 1);
    assert_true(r.memory != NULL && r.exponents != NULL);
    for (size_t i = 0; i < all; i++)
        r.memory[1 + i] = (unsigned char)sg_rng_below(seed, 1, i, 256);
    for (int64_t i = 0; i <= rows * d / 32; i++)
        r.exponents[i] = (unsigned char)(110 + sg_rng_below(seed, 2, (uint64_t)i, 20));
    for (int64_t b = 0; type != SG_WEIGHTS_MXFP4 && b < rows * d / block; b++)
        for (int p = 0; p < 2 && scale_places[type][p] >= 0; p++) {
            float scale = (float)sg_rng_uniform(seed, 3 + (uint32_t)p, (uint64_t)b) * 0.1f - 0.03f;
            uint16_t half = sg_half_round(scale);
            memcpy(r.memory + 1 + (size_t)b * bytes + scale_places[type][p], &half, 2);
        }
    r.stored = (sg_stored){.type = type,
                           .rows = r.memory + 1,
                           .scales = type == SG_WEIGHTS_MXFP4 ? r.exponents : NULL};
    return r;
}

static void free_rows(block_rows *r)
{
    free(r->memory);
    free(r->exponents);
}

static sg_weights type_of(const char *name)
{
    char lower[16] = {0};
    for (int i = 0; name[i] != '\0' && i < 15; i++)
        lower[i] = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] + 32 : name[i]);
    for (int i = 0; sg_weights_name((sg_weights)i) != NULL; i++)
        if (strcmp(lower, sg_weights_name((sg_weights)i)) == 0) return (sg_weights)i;
    fail_msg("no type %s", name);
    return SG_WEIGHTS_F32;
}

// tests/twins/gguf_twin.py: the package's own dequantisation.
static void test_golden(void **state)
{
    (void)state;
    sg_error err;
    sg_gguf *blocks;
    sg_safetensors *wide;
    must(sg_gguf_open(SG_TEST_DIR "/golden/gguf/blocks.gguf", &blocks, &err), &err);
    must(sg_safetensors_open(SG_TEST_DIR "/golden/gguf/blocks.safetensors", &wide, &err), &err);
    assert_int_equal(sg_gguf_count(blocks), 11); // f32, f16, bf16 and eight kinds of blocks
    for (size_t i = 0; i < sg_gguf_count(blocks); i++) {
        const sg_tensor_view *view = sg_gguf_at(blocks, i), *expected;
        must(sg_safetensors_get(wide, view->name, SG_DTYPE_F32, 2, view->shape, &expected, &err),
             &err);
        const int64_t rows = view->shape[0], d = view->shape[1];
        sg_stored stored = {.type = type_of(view->name), .rows = (void *)(uintptr_t)view->data};
        assert_int_equal(sg_stored_row_bytes(stored.type, d) * (size_t)rows, view->bytes);
        assert_int_equal(sg_stored_block(stored.type), sg_dtype_block(view->dtype));
        float *found = check_random(rows * d, 1, 1);
        for (int t = 0; t < table_count; t++) {
            if (table_at(t) == NULL) continue;
            sg_stored_read(table_at(t), found, &stored, 0, rows, d);
            same_bits(view->name, found, expected->data, rows * d);
            sg_stored_read(table_at(t), found, &stored, 1, 1, d); // a row of its own
            same_bits(view->name, found, (const float *)expected->data + d, d);
            check_intact(found, rows * d);
        }
        free(found);
    }
    sg_gguf_close(blocks);
    sg_safetensors_close(wide);
}

static void test_tables_agree(void **state)
{
    (void)state;
    for (int k = 0; k < block_type_count; k++) {
        const int64_t n = 7 * 768;
        block_rows r = random_rows(block_types[k], 7, 768, 5 + (uint64_t)k);
        float *expected = check_random(n, 1, 1), *found = check_random(n, 2, 1);
        sg_stored_read(sg_kernels_ref(), expected, &r.stored, 0, 7, 768);
        for (int t = 1; t < table_count; t++) {
            if (table_at(t) == NULL) continue;
            sg_stored_read(table_at(t), found, &r.stored, 0, 7, 768);
            same_bits(sg_weights_name(block_types[k]), found, expected, n);
            check_intact(found, n);
        }
        free(expected);
        free(found);
        free_rows(&r);
    }
}

static void test_mxfp4(void **state)
{
    (void)state;
    static const float values[16] = {0, 0.5f,  1,  1.5f,  2,  3,  4,  6,
                                     0, -0.5f, -1, -1.5f, -2, -3, -4, -6};
    static const unsigned char exponents[] = {0, 1, 2, 120, 127, 128, 254, 255};
    unsigned char block[16];
    float found[32];
    for (int t = 0; t < table_count; t++) {
        if (table_at(t) == NULL) continue;
        for (int first = 0; first < 16; first += 8)
            for (size_t e = 0; e < sizeof exponents; e++) {
                // Low nibble before high: 0x21 is .5, 1.
                for (int i = 0; i < 16; i++)
                    block[i] = (unsigned char)((first + i) % 16 | (15 - i) << 4);
                sg_stored w = {.type = SG_WEIGHTS_MXFP4,
                               .rows = block,
                               .scales = (void *)(uintptr_t)&exponents[e]};
                sg_stored_read(table_at(t), found, &w, 0, 1, 32);
                for (int i = 0; i < 32; i++) {
                    float value = values[i % 2 == 0 ? (first + i / 2) % 16 : 15 - i / 2];
                    float expected = exponents[e] == 255 ? NAN : ldexpf(value, exponents[e] - 127);
                    same_bits("mxfp4", found + i, &expected, 1);
                }
            }
    }
}

static void test_halves(void **state)
{
    (void)state;
    uint16_t *halves = malloc(65535 * sizeof *halves);
    float *found = check_random(65535, 1, 1);
    assert_non_null(halves);
    for (int i = 0; i < 65535; i++)
        halves[i] = (uint16_t)i;
    for (int t = 0; t < table_count; t++) {
        if (table_at(t) == NULL) continue;
        table_at(t)->from_f16(found, halves, 65535);
        for (int i = 0; i < 65535; i++) {
            float expected = sg_half_value((uint16_t)i);
            same_bits("f16", found + i, &expected, 1);
        }
        check_intact(found, 65535);
    }
    free(found);
    free(halves);
}

// ---- products ---------------------------------------------------------------------------------

// x_i . row_j against a sum in double over the widened weights; `wide` is room for a row.
static void check_dots(const char *what, const float *y, int64_t ldy, const float *x, int64_t m,
                       const sg_stored *w, const int32_t *rows, int64_t n, int64_t d, float *wide)
{
    for (int64_t j = 0; j < n; j++) {
        sg_stored_read(sg_kernels_ref(), wide, w, rows != NULL ? rows[j] : j, 1, d);
        for (int64_t i = 0; i < m; i++) {
            double exact = 0, size = 0;
            for (int64_t p = 0; p < d; p++) {
                exact += (double)x[i * d + p] * (double)wide[p];
                size += fabs((double)x[i * d + p] * (double)wide[p]);
            }
            // Each of d products and additions rounds once; sums over eight and more lanes do less.
            check_close(what, i * n + j, (double)y[i * ldy + j], exact, size,
                        (double)d * FLT_EPSILON);
        }
    }
}

static void check_type_products(sg_weights type, int64_t d)
{
    static const int32_t picked[] = {8, 0, 3, 3, 7, 1, 5, 2, 8, 6, 4};
    enum { rows = 9, most = 11, ldy = 13 };
    block_rows r = random_rows(type, rows, d, 11);
    float *wide = check_random(d, 1, 1), *x = check_random(6 * d, 2, 1);
    float *y = check_random(6 * ldy, 3, 1), *alone = check_random(6 * ldy, 4, 1);
    for (int t = 0; t < table_count; t++) {
        const sg_kernels *kernels = table_at(t);
        if (kernels == NULL) continue;
        for (int64_t m = 1; m <= 6; m++)
            for (int64_t n = 1; n <= rows; n++) {
                kernels->dots_blocks(y, ldy, x, d, m, type, r.stored.rows, r.stored.scales, NULL, n,
                                     d);
                check_dots(sg_weights_name(type), y, ldy, x, m, &r.stored, NULL, n, d, wide);
                // What a row gives does not depend on how many go together.
                for (int64_t i = 0; i < m; i++)
                    for (int64_t j = 0; j < n; j++) {
                        sg_stored row = sg_stored_at(&r.stored, j, d);
                        kernels->dots_blocks(alone, ldy, x + i * d, d, 1, type, row.rows,
                                             row.scales, NULL, 1, d);
                        same_bits("alone", y + i * ldy + j, alone, 1);
                    }
            }
        for (int64_t count = 1; count <= most; count++) {
            sg_gather_dots(kernels, y, x, &r.stored, picked, count, d);
            check_dots("gather", y, count, x, 1, &r.stored, picked, count, d, wide);
        }
        check_intact(y, 6 * ldy);
    }
    free(wide);
    free(x);
    free(y);
    free(alone);
    free_rows(&r);
}

static void test_products(void **state)
{
    (void)state;
    for (int k = 0; k < block_type_count; k++)
        for (int64_t d = sg_stored_block(block_types[k]); d <= 768; d *= d < 256 ? 3 : 2)
            check_type_products(block_types[k], d);
}

// y against start and z_j row_j added in double; wide: the rows as they count.
static void check_sum(const char *what, const float *y, const float *start, const float *z,
                      const float *wide, const int32_t *picked, int64_t count, int64_t d)
{
    for (int64_t i = 0; i < d; i++) {
        double exact = (double)start[i], size = fabs(exact);
        for (int64_t j = 0; j < count; j++) {
            exact += (double)z[j] * (double)wide[picked[j] * d + i];
            size += fabs((double)z[j] * (double)wide[picked[j] * d + i]);
        }
        check_close(what, i, (double)y[i], exact, size, (double)(count + 3) * FLT_EPSILON);
    }
}

// A row of nothing but NaN, where the type has one.
static void spoil_row(const block_rows *r, int64_t row)
{
    const int64_t block = sg_stored_block(r->stored.type);
    const size_t bytes = sg_stored_row_bytes(r->stored.type, block);
    for (int64_t b = row * r->d / block; b < (row + 1) * r->d / block; b++) {
        unsigned char *at = r->stored.rows;
        at += (size_t)b * bytes;
        if (r->stored.type == SG_WEIGHTS_MXFP4) {
            r->exponents[b] = 255;
        } else {
            at[scale_places[r->stored.type][0]] = 0;
            at[scale_places[r->stored.type][0] + 1] = 0x7e;
        }
    }
}

static void check_type_sums(sg_weights type, int64_t d)
{
    static const int32_t picked[] = {4, 0, 2, 2, 1, 6, 5, 5, 0, 7, 4};
    enum { most = 11, rows = 8, spoilt = 3 };
    block_rows r = random_rows(type, rows, d, 21);
    spoil_row(&r, spoilt);
    float *z = check_random(most, 1, 1), *start = check_random(d, 2, 1);
    float *wide = check_random(rows * d, 3, 1);
    sg_stored_read(sg_kernels_ref(), wide, &r.stored, 0, rows, d);
    assert_true(isnan(wide[spoilt * d]) && isnan(wide[(spoilt + 1) * d - 1]));
    for (int t = 0; t < table_count; t++) {
        const sg_kernels *kernels = table_at(t);
        for (int64_t count = 0; kernels != NULL && count <= most; count++) {
            float *y = check_copy(start, d), *alone = check_copy(start, d);
            sg_gather_sum(kernels, y, z, &r.stored, picked, count, d);
            check_sum(sg_weights_name(type), y, start, z, wide, picked, count, d);
            // Rows are added in their order, however many go together.
            for (int64_t j = 0; j < count; j++)
                sg_gather_sum(kernels, alone, z + j, &r.stored, picked + j, 1, d);
            same_bits("alone", y, alone, d);
            sg_gather_sum(kernels, y, z, &r.stored, &(int32_t){spoilt}, 1, d);
            for (int64_t i = 0; i < d; i++)
                assert_true(isnan(y[i]));
            check_intact(y, d);
            free(y);
            free(alone);
        }
    }
    free(z);
    free(start);
    free(wide);
    free_rows(&r);
}

static void test_gather_sum(void **state)
{
    (void)state;
    for (int k = 0; k < block_type_count; k++)
        for (int64_t d = sg_stored_block(block_types[k]); d <= 768; d *= d < 256 ? 3 : 2)
            check_type_sums(block_types[k], d);
}

// Rows of halves of any length, as products and picked.
static void test_half_products(void **state)
{
    (void)state;
    static const int32_t picked[] = {5, 0, 9, 3, 3, 8, 1, 2, 7};
    for (int64_t d = 1; d <= 100; d += d < 40 ? 1 : 13) {
        float *values = check_random(10 * d, 1, 1), *x = check_random(3 * d, 2, 1);
        float *wide = check_random(d, 3, 1), *y = check_random(3 * 10, 4, 1);
        uint16_t *halves = malloc((size_t)(10 * d) * sizeof *halves);
        assert_non_null(halves);
        sg_stored w = {.type = SG_WEIGHTS_F16, .rows = halves};
        sg_stored_write(compute_on(NULL), &w, 0, 10, d, values);
        for (int t = 0; t < table_count; t++) {
            const sg_kernels *kernels = table_at(t);
            if (kernels == NULL) continue;
            kernels->thin_product_f16(y, 10, x, d, 3, halves, d, 10, d);
            check_dots("f16", y, 10, x, 3, &w, NULL, 10, d, wide);
            sg_gather_dots_next(kernels, y, x, &w, picked, picked, 9, d);
            check_dots("f16 gather", y, 9, x, 1, &w, picked, 9, d, wide);
            float *sum = check_random(d, 5, 1);
            float *before = check_copy(sum, d);
            sg_gather_sum(kernels, sum, x, &w, picked, 1, d);
            for (int64_t i = 0; i < d; i++) {
                double weight = (double)sg_half_value(halves[5 * d + i]);
                check_close("f16 sum", i, (double)sum[i], (double)before[i] + (double)x[0] * weight,
                            1, 2 * FLT_EPSILON);
            }
            check_intact(sum, d);
            free(before);
            free(sum);
            check_intact(y, 30);
        }
        free(values);
        free(x);
        free(wide);
        free(y);
        free(halves);
    }
}

// The whole product, thin and widened, the same for any number of threads.
static void test_stored_product(void **state)
{
    (void)state;
    static const int64_t sizes[] = {1, 3, 8, 9, 21};
    const int64_t n = 300, d = 512;
    sg_error err;
    sg_pool *pools[2] = {NULL, NULL};
    must(sg_pool_new(3, &pools[1], &err), &err);
    for (int k = 0; k < block_type_count; k++) {
        block_rows r = random_rows(block_types[k], n, d, 31);
        float *wide = check_random(d, 1, 1), *x = check_random(21 * d, 2, 1);
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
            const int64_t m = sizes[s];
            size_t stride = sg_stored_scratch_bytes(m, n, d);
            unsigned char *scratch = malloc(3 * stride + 1);
            float *y[2];
            for (int p = 0; p < 2; p++) {
                y[p] = check_random(m * n, 3, 1);
                sg_gemm_args args = {
                    .m = m, .n = n, .k = d, .alpha = 1, .a = x, .lda = d, .c = y[p], .ldc = n};
                sg_stored_product(compute_on(pools[p]), &args, &r.stored, scratch, stride);
                check_intact(y[p], m * n);
            }
            same_bits("threads", y[1], y[0], m * n);
            check_dots("product", y[0], n, x, m, &r.stored, NULL, n, d, wide);
            free(y[0]);
            free(y[1]);
            free(scratch);
        }
        free(wide);
        free(x);
        free_rows(&r);
    }
    sg_pool_free(pools[1]);
}

// ---- writing ----------------------------------------------------------------------------------

// The bytes that the Python package writes, and what no file of its has.
static void test_write_q8_0(void **state)
{
    (void)state;
    sg_error err;
    sg_gguf *file;
    must(sg_gguf_open(SG_TEST_DIR "/golden/gguf/values.gguf", &file, &err), &err);
    const sg_tensor_view *eights = sg_gguf_find(file, "eights");
    float x[64], back[64];
    unsigned char written[2 * SG_Q8_0_BYTES];
    sg_stored w = {.type = SG_WEIGHTS_Q8_0, .rows = written};
    for (int i = 0; i < 64; i++)
        x[i] = (float)i - 20;
    sg_stored_write(compute_on(NULL), &w, 0, 2, 32, x);
    assert_int_equal(eights->bytes, sizeof written);
    assert_memory_equal(written, eights->data, sizeof written);
    sg_gguf_close(file);

    for (int round = 0; round < 39; round++) { // from subnormal halves to the largest scale
        float size = ldexpf(1, round - 16);
        for (int i = 0; i < 64; i++)
            x[i] = size * (float)(2 * sg_rng_uniform(3, (uint32_t)round, (uint64_t)i) - 1);
        sg_stored_write(compute_on(NULL), &w, 0, 2, 32, x);
        sg_stored_read(sg_kernels_ref(), back, &w, 0, 2, 32);
        // Half a step of the scale, and the rounding of the scale itself, 127 steps away at most.
        float step = size / 127, scale = fmaxf(step / 2048, 0x1p-25f);
        for (int i = 0; i < 64; i++)
            if (!(fabsf(back[i] - x[i]) <= step / 2 + 127 * scale + size * 1e-6f))
                fail_msg("2^%d: %g became %g", round - 16, (double)x[i], (double)back[i]);
    }
    memset(x, 0, sizeof x);
    x[40] = NAN;
    sg_stored_write(compute_on(NULL), &w, 0, 2, 32, x);
    sg_stored_read(sg_kernels_ref(), back, &w, 0, 2, 32);
    for (int i = 0; i < 32; i++)
        assert_true(back[i] == 0 && isnan(back[32 + i]));
    for (int i = 0; i < 64; i++)
        x[i] = i % 2 ? 1e-42f : -1e-44f; // vanish, without a division by nothing
    sg_stored_write(compute_on(NULL), &w, 0, 2, 32, x);
    sg_stored_read(sg_kernels_ref(), back, &w, 0, 2, 32);
    for (int i = 0; i < 64; i++)
        assert_true(back[i] == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),        cmocka_unit_test(test_tables_agree),
        cmocka_unit_test(test_mxfp4),         cmocka_unit_test(test_halves),
        cmocka_unit_test(test_products),      cmocka_unit_test(test_gather_sum),
        cmocka_unit_test(test_half_products), cmocka_unit_test(test_stored_product),
        cmocka_unit_test(test_write_q8_0),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
