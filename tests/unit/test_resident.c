// Mapped models whose weights stay in memory in part: what is chosen, what is counted, and that no
// number a model computes depends on it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "alloc_failure.h"
#include "base/file.h"
#include "base/pages.h"
#include "memory_fs.h"
#include "model/model.h"
#include "probe/resident_units.h"
#include "tiny_models.h"

enum { vocab = 60, positions = 16, tokens = 6 };
static sg_context *context;
static memory_fs *fs;

static void must(sg_status status, const sg_error *err)
{
    if (status != SG_OK) fail_msg("%s: %s", sg_status_name(status), err->message);
}

static int set_up(void **state)
{
    (void)state;
    fs = memory_fs_new();
    sg_fs_set(memory_fs_table(fs));
    return sg_context_new(&(sg_context_options){.threads = 2}, &context, NULL) == SG_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    sg_context_free(context);
    sg_fs_set(NULL);
    memory_fs_free(fs);
    return 0;
}

static sg_model *mapped_model(const char *kind)
{
    sg_error err = {0};
    sg_model *fresh, *model;
    const sg_config config = tiny_config(kind, vocab, positions);
    must(sg_model_new(context, &config, 3, &fresh, &err), &err);
    must(sg_model_save(fresh, NULL, "/model", &err), &err);
    sg_model_free(fresh);
    must(sg_model_open_stored(context, "/model", &model, &err), &err);
    return model;
}

// ---- which stay ---------------------------------------------------------------------------------

static void test_choice(void **state)
{
    (void)state;
    sg_resident_unit items[] = {
        {.kind = SG_RESIDENT_ATTENTION, .bytes = 10}, {.kind = SG_RESIDENT_ROUTERS, .bytes = 2},
        {.kind = SG_RESIDENT_NORMS, .bytes = 1},      {.kind = SG_RESIDENT_CLASSIFIER, .bytes = 30},
        {.kind = SG_RESIDENT_BLOCKS, .bytes = 5},     {.kind = SG_RESIDENT_BLOCKS, .bytes = 5},
        {.kind = SG_RESIDENT_BLOCKS, .bytes = 5},     {.kind = SG_RESIDENT_BLOCKS, .bytes = 5},
        {.kind = SG_RESIDENT_EMBEDDINGS, .bytes = 4},
    };
    enum { count = sizeof items / sizeof *items };
    int64_t reads[count] = {[4] = 2, [5] = 0, [6] = 7, [7] = 2};
    const sg_resident_units units = {.items = items, .reads = reads, .count = count};
    static const struct {
        int64_t budget;
        const char *kept;
    } cases[] = {
        {0, "000000000"},    {9, "011000100"},  // attention does not fit, what follows does
        {13, "111000000"},   {17, "111000001"}, // nothing but the embeddings fits
        {18, "111000100"},   {22, "111000101"},
        {23, "111010100"},                      // of two blocks that were read as often, the first
        {58, "111110110"},   {62, "111110111"}, // a block that was never read does not stay
        {1000, "111110111"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bool kept[count];
        char found[count + 1] = "";
        sg_error err = {0};
        must(sg_resident_choose(&units, cases[i].budget, kept, &err), &err);
        for (int j = 0; j < count; j++)
            found[j] = kept[j] ? '1' : '0';
        if (strcmp(found, cases[i].kept) != 0)
            fail_msg("budget %lld: found %s, expected %s", (long long)cases[i].budget, found,
                     cases[i].kept);
    }
}

// ---- passes -------------------------------------------------------------------------------------

// The logits of a prompt of two tokens and of single ones: (tokens - 1, vocab).
static void feed(sg_model *model, const sg_points *points, float *logits)
{
    static const int32_t ids[tokens] = {5, 9, 5, 33, 5, 9};
    sg_error err = {0};
    sg_session *session;
    sg_session_options options = sg_session_options_default();
    options.points = points;
    must(sg_session_open(model, &options, &session, &err), &err);
    for (int i = 1; i < tokens; i++) {
        const float *last;
        const int from = i == 1 ? 0 : i;
        must(sg_session_feed(session, ids + from, i + 1 - from, &last, &err), &err);
        memcpy(logits + (i - 1) * vocab, last, vocab * sizeof *logits);
    }
    sg_session_free(session);
}

static int64_t bytes_in_file(const sg_model *model)
{
    int64_t bytes = 0;
    for (size_t i = 0; i < sg_model_tensor_count(model); i++) {
        sg_tensor_info info;
        must(sg_model_tensor_info(model, i, &info, NULL), &(sg_error){0});
        if (info.in_file) bytes += info.bytes;
    }
    return bytes;
}

static void check_report(const char *kind, const sg_model *model, const sg_resident *resident)
{
    const sg_resident_report r = sg_resident_report_of(resident);
    const sg_resident_line *blocks = &r.lines[SG_RESIDENT_BLOCKS];
    int64_t bytes = 0, kept = 0, read = 0;
    for (int k = 0; k < SG_RESIDENT_KINDS; k++) {
        const sg_resident_line *l = &r.lines[k];
        assert_non_null(l->name);
        assert_true(l->kept_units <= l->units && l->kept <= l->bytes && l->locked <= l->kept);
        assert_true(l->kept_reads <= l->reads && l->resident_pages <= l->pages);
        assert_true((l->reads > 0) == (l->units > 0 && k != SG_RESIDENT_EMBEDDINGS));
        bytes += l->bytes;
        kept += l->kept;
    }
    assert_int_equal(r.passes, tokens - 1);
    assert_int_equal(bytes, bytes_in_file(model));
    if (kept > r.budget) fail_msg("%s: %lld bytes stay", kind, (long long)kept);
    const bool sparse = sg_family_is_sparse(sg_family_find(sg_model_config(model)->ffn));
    assert_int_equal(blocks->units > 0, sparse);
    for (int64_t l = 0; l < sg_resident_layers(resident); l++) {
        int64_t count, of;
        const int64_t *reads = sg_resident_reads(resident, l, &count, &of);
        assert_true((count > 0) == (reads != NULL));
        const bool again = sg_model_config(model)->ffn_share_pool && l > 0; // the first layer's
        for (int64_t i = 0; i < count && !again; i++)
            read += reads[i];
    }
    assert_int_equal(read, blocks->reads);
}

// Every family, with nothing that stays, some of it, and all.
static void test_passes(void **state)
{
    (void)state;
    float plain[(tokens - 1) * vocab], watched[(tokens - 1) * vocab];
    for (int i = 0; tiny_kind(i) != NULL; i++) {
        sg_model *model = mapped_model(tiny_kind(i));
        const int64_t budgets[] = {1, bytes_in_file(model) / 2, (int64_t)1 << 40, 0};
        feed(model, NULL, plain);
        for (size_t b = 0; b < sizeof budgets / sizeof *budgets; b++) {
            sg_error err = {0};
            sg_resident *resident;
            must(sg_resident_new(model, budgets[b], &resident, &err), &err);
            feed(model, sg_resident_points(resident), watched);
            if (memcmp(plain, watched, sizeof plain) != 0)
                fail_msg("%s: other logits where %lld bytes stay", tiny_kind(i),
                         (long long)budgets[b]);
            check_report(tiny_kind(i), model, resident);
            sg_resident_free(resident);
        }
        sg_model_free(model);
    }
}

// ---- refused ------------------------------------------------------------------------------------

static void test_refused(void **state)
{
    (void)state;
    sg_error err = {0};
    sg_model *model;
    sg_resident *resident;
    const sg_config config = tiny_config("glu", vocab, positions);
    must(sg_model_new(context, &config, 3, &model, &err), &err);
    assert_int_equal(sg_resident_new(model, 0, &resident, &err), SG_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "found no weight that is read where it lies in its file"));
    assert_null(resident);
    assert_int_equal(sg_resident_new(model, -1, &resident, &err), SG_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "found -1"));
    sg_model_free(model);
}

static sg_status make_and_free(void *user, sg_error *err)
{
    sg_resident *resident;
    const sg_status status = sg_resident_new(user, 1000, &resident, err);
    sg_resident_free(resident);
    return status;
}

static void test_memory_fails(void **state)
{
    (void)state;
    sg_model *model = mapped_model("moefied");
    assert_true(alloc_failure_loop(make_and_free, model) > 0);
    sg_model_free(model);
}

// The system tells of the pages of files that are one's own, and of no others.
static void test_told(void **state)
{
    (void)state;
    char own[] = "/tmp/sg-resident-XXXXXX";
    const int file = mkstemp(own);
    assert_true(file >= 0);
    close(file);
    assert_int_equal(chmod(own, 0400), 0);
    assert_true(sg_pages_told(own));
    remove(own);
    assert_false(sg_pages_told(own));
    if (geteuid() != 0) assert_false(sg_pages_told("/etc/passwd"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_choice),       cmocka_unit_test(test_passes),
        cmocka_unit_test(test_refused),      cmocka_unit_test(test_told),
        cmocka_unit_test(test_memory_fails),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
