// What a chat is given from JSON files: messages, and lists of tools and documents. They are read
// as every file is here (format/json.h), so that a number that no type holds refuses none of them.
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "format/json.h"

enum { chat_file_limit = 256 << 20 };

static sg_status chat_no_list(const char *path, sg_error *err)
{
    return sg_fail(err, SG_ERR_FORMAT, "%s: expected a JSON list", path);
}

sg_status sg_chat_list_read(const char *path, char **text, sg_error *err)
{
    json_t *value;
    *text = NULL;
    SG_TRY(sg_json_read(path, chat_file_limit, &value, err));
    const sg_status status =
        json_is_array(value) ? sg_json_text(value, false, text, err) : chat_no_list(path, err);
    json_decref(value);
    return status;
}

static sg_status chat_messages(const char *path, const json_t *list, sg_chat_messages *out,
                               sg_error *err)
{
    const char *last = NULL;
    out->items = sg_alloc_zero(json_array_size(list), sizeof *out->items);
    if (out->items == NULL) return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory", path);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *one = json_array_get(list, i);
        char *text;
        if (!json_is_string(json_object_get(one, "role")))
            return sg_fail(err, SG_ERR_FORMAT,
                           "%s: message %zu: expected an object with a string \"role\"", path,
                           i + 1);
        SG_TRY(sg_json_text(one, false, &text, err));
        out->items[out->count++].json = text;
        last = json_string_value(json_object_get(one, "content"));
    }
    out->last = sg_strdup(last == NULL ? "" : last);
    if (out->last != NULL) return SG_OK;
    return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory", path);
}

sg_status sg_chat_messages_read(const char *path, sg_chat_messages *messages, sg_error *err)
{
    json_t *root;
    *messages = (sg_chat_messages){0};
    SG_TRY(sg_json_read(path, chat_file_limit, &root, err));
    const json_t *list = json_is_object(root) ? json_object_get(root, "messages") : root;
    sg_status status = json_array_size(list) > 0
                           ? chat_messages(path, list, messages, err)
                           : sg_fail(err, SG_ERR_FORMAT, "%s: found no list of messages", path);
    json_decref(root);
    if (status != SG_OK) sg_chat_messages_clear(messages);
    return status;
}

void sg_chat_messages_clear(sg_chat_messages *messages)
{
    for (size_t i = 0; i < messages->count; i++)
        sg_free((void *)(uintptr_t)messages->items[i].json);
    sg_free(messages->items);
    sg_free(messages->last);
    *messages = (sg_chat_messages){0};
}
