// Finding the chat template of a model folder or a GGUF file.
#include "text/chat.h"

#include <string.h>

#include "base/alloc.h"
#include "base/publish.h"
#include "format/gguf.h"
#include "format/json.h"

enum {
    chat_config_max = 64 << 20,
    chat_token_max = 256 // bytes of a token that a template names
};

static bool chat_copy(sg_chat *chat, const char *text, const char **out)
{
    *out = text == NULL ? NULL : sg_arena_strndup(&chat->arena, text, strlen(text));
    return text == NULL || *out != NULL;
}

sg_status sg_chat_new(const char *source, size_t bytes, const char *name, const char *bos,
                      const char *eos, sg_chat **chat, sg_error *err)
{
    *chat = NULL;
    sg_chat *made = sg_alloc_zero(1, sizeof *made);
    if (made == NULL || !chat_copy(made, name, &made->name) || !chat_copy(made, bos, &made->bos) ||
        !chat_copy(made, eos, &made->eos)) {
        sg_chat_free(made);
        return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory", name);
    }
    sg_status status = sg_chat_parse(source, bytes, made->name, &made->arena, &made->steps, err);
    if (status != SG_OK)
        sg_chat_free(made);
    else
        *chat = made;
    return status;
}

void sg_chat_free(sg_chat *chat)
{
    if (chat == NULL) return;
    sg_arena_free(&chat->arena);
    sg_free(chat);
}

const char *sg_chat_eos(const sg_chat *chat)
{
    return chat->eos;
}

// The text of a special token: a string, or an object with "content"; NULL when there is none.
static sg_status chat_token(const json_t *config, const char *name, const char *key,
                            const char **text, sg_error *err)
{
    const json_t *value = json_object_get(config, key);
    *text = NULL;
    if (json_is_object(value)) return sg_json_get_string(value, name, "content", true, text, err);
    return sg_json_get_string(config, name, key, false, text, err);
}

// The special tokens other than bos and eos, which Hugging Face gives to a template too, as a JSON
// object in the memory of the chat.
static sg_status chat_other_tokens(sg_chat *chat, const json_t *config, const char *name,
                                   sg_error *err)
{
    static const char *const keys[] = {"unk_token", "sep_token", "pad_token", "cls_token",
                                       "mask_token"};
    json_t *made = json_object();
    const json_t *more = json_object_get(config, "additional_special_tokens");
    sg_status status = SG_OK;
    bool room = made != NULL;
    for (size_t i = 0; i < sizeof keys / sizeof *keys && status == SG_OK && room; i++) {
        const char *text;
        status = chat_token(config, name, keys[i], &text, err);
        if (status == SG_OK && text != NULL)
            room = json_object_set_new(made, keys[i], json_string(text)) == 0;
    }
    if (status == SG_OK && room && json_is_array(more))
        room = json_object_set_new(made, "additional_special_tokens", json_deep_copy(more)) == 0;
    char *text = NULL;
    if (status == SG_OK && room) status = sg_json_text(made, false, &text, err);
    if (status == SG_OK && room) room = chat_copy(chat, text, &chat->tokens);
    sg_free(text);
    json_decref(made);
    return room || status != SG_OK ? status
                                   : sg_fail(err, SG_ERR_MEMORY, "%s: out of memory", name);
}

// "chat_template": a string, or a list of {"name", "template"}; NULL when there is none.
static sg_status chat_choose(const json_t *config, const char *name, const char **text,
                             sg_error *err)
{
    const json_t *value = json_object_get(config, "chat_template");
    *text = NULL;
    if (!json_is_array(value))
        return sg_json_get_string(config, name, "chat_template", false, text, err);
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *entry = json_array_get(value, i);
        const char *called;
        SG_TRY(sg_json_get_string(entry, name, "name", true, &called, err));
        if (strcmp(called, "default") == 0)
            return sg_json_get_string(entry, name, "template", true, text, err);
    }
    return SG_OK;
}

// tokenizer_config.json of a folder, an empty object where there is none.
static sg_status chat_config(const char *folder, char path[SG_PATH_MAX], json_t **config,
                             sg_error *err)
{
    SG_TRY(sg_published_path(path, SG_PATH_MAX, folder, "tokenizer_config.json", NULL, err));
    sg_status status = sg_json_read(path, chat_config_max, config, err);
    if (!sg_ignored(status, SG_ERR_NOT_FOUND, err)) return status;
    sg_json_setup();
    *config = json_object();
    return *config ? SG_OK : sg_fail(err, SG_ERR_MEMORY, "%s: out of memory", path);
}

// The template: that of chat_template.jinja, else of the configuration (name: its path). *text:
// sg_free; NULL when there is none. name becomes the path of the file it is from.
static sg_status chat_text(const char *folder, const json_t *config, char name[SG_PATH_MAX],
                           char **text, size_t *bytes, sg_error *err)
{
    char path[SG_PATH_MAX];
    const char *inside;
    *text = NULL;
    SG_TRY(sg_published_path(path, sizeof path, folder, "chat_template.jinja", NULL, err));
    sg_status status = sg_file_read(path, SG_CHAT_SOURCE_MAX, text, bytes, err);
    if (status == SG_OK) memcpy(name, path, SG_PATH_MAX);
    if (!sg_ignored(status, SG_ERR_NOT_FOUND, err)) return status;
    SG_TRY(chat_choose(config, name, &inside, err));
    if (inside == NULL) return SG_OK;
    *bytes = strlen(inside);
    *text = sg_strndup(inside, *bytes);
    return *text ? SG_OK : sg_fail(err, SG_ERR_MEMORY, "%s: out of memory", name);
}

sg_status sg_chat_template_text(const char *folder, char **text, size_t *bytes, sg_error *err)
{
    char path[SG_PATH_MAX];
    json_t *config;
    *text = NULL;
    SG_TRY(chat_config(folder, path, &config, err));
    sg_status status = chat_text(folder, config, path, text, bytes, err);
    json_decref(config);
    return status;
}

static sg_status chat_open(const char *folder, const json_t *config, char path[SG_PATH_MAX],
                           sg_chat **chat, sg_error *err)
{
    const char *bos, *eos;
    char *text;
    size_t bytes;
    SG_TRY(chat_token(config, path, "bos_token", &bos, err));
    SG_TRY(chat_token(config, path, "eos_token", &eos, err));
    SG_TRY(chat_text(folder, config, path, &text, &bytes, err));
    if (text == NULL)
        return sg_fail(err, SG_ERR_NOT_FOUND,
                       "%s: found no chat template: neither chat_template.jinja nor "
                       "\"chat_template\" in tokenizer_config.json",
                       folder);
    sg_status status = sg_chat_new(text, bytes, path, bos, eos, chat, err);
    sg_free(text);
    if (status != SG_OK) return status;
    status = chat_other_tokens(*chat, config, folder, err);
    if (status == SG_OK) return SG_OK;
    sg_chat_free(*chat);
    *chat = NULL;
    return status;
}

static sg_status gguf_token_text(const sg_gguf *file, const sg_gguf_string *tokens, size_t count,
                                 const char *key, char text[chat_token_max], sg_error *err)
{
    int64_t id = -1;
    text[0] = '\0';
    SG_TRY(sg_gguf_get_int(file, key, false, -1, (int64_t)count - 1, &id, err));
    if (id >= 0 && tokens[id].bytes < chat_token_max) {
        memcpy(text, tokens[id].data, tokens[id].bytes);
        text[tokens[id].bytes] = '\0';
    }
    return SG_OK;
}

static sg_status chat_of_gguf(const sg_gguf *file, sg_chat **chat, sg_error *err)
{
    const char *text = NULL;
    char bos[chat_token_max], eos[chat_token_max];
    sg_gguf_string *tokens = NULL;
    size_t count;
    SG_TRY(sg_gguf_get_string(file, "tokenizer.chat_template", false, &text, err));
    if (text == NULL)
        return sg_fail(err, SG_ERR_NOT_FOUND,
                       "%s: found no chat template: no key tokenizer.chat_template",
                       sg_gguf_name(file));
    SG_TRY(sg_gguf_get_strings(file, "tokenizer.ggml.tokens", true, &tokens, &count, err));
    sg_status status =
        gguf_token_text(file, tokens, count, "tokenizer.ggml.bos_token_id", bos, err);
    if (status == SG_OK)
        status = gguf_token_text(file, tokens, count, "tokenizer.ggml.eos_token_id", eos, err);
    if (status == SG_OK)
        status = sg_chat_new(text, strlen(text), sg_gguf_name(file), bos, eos, chat, err);
    sg_free(tokens);
    return status;
}

static sg_status chat_open_file(const char *path, sg_chat **chat, sg_error *err)
{
    sg_gguf *file;
    SG_TRY(sg_gguf_open(path, &file, err));
    sg_status status = chat_of_gguf(file, chat, err);
    sg_gguf_close(file);
    return status;
}

sg_status sg_chat_open(const char *folder, sg_chat **chat, sg_error *err)
{
    *chat = NULL;
    if (sg_path_exists(folder) && !sg_path_is_folder(folder))
        return chat_open_file(folder, chat, err);
    char path[SG_PATH_MAX];
    json_t *config;
    SG_TRY(chat_config(folder, path, &config, err));
    sg_status status = chat_open(folder, config, path, chat, err);
    json_decref(config);
    return status;
}
