// Rotary positions: turned numbers against sines and cosines computed here, the stretched
// frequencies against their published rules, and what a table refuses.
#include "grad/gradcheck.h"

typedef struct rope_user {
    sg_rope_table table;
    int64_t head_dim, length, start[3]; // start by sequence; -1: none
} rope_user;

static sg_tensor *build_rope(const gc_case *c, sg_tape *tape, sg_tensor *const *in)
{
    const rope_user *u = c->user;
    return sg_rope(tape, in[0], &u->table, u->head_dim, u->length,
                   u->start[0] < 0 ? NULL : u->start);
}

// Of each head `turned` numbers turn.
static void check_rope(int64_t batch, int64_t length, int64_t heads, int64_t head_dim,
                       int64_t turned, int64_t start)
{
    // Sequences stand at positions of their own.
    rope_user u = {.head_dim = head_dim, .length = length, .start = {start, start + 2, start + 1}};
    const double theta = 10000;
    sg_error err;
    sg_rope_options options = {.dim = turned, .theta = theta};
    assert_int_equal(sg_rope_table_new(&u.table, 40, &options, &err), SG_OK);
    int64_t rows = batch * length, width = heads * head_dim, half = turned / 2;
    gc_case c = {.name = "rope", .build = build_rope, .user = &u};
    sg_real *x = gc_add(&c, "x", 2, (int64_t[]){rows, width}, 1, 1);
    gc_check(&c);
    sg_real *y = gc_room(rows * width), *expected = gc_room(rows * width);
    gc_forward(&c, y, rows * width);
    memcpy(expected, x, (size_t)(rows * width) * sizeof *x);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t h = 0; h < heads; h++)
            for (int64_t i = 0; i < half; i++) {
                double position = (double)(r % length + (start < 0 ? 0 : u.start[r / length]));
                double angle = position / pow(theta, (double)i / (double)half);
                const sg_real *from = x + r * width + h * head_dim + i;
                sg_real *to = expected + r * width + h * head_dim + i;
                to[0] = from[0] * cos(angle) - from[half] * sin(angle);
                to[half] = from[half] * cos(angle) + from[0] * sin(angle);
            }
    gc_expect_close("rope", y, expected, rows * width);
    for (int64_t i = 0; i < rows * width; i++)
        if (i % head_dim >= turned) assert_true(y[i] == x[i]);
    sg_free(y);
    sg_free(expected);
    sg_rope_table_free(&u.table);
    gc_free(&c);
}

static void test_rope(void **state)
{
    (void)state;
    check_rope(1, 1, 1, 2, 2, -1);
    check_rope(2, 5, 3, 4, 4, -1);
    check_rope(2, 5, 3, 4, 4, 0);
    check_rope(3, 4, 2, 8, 8, 17);
    check_rope(1, 40, 1, 6, 6, -1);
    check_rope(2, 5, 3, 8, 2, 3);
    check_rope(1, 7, 2, 5, 4, -1);
}

// ---- behind a norm ------------------------------------------------------------------------------

static sg_tensor *build_norm_rope(const gc_case *c, sg_tape *tape, sg_tensor *const *in)
{
    const rope_user *u = c->user;
    return sg_norm_rope(tape, in[0], in[1], 1e-6, &u->table, u->length,
                        u->start[0] < 0 ? NULL : u->start);
}

// The two operations that are one.
static sg_tensor *build_norm_then_rope(const gc_case *c, sg_tape *tape, sg_tensor *const *in)
{
    const rope_user *u = c->user;
    const int64_t rows = sg_rows(in[0]), width = sg_columns(in[0]), hd = u->head_dim;
    sg_tensor *heads = sg_reshape(tape, in[0], 2, (int64_t[]){rows * (width / hd), hd});
    sg_tensor *y = sg_rmsnorm(tape, heads, in[1], 1e-6);
    y = sg_reshape(tape, y, 2, (int64_t[]){rows, width});
    return sg_rope(tape, y, &u->table, hd, u->length, u->start[0] < 0 ? NULL : u->start);
}

static void check_norm_rope(int64_t batch, int64_t length, int64_t heads, int64_t head_dim,
                            int64_t turned, bool neighbours, int64_t start)
{
    rope_user u = {.head_dim = head_dim, .length = length, .start = {start, start + 2, start + 1}};
    sg_error err;
    sg_rope_options options = {.dim = turned, .theta = 10000, .interleaved = neighbours};
    assert_int_equal(sg_rope_table_new(&u.table, 90, &options, &err), SG_OK);
    const int64_t rows = batch * length, width = heads * head_dim, n = rows * width;
    gc_case c = {
        .name = "norm_rope", .build = build_norm_rope, .user = &u, .components = n > 9999 ? 2 : 0};
    gc_add(&c, "x", 2, (int64_t[]){rows, width}, 1.5, 1);
    gc_add(&c, "w", 1, &head_dim, 1, 2);
    gc_check(&c);
    sg_real *y = gc_room(n), *expected = gc_room(n);
    gc_forward(&c, y, n);
    c.build = build_norm_then_rope;
    gc_forward(&c, expected, n);
    assert_memory_equal(y, expected, (size_t)n * sizeof *y);
    sg_free(y);
    sg_free(expected);
    sg_rope_table_free(&u.table);
    gc_free(&c);
}

// More than one chunk of heads too, whose ends are not those of rows.
static void test_norm_rope(void **state)
{
    (void)state;
    check_norm_rope(1, 1, 1, 2, 2, false, -1);
    check_norm_rope(2, 5, 3, 4, 4, false, 0);
    check_norm_rope(3, 4, 2, 8, 8, true, 17);
    check_norm_rope(2, 5, 3, 8, 2, false, 3);
    check_norm_rope(1, 7, 2, 5, 4, true, -1);
    check_norm_rope(1, 80, 5, 96, 96, false, 4);
}

// ---- stretched frequencies ----------------------------------------------------------------------

enum { pairs = 32, places = 9 };

static void table_of(sg_rope_table *table, const sg_rope_options *options)
{
    sg_error err;
    if (sg_rope_table_new(table, places, options, &err) != SG_OK) fail_msg("%s", err.message);
    assert_int_equal(table->half, pairs);
}

// Every angle is position times frequency, cosines and sines times length.
static void expect_angles(const sg_rope_options *options, const double *frequency, double length)
{
    sg_rope_table table;
    table_of(&table, options);
    for (int64_t p = 0; p < places; p++)
        for (int64_t i = 0; i < pairs; i++) {
            double angle = (double)p * frequency[i];
            double c = table.cos[p * pairs + i], s = table.sin[p * pairs + i];
            if (fabs(c - length * cos(angle)) > 1e-13 || fabs(s - length * sin(angle)) > 1e-13)
                fail_msg("position %d, pair %d: found (%.15g, %.15g), expected (%.15g, %.15g)",
                         (int)p, (int)i, c, s, length * cos(angle), length * sin(angle));
        }
    sg_rope_table_free(&table);
}

static void test_linear(void **state)
{
    (void)state;
    double frequency[pairs];
    for (int i = 0; i < pairs; i++)
        frequency[i] = pow(500, -i / 32.0) / 4;
    sg_rope_options options = {.dim = 64, .theta = 500, .kind = SG_ROPE_LINEAR, .factor = 4};
    expect_angles(&options, frequency, 1);
    options.attention_factor = 1.5;
    expect_angles(&options, frequency, 1.5);
}

// The rule as the model's authors wrote it, by wave lengths.
static void test_llama3(void **state)
{
    (void)state;
    double frequency[pairs];
    int kept = 0, stretched = 0, mixed = 0;
    for (int i = 0; i < pairs; i++) {
        double w = pow(500000, -i / 32.0), wave = 2 * M_PI / w;
        if (wave < 8192.0 / 4) {
            kept++;
            frequency[i] = w;
        } else if (wave > 8192.0 / 1) {
            stretched++;
            frequency[i] = w / 8;
        } else {
            mixed++;
            double s = (8192 / wave - 1) / (4 - 1);
            frequency[i] = (1 - s) * w / 8 + s * w;
        }
    }
    assert_true(kept > 3 && stretched > 3 && mixed > 1);
    expect_angles(&(sg_rope_options){.dim = 64,
                                     .theta = 500000,
                                     .kind = SG_ROPE_LLAMA3,
                                     .factor = 8,
                                     .low_freq_factor = 1,
                                     .high_freq_factor = 4,
                                     .original_positions = 8192},
                  frequency, 1);
}

// GPT-OSS: a head of 64, theta 150000, 4096 positions times 32. The ends of the ramp are known.
static void check_yarn(bool truncate, double low, double high)
{
    double frequency[pairs];
    for (int i = 0; i < pairs; i++) {
        double w = pow(150000, -i / 32.0), ramp = ((double)i - low) / (high - low);
        ramp = fmin(fmax(ramp, 0), 1);
        frequency[i] = w / 32 * ramp + w * (1 - ramp);
    }
    sg_rope_options options = {.dim = 64,
                               .theta = 150000,
                               .kind = SG_ROPE_YARN,
                               .factor = 32,
                               .beta_fast = 32,
                               .beta_slow = 1,
                               .original_positions = 4096,
                               .truncate = truncate};
    expect_angles(&options, frequency, 0.1 * log(32) + 1);
    options.attention_factor = 0.75;
    expect_angles(&options, frequency, 0.75);
}

static void test_yarn(void **state)
{
    (void)state;
    const double low = 32 * log(4096 / (32 * 2 * M_PI)) / log(150000);
    const double high = 32 * log(4096 / (2 * M_PI)) / log(150000);
    assert_true(fabs(low - 8.0928) < 1e-4 && fabs(high - 17.3980) < 1e-4);
    assert_true(fabs(0.1 * log(32) + 1 - 1.3466) < 1e-4);
    check_yarn(false, low, high);
    check_yarn(true, 8, 18);
}

// A ramp that would begin before the first pair or end behind the last one, or has no width.
static void test_yarn_ends(void **state)
{
    (void)state;
    sg_rope_options options = {.dim = 64,
                               .theta = 10000,
                               .kind = SG_ROPE_YARN,
                               .factor = 4,
                               .beta_fast = 1000,
                               .beta_slow = 1e-9,
                               .original_positions = 100,
                               .attention_factor = 1};
    double frequency[pairs];
    for (int i = 0; i < pairs; i++) // the ramp is from 0 to 63
        frequency[i] = pow(10000, -i / 32.0) * (1 - 0.75 * i / 63.0);
    expect_angles(&options, frequency, 1);
    options.beta_fast = options.beta_slow = 4; // at 32 ln(100 / 8 pi) / ln 10000 = 4.8
    for (int i = 0; i < pairs; i++)
        frequency[i] = pow(10000, -i / 32.0) * (i < 5 ? 1 : 0.25);
    expect_angles(&options, frequency, 1);
}

static void test_refused(void **state)
{
    (void)state;
    const sg_rope_options llama3 = {.dim = 8,
                                    .theta = 10,
                                    .kind = SG_ROPE_LLAMA3,
                                    .factor = 2,
                                    .low_freq_factor = 1,
                                    .high_freq_factor = 4,
                                    .original_positions = 5};
    sg_rope_options yarn = llama3, bad[12];
    yarn.kind = SG_ROPE_YARN;
    yarn.beta_fast = 8;
    yarn.beta_slow = 1;
    const char *fields[] = {"dim",
                            "theta",
                            "factor",
                            "attention_factor",
                            "original_positions",
                            "low_freq_factor",
                            "high_freq_factor",
                            "high_freq_factor",
                            "beta_slow",
                            "beta_fast",
                            "theta",
                            "original_positions"};
    for (int i = 0; i < 12; i++)
        bad[i] = i < 8 ? llama3 : yarn;
    bad[0].dim = 7;
    bad[1].theta = NAN;
    bad[2].factor = 0;
    bad[3].attention_factor = -1;
    bad[4].original_positions = 0;
    bad[5].low_freq_factor = 0;
    bad[6].high_freq_factor = 1;
    bad[7].high_freq_factor = INFINITY;
    bad[8].beta_slow = 0;
    bad[9].beta_fast = 0.5;
    bad[10].theta = 1;
    bad[11].original_positions = -3;
    sg_rope_table table;
    sg_error err;
    for (int i = 0; i < 12; i++) {
        char expected[64];
        snprintf(expected, sizeof expected, "rope %s: found ", fields[i]);
        assert_int_equal(sg_rope_table_new(&table, 3, &bad[i], &err), SG_ERR_ARGUMENT);
        if (strstr(err.message, expected) == NULL) fail_msg("%d: %s", i, err.message);
        assert_null(table.cos);
    }
    assert_int_equal(sg_rope_table_new(&table, 3, &llama3, &err), SG_OK);
    sg_rope_table_free(&table);
    assert_int_equal(sg_rope_table_new(&table, 3, &yarn, &err), SG_OK);
    sg_rope_table_free(&table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rope),    cmocka_unit_test(test_norm_rope),
        cmocka_unit_test(test_linear),  cmocka_unit_test(test_llama3),
        cmocka_unit_test(test_yarn),    cmocka_unit_test(test_yarn_ends),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
