// What is to be said, from options, lines of a file or a list of messages.
#include "cli/prompts.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

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

static sg_status prompts_dump(json_t *value, char **text, sg_error *err)
{
    *text = value == NULL ? NULL : json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    json_decref(value);
    return *text == NULL ? prompts_no_memory(err) : SG_OK;
}

static sg_status prompts_list_file(const char *path, char **text, sg_error *err)
{
    return path == NULL ? SG_OK : sg_chat_list_read(path, text, err);
}

// NAME=VALUE: the value is JSON where it reads as such (false, 3, "3", [1]), else a string.
static sg_status prompts_variables(const cli_strings *given, char **text, sg_error *err)
{
    json_t *object = json_object();
    for (int i = 0; i < given->count; i++) {
        const char *equals = strchr(given->items[i], '=');
        size_t length = equals == NULL ? 0 : (size_t)(equals - given->items[i]);
        if (length == 0 || length >= 64) {
            json_decref(object);
            return prompts_fail(err, SG_ERR_ARGUMENT, "--template-var",
                                "expected NAME=VALUE, as in enable_thinking=false");
        }
        char name[64];
        memcpy(name, given->items[i], length);
        name[length] = '\0';
        json_t *value = json_loads(equals + 1, JSON_DECODE_ANY, NULL);
        if (value == NULL) value = json_string(equals + 1);
        if (json_object_set_new(object, name, value) != 0) {
            json_decref(object);
            return prompts_fail(err, SG_ERR_ARGUMENT, "--template-var", "is not UTF-8");
        }
    }
    return prompts_dump(object, text, err);
}

static bool prompts_go_on(void *user)
{
    (void)user;
    return !cli_stop_requested();
}

sg_status cli_chat_options_read(const cli_chat_given *given, cli_chat_options *out, sg_error *err)
{
    *out = (cli_chat_options){.options = sg_chat_options_default()};
    time_t now = time(NULL);
    struct tm local;
    if (localtime_r(&now, &local) != NULL)
        strftime(out->date, sizeof out->date, "%Y-%m-%d %H:%M:%S", &local);
    sg_status status = prompts_list_file(given->tools, &out->tools, err);
    if (status == SG_OK) status = prompts_list_file(given->documents, &out->documents, err);
    if (status == SG_OK) status = prompts_variables(&given->variables, &out->variables, err);
    out->options.tools = out->tools;
    out->options.documents = out->documents;
    out->options.variables = out->variables;
    out->options.date = given->date != NULL ? given->date : out->date;
    out->options.go_on = prompts_go_on;
    return status;
}

void cli_chat_options_clear(cli_chat_options *options)
{
    sg_buffer_free(options->tools);
    sg_buffer_free(options->documents);
    free(options->variables);
    *options = (cli_chat_options){0};
}

sg_status cli_chat_open(const char *folder, sg_chat **chat, sg_error *err)
{
    sg_status status = sg_chat_open(folder, chat, err);
    if (status != SG_ERR_NOT_FOUND) return status;
    size_t used = strlen(err->message);
    snprintf(err->message + used, sizeof err->message - used,
             "; this may be a model that was not trained on chats: continue its text with --prompt "
             "alone, or put a template for it at chat_template.jinja in its folder");
    return status;
}

void cli_chat_stays_note(const cli_args *args, const char *from, const char *to)
{
    sg_chat *chat = NULL;
    if (sg_chat_open(from, &chat, NULL) == SG_OK)
        cli_note(args,
                 "the chat template of %s does not go along: to chat, put it at "
                 "%s/chat_template.jinja (convert --to sgatlin takes one out of a GGUF file)",
                 from, to);
    sg_chat_free(chat);
}

static sg_status prompts_render(const sg_chat *chat, const cli_chat_options *options,
                                const sg_chat_message *messages, size_t count, char **out,
                                sg_error *err)
{
    char *text;
    size_t bytes;
    sg_status status = sg_chat_render(chat, messages, count, &options->options, &text, &bytes, err);
    if (status != SG_OK) return status;
    *out = strlen(text) == bytes ? strdup(text) : NULL;
    status = strlen(text) != bytes
                 ? prompts_fail(err, SG_ERR_UNSUPPORTED, "chat", "the template writes NUL")
             : *out == NULL ? prompts_no_memory(err)
                            : SG_OK;
    sg_buffer_free(text);
    return status;
}

static sg_status prompts_chat_each(const cli_prompt_options *o, const sg_chat *chat,
                                   const cli_chat_options *options, cli_prompts *p, sg_error *err)
{
    for (size_t i = 0; i < p->count; i++) {
        sg_chat_message messages[2] = {{"system", o->system, NULL}, {"user", p->said[i], NULL}};
        bool system = o->system != NULL;
        sg_status status =
            prompts_render(chat, options, messages + !system, 1U + system, &p->text[i], err);
        if (status != SG_OK) return status;
    }
    return SG_OK;
}

// The messages of a file, behind that of --system.
static sg_status prompts_chat_file(const cli_prompt_options *o, const sg_chat *chat,
                                   const cli_chat_options *options, cli_prompts *p, sg_error *err)
{
    sg_chat_messages read;
    sg_status status = sg_chat_messages_read(o->messages, &read, err);
    if (status != SG_OK) return status;
    const size_t system = o->system != NULL ? 1 : 0;
    sg_chat_message *messages = calloc(system + read.count, sizeof *messages);
    p->text = calloc(1, sizeof *p->text);
    if (messages == NULL || p->text == NULL) status = prompts_no_memory(err);
    if (status == SG_OK) status = prompts_add(p, read.last, err);
    if (status == SG_OK) {
        if (system > 0) messages[0] = (sg_chat_message){"system", o->system, NULL};
        memcpy(messages + system, read.items, read.count * sizeof *messages);
        status = prompts_render(chat, options, messages, system + read.count, &p->text[0], err);
    }
    free(messages);
    sg_chat_messages_clear(&read);
    return status;
}

static sg_status prompts_chat(const cli_prompt_options *o, const char *folder, cli_prompts *p,
                              sg_error *err)
{
    sg_chat *chat;
    cli_chat_options options;
    sg_status status = cli_chat_open(folder, &chat, err);
    if (status != SG_OK) return status;
    status = cli_chat_options_read(&o->more, &options, err);
    if (status == SG_OK && o->messages != NULL) {
        status = prompts_chat_file(o, chat, &options, p, err);
    } else if (status == SG_OK) {
        p->text = calloc(p->count, sizeof *p->text);
        status =
            p->text == NULL ? prompts_no_memory(err) : prompts_chat_each(o, chat, &options, p, err);
    }
    cli_chat_options_clear(&options);
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
    *p = (cli_prompts){.chat = o->chat || o->messages != NULL || o->system != NULL ||
                               o->more.tools != NULL || o->more.documents != NULL ||
                               o->more.variables.count > 0 || o->more.date != NULL};
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
