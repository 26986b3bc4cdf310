// sgatlin generate: text from a model, as it is decided.
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/computing.h"
#include "cli/mapped_options.h"
#include "cli/prompts.h"
#include "cli/sampling_options.h"
#include "cli/steer.h"

static struct {
    const char *model, *adapter, *tokenizer, *weights, *steer;
    cli_prompt_options prompts;
    cli_strings stops;
    int64_t max_tokens, top_k, seed, logprobs;
    double temperature, top_p, min_p, repetition_penalty;
    bool ignore_eos;
    cli_mapped mapped;
} generate = {.weights = "stored",
              .repetition_penalty = 1,
              .max_tokens = 200,
              .temperature = 0.8,
              .top_k = 0,
              .top_p = 0.95,
              .seed = 1};

static const cli_option options[] = {
    {.name = "model",
     .kind = CLI_STRING,
     .value = &generate.model,
     .argument = "DIR",
     .help = "model (a folder, a GGUF file, llama2.c's), or a run, finished or not",
     .required = true},
    {.name = "adapter",
     .kind = CLI_STRING,
     .value = &generate.adapter,
     .argument = "DIR",
     .shown = "",
     .help = "low-rank adapters on top of the model: a folder in PEFT's layout, or a run"},
    {.name = "tokenizer",
     .kind = CLI_STRING,
     .value = &generate.tokenizer,
     .argument = "DIR",
     .shown = "the model's",
     .help = "tokenizer.json, or the folder it lies in, or llama2.c's tokenizer.bin"},
    {.name = "weights",
     .kind = CLI_STRING,
     .value = &generate.weights,
     .argument = "TYPE",
     .help = "what matrices are stored in once the model is open: as in its file, or converted to "
             "f32, bf16 or int8; narrower ones are read faster",
     .choices = "stored|f32|bf16|int8"},
    CLI_COMPUTING_OPTIONS(CLI_COMPUTING_PROMPTS),
    {.name = "prompt",
     .kind = CLI_STRINGS,
     .value = &generate.prompts.given,
     .argument = "TEXT",
     .shown = "none",
     .help = "text to continue; may be given again and again"},
    {.name = "prompts",
     .kind = CLI_STRING,
     .value = &generate.prompts.lines,
     .argument = "FILE",
     .shown = "",
     .help = "more of them, one a line; - is standard input"},
    CLI_BAD_TEXT_OPTION(
        "replace|skip|stop",
        "of a prompt that is not UTF-8: replace it by U+FFFD, skip a line of --prompts, "
        "or stop; what is not stopped is counted"),
    {.name = "chat",
     .kind = CLI_FLAG,
     .value = &generate.prompts.chat,
     .help = "each prompt is what a user says: the model's chat template makes its text"},
    {.name = "system",
     .kind = CLI_STRING,
     .value = &generate.prompts.system,
     .argument = "TEXT",
     .shown = "",
     .help = "the system message in front of a chat; implies --chat"},
    {.name = "messages",
     .kind = CLI_STRING,
     .value = &generate.prompts.messages,
     .argument = "FILE",
     .shown = "",
     .help = "a chat so far: JSON, a list of {\"role\", \"content\", …}; implies --chat"},
    {.name = "tools",
     .kind = CLI_STRING,
     .value = &generate.prompts.more.tools,
     .argument = "FILE",
     .shown = "",
     .help = "tools the chat's template is told of: JSON, a list; implies --chat"},
    {.name = "documents",
     .kind = CLI_STRING,
     .value = &generate.prompts.more.documents,
     .argument = "FILE",
     .shown = "",
     .help = "documents the chat's template is told of: JSON, a list; implies --chat"},
    {.name = "template-var",
     .kind = CLI_STRINGS,
     .value = &generate.prompts.more.variables,
     .argument = "NAME=VALUE",
     .shown = "none",
     .help = "a variable of the chat's template, as enable_thinking=false; may be given again and "
             "again; implies --chat"},
    {.name = "date",
     .kind = CLI_STRING,
     .value = &generate.prompts.more.date,
     .argument = "DATE",
     .shown = "now",
     .help =
         "what a chat's template takes for today: 2026-01-31, a time may follow; implies --chat"},
    {.name = "max-tokens",
     .kind = CLI_COUNT,
     .value = &generate.max_tokens,
     .argument = "N",
     .help = "most tokens to add",
     .low = 0,
     .high = 1e9},
    CLI_SAMPLING_OPTIONS(generate),
    {.name = "stop",
     .kind = CLI_STRINGS,
     .value = &generate.stops,
     .argument = "TEXT",
     .shown = "none",
     .help = "ends the text, which does not show it; may be given again and again"},
    {.name = "seed",
     .kind = CLI_INT,
     .value = &generate.seed,
     .argument = "N",
     .help = "the same seed gives the same text",
     .low = 0,
     .high = CLI_SEED_MOST},
    CLI_STEER_OPTION(generate.steer),
    CLI_MAPPED_OPTIONS(generate.mapped),
    {.name = "logprobs",
     .kind = CLI_COUNT,
     .value = &generate.logprobs,
     .argument = "N",
     .shown = "none",
     .help = "with --json: each token's id and log-probability, by the model before sampling, and "
             "the N "
             "likeliest in its place",
     .low = 0,
     .high = SG_LOGPROBS_MAX},
    {.name = "ignore-eos",
     .kind = CLI_FLAG,
     .value = &generate.ignore_eos,
     .help = "go on behind the end of a document"},
    {0}};

// A text on its way: kept for later, or printed at once.
typedef struct generated {
    bool keep, failed, begun;
    const char *prompt; // printed in front of the text; NULL: nothing is
    char *text;
    size_t used, capacity;
    const sg_tokenizer *tokenizer;
    json_t *tokens; // with --logprobs: what is told of each; NULL: nothing is
} generated;

// The prompt, once, in front of the first piece: nothing is printed when the model refuses it.
static void generate_begin(generated *g)
{
    if (!g->begun && g->prompt != NULL) fputs(g->prompt, stdout);
    g->begun = true;
}

static bool generate_text(void *user, const char *text, size_t bytes)
{
    generated *g = user;
    if (!g->keep) {
        generate_begin(g);
        fwrite(text, 1, bytes, stdout);
        fflush(stdout);
        return !cli_stop_requested() && !ferror(stdout);
    }
    if (g->capacity - g->used <= bytes) {
        size_t capacity = 2 * (g->capacity + bytes) + 1;
        char *grown = realloc(g->text, capacity);
        if (grown == NULL) {
            g->failed = true;
            return false;
        }
        g->text = grown;
        g->capacity = capacity;
    }
    memcpy(g->text + g->used, text, bytes);
    g->used += bytes;
    return !cli_stop_requested();
}

static json_t *generate_scored(const sg_tokenizer *tokenizer, const sg_scored_token *token)
{
    const char *text = sg_tokenizer_token_text(tokenizer, token->id);
    return json_pack("{s:i, s:s?, s:o}", "id", (int)token->id, "token", text, "logprob",
                     cli_json_number(token->logprob));
}

static bool generate_token(void *user, const sg_scored_token *token, const sg_scored_token *top,
                           size_t top_count)
{
    generated *g = user;
    json_t *one = generate_scored(g->tokenizer, token), *list = json_array();
    bool room = one != NULL && list != NULL;
    for (size_t i = 0; i < top_count && room; i++)
        room = json_array_append_new(list, generate_scored(g->tokenizer, &top[i])) == 0;
    room = room && json_object_set(one, "top", list) == 0;
    json_decref(list);
    if (!room) json_decref(one);
    g->failed = !room || json_array_append_new(g->tokens, one) != 0;
    return !g->failed;
}

// What the command works on.
typedef struct generation {
    const cli_args *args;
    sg_context *context;
    sg_model *model;
    sg_tokenizer *tokenizer;
    cli_prompts prompts;
    sg_edits *edits;             // of --steer, or NULL
    const sg_points *points;     // likewise
    generated *texts;            // (prompts.count)
    void **users;                // (prompts.count) into texts
    sg_generate_result *results; // (prompts.count)
} generation;

static void generation_clear(generation *g)
{
    for (size_t i = 0; g->texts != NULL && i < g->prompts.count; i++) {
        free(g->texts[i].text);
        json_decref(g->texts[i].tokens);
    }
    free(g->texts);
    free(g->users);
    free(g->results);
    cli_prompts_clear(&g->prompts);
    cli_mapped_close(&generate.mapped);
    sg_edits_free(g->edits);
    sg_tokenizer_free(g->tokenizer);
    sg_model_free(g->model);
    sg_context_free(g->context);
}

static sg_status generate_no_memory(sg_error *err)
{
    snprintf(err->message, sizeof err->message, "out of memory for the text");
    return err->code = SG_ERR_MEMORY;
}

static sg_status generate_open(generation *g, sg_error *err)
{
    char folder[CLI_PATH];
    sg_status status = cli_context_new(g->args, &g->context, err);
    if (status == SG_OK)
        status =
            cli_model_open(g->context, generate.model, generate.weights, &g->model, folder, err);
    if (status == SG_OK) status = cli_model_adapt(g->context, generate.adapter, g->model, err);
    if (status == SG_OK) status = cli_computing_set(g->args, g->context, g->model, err);
    if (status == SG_OK) status = cli_columns_tell(g->args, g->model, err);
    if (status == SG_OK)
        status = cli_tokenizer_open(generate.tokenizer, folder, &g->tokenizer, err);
    if (status == SG_OK)
        status = cli_steer_open(g->model, generate.steer, &g->edits, &g->points, err);
    if (status == SG_OK)
        status = cli_mapped_open(&generate.mapped, g->model, g->points, &g->points, err);
    if (status == SG_OK) status = cli_prompts_read(&generate.prompts, folder, &g->prompts, err);
    if (status != SG_OK) return status;
    size_t count = g->prompts.count;
    g->texts = calloc(count, sizeof *g->texts);
    g->users = calloc(count, sizeof *g->users);
    g->results = calloc(count, sizeof *g->results);
    if (g->texts == NULL || g->users == NULL || g->results == NULL) return generate_no_memory(err);
    for (size_t i = 0; i < count; i++) {
        g->texts[i].keep = g->args->json || count > 1;
        g->texts[i].prompt = g->prompts.chat ? NULL : g->prompts.said[i];
        g->texts[i].tokenizer = g->tokenizer;
        if (cli_given(g->args, "logprobs")) {
            g->texts[i].tokens = json_array();
            if (g->texts[i].tokens == NULL) return generate_no_memory(err);
        }
        g->users[i] = &g->texts[i];
    }
    return SG_OK;
}

static sg_status generate_texts(generation *g, sg_error *err)
{
    sg_generate_options o = sg_generate_options_default();
    o.max_tokens = generate.max_tokens;
    o.sample = (sg_sample_options){.temperature = generate.temperature,
                                   .top_k = generate.top_k,
                                   .top_p = generate.top_p,
                                   .min_p = generate.min_p,
                                   .repetition_penalty = generate.repetition_penalty,
                                   .seed = (uint64_t)generate.seed};
    o.ignore_eos = generate.ignore_eos;
    o.plain_start = g->prompts.chat;
    o.stops = generate.stops.items;
    o.stop_count = (size_t)generate.stops.count;
    int32_t end = g->prompts.end == NULL ? -1 : sg_tokenizer_token_id(g->tokenizer, g->prompts.end);
    o.ends = &end;
    o.end_count = end >= 0 ? 1 : 0;
    o.text = generate_text;
    o.points = g->points;
    o.logprobs = generate.logprobs;
    if (cli_given(g->args, "logprobs")) o.token = generate_token;
    sg_status status =
        sg_generate_many(g->model, g->tokenizer, (const char *const *)g->prompts.text,
                         g->prompts.count, &o, g->users, g->results, err);
    for (size_t i = 0; i < g->prompts.count && status == SG_OK; i++)
        if (g->texts[i].failed) status = generate_no_memory(err);
    return status;
}

static double generate_rate(int64_t tokens, double seconds)
{
    return seconds > 0 ? (double)tokens / seconds : 0;
}

static json_t *generate_json_one(const generation *g, size_t i)
{
    const sg_generate_result *r = &g->results[i];
    const generated *text = &g->texts[i];
    json_t *made = json_pack(
        "{s:s, s:s#, s:s, s:I, s:I, s:f, s:f, s:I, s:s}", "prompt", g->prompts.said[i], "text",
        text->text ? text->text : "", (size_t)text->used, "weights", generate.weights,
        "prompt_tokens", (json_int_t)r->prompt_tokens, "tokens", (json_int_t)r->tokens,
        "prompt_tokens_per_second", generate_rate(r->prompt_tokens, r->prompt_seconds),
        "tokens_per_second", generate_rate(r->tokens, r->seconds), "lost_bytes",
        (json_int_t)r->lost_bytes, "stop_reason", sg_stop_reason_name(r->reason));
    sg_compute_kind compute, logits;
    sg_model_compute(g->model, &compute, &logits);
    cli_computing_json(made, g->context, compute, logits);
    if (made == NULL || text->tokens == NULL) return made;
    if (json_object_set(made, "token_scores", text->tokens) == 0) return made;
    json_decref(made);
    return NULL;
}

static json_t *generate_json_steer(const generation *g)
{
    return cli_steer_json(g->edits);
}

static json_t *generate_json_mapped(const generation *g)
{
    (void)g;
    return cli_mapped_json(&generate.mapped);
}

// What --steer and --mapped came to, in the result; made NULL stays NULL.
static json_t *generate_json_more(const generation *g, json_t *made)
{
    const struct {
        bool on;
        const char *name;
        json_t *(*of)(const generation *g);
    } more[] = {{g->edits != NULL, "steer", generate_json_steer},
                {generate.mapped.on, "mapped", generate_json_mapped}};
    for (int i = 0; i < 2 && made != NULL; i++) {
        if (!more[i].on || json_object_set_new(made, more[i].name, more[i].of(g)) == 0) continue;
        json_decref(made);
        made = NULL;
    }
    return made;
}

static int generate_json(const generation *g)
{
    if (g->prompts.count == 1)
        return cli_print_json(g->args, generate_json_more(g, generate_json_one(g, 0)));
    json_t *list = json_array();
    for (size_t i = 0; i < g->prompts.count; i++)
        if (json_array_append_new(list, generate_json_one(g, i)) != 0) {
            json_decref(list);
            list = NULL;
        }
    return cli_print_json(g->args, generate_json_more(g, json_pack("{s:o}", "texts", list)));
}

// Several texts one after the other, an empty line between them.
static void generate_print(generation *g)
{
    for (size_t i = 0; i < g->prompts.count; i++) {
        generated *text = &g->texts[i];
        if (i > 0) fputs("\n", stdout);
        generate_begin(text);
        if (text->used > 0) fwrite(text->text, 1, text->used, stdout);
        fputs("\n", stdout);
    }
    fflush(stdout); // before the talk on stderr
}

// What of the prompts did not reach the model as it stood.
static void generate_warn(const generation *g)
{
    sg_text_counts counts = g->prompts.counts;
    int64_t lost = 0, bytes = 0;
    for (size_t i = 0; i < g->prompts.count; i++) {
        counts.replaced += g->results[i].replaced;
        lost += g->results[i].lost_bytes;
        bytes += (int64_t)strlen(g->prompts.text[i]);
    }
    cli_reading_warn(g->args, &counts);
    cli_lost_warn(g->args, g->prompts.count == 1 ? "prompt" : "prompts", lost, bytes);
}

static int generate_run(const cli_args *args)
{
    sg_error err = {0};
    generation g = {.args = args};
    cli_catch_signals();
    if (cli_given(args, "logprobs") && !args->json)
        return cli_wrong(args, "--logprobs goes with --json");
    if (cli_given(args, "resident") && !generate.mapped.on)
        return cli_wrong(args, "--resident goes with --mapped");
    sg_status status = generate_open(&g, &err);
    if (status == SG_OK) status = generate_texts(&g, &err);
    int code = CLI_DONE;
    int64_t tokens = 0;
    double seconds = 0; // those of the text that took longest: they went on together
    for (size_t i = 0; status == SG_OK && i < g.prompts.count; i++) {
        tokens += g.results[i].tokens;
        if (g.results[i].seconds > seconds) seconds = g.results[i].seconds;
    }
    if (status != SG_OK) {
        if (g.texts != NULL && g.texts[0].begun) fputc('\n', stdout);
        fflush(stdout);
        code = cli_fail(args, status, &err);
    } else if (args->json) {
        code = generate_json(&g);
        generate_warn(&g);
    } else {
        generate_print(&g);
        generate_warn(&g);
        cli_steer_note(args, g.edits);
        cli_mapped_note(args, &generate.mapped);
        cli_note(args, "%lld tokens, %.1f a second", (long long)tokens,
                 generate_rate(tokens, seconds));
    }
    generation_clear(&g);
    if (code == CLI_DONE && cli_stop_requested()) {
        cli_note(args, "stopped");
        code = CLI_FAILED;
    }
    return code;
}

const cli_command cli_cmd_generate = {
    .name = "generate",
    .summary = "continue a prompt with a model",
    .usage = "--model DIR [--prompt TEXT ...] [--chat] [options]",
    .about =
        "Text goes to stdout as it is decided, until the document ends, --max-tokens are "
        "reached, a --stop comes, or the model's longest sequence is full. Several prompts go "
        "through the model together and are printed one after the other, an empty line between "
        "them; each text is what the prompt gives alone.\n"
        "\n"
        "A text ends at any of the ids that the model names for that: eos_token_id in config.json "
        "and generation_config.json, eos, eot and eom in GGUF. The end itself is not printed.\n"
        "\n"
        "The options of sampling are those of Hugging Face's generate, in its order: penalty, "
        "temperature, top-k, top-p, min-p. What generation_config.json suggests for them is not "
        "taken: the same command draws the same way from every model.\n"
        "\n"
        "--steer changes neurons in every pass, the prompt's too: what multiplies their rows of "
        "w_out is scaled, fixed (also where they are not selected) or 0. Layers, channels, neurons "
        "and positions are from 0; a position counts from what is put in front of the prompt. "
        "With --json the result says at how many tokens each was selected.\n"
        "\n"
        "--chat takes the template from the model's folder: chat_template.jinja, or "
        "chat_template in tokenizer_config.json, or the GGUF file. It is Jinja as Hugging Face has "
        "it; the few things left out (sgatlin.h names them) are refused when the chat comes to "
        "them.",
    .options = options,
    .example = "sgatlin generate --model runs/first --prompt \"Once upon a time\" --seed 7",
    .run = generate_run,
};
