// Patterns of a record against its hits; which rows are left; arrays of files; maps as files; what
// is damaged, memory that fails.
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
#include "base/file.h"
#include "format/json.h"
#include "format/npy.h"
#include "memory_fs.h"
#include "model/model.h"
#include "sgatlin_gates.h"
#include "text_record.h"
#include "tiny_models.h"

enum { positions = 64 };
static sg_context *context;
static sg_model *model;
static sg_tokenizer *tokenizer;
static char folder[64] = "/tmp/sg-patterns-XXXXXX", path[96];
static const char text[] = "abc dab cad bad abc cab dab abc bad dad abc abc";

static void must(sg_status status, const sg_error *err)
{
    if (status != SG_OK) fail_msg("%s", err->message);
}

static int set_up(void **state)
{
    (void)state;
    sg_error err = {0};
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/scope.db", folder);
    must(sg_context_new(NULL, &context, &err), &err);
    must(sg_tokenizer_open(SG_TEST_DIR "/golden/tokenizer/nfkc.json", &tokenizer, &err), &err);
    sg_config c = tiny_config("sgatlin", sg_tokenizer_vocab_size(tokenizer), positions);
    must(sg_model_new(context, &c, 3, &model, &err), &err);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    sg_tokenizer_free(tokenizer);
    sg_model_free(model);
    sg_context_free(context);
    return sg_tree_remove(folder, NULL) == SG_OK ? 0 : -1;
}

static sg_record *record_with(const char *changes)
{
    return text_record(model, tokenizer, text, path, changes);
}

static sg_patterns *patterns_of(sg_record *record, const sg_patterns_options *o)
{
    sg_error err = {0};
    sg_patterns *p;
    must(sg_patterns_read(record, o, &p, &err), &err);
    return p;
}

// ---- rows of a record ---------------------------------------------------------------------------

static void test_hits(void **state)
{
    (void)state;
    sg_record *record = record_with(NULL);
    for (int which = 0; which < 2; which++) {
        sg_patterns_options o = sg_patterns_options_default();
        o.layer = 1;
        o.channel = 1;
        o.activations = which == 1;
        sg_patterns *p = patterns_of(record, &o);
        assert_int_equal(p->vectors.rows, sg_record_get_info(record)->tokens);
        assert_int_equal(p->recorded, p->vectors.rows);
        for (int64_t r = 0; r < p->vectors.rows; r++) {
            sg_record_hit hits[64];
            int64_t count;
            assert_int_equal(
                sg_record_token_hits(record, 1, 1, p->tokens[r], 64, hits, &count, NULL), SG_OK);
            assert_int_equal(count, p->vectors.begins[r + 1] - p->vectors.begins[r]);
            for (int64_t i = p->vectors.begins[r]; i < p->vectors.begins[r + 1]; i++) {
                bool found = false;
                for (int64_t h = 0; h < count; h++)
                    found = found || (hits[h].neuron == p->vectors.neurons[i] &&
                                      (which == 1 ? hits[h].activation : hits[h].score) ==
                                          p->vectors.scores[i]);
                assert_true(found);
            }
        }
        sg_patterns_free(p);
    }
    sg_record_free(record);
}

static void test_chosen(void **state)
{
    (void)state;
    sg_record *record = record_with(NULL);
    sg_patterns_options o = sg_patterns_options_default();
    sg_patterns *all = patterns_of(record, &o);
    const int64_t rows = all->vectors.rows;
    // The two most frequent tokens, by counting.
    int64_t counts[1024] = {0};
    for (int64_t r = 0; r < rows; r++)
        counts[all->inputs[r]]++;
    o.top = 2;
    sg_patterns *top = patterns_of(record, &o);
    int64_t expected = 0, seen[1024] = {0};
    for (int64_t r = 0; r < top->vectors.rows; r++)
        seen[top->inputs[r]]++;
    for (int t = 0; t < 1024; t++) {
        assert_true(seen[t] == 0 || seen[t] == counts[t]);
        for (int other = 0; other < 1024 && seen[t] > 0; other++)
            assert_true(seen[other] > 0 || counts[other] <= counts[t]);
        expected += seen[t];
    }
    assert_true(expected == top->vectors.rows && expected < rows && expected > 2);
    // Their first occurrences.
    o.first_only = true;
    sg_patterns *first = patterns_of(record, &o);
    assert_int_equal(first->vectors.rows, 2);
    assert_int_equal(first->tokens[0], top->tokens[0]);
    assert_int_not_equal(first->inputs[0], first->inputs[1]);
    // A draw, the same for the same seed, in order.
    o = sg_patterns_options_default();
    o.next_known = true;
    o.most = 7;
    o.seed = 4;
    sg_patterns *some = patterns_of(record, &o), *again = patterns_of(record, &o);
    assert_int_equal(some->vectors.rows, 7);
    assert_true(some->fitting < rows && some->recorded == rows); // the last token has no next
    assert_memory_equal(some->tokens, again->tokens, 7 * sizeof *some->tokens);
    for (int r = 0; r < 7; r++)
        assert_true(some->nexts[r] >= 0 && (r == 0 || some->tokens[r] > some->tokens[r - 1]));
    o.seed = 5;
    sg_patterns *other = patterns_of(record, &o);
    assert_memory_not_equal(some->tokens, other->tokens, 7 * sizeof *some->tokens);
    sg_patterns_free(all);
    sg_patterns_free(top);
    sg_patterns_free(first);
    sg_patterns_free(some);
    sg_patterns_free(again);
    sg_patterns_free(other);
    sg_record_free(record);
}

static void test_damaged(void **state)
{
    (void)state;
    sg_error err = {0};
    sg_patterns *p = NULL;
    sg_patterns_options o = sg_patterns_options_default();
    // Gates whose token is gone are no rows.
    sg_record *record = record_with("DELETE FROM token WHERE id = 3");
    must(sg_patterns_read(record, &o, &p, &err), &err);
    for (int64_t r = 0; r < p->vectors.rows; r++)
        assert_int_not_equal(p->tokens[r], 3);
    assert_int_equal(p->tokens[3], 4);
    sg_patterns_free(p);
    o.channel = 9;
    assert_int_equal(sg_patterns_read(record, &o, &p, &err), SG_ERR_NOT_FOUND);
    o.channel = 0;
    o.top = -1;
    assert_int_equal(sg_patterns_read(record, &o, &p, &err), SG_ERR_ARGUMENT);
    sg_record_free(record);
}

// ---- arrays -------------------------------------------------------------------------------------

static void open_array(sg_dtype dtype, int ndim, const int64_t *shape, const void *data,
                       sg_status expected, const char *words)
{
    char name[96];
    sg_error err = {0};
    sg_array *rows = NULL;
    const sg_tensor_view view = sg_tensor_view_make("", dtype, ndim, shape, data);
    snprintf(name, sizeof name, "%s/a.npy", folder);
    must(sg_npy_write(name, SG_OUTPUT_REPLACE, &view, &err), &err);
    assert_int_equal(sg_array_open(name, &rows, &err), expected);
    if (expected != SG_OK) {
        assert_non_null(strstr(err.message, words));
        return;
    }
    assert_int_equal(rows->vectors.rows, shape[0]);
    assert_int_equal(rows->vectors.columns, ndim > 2 ? shape[1] * shape[2] : shape[1]);
    assert_true(rows->vectors.values[3] == 4);
    sg_array_free(rows);
}

static void test_arrays(void **state)
{
    (void)state;
    const int64_t shape[] = {2, 3, 2};
    const int64_t line[] = {12};
    float values[12] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    double wide[12] = {1, 2, 3, 4};
    int32_t whole[12] = {1, 2, 3, 4};
    open_array(SG_DTYPE_F32, 2, shape, values, SG_OK, NULL);
    open_array(SG_DTYPE_F64, 3, shape, wide, SG_OK, NULL);
    open_array(SG_DTYPE_F32, 1, line, values, SG_ERR_FORMAT, "found 1 dimension,");
    open_array(SG_DTYPE_I32, 2, shape, whole, SG_ERR_UNSUPPORTED, "");
    values[4] = INFINITY;
    open_array(SG_DTYPE_F32, 2, shape, values, SG_ERR_NUMERIC, "row 1, column 1");
}

// ---- files of maps ------------------------------------------------------------------------------

typedef struct map_made {
    sg_record *record;
    sg_patterns *patterns;
    sg_umap *map;
    sg_umap_options options;
    sg_umap_notes notes;
} map_made;

static map_made make_map(void)
{
    sg_error err = {0};
    map_made m = {.record = record_with(NULL), .options = sg_umap_options_default()};
    sg_patterns_options o = sg_patterns_options_default();
    m.patterns = patterns_of(m.record, &o);
    m.options.epochs = 5;
    must(sg_umap_make(context, &m.patterns->vectors, &m.options, &m.map, &err), &err);
    return m;
}

static void free_map(map_made *m)
{
    sg_umap_free(m->map);
    sg_patterns_free(m->patterns);
    sg_record_free(m->record);
}

static char *read_back(const char *name, size_t *bytes)
{
    char *data;
    assert_int_equal(sg_file_read(name, 1 << 24, &data, bytes, NULL), SG_OK);
    return data;
}

static void test_map_files(void **state)
{
    (void)state;
    sg_error err = {0};
    char name[96], *data;
    size_t bytes;
    json_t *root;
    map_made m = make_map();
    m.notes = (sg_umap_notes){.record = m.record, .patterns = m.patterns, .options = &m.options};
    const int64_t rows = m.map->rows;
    snprintf(name, sizeof name, "%s/map.csv", folder);
    must(sg_umap_write(m.map, &m.notes, name, false, &err), &err);
    assert_int_equal(sg_umap_write(m.map, &m.notes, name, false, &err), SG_ERR_ARGUMENT);
    data = read_back(name, &bytes);
    int64_t lines = 0;
    for (size_t i = 0; i < bytes; i++)
        lines += data[i] == '\n';
    assert_int_equal(lines, rows + 1);
    sg_free(data);
    snprintf(name, sizeof name, "%s/map.json", folder);
    must(sg_umap_write(m.map, &m.notes, name, false, &err), &err);
    must(sg_json_read(name, 1 << 24, &root, &err), &err);
    assert_int_equal(json_integer_value(json_object_get(root, "rows")), rows);
    const char *const columns[] = {"x", "y", "tokens", "inputs", "nexts", "next_ids"};
    for (int i = 0; i < 6; i++)
        assert_int_equal(json_array_size(json_object_get(root, columns[i])), rows);
    for (int64_t r = 0; r < rows; r++)
        assert_true(fabs(json_number_value(json_array_get(json_object_get(root, "y"), (size_t)r)) -
                         (double)m.map->positions[2 * r + 1]) <= 1e-5);
    json_decref(root);
    snprintf(name, sizeof name, "%s/map.svg", folder);
    must(sg_umap_write(m.map, &m.notes, name, false, &err), &err);
    data = read_back(name, &bytes);
    int64_t circles = 0;
    for (const char *c = data; (c = strstr(c, "<circle")) != NULL; c++)
        circles++;
    assert_true(circles >= rows + 1 && circles <= rows + 9); // and the legend's
    assert_non_null(strstr(data, "</svg>"));
    sg_free(data);
    m.patterns->vectors.rows--;
    assert_int_equal(sg_umap_write(m.map, &m.notes, name, true, &err), SG_ERR_MISMATCH);
    m.patterns->vectors.rows++;
    free_map(&m);
}

static sg_status read_it(void *user, sg_error *err)
{
    const map_made *m = user;
    char *json;
    sg_patterns *p;
    sg_patterns_options o = sg_patterns_options_default();
    o.top = 3;
    o.most = 4;
    SG_TRY(sg_patterns_read(m->record, &o, &p, err));
    sg_patterns_free(p);
    SG_TRY(sg_umap_json(m->map, &m->notes, &json, err));
    sg_buffer_free(json);
    return SG_OK;
}

static sg_status write_it(void *user, sg_error *err)
{
    const map_made *m = user;
    SG_TRY(sg_umap_write(m->map, &m->notes, "/map.csv", true, err));
    SG_TRY(sg_umap_write(m->map, &m->notes, "/map.svg", true, err));
    return sg_umap_write(m->map, &m->notes, "/map.json", true, err);
}

static void test_memory(void **state)
{
    (void)state;
    map_made m = make_map();
    m.notes = (sg_umap_notes){.record = m.record, .patterns = m.patterns, .options = &m.options};
    assert_true(alloc_failure_loop(read_it, &m) > 20);
    memory_fs *disk = memory_fs_begin();
    assert_non_null(disk);
    assert_true(write_it(&m, NULL) == SG_OK); // the disk has what it takes from here on
    assert_true(alloc_failure_loop(write_it, &m) > 20);
    assert_int_equal(memory_fs_end(disk), 0);
    free_map(&m);
}

// A disk that fails leaves the map that was there, or the new one.
static void test_disk(void **state)
{
    (void)state;
    map_made m = make_map();
    m.notes = (sg_umap_notes){.record = m.record, .patterns = m.patterns, .options = &m.options};
    memory_fs *disk = memory_fs_begin();
    assert_non_null(disk);
    int failures = 0;
    for (int64_t n = 0;; n++) {
        size_t bytes;
        const int64_t begin = memory_fs_operations(disk);
        memory_fs_fail(disk, begin + n, 5, false);
        const sg_status status = sg_umap_write(m.map, &m.notes, "/map.csv", true, NULL);
        const bool failed = memory_fs_operations(disk) > begin + n;
        memory_fs_fail(disk, -1, 0, false);
        assert_int_equal(memory_fs_open_handles(disk), 0);
        const unsigned char *data = memory_fs_bytes(disk, "/map.csv", &bytes);
        if (status != SG_OK) assert_int_equal(status, SG_ERR_IO);
        assert_true(data == NULL || (bytes > 0 && data[bytes - 1] == '\n'));
        failures += status != SG_OK;
        if (!failed) break;
    }
    assert_true(failures > 3);
    assert_int_equal(memory_fs_end(disk), 0);
    free_map(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hits),      cmocka_unit_test(test_chosen),
        cmocka_unit_test(test_damaged),   cmocka_unit_test(test_arrays),
        cmocka_unit_test(test_map_files), cmocka_unit_test(test_memory),
        cmocka_unit_test(test_disk),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
