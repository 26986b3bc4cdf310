// What is to be said, from options, lines of a file or a list of messages.
#include "cli/prompts.h"

#include <stdlib.h>
#include <string.h>

static sg_status prompts_fail(sg_error *err, sg_status code, const char *what, const char *why)
{
    snprintf(err->message, sizeof err->message, "%.200s: %s", what, why);
    return err->code = code;
}

static sg_status prompts_no_memory(sg_error *err)
{
    return prompts_fail(err, SG_ERR_MEMORY, "prompts", "out of memory");
}

static sg_status prompts_add(cli_prompts *p, const char *text, sg_error *err)
{
    char **grown = realloc(p->said, (p->count + 1) * sizeof *grown);
    char *copy = strdup(text);
    if (grown != NULL) p->said = grown;
    if (grown == NULL || copy == NULL) {
        free(copy);
        return prompts_no_memory(err);
    }
    p->said[p->count++] = copy;
    return SG_OK;
}

static sg_status prompts_lines(cli_prompts *p, const char *path, sg_error *err)
{
    sg_corpus *corpus;
    sg_document line;
    sg_status status = cli_text_open(path, true, &corpus, err);
    if (status != SG_OK) return status;
    size_t before = p->count;
    while ((status = sg_corpus_next(corpus, &line, err)) == SG_OK && line.text != NULL) {
        char *copy = strndup(line.text, line.bytes);
        if (copy == NULL)
            status = prompts_no_memory(err);
        else if (strlen(copy) != line.bytes)
            status = prompts_fail(err, SG_ERR_FORMAT, path, "found NUL, expected lines of text");
        else
            status = prompts_add(p, copy, err);
        free(copy);
        if (status != SG_OK) break;
    }
    p->counts = sg_corpus_counts(corpus);
    sg_corpus_close(corpus);
    if (status == SG_OK && p->count == before)
        status = prompts_fail(err, SG_ERR_FORMAT, path, "found no line, expected a prompt in each");
    return status;
}

// ---- chats ------------------------------------------------------------------------------------

static sg_status prompts_render(const sg_chat *chat, const sg_chat_message *messages, size_t count,
                                char **out, sg_error *err)
{
    char *text;
    size_t bytes;
    sg_status status = sg_chat_render(chat, messages, count, NULL, &text, &bytes, err);
    if (status != SG_OK) return status;
    *out = strlen(text) == bytes ? strdup(text) : NULL;
    status = strlen(text) != bytes
                 ? prompts_fail(err, SG_ERR_UNSUPPORTED, "chat", "the template writes NUL")
             : *out == NULL ? prompts_no_memory(err)
                            : SG_OK;
    sg_buffer_free(text);
    return status;
}

static sg_status prompts_chat_each(const cli_prompt_options *o, const sg_chat *chat, cli_prompts *p,
                                   sg_error *err)
{
    for (size_t i = 0; i < p->count; i++) {
        sg_chat_message messages[2] = {{"system", o->system, NULL}, {"user", p->said[i], NULL}};
        bool system = o->system != NULL;
        sg_status status = prompts_render(chat, messages + !system, 1U + system, &p->text[i], err);
        if (status != SG_OK) return status;
    }
    return SG_OK;
}

// The messages of a file: [{"role": …, "content": …}, …], or an object with them as "messages".
static sg_status prompts_chat_file(const cli_prompt_options *o, const sg_chat *chat, cli_prompts *p,
                                   sg_error *err)
{
    json_error_t problem;
    json_t *root = json_load_file(o->messages, JSON_REJECT_DUPLICATES, &problem);
    if (root == NULL) {
        bool missing = json_error_code(&problem) == json_error_cannot_open_file;
        return prompts_fail(err, missing ? SG_ERR_NOT_FOUND : SG_ERR_FORMAT, o->messages,
                            problem.text);
    }
    json_t *list = json_is_object(root) ? json_object_get(root, "messages") : root;
    size_t count = json_array_size(list), system = o->system != NULL ? 1 : 0;
    sg_chat_message *messages = calloc(count + 1, sizeof *messages);
    sg_status status = messages == NULL ? prompts_no_memory(err) : SG_OK;
    if (status == SG_OK && count == 0)
        status = prompts_fail(err, SG_ERR_FORMAT, o->messages, "found no list of messages");
    if (status == SG_OK && system) messages[0] = (sg_chat_message){"system", o->system, NULL};
    for (size_t i = 0; i < count && status == SG_OK; i++) {
        const json_t *one = json_array_get(list, i);
        messages[system + i] =
            (sg_chat_message){json_string_value(json_object_get(one, "role")),
                              json_string_value(json_object_get(one, "content")), NULL};
        char what[96];
        snprintf(what, sizeof what, "message %zu: expected strings \"role\" and \"content\"",
                 i + 1);
        if (messages[system + i].role == NULL || messages[system + i].content == NULL)
            status = prompts_fail(err, SG_ERR_FORMAT, o->messages, what);
    }
    if (status == SG_OK) status = prompts_add(p, messages[system + count - 1].content, err);
    if (status == SG_OK) p->text = calloc(1, sizeof *p->text);
    if (status == SG_OK && p->text == NULL) status = prompts_no_memory(err);
    if (status == SG_OK) status = prompts_render(chat, messages, system + count, &p->text[0], err);
    free(messages);
    json_decref(root);
    return status;
}

static sg_status prompts_chat(const cli_prompt_options *o, const char *folder, cli_prompts *p,
                              sg_error *err)
{
    sg_chat *chat;
    sg_status status = sg_chat_open(folder, &chat, err);
    if (status != SG_OK) return status;
    if (o->messages != NULL) {
        status = prompts_chat_file(o, chat, p, err);
    } else {
        p->text = calloc(p->count, sizeof *p->text);
        status = p->text == NULL ? prompts_no_memory(err) : prompts_chat_each(o, chat, p, err);
    }
    if (status == SG_OK && sg_chat_eos(chat) != NULL) {
        p->end = strdup(sg_chat_eos(chat));
        if (p->end == NULL) status = prompts_no_memory(err);
    }
    sg_chat_free(chat);
    return status;
}

sg_status cli_prompts_read(const cli_prompt_options *o, const char *folder, cli_prompts *p,
                           sg_error *err)
{
    sg_status status = SG_OK;
    *p = (cli_prompts){.chat = o->chat || o->messages != NULL || o->system != NULL};
    if (o->messages != NULL && (o->lines != NULL || o->given.count > 0))
        return prompts_fail(err, SG_ERR_ARGUMENT, "--messages",
                            "holds the whole chat: leave out "
                            "--prompt and --prompts");
    for (int i = 0; i < o->given.count && status == SG_OK; i++)
        status = prompts_add(p, o->given.items[i], err);
    if (status == SG_OK && o->lines != NULL) status = prompts_lines(p, o->lines, err);
    if (status == SG_OK && p->count == 0 && o->messages == NULL) status = prompts_add(p, "", err);
    if (status == SG_OK && p->chat) status = prompts_chat(o, folder, p, err);
    if (status == SG_OK && !p->chat) p->text = p->said;
    return status;
}

void cli_prompts_clear(cli_prompts *p)
{
    for (size_t i = 0; i < p->count; i++) {
        if (p->text != NULL && p->text != p->said) free(p->text[i]);
        free(p->said[i]);
    }
    if (p->text != p->said) free(p->text);
    free(p->said);
    free(p->end);
    *p = (cli_prompts){0};
}
