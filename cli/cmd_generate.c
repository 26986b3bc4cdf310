// sgatlin generate: text from a model, as it is decided.
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

static struct {
    const char *model, *tokenizer, *prompt, *weights;
    int64_t max_tokens, top_k, seed;
    double temperature, top_p;
    bool ignore_eos;
} generate = {.prompt = "",
              .weights = "f32",
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
     .help = "model folder, or a run, finished or not",
     .required = true},
    {.name = "tokenizer",
     .kind = CLI_STRING,
     .value = &generate.tokenizer,
     .argument = "DIR",
     .shown = "the model's",
     .help = "tokenizer.json, or the folder it lies in"},
    {.name = "weights",
     .kind = CLI_STRING,
     .value = &generate.weights,
     .argument = "TYPE",
     .help = "f32, bf16 or int8: what matrices are stored in once the model is open; narrower ones "
             "are read faster",
     .choices = "f32|bf16|int8"},
    {.name = "prompt",
     .kind = CLI_STRING,
     .value = &generate.prompt,
     .argument = "TEXT",
     .shown = "none",
     .help = "text to continue"},
    {.name = "max-tokens",
     .kind = CLI_COUNT,
     .value = &generate.max_tokens,
     .argument = "N",
     .help = "most tokens to add",
     .low = 0,
     .high = 1e9},
    {.name = "temperature",
     .kind = CLI_DOUBLE,
     .value = &generate.temperature,
     .argument = "X",
     .help = "0 takes the likeliest token; above 1 is wilder",
     .low = 0,
     .high = 1e6},
    {.name = "top-k",
     .kind = CLI_COUNT,
     .value = &generate.top_k,
     .argument = "N",
     .help = "draw from the N likeliest tokens only; 0: from all",
     .low = 0,
     .high = 1e9},
    {.name = "top-p",
     .kind = CLI_DOUBLE,
     .value = &generate.top_p,
     .argument = "P",
     .help = "draw from the likeliest tokens that together have probability P",
     .low = 1e-9,
     .high = 1},
    {.name = "seed",
     .kind = CLI_INT,
     .value = &generate.seed,
     .argument = "N",
     .help = "the same seed gives the same text",
     .low = 0,
     .high = 9e18},
    {.name = "ignore-eos",
     .kind = CLI_FLAG,
     .value = &generate.ignore_eos,
     .help = "go on behind the end of a document"},
    {0}};

// The text said so far, for --json; printed at once otherwise.
typedef struct collected {
    bool keep, failed, begun;
    char *text;
    size_t used, capacity;
} collected;

// The prompt, once, in front of the first piece: nothing is printed when the model refuses it.
static void generate_begin(collected *c)
{
    if (!c->keep && !c->begun) fputs(generate.prompt, stdout);
    c->begun = true;
}

static bool generate_text(void *user, const char *text, size_t bytes)
{
    collected *c = user;
    if (!c->keep) {
        generate_begin(c);
        fwrite(text, 1, bytes, stdout);
        fflush(stdout);
        return !cli_stop_requested() && !ferror(stdout);
    }
    if (c->capacity - c->used <= bytes) {
        size_t capacity = 2 * (c->capacity + bytes) + 1;
        char *grown = realloc(c->text, capacity);
        if (grown == NULL) {
            c->failed = true;
            return false;
        }
        c->text = grown;
        c->capacity = capacity;
    }
    memcpy(c->text + c->used, text, bytes);
    c->used += bytes;
    return !cli_stop_requested();
}

static sg_status generate_model(sg_context *context, collected *out, sg_generate_result *result,
                                sg_error *err)
{
    sg_model *model = NULL;
    sg_tokenizer *tokenizer = NULL;
    sg_generate_options o = sg_generate_options_default();
    o.max_tokens = generate.max_tokens;
    o.sample = (sg_sample_options){.temperature = generate.temperature,
                                   .top_k = generate.top_k,
                                   .top_p = generate.top_p,
                                   .seed = (uint64_t)generate.seed};
    o.ignore_eos = generate.ignore_eos;
    o.text = generate_text;
    o.text_user = out;
    char folder[CLI_PATH];
    sg_weights weights = SG_WEIGHTS_F32;
    sg_status status = sg_weights_parse(generate.weights, "weights", &weights, err);
    if (status == SG_OK)
        status = cli_model_open(context, generate.model, weights, &model, folder, err);
    if (status == SG_OK)
        status =
            sg_tokenizer_open(generate.tokenizer ? generate.tokenizer : folder, &tokenizer, err);
    if (status == SG_OK) status = sg_generate(model, tokenizer, generate.prompt, &o, result, err);
    if (status == SG_OK) generate_begin(out);
    if (out->begun && !out->keep) fputc('\n', stdout);
    fflush(stdout); // before the talk on stderr
    sg_tokenizer_free(tokenizer);
    sg_model_free(model);
    return status;
}

static double generate_rate(int64_t tokens, double seconds)
{
    return seconds > 0 ? (double)tokens / seconds : 0;
}

static int generate_run(const cli_args *args)
{
    sg_error err = {0};
    sg_context *context;
    sg_generate_result r = {0};
    collected out = {.keep = args->json};
    cli_catch_signals();
    sg_status status = cli_context_new(args, &context, &err);
    if (status != SG_OK) return cli_fail(args, status, &err);
    status = generate_model(context, &out, &r, &err);
    sg_context_free(context);
    if (status == SG_OK && out.failed) {
        status = SG_ERR_MEMORY;
        snprintf(err.message, sizeof err.message, "out of memory for the text");
    }
    int code = CLI_DONE;
    if (status != SG_OK)
        code = cli_fail(args, status, &err);
    else if (args->json)
        code = cli_print_json(
            args,
            json_pack("{s:s, s:s#, s:s, s:I, s:I, s:f, s:f}", "prompt", generate.prompt, "text",
                      out.text ? out.text : "", (size_t)out.used, "weights", generate.weights,
                      "prompt_tokens", (json_int_t)r.prompt_tokens, "tokens", (json_int_t)r.tokens,
                      "prompt_tokens_per_second", generate_rate(r.prompt_tokens, r.prompt_seconds),
                      "tokens_per_second", generate_rate(r.tokens, r.seconds)));
    else
        cli_note(args, "%lld tokens, %.1f a second", (long long)r.tokens,
                 generate_rate(r.tokens, r.seconds));
    free(out.text);
    if (code == CLI_DONE && cli_stop_requested()) {
        cli_note(args, "stopped");
        code = CLI_FAILED;
    }
    return code;
}

const cli_command cli_cmd_generate = {
    .name = "generate",
    .summary = "continue a prompt with a model",
    .usage = "--model DIR [--prompt TEXT] [options]",
    .about = "Text goes to stdout as it is decided, until the document ends, --max-tokens are "
             "reached, or the model's longest sequence is full.",
    .options = options,
    .example = "sgatlin generate --model runs/first --prompt \"Once upon a time\" --seed 7",
    .run = generate_run,
};
