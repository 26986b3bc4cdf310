// Tensors that no parameter is made of: a second copy of a tied classifier, and buffers of old
// writers. Each is passed over where it is what it is taken for, and nowhere else.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/file.h"
#include "format/json.h"
#include "memory_disk.h"
#include "model/config.h"
#include "model/model.h"
#include "model/tensor_read.h"

static int begin(void **state)
{
    sg_error err = {0};
    if (disk_begin(state) != 0) return -1;
    return sg_folder_make("/m", &err) == SG_OK ? 0 : -1;
}

// A golden checkpoint: its configuration, tensors that tests may change, and room for more.
typedef struct golden {
    json_t *config;
    char *data;
    sg_safetensors *file;
    sg_tensor_view views[80];
    size_t count;
} golden;

static void golden_open(golden *g, const char *name)
{
    char path[800], *text;
    sg_error err = {0};
    size_t bytes;
    *g = (golden){0};
    sg_fs_set(sg_fs_system());
    snprintf(path, sizeof path, "%s/golden/checkpoints/%s/config.json", SG_TEST_DIR, name);
    must(sg_file_read(path, (size_t)1 << 24, &text, &bytes, &err), &err);
    must(sg_json_parse(text, bytes, path, &g->config, &err), &err);
    sg_free(text);
    snprintf(path, sizeof path, "%s/golden/checkpoints/%s/model.safetensors", SG_TEST_DIR, name);
    must(sg_file_read(path, (size_t)1 << 24, &g->data, &bytes, &err), &err);
    sg_fs_set(memory_fs_table(disk));
    must(sg_safetensors_open_memory(g->data, bytes, name, &g->file, &err), &err);
    for (size_t i = 0; i < sg_safetensors_count(g->file); i++)
        g->views[g->count++] = *sg_safetensors_at(g->file, i);
}

static void golden_close(golden *g)
{
    json_decref(g->config);
    sg_safetensors_close(g->file);
    sg_free(g->data);
}

static sg_tensor_view *view_of(golden *g, const char *name)
{
    for (size_t i = 0; i < g->count; i++)
        if (strcmp(g->views[i].name, name) == 0) return &g->views[i];
    fail_msg("%s: no such tensor", name);
    return NULL;
}

// Writes it and opens it again, and checks its tensors. *file: to be closed.
static sg_status open_it(const golden *g, sg_model_file **file, sg_error *err)
{
    char *text;
    sg_param_list params = {0};
    must(sg_json_text(g->config, true, &text, err), err);
    must(sg_file_write_atomic("/m/config.json", text, strlen(text), err), err);
    sg_free(text);
    must(sg_safetensors_write("/m/model.safetensors", g->views, g->count, NULL, 0, NULL, err), err);
    SG_TRY(sg_model_file_open("/m", file, err));
    sg_status status = sg_config_params(&(*file)->config, &params, err);
    if (status == SG_OK)
        status =
            sg_model_file_check((*file)->map, &(*file)->tensors, &(*file)->config, &params, err);
    sg_param_list_free(&params);
    return status;
}

static void taken(const golden *g, bool untied, bool own_head)
{
    sg_error err = {0};
    sg_model_file *file;
    must(open_it(g, &file, &err), &err);
    assert_int_equal(file->config.untied_classifier, untied);
    assert_int_equal(file->own_head, own_head);
    sg_model_file_close(file);
}

static void refused(const golden *g, const char *words)
{
    sg_error err = {0};
    sg_model_file *file = NULL;
    if (open_it(g, &file, &err) == SG_OK) fail_msg("taken: %s", words);
    sg_model_file_close(file);
    if (strstr(err.message, words) == NULL)
        fail_msg("found \"%s\", expected \"%s\"", err.message, words);
}

// ---- the classifier -----------------------------------------------------------------------------

static void test_own_head(void **state)
{
    golden g;
    (void)state;
    golden_open(&g, "llama");
    taken(&g, true, false);
    // What the file has is used, whatever the flag says.
    json_object_set_new(g.config, "tie_word_embeddings", json_true());
    taken(&g, true, true);
    sg_tensor_view *head = view_of(&g, "lm_head.weight");
    head->shape[0]--;
    *head = sg_tensor_view_make(head->name, head->dtype, 2, head->shape, head->data);
    refused(&g, "tensor lm_head.weight: found shape");
    golden_close(&g);
}

// The values of an F16 or BF16 matrix in f32. sg_free.
static float *wide(const sg_tensor_view *view)
{
    sg_error err = {0};
    float *values = sg_alloc_array((size_t)sg_tensor_view_elements(view), sizeof *values);
    assert_non_null(values);
    must(sg_tensor_view_read_f32(view, values, &err), &err);
    return values;
}

static void test_same_head(void **state)
{
    golden g;
    (void)state;
    golden_open(&g, "llama_biases");
    taken(&g, false, false);
    const sg_tensor_view table = *view_of(&g, "model.embed_tokens.weight");
    sg_tensor_view *head = &g.views[g.count++];
    *head = sg_tensor_view_make("lm_head.weight", table.dtype, 2, table.shape, table.data);
    taken(&g, false, false);
    // The same values in another type.
    float *values = wide(&table);
    *head = sg_tensor_view_make("lm_head.weight", SG_DTYPE_F32, 2, table.shape, values);
    taken(&g, false, false);
    uint32_t *bits = (uint32_t *)(void *)values; // the last of them, by its last bit
    bits[sg_tensor_view_elements(&table) - 1] ^= 1;
    taken(&g, true, true);
    sg_free(values);
    golden_close(&g);
}

// One matrix, under the name of the classifier.
static void test_head_alone(void **state)
{
    static const char *const names[][3] = {
        {"llama_biases", "model.embed_tokens.weight", "lm_head.weight"},
        {"gpt2", "transformer.wte.weight", "lm_head.weight"}};
    (void)state;
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
        golden g;
        sg_error err = {0};
        sg_model_file *file;
        sg_param_list params;
        sg_pieces pieces = {0};
        golden_open(&g, names[n][0]);
        sg_tensor_view *table = view_of(&g, names[n][1]);
        table->name = names[n][2];
        must(open_it(&g, &file, &err), &err);
        assert_int_equal(file->config.untied_classifier, 0);
        must(sg_config_params(&file->config, &params, &err), &err);
        must(sg_tensor_map_pieces(file->map, &file->config, &params.specs[0], &file->tensors,
                                  &pieces, &err),
             &err);
        assert_int_equal(pieces.count, 1);
        assert_memory_equal(pieces.items[0].view->data, table->data, table->bytes);
        sg_pieces_free(&pieces);
        sg_param_list_free(&params);
        sg_model_file_close(file);
        json_object_set_new(g.config, "tie_word_embeddings", json_false());
        refused(&g, names[n][1] + (n == 1 ? strlen("transformer.") : 0));
        golden_close(&g);
    }
}

// ---- buffers ------------------------------------------------------------------------------------

static void test_buffers(void **state)
{
    enum { n = 5 };
    golden g;
    float frequencies[1] = {1}, mask[n * n], low = -1e9f;
    unsigned char bytes[n * n];
    (void)state;
    golden_open(&g, "gpt_neox"); // heads of 4, of which two numbers turn
    sg_tensor_view *view = &g.views[g.count++];
    const int64_t one = 1, square[] = {1, 1, n, n};
    *view = sg_tensor_view_make("gpt_neox.layers.0.attention.rotary_emb.inv_freq", SG_DTYPE_F32, 1,
                                &one, frequencies);
    taken(&g, true, false);
    frequencies[0] = 1.01f;
    refused(&g, "rotary_emb.inv_freq [1]: expected the frequencies");
    for (int i = 0; i < n * n; i++)
        bytes[i] = (unsigned char)(mask[i] = i % n <= i / n);
    *view = sg_tensor_view_make("gpt_neox.layers.1.attention.bias", SG_DTYPE_F32, 4, square, mask);
    taken(&g, true, false);
    mask[1] = 1;
    refused(&g, "layers.1.attention.bias [1, 1, 5, 5]: expected the mask of causal attention");
    *view =
        sg_tensor_view_make("gpt_neox.layers.1.attention.bias", SG_DTYPE_BOOL, 4, square, bytes);
    taken(&g, true, false);
    bytes[n * n - 1] = 0;
    refused(&g, "expected the mask of causal attention");
    *view = sg_tensor_view_make("gpt_neox.layers.1.attention.bias", SG_DTYPE_BOOL, 2,
                                (int64_t[]){n - 1, n}, bytes);
    refused(&g, "expected the mask of causal attention");
    *view =
        sg_tensor_view_make("gpt_neox.layers.1.attention.masked_bias", SG_DTYPE_F32, 0, &one, &low);
    taken(&g, true, false);
    low = 0;
    refused(&g, "attention.masked_bias []: expected one number of -10000 or less");
    view->name = "gpt_neox.layers.1.attention.extra";
    refused(&g, "tensor gpt_neox.layers.1.attention.extra is not part of this model");
    golden_close(&g);
}

// More pairs, in the types of files; scaled or not.
static void test_frequencies(void **state)
{
    golden g;
    (void)state;
    golden_open(&g, "mistral"); // linear scaling
    const double theta = json_number_value(
        json_object_get(json_object_get(g.config, "rope_parameters"), "rope_theta"));
    const double factor =
        json_number_value(json_object_get(json_object_get(g.config, "rope_parameters"), "factor"));
    const int64_t dim = json_integer_value(json_object_get(g.config, "head_dim")), pairs = dim / 2;
    float values[64];
    uint16_t rounded[64];
    assert_true(theta > 1 && factor > 1 && pairs > 1 && pairs <= 64);
    for (int64_t i = 0; i < pairs; i++) {
        uint32_t bits;
        values[i] = (float)pow(theta, -2 * (double)i / (double)dim);
        memcpy(&bits, &values[i], sizeof bits);
        rounded[i] = (uint16_t)((bits + 0x8000u) >> 16);
    }
    sg_tensor_view *view = &g.views[g.count++];
    const char *name = "model.layers.0.self_attn.rotary_emb.inv_freq";
    *view = sg_tensor_view_make(name, SG_DTYPE_F32, 1, &pairs, values);
    taken(&g, true, false);
    *view = sg_tensor_view_make(name, SG_DTYPE_BF16, 1, &pairs, rounded);
    taken(&g, true, false);
    rounded[1] = (uint16_t)(rounded[1] + 2);
    refused(&g, "inv_freq");
    *view = sg_tensor_view_make(name, SG_DTYPE_F32, 1, &pairs, values);
    values[pairs - 1] *= 1.0001f;
    refused(&g, "inv_freq");
    values[pairs - 1] /= 1.0001f;
    for (int64_t i = 0; i < pairs; i++)
        values[i] /= (float)factor;
    taken(&g, true, false);
    values[0] *= (float)factor;
    refused(&g, "inv_freq");
    golden_close(&g);
}

// Weights that others packed are known by the names of their tensors, whatever config.json says.
static void test_packed(void **state)
{
    static const char *const names[][2] = {{"qweight", "GPTQ or AWQ"},
                                           {"qzeros", "GPTQ or AWQ"},
                                           {"g_idx", "GPTQ"},
                                           {"weight.absmax", "bitsandbytes"},
                                           {"weight.quant_map", "bitsandbytes"},
                                           {"SCB", "bitsandbytes"},
                                           {"weight_scale", "FP8"},
                                           {"weight_scale_inv", "FP8"},
                                           {"weight_packed", "compressed-tensors"}};
    golden g;
    char name[100];
    const int32_t value = 0;
    const int64_t one = 1;
    (void)state;
    golden_open(&g, "llama");
    sg_tensor_view *view = &g.views[g.count++];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(name, sizeof name, "model.layers.0.self_attn.q_proj.%s", names[i][0]);
        *view = sg_tensor_view_make(name, SG_DTYPE_I32, 1, &one, &value);
        refused(&g, names[i][1]);
    }
    g.count--;
    view = view_of(&g, "model.layers.0.self_attn.q_proj.weight");
    *view = sg_tensor_view_make(view->name, SG_DTYPE_F8_E4M3, 2, view->shape, view->data);
    refused(&g, "8-bit floats (FP8)");
    golden_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_own_head, begin, disk_end),
        cmocka_unit_test_setup_teardown(test_same_head, begin, disk_end),
        cmocka_unit_test_setup_teardown(test_head_alone, begin, disk_end),
        cmocka_unit_test_setup_teardown(test_buffers, begin, disk_end),
        cmocka_unit_test_setup_teardown(test_frequencies, begin, disk_end),
        cmocka_unit_test_setup_teardown(test_packed, begin, disk_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
