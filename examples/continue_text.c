// Opens a model folder and continues a prompt, printing the text as it is decided.
//
//     cc continue_text.c $(pkg-config --cflags --libs sgatlin) -o continue_text
//     ./continue_text MODEL "Once upon a time"
#include <sgatlin.h>

#include <stdio.h>

// A piece of text: whole characters, not NUL-terminated. Returning false would end the text.
static bool say(void *user, const char *text, size_t bytes)
{
    (void)user;
    fwrite(text, 1, bytes, stdout);
    fflush(stdout);
    return true;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: continue_text MODEL PROMPT\n");
        return 2;
    }
    sg_error err = {0};
    sg_context *context = NULL;
    sg_model *model = NULL;
    sg_tokenizer *tokenizer = NULL;
    sg_status status = sg_context_new(NULL, &context, &err);
    if (status == SG_OK) status = sg_model_open(context, argv[1], &model, &err);
    if (status == SG_OK) status = sg_tokenizer_open(argv[1], &tokenizer, &err);
    if (status == SG_OK) {
        sg_generate_options options = sg_generate_options_default();
        options.max_tokens = 100;
        options.sample.temperature = 0.8;
        options.sample.top_p = 0.95;
        options.sample.seed = 1; // the same seed, the same text
        options.text = say;
        sg_generate_result result;
        fputs(argv[2], stdout);
        status = sg_generate(model, tokenizer, argv[2], &options, &result, &err);
        putchar('\n');
        if (status == SG_OK)
            fprintf(stderr, "%lld tokens, %.0f a second\n", (long long)result.tokens,
                    result.seconds > 0 ? (double)result.tokens / result.seconds : 0);
    }
    if (status != SG_OK) fprintf(stderr, "%s: %s\n", sg_status_name(status), err.message);
    // What is made inside a context goes before it.
    sg_tokenizer_free(tokenizer);
    sg_model_free(model);
    sg_context_free(context);
    return status == SG_OK ? 0 : 1;
}
