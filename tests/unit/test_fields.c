// What is stated of fields, once: that nothing is left out of the tables, that rows make sense, and
// that what repeats them for people and for Python says the same.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/fields.h"
#include "base/file.h"
#include "ffn/ffn.h"
#include "format/json_fields.h"
#include "model/config.h"
#include "sgatlin_train.h"

// ---- rows ---------------------------------------------------------------------------------------

static const sg_field *config_field(size_t i)
{
    return sg_config_field_at(i);
}

static const sg_field *(*const tables[])(size_t) = {config_field, sg_train_field_at};
static const size_t sizes[] = {sizeof(sg_config), sizeof(sg_train_options)};

// Every byte of the structure is of one member with a row, but for what aligns the next one.
static void covers(const sg_field *(*table)(size_t), char *bytes, size_t size)
{
    const sg_field *field;
    for (size_t i = 0; (field = table(i)) != NULL; i++)
        for (size_t b = field->offset; b < field->offset + field->bytes; b++) {
            if (bytes[b] != 0) fail_msg("%s lies over another member", field->name);
            bytes[b] = 1;
        }
    for (size_t b = 0, gap = 0; b < size; b++) {
        gap = bytes[b] != 0 ? 0 : gap + 1;
        if (gap >= 8) fail_msg("the member at byte %zu has no row", b - gap + 1);
    }
}

static void test_no_member_is_left_out(void **state)
{
    (void)state;
    char bytes[sizeof(sg_train_options)] = {0};
    covers(config_field, bytes, sizeof(sg_config));
    memset(bytes, 0, sizeof bytes);
    memset(bytes + offsetof(sg_train_options, config), 1, sizeof(sg_config));
    covers(sg_train_field_at, bytes, sizeof(sg_train_options));
}

static void test_rows(void **state)
{
    (void)state;
    sg_error err;
    for (size_t t = 0; t < 2; t++) {
        const sg_field *f, *other;
        for (size_t i = 0; (f = tables[t](i)) != NULL; i++) {
            if (f->group != NULL && (f->help == NULL || f->help[0] == '\0'))
                fail_msg("%s: no help", f->name);
            if (f->low > f->high) fail_msg("%s: its range is empty", f->name);
            for (size_t j = 0; j < i; j++) {
                other = tables[t](j);
                if (strcmp(f->name, other->name) == 0) fail_msg("%s: twice", f->name);
                if (f->also && other->also && strcmp(f->also, other->also) == 0)
                    fail_msg("%s: twice", f->also);
            }
            if (f->initial == NULL) continue;
            // The default can be set, and is right.
            char *options = sg_alloc_zero(1, sizes[t]);
            if (sg_field_set(f, f->name, f->initial, INT64_MIN, INT64_MAX, options, &err) != SG_OK)
                fail_msg("%s", err.message);
            if (sg_field_check(f, f->name, "", options, &err) != SG_OK) fail_msg("%s", err.message);
            sg_free(options);
        }
    }
}

// A text of each kind that is in range, as the JSON of the field has it.
static const char *sample(const sg_field *f, char text[64])
{
    size_t bytes;
    const double middle = f->low > 0 ? f->low : 0;
    switch (f->kind) {
    case SG_FIELD_INT:
        snprintf(text, 64, "%lld", f->low < 0 ? 1 : (long long)f->low + 1);
        return text;
    case SG_FIELD_NUMBER:
        snprintf(text, 64, "%.17g", middle + 0.25 < f->high ? middle + 0.25 : f->high);
        return text;
    case SG_FIELD_BOOL:
        return "true";
    case SG_FIELD_SEED:
        return "18446744073709551615";
    case SG_FIELD_STRING:
    case SG_FIELD_ENUM:
        break;
    }
    const char *choice = sg_field_choice(f, 1, &bytes);
    snprintf(text, 64, "%.*s", (int)(bytes > 0 ? bytes : 5), bytes > 0 ? choice : "a,b c");
    return text;
}

// Set from text, written as JSON and read back, each member is what it was, and no other changed.
static void test_round_trip(void **state)
{
    (void)state;
    sg_error err = {0};
    for (size_t t = 0; t < 2; t++) {
        const sg_field *f;
        char *first = sg_alloc_zero(1, sizes[t]), *second = sg_alloc_zero(1, sizes[t]);
        for (size_t i = 0; (f = tables[t](i)) != NULL; i++) {
            char text[64];
            memset(first, 0, sizes[t]);
            memset(second, 0, sizes[t]);
            assert_true(sg_field_is_empty(f, first));
            if (sg_field_set(f, f->name, sample(f, text), INT64_MIN, INT64_MAX, first, &err) !=
                SG_OK)
                fail_msg("%s", err.message);
            assert_false(sg_field_is_empty(f, first));
            json_t *object = json_object(), *value = sg_json_from_field(f, first);
            assert_int_equal(json_object_set_new(object, f->name, value), 0);
            if (sg_json_to_field(object, "x", f, true, INT64_MIN, INT64_MAX, second, &err) != SG_OK)
                fail_msg("%s", err.message);
            assert_memory_equal(first, second, sizes[t]);
            // A value of another type is refused by name.
            json_object_set_new(object, f->name, json_pack("[i]", 1));
            assert_int_equal(
                sg_json_to_field(object, "x", f, true, INT64_MIN, INT64_MAX, second, &err),
                SG_ERR_FORMAT);
            assert_non_null(strstr(err.message, f->name));
            json_decref(object);
        }
        sg_free(first);
        sg_free(second);
    }
}

static void expect_refused(const char *name, const char *text, const char *message)
{
    sg_error err = {0};
    sg_train_options o = {0}, before = o;
    assert_int_equal(sg_train_options_set(&o, name, text, &err), SG_ERR_ARGUMENT);
    assert_string_equal(err.message, message);
    assert_memory_equal(&o, &before, sizeof o);
}

static void test_set_refuses(void **state)
{
    (void)state;
    char long_text[300];
    memset(long_text, 'a', sizeof long_text);
    long_text[299] = '\0';
    expect_refused("rate", "1", "rate: there is no such option of a run");
    expect_refused("lr", "nan", "lr: found \"nan\", expected a number");
    expect_refused("recompute", "1", "recompute: found \"1\", expected true or false");
    expect_refused("seed", "-1", "seed: found \"-1\", expected a whole number");
    expect_refused("seed", "18446744073709551616",
                   "seed: found \"18446744073709551616\", expected a whole number");
    expect_refused("table_dtype", "int8", "table-dtype: found \"int8\", expected one of f32, bf16");
    expect_refused("sample_prompt", long_text,
                   "sample-prompt: found 299 bytes, expected less than 256");
}

// ---- what people read ---------------------------------------------------------------------------

static void read_text(const char *name, char **text)
{
    char path[SG_PATH_MAX];
    size_t bytes;
    sg_error err;
    snprintf(path, sizeof path, "%s/../%s", SG_TEST_DIR, name);
    if (sg_file_read(path, 1 << 24, text, &bytes, &err) != SG_OK) fail_msg("%s", err.message);
}

// One row of a table, which begins with that text; returns the end of its line.
static char *expect_row(const char *file, char *at, const char *row)
{
    if (strncmp(at, row, strlen(row)) != 0)
        fail_msg("%s: found %.160s, expected %s", file, at, row + 1);
    return strchr(at + 1, '\n');
}

// The families that have a field, as the documentation says it: "all", "moe, switch", "not mlp".
static void families_of(const char *name, char *text, size_t capacity)
{
    char takes[256];
    size_t has = 0, all = 0, used = 0;
    for (; sg_config_family(all) != NULL; all++)
        has += sg_config_takes(sg_config_family(all), name, takes, sizeof takes);
    const bool listed = has <= all / 2;
    snprintf(text, capacity, "%s", has == all ? "all" : "");
    for (size_t i = 0; i < all && has < all; i++) {
        if (sg_config_takes(sg_config_family(i), name, takes, sizeof takes) != listed) continue;
        used += (size_t)snprintf(text + used, capacity - used, "%s%s",
                                 used     ? ", "
                                 : listed ? ""
                                          : "not ",
                                 sg_config_family(i));
    }
}

static const char *default_of(const sg_field *f, char text[64])
{
    if (f->initial != NULL)
        snprintf(text, 64, "%s", f->initial);
    else if (f->shown != NULL)
        snprintf(text, 64, "%s", f->shown);
    else if (f->low > 0 || f->flags & SG_FIELD_FILLED || f->kind == SG_FIELD_STRING)
        text[0] = '\0';
    else
        snprintf(text, 64, "%s", f->kind == SG_FIELD_BOOL ? "false" : "0");
    return text;
}

// The table of section 1 of docs/MODEL.md begins each row with name, default and families.
static void test_documentation_of_a_configuration(void **state)
{
    (void)state;
    char *text, *at;
    read_text("docs/MODEL.md", &text);
    at = strstr(text, "\n| `vocab_size` |");
    const sg_field *f;
    assert_non_null(at);
    for (size_t i = 0; (f = sg_config_field_at(i)) != NULL; i++) {
        char row[512], families[256], initial[64];
        families_of(f->name, families, sizeof families);
        snprintf(row, sizeof row, "\n| `%s` | %s | %s |", f->name, default_of(f, initial),
                 families);
        at = expect_row("docs/MODEL.md", at, row);
    }
    assert_int_equal(at[1], '\n'); // and no row more
    sg_free(text);
}

// What a family takes for a field, each name in back quotes.
static void quoted_names(const char *family, const char *field, char *text, size_t capacity)
{
    char takes[256];
    size_t used = 0;
    text[0] = '\0';
    assert_true(sg_config_takes(family, field, takes, sizeof takes));
    for (char *at = takes; *at != '\0' && used < capacity;) {
        const size_t n = strcspn(at, ",");
        used += (size_t)snprintf(text + used, capacity - used, "%s`%.*s`", used ? ", " : "", (int)n,
                                 at);
        at += n + strspn(at + n, ", ");
    }
}

// The table of families begins each row with the name, the routers and the activations.
static void test_documentation_of_families(void **state)
{
    (void)state;
    char *text, *at;
    read_text("docs/MODEL.md", &text);
    at = strstr(text, "\n| `mlp` | `all` |");
    assert_non_null(at);
    for (size_t i = 0; sg_config_family(i) != NULL; i++) {
        char row[768], routers[256], activations[256];
        quoted_names(sg_config_family(i), "ffn_router", routers, sizeof routers);
        quoted_names(sg_config_family(i), "ffn_activation", activations, sizeof activations);
        snprintf(row, sizeof row, "\n| `%s` | %s | %s |", sg_config_family(i), routers,
                 activations);
        at = expect_row("docs/MODEL.md", at, row);
    }
    assert_int_equal(at[1], '\n');
    sg_free(text);
}

// The table of docs/FORMATS.md: name, default, whether a run that goes on may change it.
static void test_documentation_of_a_run(void **state)
{
    (void)state;
    char *text, *at;
    read_text("docs/FORMATS.md", &text);
    at = strstr(text, "\n| `seed` |");
    const sg_field *f;
    assert_non_null(at);
    for (size_t i = 0; (f = sg_train_field_at(i)) != NULL; i++) {
        char row[512], initial[64];
        snprintf(row, sizeof row, "\n| `%s` | %s | %s |", f->name, default_of(f, initial),
                 f->flags & SG_FIELD_CHANGES ? "yes" : "");
        at = expect_row("docs/FORMATS.md", at, row);
    }
    assert_int_equal(at[1], '\n');
    sg_free(text);
}

// ---- what Python reads --------------------------------------------------------------------------

// Where a model has to be there for a default to mean something, the smallest that Python takes;
// and what a family that has not the field computes as if it had.
static const struct {
    const char *name, *value;
} python_own[] = {{"vocab_size", "2"},
                  {"hidden_size", "64"},
                  {"num_hidden_layers", "1"},
                  {"num_attention_heads", "1"},
                  {"head_dim", "64"},
                  {"max_position_embeddings", "1024"},
                  {"rope_factor", "1"},
                  {"rope_original_positions", "0"},
                  {"ffn", "mlp"},
                  {"ffn_router", "all"},
                  {"ffn_activation", "gelu"},
                  {"ffn_channels", "1"},
                  {"ffn_gate", "none"},
                  {"ffn_query_norm", "none"},
                  {"ffn_dense", ""},
                  {"ffn_dense_size", "0"},
                  {"sliding_layers", ""},
                  {"ffn_score", "softmax"},
                  {"ffn_select", "top_k"}};

static const char *python_default(const sg_field *f, char text[64])
{
    for (size_t i = 0; i < sizeof python_own / sizeof *python_own; i++)
        if (strcmp(python_own[i].name, f->name) == 0) return python_own[i].value;
    if (f->initial != NULL) return f->initial;
    snprintf(text, 64, "%s", f->kind == SG_FIELD_STRING ? "" : "0");
    return text;
}

// One item of DEFAULTS, NAME=VALUE, from *at on; *at is behind it.
static void python_item(char **at, char name[64], char value[64])
{
    size_t n = strcspn(*at, "=");
    snprintf(name, 64, "%.*s", (int)n, *at);
    *at += n + 1;
    n = strcspn(*at, ",)");
    snprintf(value, 64, "%.*s", (int)n, *at);
    *at += n + 1;
    *at += strspn(*at, " \n");
}

static void test_python_defaults(void **state)
{
    (void)state;
    char *text, *at;
    read_text("share/modeling_sgatlin.py", &text);
    at = strstr(text, "DEFAULTS = dict(");
    const sg_field *f;
    assert_non_null(at);
    at += strcspn(at, "\n");
    at += strspn(at, " \n");
    for (size_t i = 0; (f = sg_config_field_at(i)) != NULL; i++) {
        char name[64], value[64], buffer[64];
        // The library of Python knows these; that of classifiers it has under another name.
        if (strstr(f->name, "_token_id") || strcmp(f->name, "untied_classifier") == 0) continue;
        python_item(&at, name, value);
        assert_string_equal(name, f->name);
        const char *expected = python_default(f, buffer);
        if (f->kind == SG_FIELD_STRING) {
            char quoted[80];
            snprintf(quoted, sizeof quoted, "\"%s\"", expected);
            assert_string_equal(value, quoted);
        } else if (strtod(value, NULL) < strtod(expected, NULL) ||
                   strtod(value, NULL) > strtod(expected, NULL)) {
            fail_msg("DEFAULTS: %s: found %s, expected %s", name, value, expected);
        }
        // Numbers are written as such, so that Python computes with a float.
        assert_int_equal(f->kind == SG_FIELD_NUMBER, strpbrk(value, ".e") && value[0] != '"');
    }
    sg_free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_member_is_left_out),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_set_refuses),
        cmocka_unit_test(test_documentation_of_a_configuration),
        cmocka_unit_test(test_documentation_of_families),
        cmocka_unit_test(test_documentation_of_a_run),
        cmocka_unit_test(test_python_defaults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
