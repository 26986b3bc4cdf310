// What stands beside the weights: read from the model that is converted, or made where the Hugging
// Face library would guess wrong without it.
#include "convert/side_files.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/publish.h"
#include "format/json.h"
#include "text/chat.h"
#include "text/tokenizer.h"
#include "sgatlin_convert.h"

static const size_t side_limit = (size_t)64 << 20;

void sg_side_files_add(sg_side_files *w, const char *name, const void *data, size_t bytes)
{
    w->files[w->count++] = (sg_named_bytes){name, data, bytes};
}

// Whether a link stays where models are: with another file of its folder, or with the blobs of the
// hub's cache, which keeps models as links to ../../blobs/NAME.
static bool side_link_stays(const char *link)
{
    static const char blobs[] = "../../blobs/";
    if (strncmp(link, blobs, strlen(blobs)) == 0) link += strlen(blobs);
    return link[0] != '\0' && strchr(link, '/') == NULL && strcmp(link, "..") != 0;
}

// What is copied becomes part of a model that may be given away, so a link must not bring a file of
// the user's that is no part of this one.
static sg_status side_check_link(const char *path, sg_error *err)
{
    const sg_fs *fs = sg_fs_get();
    char link[SG_PATH_MAX], folder[SG_PATH_MAX], at[SG_PATH_MAX];
    snprintf(at, sizeof at, "%s", path);
    for (int i = 0; i < 8; i++) {
        int64_t bytes = fs->read_link(fs->user, at, link, sizeof link - 1);
        if (bytes == -EINVAL) return SG_OK; // no link
        if (bytes < 0) return sg_file_fail(err, "read the link", at, bytes);
        link[bytes] = '\0';
        if (!side_link_stays(link)) break;
        sg_path_folder(folder, sizeof folder, at);
        SG_TRY(sg_path_join(at, sizeof at, folder, link, err));
    }
    return sg_fail(
        err, SG_ERR_MISMATCH,
        "%s: found a link to %.300s, outside of the model: its content would become part "
        "of the new one; put a copy in its place if that is meant",
        path, link);
}

// The path of a file beside the weights, from which its content may be taken.
static sg_status side_path(const sg_side_files *w, const char *name, char path[SG_PATH_MAX],
                           bool *there, sg_error *err)
{
    SG_TRY(sg_published_path(path, SG_PATH_MAX, w->model, name, NULL, err));
    *there = sg_path_exists(path);
    return *there ? side_check_link(path, err) : SG_OK;
}

// A file beside the weights; *data NULL where there is none.
static sg_status side_beside(const sg_side_files *w, const char *name, char **data, size_t *bytes,
                             sg_error *err)
{
    char path[SG_PATH_MAX];
    bool there;
    *data = NULL;
    if (w->file->safetensors == NULL) return SG_OK; // no folder
    SG_TRY(side_path(w, name, path, &there, err));
    return there ? sg_file_read(path, side_limit, data, bytes, err) : SG_OK;
}

// One that is no tokenizer.json in the model's folder: of another place, or inside the model.
static sg_status side_open_tokenizer(sg_side_files *w, const char *path, sg_error *err)
{
    SG_TRY(sg_tokenizer_open(path, &w->opened, err));
    if (w->opened->json == NULL && w->options->form != SG_CONVERT_GGUF)
        return sg_fail(err, SG_ERR_UNSUPPORTED,
                       "%s: found a tokenizer in which tokens of equal scores merge, which no "
                       "tokenizer.json can say",
                       path);
    if (w->opened->json == NULL) return SG_OK;
    w->tokenizer = sg_strndup(w->opened->json, w->opened->json_bytes);
    w->tokenizer_bytes = w->opened->json_bytes;
    return w->tokenizer ? SG_OK : sg_fail(err, SG_ERR_MEMORY, "%s: out of memory", path);
}

static sg_status side_read_tokenizer(sg_side_files *w, sg_error *err)
{
    const sg_gguf *gguf = w->file->gguf;
    if (w->options->no_tokenizer) return SG_OK;
    if (w->options->tokenizer != NULL) return side_open_tokenizer(w, w->options->tokenizer, err);
    if (gguf != NULL && sg_gguf_value_find(gguf, "tokenizer.ggml.tokens") != NULL)
        return side_open_tokenizer(w, w->model, err);
    SG_TRY(side_beside(w, "tokenizer.json", &w->tokenizer, &w->tokenizer_bytes, err));
    if (w->tokenizer == NULL) return SG_OK;
    sg_status status = sg_tokenizer_from_memory(w->tokenizer, w->tokenizer_bytes, "tokenizer.json",
                                                &w->opened, err);
    // A folder gets the file as it is, whatever its kind; of GGUF it is to be understood.
    const bool copied = w->options->form != SG_CONVERT_GGUF;
    return copied && sg_ignored(status, SG_ERR_UNSUPPORTED, err) ? SG_OK : status;
}

// A text, with the token in front of it; bos NULL: with none.
static json_t *side_piece(const char *bos, const char *text, int type_id)
{
    json_t *list = json_array();
    bool whole = list != NULL;
    if (whole && bos != NULL)
        whole = json_array_append_new(list, json_pack("{s:{s:s,s:i}}", "SpecialToken", "id", bos,
                                                      "type_id", type_id)) == 0;
    if (whole && json_array_append_new(list, json_pack("{s:{s:s,s:i}}", "Sequence", "id", text,
                                                       "type_id", type_id)) == 0)
        return list;
    json_decref(list);
    return NULL;
}

static json_t *side_template(const char *bos, int64_t id)
{
    json_t *single = side_piece(bos, "A", 0), *pair = side_piece(bos, "A", 0);
    json_t *second = side_piece(bos, "B", 1);
    json_t *specials = bos == NULL ? json_object()
                                   : json_pack("{s:{s:s, s:[I], s:[s]}}", bos, "id", bos, "ids",
                                               (json_int_t)id, "tokens", bos);
    const bool whole = pair != NULL && second != NULL && json_array_extend(pair, second) == 0;
    json_decref(second);
    if (!whole) {
        json_decref(pair);
        pair = NULL;
    }
    // Takes all of them, also on failure.
    return json_pack("{s:s, s:o, s:o, s:o}", "type", "TemplateProcessing", "single", single, "pair",
                     pair, "special_tokens", specials);
}

// Puts the template behind what there is.
static bool side_put_template(json_t *root, const char *bos, int64_t id)
{
    json_t *made = side_template(bos, id), *old = json_object_get(root, "post_processor");
    json_t *list = json_object_get(old, "processors");
    if (made == NULL) return false;
    if (list != NULL) return json_array_append_new(list, made) == 0;
    if (old != NULL && !json_is_null(old))
        made = json_pack("{s:s, s:[O, o]}", "type", "Sequence", "processors", old, made);
    return made != NULL && json_object_set_new(root, "post_processor", made) == 0;
}

sg_status sg_side_files_put_begin(sg_side_files *w, bool ours, sg_error *err)
{
    const int64_t id = w->file->config.bos_token_id;
    const int32_t *begin;
    size_t count;
    json_t *root;
    char *text = NULL;
    const bool from_us = strcmp(w->file->type, "sgatlin") == 0;
    if (w->opened == NULL || w->tokenizer == NULL || sg_tokenizer_begin(w->opened, &begin, &count))
        return SG_OK;
    if (from_us && w->options->form == SG_CONVERT_SGATLIN) return SG_OK; // no other reader
    const char *bos = from_us && id >= 0 ? sg_tokenizer_token_text(w->opened, (int32_t)id) : NULL;
    if (bos == NULL && !(ours && id >= 0)) return SG_OK; // nothing is what all readers put there
    SG_TRY(sg_json_parse(w->tokenizer, w->tokenizer_bytes, "tokenizer.json", &root, err));
    sg_status status = side_put_template(root, bos, id)
                           ? sg_json_text(root, false, &text, err)
                           : sg_fail(err, SG_ERR_MEMORY, "out of memory for tokenizer.json");
    json_decref(root);
    SG_TRY(status);
    sg_free(w->tokenizer);
    w->tokenizer = text;
    w->tokenizer_bytes = strlen(text);
    sg_tokenizer_free(w->opened);
    w->opened = NULL;
    return sg_tokenizer_from_memory(w->tokenizer, w->tokenizer_bytes, "tokenizer.json", &w->opened,
                                    err);
}

sg_status sg_side_files_chat(const sg_side_files *w, char **text, size_t *bytes, sg_error *err)
{
    const char *inside = NULL;
    *text = NULL;
    if (w->opened == NULL || w->options->tokenizer != NULL) return SG_OK;
    if (w->file->safetensors != NULL) {
        char path[SG_PATH_MAX];
        bool there;
        SG_TRY(side_path(w, "chat_template.jinja", path, &there, err));
        SG_TRY(side_path(w, "tokenizer_config.json", path, &there, err));
        return sg_chat_template_text(w->model, text, bytes, err);
    }
    if (w->file->gguf == NULL) return SG_OK;
    SG_TRY(sg_gguf_get_string(w->file->gguf, "tokenizer.chat_template", false, &inside, err));
    if (inside == NULL) return SG_OK;
    *bytes = strlen(inside);
    *text = sg_strndup(inside, *bytes);
    return *text ? SG_OK : sg_fail(err, SG_ERR_MEMORY, "%s: out of memory", w->model);
}

// Takes data, also on failure.
static sg_status side_add_owned(sg_side_files *w, const char *name, char *data, size_t bytes,
                                sg_error *err)
{
    if (data == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for %s", name);
    w->owned[w->count] = data;
    sg_side_files_add(w, name, data, bytes);
    return SG_OK;
}

sg_status sg_side_files_add_json(sg_side_files *w, const char *name, const json_t *object,
                                 sg_error *err)
{
    char *text = NULL;
    if (object == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for %s", name);
    SG_TRY(sg_json_text(object, true, &text, err));
    return side_add_owned(w, name, text, strlen(text), err);
}

static bool side_put_id(json_t *object, const char *key, int64_t id)
{
    return id < 0 || json_object_set_new(object, key, json_integer(id)) == 0;
}

// Puts the ids that end a text.
static bool side_put_ends(json_t *object, const sg_end_tokens *ends)
{
    if (ends->count == 1) return side_put_id(object, "eos_token_id", ends->ids[0]);
    json_t *list = json_array();
    bool whole = list != NULL;
    for (size_t i = 0; i < ends->count && whole; i++)
        whole = json_array_append_new(list, json_integer(ends->ids[i])) == 0;
    if (whole) return json_object_set_new(object, "eos_token_id", list) == 0;
    json_decref(list);
    return false;
}

// generation_config.json: as it came where it names all ids that end a text; else with their list,
// or made: always for the library, and for us where config.json, which has room for one, is not
// enough.
static sg_status side_generation(sg_side_files *w, sg_error *err)
{
    static const char name[] = "generation_config.json";
    const sg_config *c = &w->file->config;
    const sg_end_tokens *ends = &w->file->ends;
    sg_end_tokens said = {0};
    json_t *object = NULL;
    char *data;
    size_t bytes;
    SG_TRY(side_beside(w, name, &data, &bytes, err));
    if (data == NULL) {
        if (ends->count <= 1 && (w->options->form != SG_CONVERT_HF || c->eos_token_id < 0))
            return SG_OK;
        sg_json_setup();
        object = json_object();
        const bool whole = object != NULL && side_put_id(object, "bos_token_id", c->bos_token_id) &&
                           side_put_ends(object, ends) &&
                           side_put_id(object, "pad_token_id", c->pad_token_id);
        sg_status status = sg_side_files_add_json(w, name, whole ? object : NULL, err);
        json_decref(object);
        return status;
    }
    sg_status status = sg_json_parse(data, bytes, name, &object, err);
    if (status == SG_OK)
        status = sg_end_tokens_of_json(object, name, "eos_token_id", c->vocab_size, &said, err);
    if (status == SG_OK && said.count == ends->count) {
        json_decref(object);
        return side_add_owned(w, name, data, bytes, err);
    }
    sg_free(data);
    if (status == SG_OK)
        status = sg_side_files_add_json(w, name, side_put_ends(object, ends) ? object : NULL, err);
    json_decref(object);
    return status;
}

static bool side_put_token(json_t *object, const sg_tokenizer *t, const char *key, int64_t id)
{
    const char *text = t != NULL ? sg_tokenizer_token_text(t, (int32_t)id) : NULL;
    return text == NULL || json_object_set_new(object, key, json_string(text)) == 0;
}

// Without this file the library guesses a tokenizer's class by the type of the model. What
// continues a text stands behind padding, and no model here has types of tokens, which old versions
// would give it. Versions
// 4.4x and 4.5x put the space in front of a text or not as this file says, whatever tokenizer.json
// says.
static sg_status side_tokenizer_config(sg_side_files *w, sg_error *err)
{
    const sg_config *c = &w->file->config;
    json_t *object =
        json_pack("{s:s, s:b, s:I, s:s, s:[s, s]}", "tokenizer_class", "PreTrainedTokenizerFast",
                  "clean_up_tokenization_spaces", 0, "model_max_length",
                  (json_int_t)c->max_position_embeddings, "padding_side", "left",
                  "model_input_names", "input_ids", "attention_mask");
    const sg_hf_pre *level = w->opened != NULL ? sg_hf_byte_level(w->opened->hf) : NULL;
    const bool whole =
        object != NULL &&
        (level == NULL || json_object_set_new(object, "add_prefix_space",
                                              json_boolean(level->add_prefix_space)) == 0) &&
        side_put_token(object, w->opened, "bos_token", c->bos_token_id) &&
        side_put_token(object, w->opened, "eos_token", c->eos_token_id) &&
        side_put_token(object, w->opened, "pad_token", c->pad_token_id);
    sg_status status =
        sg_side_files_add_json(w, "tokenizer_config.json", whole ? object : NULL, err);
    json_decref(object);
    return status;
}

sg_status sg_side_files_add_all(sg_side_files *w, sg_error *err)
{
    static const char *const names[] = {"tokenizer_config.json", "special_tokens_map.json",
                                        "chat_template.jinja"};
    bool configured = false;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *data;
        size_t bytes;
        if (w->tokenizer == NULL || w->options->tokenizer != NULL) continue;
        SG_TRY(side_beside(w, names[i], &data, &bytes, err));
        if (data == NULL) continue;
        configured = configured || i == 0;
        SG_TRY(side_add_owned(w, names[i], data, bytes, err));
    }
    SG_TRY(side_generation(w, err));
    if (w->tokenizer == NULL) return SG_OK;
    sg_side_files_add(w, "tokenizer.json", w->tokenizer, w->tokenizer_bytes);
    if (w->file->gguf != NULL) {
        char *chat;
        size_t bytes;
        SG_TRY(sg_side_files_chat(w, &chat, &bytes, err));
        if (chat != NULL) SG_TRY(side_add_owned(w, "chat_template.jinja", chat, bytes, err));
    }
    return configured || w->options->form != SG_CONVERT_HF ? SG_OK : side_tokenizer_config(w, err);
}

sg_status sg_side_files_open(const sg_convert_options *options, const sg_model_file *file,
                             const char *model, sg_side_files *out, sg_error *err)
{
    *out = (sg_side_files){.options = options, .file = file, .model = model};
    return side_read_tokenizer(out, err);
}

void sg_side_files_free(sg_side_files *w)
{
    for (size_t i = 0; i < SG_SIDE_FILES_MOST; i++)
        sg_free(w->owned[i]);
    sg_tokenizer_free(w->opened);
    sg_free(w->tokenizer);
    *w = (sg_side_files){0};
}
