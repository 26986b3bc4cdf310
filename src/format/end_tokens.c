// One list, three places to read it from.
#include "format/end_tokens.h"

#include "base/publish.h"
#include "format/json.h"

enum { ends_file_limit = 16 << 20 };

static const int64_t ends_most = (int64_t)1 << 40;

sg_end_tokens sg_end_tokens_one(int64_t id)
{
    return (sg_end_tokens){.ids = {(int32_t)id}, .count = id >= 0 ? 1 : 0};
}

bool sg_end_tokens_has(const sg_end_tokens *ends, int64_t id)
{
    for (size_t i = 0; i < ends->count; i++)
        if (ends->ids[i] == id) return true;
    return false;
}

static sg_status ends_add(sg_end_tokens *ends, int64_t id, int64_t vocab_size, const char *name,
                          const char *key, sg_error *err)
{
    if (id < 0 || id >= vocab_size || id > INT32_MAX || sg_end_tokens_has(ends, id)) return SG_OK;
    if (ends->count == SG_END_TOKENS_MOST)
        return sg_fail(err, SG_ERR_FORMAT, "%s: \"%s\": found more than %d ids that end a text",
                       name, key, SG_END_TOKENS_MOST);
    ends->ids[ends->count++] = (int32_t)id;
    return SG_OK;
}

sg_status sg_end_tokens_of_json(const json_t *object, const char *name, const char *key,
                                int64_t vocab_size, sg_end_tokens *ends, sg_error *err)
{
    const json_t *value = json_object_get(object, key);
    if (!json_is_object(object))
        return sg_fail(err, SG_ERR_FORMAT, "%s: expected an object with \"%s\"", name, key);
    if (value == NULL || json_is_null(value)) return SG_OK;
    const bool list = json_is_array(value);
    const size_t count = list ? json_array_size(value) : 1;
    for (size_t i = 0; i < count; i++) {
        const json_t *one = list ? json_array_get(value, i) : value;
        if (!json_is_integer(one) || json_integer_value(one) < -1 ||
            json_integer_value(one) > ends_most)
            return sg_fail(err, SG_ERR_FORMAT,
                           "%s: \"%s\": entry %zu is no token id, expected an id or a list of them",
                           name, key, i + 1);
        SG_TRY(ends_add(ends, json_integer_value(one), vocab_size, name, key, err));
    }
    return SG_OK;
}

sg_status sg_end_tokens_of_folder(const char *folder, int64_t vocab_size, sg_end_tokens *ends,
                                  sg_error *err)
{
    char path[SG_PATH_MAX];
    json_t *object;
    SG_TRY(sg_published_path(path, sizeof path, folder, "generation_config.json", NULL, err));
    if (!sg_path_exists(path)) return SG_OK;
    SG_TRY(sg_json_read(path, ends_file_limit, &object, err));
    sg_status status = sg_end_tokens_of_json(object, path, "eos_token_id", vocab_size, ends, err);
    json_decref(object);
    return status;
}

sg_status sg_end_tokens_of_gguf(const sg_gguf *file, int64_t vocab_size, sg_end_tokens *ends,
                                sg_error *err)
{
    static const char *const keys[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        int64_t id;
        SG_TRY(sg_gguf_get_token(file, keys[i], vocab_size, &id, err));
        SG_TRY(ends_add(ends, id, vocab_size, sg_gguf_name(file), keys[i], err));
    }
    return SG_OK;
}
