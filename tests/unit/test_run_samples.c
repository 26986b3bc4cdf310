// What a run says of itself on its way is what a fresh session of the same weights says: nothing
// that decoding keeps of weights outlives a step.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "model/model.h"
#include "tiny_run.h"

enum { samples_most = 8, sample_text = 4096 };

typedef struct samples {
    char text[samples_most][sample_text];
    int64_t step[samples_most];
    int count;
} samples;

static void must(sg_status status, const sg_error *err)
{
    if (status != SG_OK) fail_msg("%s: %s", sg_status_name(status), err->message);
}

static bool keep_sample(void *user, const sg_train_event *event)
{
    samples *all = user;
    if (event->kind != SG_EVENT_SAMPLE) return true;
    assert_true(all->count < samples_most);
    snprintf(all->text[all->count], sample_text, "%s", event->text);
    all->step[all->count++] = event->step;
    return true;
}

// Keys so many that decoding screens them (router_keys.c), and a rate that moves all of them.
static sg_train_options screened_options(void)
{
    sg_train_options o = tiny_options("sgatlin");
    strcpy(o.config.ffn_router, "dense");
    o.config.ffn_neurons = 256;
    o.config.ffn_channels = 8;
    o.config.ffn_key_size = 128;
    o.lr = 0.1;
    o.warmup_steps = 0;
    o.spike_limit = 0;
    o.eval_every = 0;
    o.sample_every = o.checkpoint_every = 2;
    o.keep_last = samples_most;
    return o;
}

typedef struct said {
    char text[sample_text];
    size_t used;
} said;

static bool say(void *user, const char *text, size_t bytes)
{
    said *s = user;
    memcpy(s->text + s->used, text, bytes);
    s->used += bytes;
    s->text[s->used] = '\0';
    return true;
}

static void fresh_sample(sg_context *context, const sg_train_options *o, int64_t step, said *to)
{
    char folder[64];
    sg_model *model;
    sg_tokenizer *tokenizer;
    sg_error err = {0};
    snprintf(folder, sizeof folder, "/run/checkpoints/step-%lld", (long long)step);
    must(sg_model_open(context, folder, &model, &err), &err);
    must(sg_tokenizer_open(folder, &tokenizer, &err), &err);
    sg_generate_options options = sg_generate_options_default();
    options.max_tokens = 64;
    options.sample.temperature = 0.8;
    options.sample.seed = o->seed;
    options.text = say;
    options.text_user = to;
    to->used = 0;
    say(to, o->sample_prompt, strlen(o->sample_prompt));
    must(sg_generate(model, tokenizer, o->sample_prompt, &options, NULL, &err), &err);
    assert_non_null(sg_model_screens(model)); // or the test shows nothing
    sg_tokenizer_free(tokenizer);
    sg_model_free(model);
}

static void test_samples_are_of_the_step(void **state)
{
    (void)state;
    static samples all;
    static said fresh;
    sg_context *context;
    sg_train_result result;
    sg_error err = {0};
    memory_fs *fs = tiny_disk();
    const sg_train_options o = screened_options();
    const sg_train_hooks hooks = {.event = keep_sample, .user = &all};
    must(sg_context_new(NULL, &context, &err), &err);
    must(sg_train(context, "/run", TINY_CONCAT, &o, &hooks, &result, &err), &err);
    assert_int_equal(all.count, TINY_STEPS / 2);
    assert_string_not_equal(all.text[0], all.text[all.count - 1]);
    for (int i = 0; i < all.count; i++) {
        fresh_sample(context, &o, all.step[i], &fresh);
        assert_string_equal(all.text[i], fresh.text);
    }
    sg_context_free(context);
    tiny_disk_free(fs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_samples_are_of_the_step)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
