// What a model on disk is, told from its files without reading its weights.
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "model/model_file.h"
#include "text/tokenizer.h"

static void about_type(sg_model_about *about, const sg_tensor_view *view)
{
    const char *name = sg_dtype_name(view->dtype);
    size_t i = 0;
    while (i < about->type_count && strcmp(about->types[i].name, name) != 0)
        i++;
    if (i == SG_ABOUT_TYPES) return;
    if (i == about->type_count) {
        about->types[i] = (sg_type_share){0};
        snprintf(about->types[i].name, sizeof about->types[i].name, "%s", name);
        about->type_count++;
    }
    about->types[i].tensors++;
    about->types[i].bytes += (int64_t)view->bytes;
}

// By what most of the bytes are in.
static void about_sort(sg_model_about *about)
{
    for (size_t i = 1; i < about->type_count; i++)
        for (size_t k = i; k > 0 && about->types[k].bytes > about->types[k - 1].bytes; k--) {
            const sg_type_share swapped = about->types[k];
            about->types[k] = about->types[k - 1];
            about->types[k - 1] = swapped;
        }
}

static sg_status about_file(const sg_model_file *f, const char *path, sg_model_about *about,
                            sg_error *err)
{
    const char *form = f->gguf != NULL                   ? "GGUF"
                       : f->llama2c != NULL              ? "llama2.c"
                       : strcmp(f->type, "sgatlin") == 0 ? "sgatlin"
                                                         : "Hugging Face";
    const char *architecture = f->llama2c != NULL ? "llama" : f->type;
    snprintf(about->form, sizeof about->form, "%s", form);
    if (f->gguf != NULL)
        SG_TRY(sg_gguf_get_string(f->gguf, "general.architecture", true, &architecture, err));
    snprintf(about->architecture, sizeof about->architecture, "%.39s", architecture);
    for (size_t i = 0; i < f->tensors.count(f->tensors.file); i++)
        about_type(about, f->tensors.at(f->tensors.file, i));
    about_sort(about);
    about->files = 1;
    if (f->gguf != NULL) about->bytes = sg_gguf_bytes(f->gguf, &about->files);
    if (f->safetensors != NULL) about->bytes = sg_safetensors_bytes(f->safetensors, &about->files);
    return f->llama2c != NULL ? sg_path_bytes(path, &about->bytes, err) : SG_OK;
}

// A file of llama2.c has none; another may have one that cannot be read, which is reported.
static sg_status about_tokenizer(const sg_model_file *f, const char *path, sg_model_about *about)
{
    sg_error why = {0};
    sg_tokenizer *tokenizer;
    if (f->llama2c != NULL) return SG_OK;
    const sg_status status = sg_tokenizer_open(path, &tokenizer, &why);
    if (status == SG_ERR_MEMORY) return status;
    if (status == SG_OK) {
        const char *kind = "tokenizer.json", *cut = NULL;
        if (f->gguf != NULL)
            (void)sg_gguf_get_string(f->gguf, "tokenizer.ggml.model", true, &kind, NULL);
        if (f->gguf != NULL)
            (void)sg_gguf_get_string(f->gguf, "tokenizer.ggml.pre", false, &cut, NULL);
        snprintf(about->tokenizer, sizeof about->tokenizer, "%.40s%s%.40s, %d tokens", kind,
                 cut != NULL ? " " : "", cut != NULL ? cut : "",
                 (int)sg_tokenizer_vocab_size(tokenizer));
        sg_tokenizer_free(tokenizer);
    } else if (status != SG_ERR_NOT_FOUND) {
        snprintf(about->tokenizer, sizeof about->tokenizer, "not read: %.380s", why.message);
    }
    return SG_OK;
}

static sg_status about_chat(const sg_model_file *f, const char *path, sg_model_about *about)
{
    sg_error why = {0};
    sg_chat *chat;
    if (f->llama2c != NULL) return SG_OK;
    const sg_status status = sg_chat_open(path, &chat, &why);
    if (status == SG_ERR_MEMORY) return status;
    about->has_chat = status != SG_ERR_NOT_FOUND;
    if (status == SG_OK) sg_chat_free(chat);
    if (status != SG_OK && about->has_chat)
        snprintf(about->chat, sizeof about->chat, "not read: %.380s", why.message);
    return SG_OK;
}

sg_status sg_model_describe(const char *path, sg_model_about *about, sg_error *err)
{
    sg_model_file *file;
    *about = (sg_model_about){0};
    SG_TRY(sg_model_file_open(path, &file, err));
    sg_status status = about_file(file, path, about, err);
    if (status == SG_OK) {
        status = about_tokenizer(file, path, about);
        if (status == SG_OK) status = about_chat(file, path, about);
        if (status != SG_OK) status = sg_fail(err, status, "%s: out of memory", path);
    }
    sg_model_file_close(file);
    return status;
}
