// sgatlin chat: a conversation with a model. What it has read stays in its session: of each new
// turn only what is new is read.
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/computing.h"
#include "cli/prompts.h"
#include "cli/reading.h"
#include "cli/sampling_options.h"
#include "cli/steer.h"

static struct {
    const char *model, *adapter, *tokenizer, *weights, *system, *steer;
    cli_chat_given more;
    int64_t max_tokens, top_k, seed;
    double temperature, top_p, min_p, repetition_penalty;
} chat = {.weights = "stored",
          .max_tokens = 1000,
          .temperature = 0.8,
          .top_p = 0.95,
          .repetition_penalty = 1,
          .seed = 1};

static const cli_option options[] = {
    {.name = "model",
     .kind = CLI_STRING,
     .value = &chat.model,
     .argument = "DIR",
     .help = "model (a folder, a GGUF file), or a run, with a chat template",
     .required = true},
    {.name = "adapter",
     .kind = CLI_STRING,
     .value = &chat.adapter,
     .argument = "DIR",
     .shown = "",
     .help = "low-rank adapters on top of the model: a folder in PEFT's layout, or a run"},
    {.name = "tokenizer",
     .kind = CLI_STRING,
     .value = &chat.tokenizer,
     .argument = "DIR",
     .shown = "the model's",
     .help = "tokenizer.json, or the folder it lies in"},
    {.name = "weights",
     .kind = CLI_STRING,
     .value = &chat.weights,
     .argument = "TYPE",
     .help = "what matrices are stored in once the model is open: as in its file, or converted to "
             "f32, bf16 or int8; narrower ones are read faster",
     .choices = "stored|f32|bf16|int8"},
    CLI_COMPUTING_OPTIONS(CLI_COMPUTING_PROMPTS),
    {.name = "system",
     .kind = CLI_STRING,
     .value = &chat.system,
     .argument = "TEXT",
     .shown = "",
     .help = "the system message in front of the chat"},
    {.name = "tools",
     .kind = CLI_STRING,
     .value = &chat.more.tools,
     .argument = "FILE",
     .shown = "",
     .help = "tools the template is told of: JSON, a list"},
    {.name = "template-var",
     .kind = CLI_STRINGS,
     .value = &chat.more.variables,
     .argument = "NAME=VALUE",
     .shown = "none",
     .help = "a variable of the template, as enable_thinking=false; may be given again and again"},
    {.name = "date",
     .kind = CLI_STRING,
     .value = &chat.more.date,
     .argument = "DATE",
     .shown = "now",
     .help = "what the template takes for today: 2026-01-31, a time may follow"},
    CLI_STEER_OPTION(chat.steer),
    {.name = "max-tokens",
     .kind = CLI_COUNT,
     .value = &chat.max_tokens,
     .argument = "N",
     .help = "most tokens of an answer",
     .low = 1,
     .high = 1e9},
    CLI_SAMPLING_OPTIONS(chat),
    {.name = "seed",
     .kind = CLI_INT,
     .value = &chat.seed,
     .argument = "N",
     .help = "the same seed and the same words give the same chat",
     .low = 0,
     .high = CLI_SEED_MOST},
    {0}};

// ---- interrupts -------------------------------------------------------------------------------

static volatile sig_atomic_t chat_interrupted;

static void chat_on_interrupt(int number)
{
    (void)number;
    chat_interrupted = 1;
}

// Ctrl-C ends an answer, or takes a line that is being typed back; it does not end the program.
static void chat_catch_interrupts(void)
{
    // Without SA_RESTART, so that reading returns.
    struct sigaction action = {.sa_handler = chat_on_interrupt, .sa_flags = SA_ONSTACK};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
}

static bool chat_go_on(void *user)
{
    (void)user;
    return !chat_interrupted;
}

// ---- the conversation -------------------------------------------------------------------------

typedef struct chat_state {
    const cli_args *args;
    sg_context *context;
    sg_model *model;
    sg_tokenizer *tokenizer;
    sg_chat *chat;
    sg_session *session;
    sg_edits *edits; // of --steer, or NULL
    cli_chat_options given;
    char *system;     // the system message that /system gave; NULL: none
    json_t *messages; // a list of {"role", "content"}
    int32_t *fed;     // (fed_count) what the session has read
    int64_t fed_count, room, draws;
    int64_t lost; // bytes of the chat so far that no token stands for
    int32_t end;  // more than the model's; -1: none
} chat_state;

static void chat_clear(chat_state *c)
{
    json_decref(c->messages);
    free(c->system);
    free(c->fed);
    cli_chat_options_clear(&c->given);
    sg_session_free(c->session);
    sg_edits_free(c->edits);
    sg_chat_free(c->chat);
    sg_tokenizer_free(c->tokenizer);
    sg_model_free(c->model);
    sg_context_free(c->context);
}

static sg_status chat_fail(sg_error *err, sg_status code, const char *what)
{
    snprintf(err->message, sizeof err->message, "%s", what);
    return err->code = code;
}

static sg_status chat_say(chat_state *c, const char *role, const char *content, sg_error *err)
{
    json_t *text = json_string(content);
    if (text == NULL) return chat_fail(err, SG_ERR_ARGUMENT, "what was said is not UTF-8");
    json_t *message = json_pack("{s:s, s:o}", "role", role, "content", text);
    if (message == NULL || json_array_append_new(c->messages, message) != 0)
        return chat_fail(err, SG_ERR_MEMORY, "out of memory for the chat");
    return SG_OK;
}

// Begins anew: a system message, or none, is all there is.
static sg_status chat_reset(chat_state *c, sg_error *err)
{
    json_array_clear(c->messages);
    return chat.system == NULL ? SG_OK : chat_say(c, "system", chat.system, err);
}

static sg_status chat_open(chat_state *c, sg_error *err)
{
    char folder[CLI_PATH];
    sg_status status = cli_context_new(c->args, &c->context, err);
    if (status == SG_OK)
        status = cli_model_open(c->context, chat.model, chat.weights, &c->model, folder, err);
    if (status == SG_OK) status = cli_model_adapt(c->context, chat.adapter, c->model, err);
    if (status == SG_OK) status = cli_computing_set(c->args, c->context, c->model, err);
    if (status == SG_OK) status = cli_columns_tell(c->args, c->model, err);
    if (status == SG_OK) status = cli_chat_open(folder, &c->chat, err);
    if (status == SG_OK) status = cli_tokenizer_open(chat.tokenizer, folder, &c->tokenizer, err);
    if (status == SG_OK) status = cli_chat_options_read(&chat.more, &c->given, err);
    sg_session_options open = sg_session_options_default();
    if (status == SG_OK)
        status = cli_steer_open(c->model, chat.steer, &c->edits, &open.points, err);
    if (status == SG_OK) status = sg_session_open(c->model, &open, &c->session, err);
    if (status != SG_OK) return status;
    c->given.options.go_on = chat_go_on;
    c->room = sg_model_config(c->model)->max_position_embeddings;
    c->fed = malloc((size_t)c->room * sizeof *c->fed);
    c->messages = json_array();
    const char *end = sg_chat_eos(c->chat);
    c->end = end == NULL ? -1 : sg_tokenizer_token_id(c->tokenizer, end);
    if (c->fed == NULL || c->messages == NULL)
        return chat_fail(err, SG_ERR_MEMORY, "out of memory for the chat");
    if (sg_tokenizer_vocab_size(c->tokenizer) > sg_model_config(c->model)->vocab_size)
        return chat_fail(err, SG_ERR_MISMATCH, "the tokenizer has more tokens than the model");
    return chat_reset(c, err);
}

// The ids of all that was said, and of what begins the answer. *ids: sg_buffer_free.
static sg_status chat_ids(chat_state *c, int32_t **ids, size_t *count, sg_error *err)
{
    size_t said = json_array_size(c->messages), bytes;
    sg_chat_message *messages = calloc(said, sizeof *messages);
    if (messages == NULL) return chat_fail(err, SG_ERR_MEMORY, "out of memory for the chat");
    for (size_t i = 0; i < said; i++) {
        const json_t *one = json_array_get(c->messages, i);
        messages[i] = (sg_chat_message){json_string_value(json_object_get(one, "role")),
                                        json_string_value(json_object_get(one, "content")), NULL};
    }
    char *text;
    sg_status status =
        sg_chat_render(c->chat, messages, said, &c->given.options, &text, &bytes, err);
    free(messages);
    if (status != SG_OK) return status;
    sg_encode_options encode = sg_encode_options_default();
    int64_t lost = 0;
    encode.lost_bytes = &lost;
    status = sg_tokenizer_encode(c->tokenizer, text, bytes, &encode, ids, count, err);
    if (status == SG_OK && lost > c->lost) cli_lost_warn(c->args, "chat", lost, (int64_t)bytes);
    c->lost = lost;
    sg_buffer_free(text);
    return status;
}

// Feeds what the session has not read yet of the chat; at least the last token, for its logits.
static sg_status chat_feed(chat_state *c, const float **logits, sg_error *err)
{
    int32_t *ids;
    size_t count;
    sg_status status = chat_ids(c, &ids, &count, err);
    if (status != SG_OK) return status;
    int64_t same = 0, most = (int64_t)count - 1;
    while (same < c->fed_count && same < most && ids[same] == c->fed[same])
        same++;
    if (count == 0 || (int64_t)count >= c->room) {
        snprintf(err->message, sizeof err->message,
                 "the chat is %zu tokens long now, and the model has %lld positions: /reset begins "
                 "anew",
                 count, (long long)c->room);
        status = err->code = SG_ERR_ARGUMENT;
    }
    if (status == SG_OK) status = sg_session_rewind(c->session, same, err);
    if (status == SG_OK) {
        c->fed_count = same;
        status = sg_session_feed(c->session, ids + same, (int64_t)count - same, logits, err);
    }
    if (status == SG_OK) {
        memcpy(c->fed, ids, count * sizeof *ids);
        c->fed_count = (int64_t)count;
    }
    sg_buffer_free(ids);
    return status;
}

static bool chat_ends(const chat_state *c, int32_t token)
{
    size_t count;
    const int32_t *ends = sg_model_ends(c->model, &count);
    for (size_t i = 0; i < count; i++)
        if (ends[i] == token) return true;
    return token == c->end;
}

// An answer on its way to the screen and into the conversation.
typedef struct chat_answer {
    char *text;
    size_t used, capacity;
} chat_answer;

static sg_status chat_tell(chat_answer *a, const char *text, size_t bytes, sg_error *err)
{
    if (a->capacity - a->used <= bytes) {
        size_t capacity = 2 * (a->capacity + bytes) + 64;
        char *grown = realloc(a->text, capacity);
        if (grown == NULL) return chat_fail(err, SG_ERR_MEMORY, "out of memory for the answer");
        a->text = grown;
        a->capacity = capacity;
    }
    memcpy(a->text + a->used, text, bytes);
    a->used += bytes;
    a->text[a->used] = '\0';
    fwrite(text, 1, bytes, stdout);
    fflush(stdout);
    return SG_OK;
}

static sg_status chat_draw(chat_state *c, const float *logits, int32_t *token, sg_error *err)
{
    const sg_sample_options sample = {.temperature = chat.temperature,
                                      .top_k = chat.top_k,
                                      .top_p = chat.top_p,
                                      .min_p = chat.min_p,
                                      .repetition_penalty = chat.repetition_penalty,
                                      .seed = (uint64_t)chat.seed,
                                      .history = c->fed,
                                      .history_count = c->fed_count};
    return sg_sample(logits, sg_model_config(c->model)->vocab_size, &sample, (uint64_t)c->draws++,
                     token, err);
}

// Tokens until one ends the answer, it is interrupted, or there is no more room.
static sg_status chat_tokens(chat_state *c, const float *logits, sg_decoder *decoder,
                             chat_answer *answer, sg_error *err)
{
    const char *text;
    size_t bytes;
    sg_status status = SG_OK;
    for (int64_t i = 0; i < chat.max_tokens && status == SG_OK && !chat_interrupted; i++) {
        int32_t token;
        status = chat_draw(c, logits, &token, err);
        if (status != SG_OK || chat_ends(c, token)) break;
        if (token < sg_tokenizer_vocab_size(c->tokenizer)) {
            status = sg_decoder_push(decoder, token, &text, &bytes, err);
            if (status == SG_OK) status = chat_tell(answer, text, bytes, err);
        }
        if (c->fed_count == c->room) break;
        if (status == SG_OK) status = sg_session_feed(c->session, &token, 1, &logits, err);
        if (status == SG_OK) c->fed[c->fed_count++] = token;
    }
    if (status == SG_OK) status = sg_decoder_finish(decoder, &text, &bytes, err);
    return status == SG_OK ? chat_tell(answer, text, bytes, err) : status;
}

// Decodes what goes on behind the chat so far, as generate does.
static sg_status chat_decoder(const chat_state *c, sg_decoder **decoder, sg_error *err)
{
    int32_t known = sg_tokenizer_vocab_size(c->tokenizer); // the model may have more
    sg_status status = sg_decoder_new(c->tokenizer, NULL, decoder, err);
    for (int64_t i = 0; i < c->fed_count && status == SG_OK; i++)
        if (c->fed[i] < known) status = sg_decoder_follow(*decoder, &c->fed[i], 1, err);
    return status;
}

// One turn: what the user said, then what the model says to it.
static sg_status chat_turn(chat_state *c, const char *said, sg_error *err)
{
    const float *logits;
    sg_decoder *decoder = NULL;
    chat_answer answer = {0};
    chat_interrupted = 0;
    sg_status status = chat_say(c, "user", said, err);
    if (status != SG_OK) return status;
    status = chat_feed(c, &logits, err);
    if (status == SG_OK) status = chat_decoder(c, &decoder, err);
    if (status == SG_OK) status = chat_tokens(c, logits, decoder, &answer, err);
    if (answer.used > 0 || status == SG_OK) fputs("\n", stdout);
    fflush(stdout);
    if (status == SG_OK)
        status = chat_say(c, "assistant", answer.text == NULL ? "" : answer.text, err);
    else // as if it had not been said
        json_array_remove(c->messages, json_array_size(c->messages) - 1);
    sg_decoder_free(decoder);
    free(answer.text);
    return status;
}

// ---- commands ---------------------------------------------------------------------------------

static void chat_help(void)
{
    fputs("/reset         forget the chat\n"
          "/system TEXT   begin anew with this system message; without TEXT: with none\n"
          "/save FILE     write the chat as JSON, as generate --messages reads it\n"
          "/help          this\n"
          "/exit          end; so does Ctrl-D. Ctrl-C ends an answer\n",
          stderr);
}

static sg_status chat_save(const chat_state *c, const char *path, sg_error *err)
{
    if (*path == '\0') return chat_fail(err, SG_ERR_ARGUMENT, "/save: expected a file's name");
    FILE *file = fopen(path, "wx"); // a file that is there stays
    bool wrote = file != NULL && json_dumpf(c->messages, file, JSON_INDENT(1)) == 0 &&
                 fputc('\n', file) != EOF;
    int reason = errno;
    if (file != NULL && fclose(file) != 0) wrote = false;
    if (wrote) return SG_OK;
    snprintf(err->message, sizeof err->message, "/save: %.200s: %s", path, strerror(reason));
    return err->code = SG_ERR_IO;
}

// What stands behind a command's name; NULL: it is another command.
static const char *chat_argument(const char *line, const char *name)
{
    size_t bytes = strlen(name);
    if (strncmp(line, name, bytes) != 0 || (line[bytes] != '\0' && line[bytes] != ' ')) return NULL;
    return line + bytes + strspn(line + bytes, " ");
}

// Carries out a line that begins with a slash. *ends: it was the last.
static sg_status chat_command(chat_state *c, const char *line, bool *ends, sg_error *err)
{
    const char *system = chat_argument(line, "/system"), *path = chat_argument(line, "/save");
    *ends = chat_argument(line, "/exit") != NULL || chat_argument(line, "/quit") != NULL;
    if (*ends) return SG_OK;
    if (path != NULL) return chat_save(c, path, err);
    if (system != NULL) {
        char *copy = *system == '\0' ? NULL : strdup(system);
        free(c->system);
        chat.system = c->system = copy;
    }
    if (system != NULL || chat_argument(line, "/reset") != NULL) return chat_reset(c, err);
    chat_help();
    if (chat_argument(line, "/help") != NULL) return SG_OK;
    snprintf(err->message, sizeof err->message, "there is no command %.40s", line);
    return err->code = SG_ERR_ARGUMENT;
}

// The next line without its end; NULL at the end of input. *line: free.
static char *chat_line(bool terminal, char **line, size_t *capacity)
{
    for (;;) {
        if (terminal) fputs("> ", stderr);
        chat_interrupted = 0;
        errno = 0;
        ssize_t bytes = getline(line, capacity, stdin);
        if (bytes < 0 && errno == EINTR) { // Ctrl-C while typing: another line
            clearerr(stdin);
            if (terminal) fputs("\n", stderr);
            continue;
        }
        if (bytes < 0) return NULL;
        while (bytes > 0 && ((*line)[bytes - 1] == '\n' || (*line)[bytes - 1] == '\r'))
            (*line)[--bytes] = '\0';
        if (bytes > 0) return *line;
    }
}

static int chat_loop(chat_state *c)
{
    bool terminal = isatty(STDIN_FILENO) != 0, ends = false;
    char *line = NULL;
    size_t capacity = 0;
    int code = CLI_DONE;
    if (terminal) cli_note(c->args, "/help tells of commands, Ctrl-D ends");
    while (!ends && !ferror(stdout) && chat_line(terminal, &line, &capacity) != NULL) {
        sg_error err = {0};
        sg_status status =
            line[0] == '/' ? chat_command(c, line, &ends, &err) : chat_turn(c, line, &err);
        if (status == SG_OK || status == SG_ERR_STOPPED) continue;
        code = cli_fail(c->args, status, &err);
        if (!terminal) break; // nobody is there to say it otherwise
        code = CLI_DONE;
    }
    if (terminal && !ends) fputs("\n", stderr);
    free(line);
    return code;
}

static int chat_run(const cli_args *args)
{
    sg_error err = {0};
    chat_state c = {.args = args};
    if (args->json) return cli_wrong(args, "--json: found a chat, which has no result; see /save");
    sg_status status = chat_open(&c, &err);
    if (status == SG_OK) chat_catch_interrupts();
    int code = status == SG_OK ? chat_loop(&c) : cli_fail(args, status, &err);
    chat_clear(&c);
    return code;
}

const cli_command cli_cmd_chat = {
    .name = "chat",
    .summary = "talk with a model",
    .usage = "--model DIR [options]",
    .about =
        "Reads lines, each something a user says, and answers as the model's chat template has it. "
        "The conversation is kept: of each turn only what is new is read. Ctrl-C ends an answer, "
        "Ctrl-D the chat. Lines may come from a pipe: then answers alone are printed, and an error "
        "ends it.\n"
        "\n"
        "/reset forgets the chat, /system TEXT begins anew with another system message, /save FILE "
        "writes what was said as JSON, which generate --messages reads, /exit ends.",
    .options = options,
    .example = "sgatlin chat --model models/instruct --system \"Be brief.\"",
    .run = chat_run,
};
