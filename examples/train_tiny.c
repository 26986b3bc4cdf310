// From nothing to a language model in seconds: makes stories, trains a tokenizer on them, packs
// them, trains a tiny model and says how well it does on stories it has not seen.
//
//     cc train_tiny.c $(pkg-config --cflags --libs sgatlin) -o train_tiny
//     ./train_tiny FOLDER
//
// FOLDER/run is then a model folder, which continue_text.c continues a prompt with.
#include <sgatlin.h>
#include <sgatlin_data.h>
#include <sgatlin_train.h>

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static char stories[512], data[512], run[512];

// Called after every step; returning false would stop the run, which could be resumed later.
static bool watch(void *user, const sg_train_event *event)
{
    (void)user;
    if (event->kind == SG_EVENT_STEP && event->step % 50 == 0)
        printf("step %lld of %lld: loss %.3f\n", (long long)event->step, (long long)event->steps,
               event->loss);
    return true;
}

static sg_status make_stories(sg_error *err)
{
    sg_story_world *world;
    sg_status status = sg_story_world_new(1, &world, err);
    if (status != SG_OK) return status;
    status = sg_story_write(world, 200, stories, NULL, NULL, NULL, err);
    sg_story_world_free(world);
    return status;
}

static sg_status train_tokenizer(sg_tokenizer **tokenizer, sg_error *err)
{
    const char *paths[] = {stories};
    sg_corpus *corpus;
    sg_status status = sg_corpus_open(paths, 1, NULL, &corpus, err);
    if (status != SG_OK) return status;
    sg_tokenizer_train_options options = sg_tokenizer_train_options_default();
    options.vocab_size = 400;
    status = sg_tokenizer_train(&options, sg_corpus_text, corpus, tokenizer, err);
    sg_corpus_close(corpus);
    return status;
}

static sg_status pack(sg_context *context, const sg_tokenizer *tokenizer, sg_error *err)
{
    const char *paths[] = {stories};
    sg_pack_options options = sg_pack_options_default();
    options.seq_len = 64;
    options.val_fraction = 0.05; // of the stories are kept for validation
    return sg_data_pack(context, tokenizer, paths, 1, &options, data, NULL, err);
}

static sg_status train(sg_context *context, sg_train_result *result, sg_error *err)
{
    sg_preset preset;
    sg_status status = sg_preset_find("demo", &preset, err);
    if (status != SG_OK) return status;
    // The family, for example "moe", "glu" or "peer"; the demo is "sgatlin" anyway.
    status = sg_preset_set_family(&preset, "sgatlin", err);
    if (status != SG_OK) return status;
    preset.config.hidden_size = 64;
    preset.config.num_attention_heads = 2;
    preset.config.head_dim = 32;
    preset.config.num_hidden_layers = 2;
    preset.config.ffn_channels = 4;
    preset.config.ffn_neurons = 256; // a channel
    preset.config.ffn_key_size = 32;
    preset.config.max_position_embeddings = 64;
    preset.config.vocab_size = 0; // the data's
    sg_train_options options = sg_train_options_from_preset(&preset);
    options.batch_size = 8;
    options.steps = 200;
    options.warmup_steps = 20;
    sg_train_hooks hooks = {.event = watch};
    return sg_train(context, run, data, &options, &hooks, result, err);
}

int main(int argc, char **argv)
{
    const char *folder = argc > 1 ? argv[1] : "tiny";
    sg_error err = {0};
    sg_context *context = NULL;
    sg_tokenizer *tokenizer = NULL;
    sg_train_result result = {0};
    snprintf(stories, sizeof stories, "%s/stories.txt", folder);
    snprintf(data, sizeof data, "%s/data", folder);
    snprintf(run, sizeof run, "%s/run", folder);
    (void)mkdir(folder, 0777); // if that fails, writing the stories says why

    sg_status status = sg_context_new(NULL, &context, &err);
    if (status == SG_OK) status = make_stories(&err);
    if (status == SG_OK) status = train_tokenizer(&tokenizer, &err);
    if (status == SG_OK) status = pack(context, tokenizer, &err);
    if (status == SG_OK) status = train(context, &result, &err);
    if (status == SG_OK)
        printf("perplexity %.2f after %lld tokens; guessing would be %d\n", result.val.perplexity,
               (long long)result.tokens, sg_tokenizer_vocab_size(tokenizer));
    else
        fprintf(stderr, "%s: %s\n", sg_status_name(status), err.message);
    sg_tokenizer_free(tokenizer);
    sg_context_free(context);
    return status == SG_OK ? 0 : 1;
}
