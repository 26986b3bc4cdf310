// Values of points in files against those that a callback sees; the folder and its list; what is
// refused; disks and memory that fail.
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "alloc_failure.h"
#include "base/rng.h"
#include "context_on.h"
#include "format/json.h"
#include "format/npy.h"
#include "memory_disk.h"
#include "model/model.h"
#include "pack_bytes.h"
#include "probe/point_output.h"
#include "tiny_models.h"

enum { positions = 64, tokens_count = 20, most_points = 80, most_row = 1024 };
static sg_context *context;
static int32_t tokens[tokens_count];

static int group_begin(void **state)
{
    (void)state;
    context = context_on(2);
    for (int i = 0; i < tokens_count; i++)
        tokens[i] = (int32_t)sg_rng_below(7, 1, (uint64_t)i, 60);
    return 0;
}

static int group_end(void **state)
{
    (void)state;
    sg_context_free(context);
    return 0;
}

static sg_model *make_model(sg_context *in, const char *kind)
{
    sg_error err = {0};
    sg_model *model;
    sg_config c = tiny_config(kind, BYTES_VOCAB, positions);
    must(sg_model_new(in, &c, 3, &model, &err), &err);
    return model;
}

static sg_dump_options options_of(const char *points, const char *path)
{
    sg_dump_options o = sg_dump_options_default();
    o.points = points;
    o.path = path;
    o.tokens = tokens;
    o.token_count = tokens_count;
    return o;
}

static sg_dump_info dump_it(sg_model *model, const sg_dump_options *o)
{
    sg_dump_info info = {0};
    sg_error err = {0};
    must(sg_probe_dump(model, o, &info, &err), &err);
    return info;
}

// ---- against a callback -------------------------------------------------------------------------

// Rows of all points, by sequence and position, as bytes.
typedef struct seen {
    char names[most_points][64];
    int64_t width[most_points]; // of the last dimension, of a pattern that of the longest sequence
    float rows[most_points][tokens_count][most_row];
    int count;
    int64_t first; // row of the sequence
    int64_t length;
} seen;

static sg_status see(void *user, const sg_point_values *p, sg_error *err)
{
    (void)err;
    seen *s = user;
    int at = 0;
    while (at < s->count && strcmp(s->names[at], p->name) != 0)
        at++;
    assert_true(at < most_points);
    if (at == s->count) snprintf(s->names[s->count++], sizeof s->names[0], "%s", p->name);
    const bool pattern = strstr(p->name, "pattern") != NULL;
    const int64_t last = p->rank > 1 ? p->shape[p->rank - 1] : 1;
    const int64_t runs = p->rank == 3 ? p->shape[1] : 1, full = pattern ? s->length : last;
    assert_true(runs * full <= most_row);
    s->width[at] = runs * full;
    for (int64_t i = 0; i < p->shape[0] * runs; i++) {
        const int64_t row = s->first + p->start[0] + p->first_row + i / runs;
        const void *from = p->kind == SG_POINT_I32 ? (const void *)(p->ids + i * last)
                                                   : (const void *)(p->values + i * last);
        memcpy(&s->rows[at][row][i % runs * full], from, (size_t)last * sizeof(float));
    }
    return SG_OK;
}

static void see_all(sg_model *model, seen *s, int64_t length)
{
    memset(s, 0, sizeof *s);
    s->length = length;
    const sg_point_request request = {"*", SG_POINT_READ, see, s};
    const sg_points points = {&request, 1};
    sg_session_options options = sg_session_options_default();
    options.points = &points;
    for (s->first = 0; s->first < tokens_count; s->first += length) {
        const int64_t left = tokens_count - s->first, count = left < length ? left : length;
        double nll[tokens_count];
        bool likeliest[tokens_count];
        sg_session *session;
        sg_error err = {0};
        must(sg_session_open(model, &options, &session, &err), &err);
        must(sg_session_score(session, tokens + s->first, tokens + s->first, count, nll, likeliest,
                              &err),
             &err);
        sg_session_free(session);
    }
}

static void check_array(const char *folder, const char *name, int64_t width, const void *rows,
                        size_t stride)
{
    char path[SG_PATH_MAX];
    sg_npy npy;
    sg_error err = {0};
    snprintf(path, sizeof path, "%s/%s.npy", folder, name);
    must(sg_npy_open(path, &npy, &err), &err);
    assert_int_equal(npy.view.shape[0], tokens_count);
    assert_int_equal(sg_tensor_view_elements(&npy.view), tokens_count * width);
    const bool ids = strstr(name, "gate_ids") != NULL || strcmp(name, "tokens") == 0;
    assert_int_equal(npy.view.dtype, ids ? SG_DTYPE_I32 : SG_DTYPE_F32);
    const size_t bytes = (size_t)width * sizeof(float);
    for (size_t t = 0; t < tokens_count; t++)
        if (memcmp((const char *)npy.view.data + t * bytes, (const char *)rows + t * stride,
                   bytes) != 0)
            fail_msg("%s: row %d is not what a callback sees", path, (int)t);
    sg_npy_close(&npy);
}

static void check_points(const char *kind, int64_t length)
{
    static seen s;
    sg_model *model = make_model(context, kind);
    sg_dump_options o = options_of("*", "/dump");
    o.context = length;
    o.force = true;
    const sg_dump_info info = dump_it(model, &o);
    see_all(model, &s, length);
    assert_int_equal(info.rows, tokens_count);
    assert_int_equal(info.length, length);
    assert_int_equal(info.sequences, (tokens_count + length - 1) / length);
    assert_int_equal(info.points, s.count);
    assert_int_equal(info.files, s.count + 2);
    check_array("/dump", "tokens", 1, tokens, sizeof *tokens);
    for (int p = 0; p < s.count; p++)
        check_array("/dump", s.names[p], s.width[p], s.rows[p], sizeof s.rows[p][0]);
    sg_model_free(model);
}

static void test_values(void **state)
{
    (void)state;
    const char *kind;
    for (int i = 0; (kind = tiny_even_kind(&i)) != NULL; i++)
        check_points(kind, i % 3 == 0 ? 20 : i % 3 == 1 ? 7 : 1);
}

// The list says what the files are, and bytes are those of the files.
static void test_list(void **state)
{
    (void)state;
    sg_model *model = make_model(context, "sgatlin");
    sg_dump_options o = options_of("blocks.*.attn.hook_pattern,hook_embed,*hook_gate_ids", "/dump");
    o.context = 8;
    o.layers = "1";
    o.model = "a model";
    o.command = "a command";
    const sg_dump_info info = dump_it(model, &o);
    char **names;
    size_t count, i;
    json_t *root, *point;
    sg_error err = {0};
    must(sg_folder_list("/dump", &names, &count, &err), &err);
    assert_int_equal(count, info.files);
    int64_t bytes = 0;
    for (i = 0; i < count; i++) {
        char path[SG_PATH_MAX];
        int64_t size;
        snprintf(path, sizeof path, "/dump/%s", names[i]);
        must(sg_path_bytes(path, &size, &err), &err);
        if (strstr(names[i], ".npy") != NULL) bytes += size;
    }
    sg_names_free(names, count);
    assert_int_equal(bytes, info.bytes);
    must(sg_json_read("/dump/points.json", 1 << 20, &root, &err), &err);
    assert_string_equal(json_string_value(json_object_get(root, "model")), "a model");
    assert_string_equal(json_string_value(json_object_get(root, "command")), "a command");
    assert_string_equal(json_string_value(json_object_get(root, "version")), sg_version());
    assert_int_equal(json_integer_value(json_object_get(root, "rows")), tokens_count);
    assert_int_equal(json_integer_value(json_object_get(root, "length")), 8);
    static const char *const expected[] = {"hook_embed", "blocks.1.attn.hook_pattern",
                                           "blocks.1.mlp.hook_gate_ids"};
    json_array_foreach(json_object_get(root, "points"), i, point)
    {
        char path[SG_PATH_MAX];
        sg_npy npy;
        assert_true(i < 3);
        assert_string_equal(json_string_value(json_object_get(point, "name")), expected[i]);
        snprintf(path, sizeof path, "/dump/%s", json_string_value(json_object_get(point, "file")));
        must(sg_npy_open(path, &npy, &err), &err);
        const json_t *shape = json_object_get(point, "shape");
        assert_int_equal(json_array_size(shape), npy.view.ndim);
        for (int k = 0; k < npy.view.ndim; k++)
            assert_int_equal(json_integer_value(json_array_get(shape, (size_t)k)),
                             npy.view.shape[k]);
        assert_string_equal(json_string_value(json_object_get(point, "dtype")),
                            npy.view.dtype == SG_DTYPE_I32 ? "int32" : "float32");
        assert_int_equal(json_object_get(point, "layout") != NULL, i == 1);
        sg_npy_close(&npy);
    }
    assert_int_equal(i, 3);
    json_decref(root);
    sg_model_free(model);
}

static void expect_same_file(const char *a, const char *b)
{
    size_t bytes, others;
    const unsigned char *one = memory_fs_bytes(disk, a, &bytes);
    const unsigned char *other = memory_fs_bytes(disk, b, &others);
    assert_non_null(one);
    assert_non_null(other);
    assert_int_equal(bytes, others);
    assert_memory_equal(one, other, bytes);
}

// One point is the file that it is in a folder, whatever else is asked for.
static void test_one_file(void **state)
{
    (void)state;
    sg_model *model = make_model(context, "peer");
    sg_dump_options o = options_of("*", "/dump");
    dump_it(model, &o);
    o = options_of("blocks.1.mlp.hook_gate_ids", "/ids.npy");
    const sg_dump_info info = dump_it(model, &o);
    assert_int_equal(info.files, 1);
    expect_same_file("/ids.npy", "/dump/blocks.1.mlp.hook_gate_ids.npy");
    o = options_of("logits", "/logits.npy");
    dump_it(model, &o);
    expect_same_file("/logits.npy", "/dump/logits.npy");
    // A folder for one name with *, or two.
    o = options_of("logit*", "/one");
    dump_it(model, &o);
    expect_same_file("/one/logits.npy", "/logits.npy");
    sg_model_free(model);
}

static void test_threads(void **state)
{
    (void)state;
    uint64_t digests[2];
    for (int i = 0; i < 2; i++) {
        sg_context *in = context_on(1 + 2 * i);
        sg_model *model = make_model(in, "sgatlin");
        sg_dump_options o = options_of("*", "/dump");
        o.force = true;
        o.max_tokens = 13;
        dump_it(model, &o);
        digests[i] = memory_fs_digest(disk, "/dump");
        sg_model_free(model);
        sg_context_free(in);
    }
    assert_true(digests[0] == digests[1]);
}

// Rows of packed data are the inputs of training: shifted right, the end of text in front.
static void test_data(void **state)
{
    (void)state;
    sg_error err = {0};
    sg_data *data;
    sg_model *model = make_model(context, "sgatlin");
    sg_pack_encoder encoder = bytes_encoder();
    sg_pack_options pack = sg_pack_options_default();
    pack.seq_len = 6;
    pack.val_fraction = 1;
    must(bytes_pack("abcdefghijklmnopqrstuvw", &encoder, NULL, &pack, "/data", NULL, &err), &err);
    must(sg_data_open("/data", SG_VERIFY_AUTO, &data, &err), &err);
    sg_dump_options o = sg_dump_options_default();
    o.points = "hook_embed,logits";
    o.path = "/dump";
    o.data = data;
    o.max_tokens = 15;
    const sg_dump_info info = dump_it(model, &o);
    assert_int_equal(info.rows, 15);
    assert_int_equal(info.length, 6);
    assert_int_equal(info.sequences, 3);
    sg_npy npy;
    must(sg_npy_open("/dump/tokens.npy", &npy, &err), &err);
    const int32_t *ids = npy.view.data;
    for (int r = 0; r < 15; r++)
        assert_int_equal(ids[r], r % 6 == 0 ? BYTES_EOS : 'a' + 3 + r / 6 * 6 + r % 6 - 1);
    sg_npy_close(&npy);
    o.split = SG_SPLIT_TRAIN;
    o.path = "/other";
    assert_int_equal(sg_probe_dump(model, &o, NULL, &err), SG_ERR_MISMATCH);
    assert_string_equal(err.message, "data: the training split is empty");
    assert_false(sg_path_exists("/other"));
    sg_data_free(data);
    sg_model_free(model);
}

static sg_status one_text(void *user, const char **text, size_t *bytes, sg_error *err)
{
    (void)err;
    *text = *(bool *)user ? NULL : "The cat sat on the mat.";
    *bytes = strlen("The cat sat on the mat.");
    *(bool *)user = true;
    return SG_OK;
}

// A text is read as its ids behind what begins one, in sequences as long as the model takes.
static void test_text(void **state)
{
    (void)state;
    sg_error err = {0};
    sg_tokenizer *tokenizer;
    sg_model *model;
    bool told = false;
    sg_tokenizer_train_options train = sg_tokenizer_train_options_default();
    train.vocab_size = 258;
    train.prefix_space = false;
    must(sg_tokenizer_train(&train, one_text, &told, &tokenizer, &err), &err);
    sg_config c = tiny_config("sgatlin bos_token_id=1", BYTES_VOCAB, 8);
    must(sg_model_new(context, &c, 3, &model, &err), &err);
    sg_dump_options o = sg_dump_options_default();
    o.points = "hook_embed*";
    o.path = "/dump";
    o.tokenizer = tokenizer;
    o.text = "matcat\xff";
    o.text_bytes = 7;
    const sg_dump_info info = dump_it(model, &o);
    int32_t *ids;
    size_t count;
    must(sg_tokenizer_encode(tokenizer, o.text, o.text_bytes, NULL, &ids, &count, &err), &err);
    assert_int_equal(info.replaced, 1);
    assert_int_equal(info.lost_bytes, 0);
    assert_int_equal(info.length, 8);
    assert_int_equal(info.rows, count + 1);
    assert_int_equal(info.sequences, 2);
    sg_npy npy;
    must(sg_npy_open("/dump/tokens.npy", &npy, &err), &err);
    const int32_t *read = npy.view.data;
    assert_int_equal(read[0], 1);
    assert_memory_equal(read + 1, ids, count * sizeof *ids);
    sg_npy_close(&npy);
    sg_buffer_free(ids);
    sg_model_free(model);
    sg_tokenizer_free(tokenizer);
}

// ---- what is refused ----------------------------------------------------------------------------

static void refuse(sg_model *model, const sg_dump_options *o, sg_status expected, const char *text)
{
    sg_error err = {0};
    const uint64_t before = memory_fs_digest(disk, "/");
    assert_int_equal(sg_probe_dump(model, o, NULL, &err), expected);
    assert_string_equal(err.message, text);
    assert_true(memory_fs_digest(disk, "/") == before);
}

static void test_wrong(void **state)
{
    (void)state;
    sg_model *model = make_model(context, "sgatlin");
    sg_dump_options o = options_of("hook_embed,blocks.0.hook_resid_most", "/dump");
    refuse(model, &o, SG_ERR_NOT_FOUND,
           "point \"blocks.0.hook_resid_most\": found no such point in this model; the nearest is "
           "\"blocks.0.hook_resid_post\"");
    o = options_of("", "/dump");
    refuse(model, &o, SG_ERR_NOT_FOUND,
           "point \"\": found no such point in this model; the nearest is \"logits\"");
    o = options_of("blocks.0.*", "/dump");
    o.layers = "1";
    refuse(model, &o, SG_ERR_NOT_FOUND, "points \"blocks.0.*\": none of them is in layers 1");
    static const char *const lists[] = {"2", "0,", "1-0", "x", "0 1", ""};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        char text[200];
        o.layers = lists[i];
        snprintf(text, sizeof text,
                 "layers: found \"%s\", expected all or a list such as 0,2-4 of numbers 0 to 1",
                 lists[i]);
        refuse(model, &o, SG_ERR_ARGUMENT, text);
    }
    o = options_of("logits", "/x.npy");
    o.context = positions + 1;
    refuse(model, &o, SG_ERR_ARGUMENT, "context: found 65, expected 1 to the model's 64 positions");
    o = options_of("logits", "/x.npy");
    o.text = "a";
    refuse(model, &o, SG_ERR_ARGUMENT,
           "dump: found 2 sources, expected one of ids, a text and packed data");
    o.tokens = NULL;
    refuse(model, &o, SG_ERR_ARGUMENT, "dump: found a text, expected a tokenizer beside it");
    o = options_of("logits", "/x.npy");
    o.token_count = 0;
    refuse(model, &o, SG_ERR_ARGUMENT, "tokens: found none, expected some");
    const int32_t wrong[] = {1, BYTES_VOCAB};
    o = options_of("logits", "/x.npy");
    o.tokens = wrong;
    o.token_count = 2;
    refuse(model, &o, SG_ERR_ARGUMENT, "token 1: found 259, expected 0 to 258");
    sg_model_free(model);
}

// What is there stays, and goes with `force` when the new one is whole; other files stay.
static void test_force(void **state)
{
    (void)state;
    sg_error err = {0};
    sg_model *model = make_model(context, "sgatlin");
    sg_dump_options o = options_of("hook_embed,logits", "/dump");
    dump_it(model, &o);
    must(sg_file_write_atomic("/dump/notes", "x", 1, &err), &err);
    refuse(model, &o, SG_ERR_ARGUMENT,
           "/dump: found a folder with files in it (hook_embed.npy), expected an empty or a new "
           "one");
    o.points = "hook_embed,ln_final.*";
    o.force = true;
    dump_it(model, &o);
    assert_true(sg_path_exists("/dump/notes") && sg_path_exists("/dump/hook_embed.npy"));
    assert_true(sg_path_exists("/dump/ln_final.hook_scale.npy"));
    assert_false(sg_path_exists("/dump/logits.npy"));
    must(sg_file_write_atomic("/dump/points.json", "{}", 2, &err), &err);
    refuse(model, &o, SG_ERR_FORMAT, "/dump/points.json: \"points\" is missing, expected an array");
    o = options_of("logits", "/x.npy");
    dump_it(model, &o);
    refuse(model, &o, SG_ERR_ARGUMENT, "/x.npy: is there already");
    o.force = true;
    o.max_tokens = 3;
    assert_int_equal(dump_it(model, &o).rows, 3);
    sg_model_free(model);
}

// ---- stops, disks, memory -----------------------------------------------------------------------

static bool stop_at(void *user, int64_t done, int64_t total)
{
    assert_int_equal(total, tokens_count);
    return done < *(const int64_t *)user;
}

static bool no_plan(void *user, const sg_dump_info *info)
{
    (void)user;
    assert_int_equal(info->points, 1);
    return false;
}

static void test_stops(void **state)
{
    (void)state;
    sg_model *model = make_model(context, "sgatlin");
    for (int folder = 0; folder < 2; folder++) {
        int64_t at;
        sg_dump_options o = folder ? options_of("*", "/dump") : options_of("logits", "/x.npy");
        o.context = 6;
        o.progress = stop_at;
        o.user = &at;
        at = 0;
        refuse(model, &o, SG_ERR_STOPPED,
               folder ? "hook_embed: stopped in row 0" : "logits: stopped in row 0");
        at = 12;
        refuse(model, &o, SG_ERR_STOPPED,
               folder ? "hook_embed: stopped in row 12" : "logits: stopped in row 12");
        at = tokens_count;
        refuse(model, &o, SG_ERR_STOPPED, "stopped after the last row");
    }
    sg_dump_options o = options_of("logits", "/x.npy");
    o.plan = no_plan;
    refuse(model, &o, SG_ERR_STOPPED, "stopped before the first row");
    sg_model_free(model);
}

static void test_no_room(void **state)
{
    (void)state;
    sg_error err = {0};
    sg_model *model = make_model(context, "sgatlin");
    sg_dump_options o = options_of("*", "/dump");
    memory_fs_limit(disk, memory_fs_used(disk) + 100);
    memory_fs_show_limit(disk, true);
    assert_int_equal(sg_probe_dump(model, &o, NULL, &err), SG_ERR_IO);
    assert_non_null(strstr(err.message, "/dump: found 100 B free on the disk, expected "));
    assert_false(sg_path_exists("/dump"));
    memory_fs_show_limit(disk, false);
    memory_fs_limit(disk, -1);
    sg_model_free(model);
}

// What is at PATH: -1 nothing, else the number of points of a whole dump. Fails for a broken one.
static int found(const char *path, bool folder)
{
    sg_error err = {0};
    if (!folder) {
        sg_npy npy;
        if (!sg_path_exists(path)) return -1;
        must(sg_npy_open(path, &npy, &err), &err);
        const int rows = (int)npy.view.shape[0];
        sg_npy_close(&npy);
        return rows;
    }
    char at[SG_PATH_MAX];
    size_t i;
    json_t *root, *point;
    must(sg_published_path(at, sizeof at, path, SG_POINTS_JSON, NULL, &err), &err);
    if (!sg_path_exists(at)) return -1;
    must(sg_json_read(at, 1 << 20, &root, &err), &err);
    const int rows = (int)json_integer_value(json_object_get(root, "rows"));
    json_array_foreach(json_object_get(root, "points"), i, point)
    {
        sg_npy npy;
        const char *name = json_string_value(json_object_get(point, "file"));
        must(sg_published_path(at, sizeof at, path, name, NULL, &err), &err);
        must(sg_npy_open(at, &npy, &err), &err);
        assert_int_equal(npy.view.shape[0], rows);
        sg_npy_close(&npy);
    }
    json_decref(root);
    return rows;
}

// Every operation fails in turn, over nothing and over a dump of other rows: the old one or the new
// one is there, the new one where the call said so.
static void check_failures(sg_model *model, bool folder, bool old)
{
    sg_dump_options o = folder ? options_of("hook_embed,*.hook_gate_ids", "/dump")
                               : options_of("blocks.0.hook_mlp_out", "/x.npy");
    for (int64_t n = 0, failed = 1; failed; n++) {
        sg_error err = {0};
        memory_fs *own = memory_fs_new();
        sg_fs_set(memory_fs_table(own));
        o.max_tokens = 5;
        if (old) dump_it(model, &o);
        o.max_tokens = 9;
        o.force = old;
        const int64_t begin = memory_fs_operations(own);
        memory_fs_fail(own, begin + n, EIO, false);
        const sg_status status = sg_probe_dump(model, &o, NULL, &err);
        failed = memory_fs_operations(own) > begin + n;
        if (!failed) assert_int_equal(status, SG_OK);
        memory_fs_fail(own, -1, 0, false);
        const int rows = found(o.path, folder);
        if (status == SG_OK) assert_int_equal(rows, 9);
        if (status != SG_OK) {
            assert_int_equal(status, SG_ERR_IO);
            assert_true(err.message[0] != '\0');
            assert_true(rows == 9 || rows == (old ? 5 : -1));
        }
        assert_int_equal(memory_fs_open_handles(own), 0);
        assert_true(n < 2000);
        sg_fs_set(memory_fs_table(disk));
        memory_fs_free(own);
    }
}

static void test_failures(void **state)
{
    (void)state;
    sg_model *model = make_model(context, "sgatlin");
    for (int i = 0; i < 4; i++)
        check_failures(model, i & 1, i & 2);
    sg_model_free(model);
}

// The power goes at every operation, and the disk comes back in every way: the old dump or the new
// one, whole; the new one for certain once the call has returned.
static void check_power_cuts(sg_model *model, bool folder, bool old)
{
    sg_dump_options o = folder ? options_of("hook_embed,*.hook_gate_ids", "/dump")
                               : options_of("blocks.0.hook_mlp_out", "/x.npy");
    for (int64_t n = 0, cut = 1; cut; n++) {
        sg_error err = {0};
        memory_fs *own = memory_fs_new();
        sg_fs_set(memory_fs_table(own));
        o.max_tokens = 5;
        if (old) dump_it(model, &o);
        o.max_tokens = 9;
        o.force = old;
        memory_fs_settle(own);
        const int64_t begin = memory_fs_operations(own);
        memory_fs_cut_power(own, begin + n);
        const sg_status status = sg_probe_dump(model, &o, NULL, &err);
        cut = memory_fs_operations(own) > begin + n;
        for (int kind = 0; kind < MEMORY_CRASH_KINDS; kind++) {
            memory_fs *after = memory_fs_reboot(own, (memory_crash)kind, (uint64_t)n);
            sg_fs_set(memory_fs_table(after));
            const int rows = found(o.path, folder);
            assert_true(rows == 9 || (status != SG_OK && rows == (old ? 5 : -1)));
            // The next one finishes what it finds decided, and refuses it; or writes.
            o.max_tokens = 4;
            o.force = false;
            const sg_status next = sg_probe_dump(model, &o, NULL, &err);
            assert_int_equal(next, rows < 0 ? SG_OK : SG_ERR_ARGUMENT);
            assert_false(sg_publish_is_interrupted(o.path));
            assert_int_equal(found(o.path, folder), rows < 0 ? 4 : rows);
            o.force = true;
            dump_it(model, &o);
            assert_int_equal(found(o.path, folder), 4);
            memory_fs_free(after);
        }
        assert_true(n < 2000);
        sg_fs_set(memory_fs_table(disk));
        memory_fs_free(own);
    }
}

static void test_power_cuts(void **state)
{
    (void)state;
    sg_model *model = make_model(context, "sgatlin");
    for (int i = 0; i < 4; i++)
        check_power_cuts(model, i & 1, i & 2);
    sg_model_free(model);
}

// Disks of every size, whose limit is not told.
static void test_full_disks(void **state)
{
    (void)state;
    sg_model *model = make_model(context, "sgatlin");
    for (int folder = 0; folder < 2; folder++) {
        sg_dump_options o = options_of(folder ? "*" : "logits", folder ? "/dump" : "/x.npy");
        for (int64_t room = 0, full = 1; full; room = room * 3 / 2 + 1) {
            sg_error err = {0};
            const int64_t used = memory_fs_used(disk);
            memory_fs_limit(disk, used + room);
            const sg_status status = sg_probe_dump(model, &o, NULL, &err);
            memory_fs_limit(disk, -1);
            full = status != SG_OK;
            if (!full) continue;
            assert_int_equal(status, SG_ERR_IO);
            assert_non_null(strstr(err.message, "cannot write: No space left on device"));
            assert_int_equal(memory_fs_used(disk), used);
            assert_false(sg_path_exists(o.path));
        }
    }
    sg_model_free(model);
}

static sg_status dump_once(void *user, sg_error *err)
{
    sg_dump_options o = options_of("*hook_gate*,logits", "/dump");
    o.context = 9;
    o.force = true;
    return sg_probe_dump(user, &o, NULL, err);
}

static sg_status dump_one_once(void *user, sg_error *err)
{
    sg_dump_options o = options_of("blocks.0.attn.hook_pattern", "/x.npy");
    o.force = true;
    return sg_probe_dump(user, &o, NULL, err);
}

static void test_memory(void **state)
{
    (void)state;
    sg_model *model = make_model(context, "sgatlin");
    assert_true(alloc_failure_loop(dump_once, model) > 20);
    assert_true(alloc_failure_loop(dump_one_once, model) > 20);
    sg_model_free(model);
}

int main(void)
{
#define ON_DISK(test) cmocka_unit_test_setup_teardown(test, disk_begin, disk_end)
    const struct CMUnitTest tests[] = {
        ON_DISK(test_values),     ON_DISK(test_list),    ON_DISK(test_one_file),
        ON_DISK(test_threads),    ON_DISK(test_data),    ON_DISK(test_text),
        ON_DISK(test_power_cuts), ON_DISK(test_wrong),   ON_DISK(test_force),
        ON_DISK(test_stops),      ON_DISK(test_no_room), ON_DISK(test_full_disks),
        ON_DISK(test_failures),   ON_DISK(test_memory),
    };
    return cmocka_run_group_tests(tests, group_begin, group_end);
}
