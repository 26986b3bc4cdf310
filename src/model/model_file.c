// Telling the kinds of models apart, and what each says of itself.
#include "model/model_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/publish.h"
#include "format/file_kind.h"
#include "format/gguf_config.h"
#include "format/hf_config.h"
#include "format/json.h"
#include "model/config.h"
#include "model/gguf_rope.h"
#include "model/tensor_read.h"
#include "model/tensor_unused.h"

enum { file_config_limit = 16 << 20 };

// ---- tensors by format ------------------------------------------------------------------------

static size_t safetensors_count(const void *file)
{
    return sg_safetensors_count(file);
}

static const sg_tensor_view *safetensors_at(const void *file, size_t i)
{
    return sg_safetensors_at(file, i);
}

static const sg_tensor_view *safetensors_find(const void *file, const char *name)
{
    return sg_safetensors_find(file, name);
}

sg_tensors sg_tensors_of_safetensors(const sg_safetensors *file)
{
    return (sg_tensors){file, sg_safetensors_name(file), safetensors_count, safetensors_at,
                        safetensors_find};
}

static size_t gguf_count(const void *file)
{
    return sg_gguf_count(file);
}

static const sg_tensor_view *gguf_at(const void *file, size_t i)
{
    return sg_gguf_at(file, i);
}

static const sg_tensor_view *gguf_find(const void *file, const char *name)
{
    return sg_gguf_find(file, name);
}

static size_t llama2c_count(const void *file)
{
    return sg_llama2c_count(file);
}

static const sg_tensor_view *llama2c_at(const void *file, size_t i)
{
    return sg_llama2c_at(file, i);
}

static const sg_tensor_view *llama2c_find(const void *file, const char *name)
{
    return sg_llama2c_find(file, name);
}

// ---- opening ------------------------------------------------------------------------------------

static sg_status file_read_config(sg_model_file *f, const char *folder, sg_error *err)
{
    char path[SG_PATH_MAX], *text;
    size_t bytes;
    json_t *object;
    SG_TRY(sg_published_path(path, sizeof path, folder, "config.json", NULL, err));
    SG_TRY(sg_file_read(path, file_config_limit, &text, &bytes, err));
    sg_status status = sg_json_parse(text, bytes, path, &object, err);
    const char *type = NULL;
    if (status == SG_OK) {
        status = sg_json_get_string(object, path, "model_type", true, &type, err);
        if (status == SG_OK) snprintf(f->type, sizeof f->type, "%.31s", type);
        if (status == SG_OK && strcmp(type, "sgatlin") == 0) {
            status = sg_config_parse(text, bytes, path, &f->config, err);
            sg_config_unread(object, &f->unread);
        } else if (status == SG_OK) {
            status = sg_hf_config_read(object, path, &f->config, &f->unread, err);
            if (status == SG_OK && sg_config_complete(&f->config, err) != SG_OK)
                status = sg_fail_context(err, SG_ERR_FORMAT, "%s", path);
        }
        if (status == SG_OK)
            status = sg_end_tokens_of_json(object, path, "eos_token_id", f->config.vocab_size,
                                           &f->ends, err);
        json_decref(object);
    }
    sg_free(text);
    return status;
}

// Folders that people take for models.
static sg_status file_check_folder(const char *folder, sg_error *err)
{
    char config[SG_PATH_MAX], adapter[SG_PATH_MAX];
    SG_TRY(sg_published_path(config, sizeof config, folder, "config.json", NULL, err));
    SG_TRY(sg_path_join(adapter, sizeof adapter, folder, "adapter_config.json", err));
    char other[256];
    const char *kind;
    if (sg_path_exists(config)) return SG_OK;
    if (!sg_path_exists(adapter) && sg_folder_weights(folder, other, &kind))
        return sg_fail(err, SG_ERR_NOT_FOUND, "%s: found no config.json but %s, %s", folder, other,
                       kind);
    if (!sg_path_exists(adapter)) return SG_OK;
    return sg_fail(err, SG_ERR_ARGUMENT,
                   "%s: found low-rank adapters, expected the model that they are for, and them "
                   "beside it",
                   folder);
}

// Files that people take for models, and that would else be told to be damaged ones of llama2.c:
// that begins with sizes, which no eight characters of text are, nor a header's length below 2^32.
static sg_status file_check_start(const char *path, sg_error *err)
{
    sg_map map;
    SG_TRY(sg_map_open(path, &map, err));
    const unsigned char *data = map.data;
    const char *kind = sg_file_kind(data, map.bytes);
    bool text = map.bytes > 0, tensors = map.bytes > 8 && data[8] == '{';
    for (size_t i = 0; i < 8 && i < map.bytes; i++) {
        text = text && (data[i] == '\t' || data[i] == '\n' || data[i] == '\r' ||
                        (data[i] >= ' ' && data[i] < 0x7f));
        tensors = tensors && (i < 4 || data[i] == 0);
    }
    sg_map_close(&map);
    if (kind != NULL)
        return sg_fail(err, SG_ERR_FORMAT,
                       "%s: found %s, expected a model folder, a GGUF file or one of llama2.c",
                       path, kind);
    if (tensors)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "%s: found a safetensors file, expected the folder it lies in, with its "
                       "config.json",
                       path);
    if (text)
        return sg_fail(err, SG_ERR_FORMAT,
                       "%s: found text, expected a model folder, a GGUF file or one of llama2.c",
                       path);
    return SG_OK;
}

static sg_status file_open_folder(sg_model_file *f, const char *folder, sg_error *err)
{
    SG_TRY(file_check_folder(folder, err));
    SG_TRY(file_read_config(f, folder, err));
    SG_TRY(sg_end_tokens_of_folder(folder, f->config.vocab_size, &f->ends, err));
    SG_TRY(sg_safetensors_open(folder, &f->safetensors, err));
    f->tensors = sg_tensors_of_safetensors(f->safetensors);
    return SG_OK;
}

static sg_status file_open_gguf(sg_model_file *f, const char *path, sg_error *err)
{
    SG_TRY(sg_gguf_open(path, &f->gguf, err));
    f->tensors = (sg_tensors){f->gguf, sg_gguf_name(f->gguf), gguf_count, gguf_at, gguf_find};
    snprintf(f->type, sizeof f->type, "gguf");
    SG_TRY(sg_gguf_config_read(f->gguf, &f->config, &f->unread, err));
    if (sg_config_complete(&f->config, err) != SG_OK)
        return sg_fail_context(err, SG_ERR_FORMAT, "%s", path);
    SG_TRY(sg_gguf_rope_check(f->gguf, &f->config, err));
    return sg_end_tokens_of_gguf(f->gguf, f->config.vocab_size, &f->ends, err);
}

static sg_status file_open_llama2c(sg_model_file *f, const char *path, sg_error *err)
{
    SG_TRY(sg_llama2c_open(path, &f->llama2c, err));
    f->tensors = (sg_tensors){f->llama2c, sg_llama2c_name(f->llama2c), llama2c_count, llama2c_at,
                              llama2c_find};
    snprintf(f->type, sizeof f->type, "llama2c");
    const sg_llama2c_sizes *s = sg_llama2c_get_sizes(f->llama2c);
    f->config = (sg_config){.vocab_size = s->vocab_size,
                            .hidden_size = s->dim,
                            .num_hidden_layers = s->n_layers,
                            .num_attention_heads = s->n_heads,
                            .num_key_value_heads = s->n_kv_heads,
                            .head_dim = s->dim / s->n_heads,
                            .max_position_embeddings = s->seq_len,
                            .rms_norm_eps = 1e-5,
                            .rope_theta = 10000,
                            .rope_interleaved = 1,
                            .pad_token_id = -1,
                            .bos_token_id = s->vocab_size > 2 ? 1 : -1,
                            .eos_token_id = s->vocab_size > 2 ? 2 : -1,
                            .untied_classifier = !s->tied,
                            .qk_norm = "none",
                            .ffn = "glu",
                            .ffn_activation = "swiglu",
                            .ffn_intermediate_size = s->hidden_dim};
    f->ends = sg_end_tokens_one(f->config.eos_token_id);
    if (sg_config_complete(&f->config, err) == SG_OK) return SG_OK;
    return sg_fail_context(err, SG_ERR_FORMAT, "%s", path);
}

static sg_status file_open(sg_model_file *f, const char *path, sg_error *err)
{
    sg_fs_info info;
    bool gguf = false;
    sg_status found = sg_path_info(path, &info, err);
    if (found == SG_ERR_NOT_FOUND) return sg_fail(err, SG_ERR_NOT_FOUND, "%s: no such model", path);
    SG_TRY(found);
    if (info.is_folder) {
        SG_TRY(file_open_folder(f, path, err));
    } else {
        SG_TRY(sg_gguf_detect(path, &gguf, err));
        if (!gguf) SG_TRY(file_check_start(path, err));
        SG_TRY(gguf ? file_open_gguf(f, path, err) : file_open_llama2c(f, path, err));
    }
    // A folder may say it in generation_config.json alone.
    if (f->config.eos_token_id < 0 && f->ends.count > 0) f->config.eos_token_id = f->ends.ids[0];
    f->map = sg_tensor_map_find(f->type);
    if (f->map == NULL)
        return sg_fail(err, SG_ERR_INTERNAL, "%s: no rules for the tensors of %s", path, f->type);
    // As the library that such files come from: what the file has is the classifier.
    SG_TRY(sg_tensor_tied(f->map, &f->config, &f->tensors, &f->own_head, err));
    if (f->own_head) f->config.untied_classifier = 1;
    return SG_OK;
}

sg_status sg_model_file_open(const char *path, sg_model_file **out, sg_error *err)
{
    *out = NULL;
    sg_model_file *f = sg_alloc_zero(1, sizeof *f);
    if (f == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a model");
    sg_status status = file_open(f, path, err);
    if (status != SG_OK) {
        sg_model_file_close(f);
        return status;
    }
    *out = f;
    return SG_OK;
}

void sg_model_file_close(sg_model_file *f)
{
    if (f == NULL) return;
    sg_safetensors_close(f->safetensors);
    sg_gguf_close(f->gguf);
    sg_llama2c_close(f->llama2c);
    sg_free(f);
}

void sg_model_file_tell(const sg_model_file *f, sg_context *context)
{
    char text[sizeof f->unread.keys + 512];
    if (sg_unread_text(&f->unread, f->tensors.name, text, sizeof text))
        sg_log(context, SG_LOG_WARNING, "%s", text);
    if (f->own_head)
        sg_log(context, SG_LOG_WARNING,
               "%s: tensor %s: is not the embedding, although tie_word_embeddings says so: used as "
               "the classifier",
               f->tensors.name, sg_tensor_map_head(f->map));
}

// ---- checking -----------------------------------------------------------------------------------

static int file_compare(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

// Marks by name: the tensors that parameters are made of, sorted.
static sg_status file_check_rest(const sg_tensor_map *map, const sg_tensors *tensors,
                                 const sg_config *config, const char **used, size_t n_used,
                                 sg_error *err)
{
    qsort(used, n_used, sizeof *used, file_compare);
    for (size_t i = 0; i < tensors->count(tensors->file); i++) {
        const sg_tensor_view *view = tensors->at(tensors->file, i);
        if (n_used > 0 && bsearch(&view->name, used, n_used, sizeof *used, file_compare)) continue;
        SG_TRY(sg_tensor_unused(map, config, tensors, view, err));
    }
    return SG_OK;
}

sg_status sg_model_file_check(const sg_tensor_map *map, const sg_tensors *tensors,
                              const sg_config *config, const sg_param_list *params, sg_error *err)
{
    sg_pieces pieces = {0};
    const char **used = NULL;
    size_t n_used = 0, capacity = 0;
    sg_status status = sg_tensors_plain(tensors, err);
    for (size_t i = 0; i < params->count && status == SG_OK; i++) {
        status = sg_tensor_map_pieces(map, config, &params->specs[i], tensors, &pieces, err);
        if (status == SG_OK && n_used + 2 * pieces.count > capacity) {
            capacity = 2 * (n_used + 2 * pieces.count);
            const char **more = sg_realloc((void *)used, capacity * sizeof *used);
            if (more == NULL) status = sg_fail(err, SG_ERR_MEMORY, "out of memory for a model");
            if (more != NULL) used = more;
        }
        for (size_t p = 0; p < pieces.count && status == SG_OK; p++) {
            const sg_tensor_view *view = pieces.items[p].view;
            sg_weights type;
            if (pieces.items[p].scales == NULL && view->dtype != SG_DTYPE_F64 &&
                !sg_weights_of_dtype(view->dtype, &type))
                status = sg_fail(err, SG_ERR_MISMATCH,
                                 "%s: tensor %s: found %s, expected floating-point weights",
                                 tensors->name, view->name, sg_dtype_name(view->dtype));
            used[n_used++] = view->name;
            if (pieces.items[p].scales != NULL) used[n_used++] = pieces.items[p].scales->name;
        }
    }
    sg_pieces_free(&pieces);
    if (status == SG_OK) status = file_check_rest(map, tensors, config, used, n_used, err);
    sg_free((void *)used);
    return status;
}

sg_status sg_tensors_hash(const sg_tensors *tensors, uint64_t *hash, sg_error *err)
{
    sg_hasher *hasher = sg_hasher_new();
    if (hasher == NULL)
        return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory for its checksum", tensors->name);
    for (size_t i = 0; i < tensors->count(tensors->file); i++) {
        const sg_tensor_view *view = tensors->at(tensors->file, i);
        const char *type = sg_dtype_name(view->dtype);
        sg_hasher_add(hasher, view->name, strlen(view->name) + 1);
        sg_hasher_add(hasher, type, strlen(type) + 1);
        sg_hasher_add(hasher, view->shape, (size_t)view->ndim * sizeof *view->shape);
        sg_hasher_add(hasher, view->data, view->bytes);
    }
    *hash = sg_hasher_value(hasher);
    sg_hasher_free(hasher);
    return SG_OK;
}
