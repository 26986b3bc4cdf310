// Data, options and folders of a training run that takes a fraction of a second.
#include "tiny_run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "format/json.h"
#include "tiny_models.h"
#include "sgatlin_data.h"
#include "sgatlin_train.h"

static void must(sg_status status, const sg_error *err)
{
    if (status != SG_OK) fail_msg("%s: %s", sg_status_name(status), err->message);
}

// ---- data -------------------------------------------------------------------------------------

enum { tiny_stories = 60, tiny_vocab = 320 };

static sg_tokenizer *tiny_tokenizer(const char *text)
{
    sg_error err;
    sg_corpus *corpus;
    sg_tokenizer *tokenizer;
    sg_tokenizer_train_options options = sg_tokenizer_train_options_default();
    options.vocab_size = tiny_vocab;
    options.full_alphabet = true;
    must(sg_corpus_open(&text, 1, NULL, &corpus, &err), &err);
    must(sg_tokenizer_train(&options, sg_corpus_text, corpus, &tokenizer, &err), &err);
    sg_corpus_close(corpus);
    return tokenizer;
}

void tiny_pack(const char *folder)
{
    sg_error err;
    sg_story_world *world;
    char text[SG_PATH_MAX], path[SG_PATH_MAX];
    must(sg_path_join(text, sizeof text, folder, "stories.txt", &err), &err);
    must(sg_story_world_new(7, &world, &err), &err);
    must(sg_story_write(world, tiny_stories, text, NULL, NULL, NULL, &err), &err);
    sg_story_world_free(world);
    sg_tokenizer *tokenizer = tiny_tokenizer(text);
    for (int mode = SG_PACK_CONCAT; mode <= SG_PACK_PAD; mode++) {
        const char *from = text;
        sg_pack_options options = sg_pack_options_default();
        options.seq_len = TINY_LENGTH;
        options.mode = (sg_pack_mode)mode;
        options.val_fraction = 0.1;
        if (mode == SG_PACK_PAD) { // short documents, or there would be no padding
            must(sg_path_join(path, sizeof path, folder, "words.txt", &err), &err);
            char words[8192];
            size_t used = 0;
            for (int i = 0; i < 90; i++)
                used += (size_t)snprintf(words + used, sizeof words - used,
                                         "The %.*s.\n<|endoftext|>\n", 1 + i * 7 % 40,
                                         "little lake was deep and the dog was happy");
            must(sg_file_write_atomic(path, words, used, &err), &err);
            from = path;
        }
        char out[SG_PATH_MAX];
        must(sg_path_join(out, sizeof out, folder, mode ? "pad" : "concat", &err), &err);
        must(sg_data_pack(NULL, tokenizer, &from, 1, &options, out, NULL, &err), &err);
    }
    sg_tokenizer_free(tokenizer);
}

// ---- disks ------------------------------------------------------------------------------------

static memory_fs *tiny_base;

static void tiny_base_free(void)
{
    memory_fs_free(tiny_base);
}

void tiny_use(memory_fs *fs)
{
    sg_fs_set(fs ? memory_fs_table(fs) : NULL);
}

memory_fs *tiny_disk(void)
{
    if (tiny_base == NULL) {
        tiny_base = memory_fs_new();
        atexit(tiny_base_free);
        tiny_use(tiny_base);
        tiny_pack("/");
        memory_fs_settle(tiny_base);
    }
    memory_fs *fs = memory_fs_clone(tiny_base);
    tiny_use(fs);
    return fs;
}

void tiny_disk_free(memory_fs *fs)
{
    assert_int_equal(memory_fs_open_handles(fs), 0);
    assert_int_equal(memory_fs_open_maps(fs), 0);
    sg_fs_set(NULL);
    memory_fs_free(fs);
}

// ---- runs -------------------------------------------------------------------------------------

sg_train_options tiny_options(const char *kind)
{
    sg_preset preset;
    sg_error err;
    must(sg_preset_find("demo", &preset, &err), &err);
    sg_train_options o = sg_train_options_from_preset(&preset);
    o.config = tiny_config(kind, 0, TINY_LENGTH);
    o.seed = 3;
    o.batch_size = 4;
    o.lr = 1e-2;
    o.warmup_steps = 2;
    o.steps = TINY_STEPS;
    o.checkpoint_every = 3;
    o.eval_every = 5;
    o.eval_sequences = 8;
    o.sample_every = 6;
    snprintf(o.sample_prompt, sizeof o.sample_prompt, "The");
    return o;
}

static bool life_event(void *user, const sg_train_event *event)
{
    tiny_life *life = user;
    life->events[event->kind]++;
    life->resumed_from = event->resumed_from;
    life->last_step = event->step;
    life->steps = event->steps;
    assert_true((event->text != NULL) == (event->kind == SG_EVENT_SAMPLE));
    return !(event->kind == SG_EVENT_STEP && event->step == life->stop_at);
}

static void life_log(void *user, sg_log_level level, const char *message)
{
    tiny_life *life = user;
    life->warnings += level == SG_LOG_WARNING;
    size_t used = strlen(life->log);
    snprintf(life->log + used, sizeof life->log - used, "%s\n", message);
}

sg_status tiny_train(tiny_life *life, const char *run, const sg_train_options *options)
{
    int64_t live = sg_alloc_live();
    sg_context_options with = sg_context_options_default();
    with.threads = life->threads ? life->threads : 1;
    with.log = life_log;
    with.log_user = life;
    sg_context *context;
    must(sg_context_new(&with, &context, &life->err), &life->err);
    sg_train_hooks hooks = {
        .event = life_event, .user = life, .command = "tiny", .points = life->points};
    life->log[0] = '\0';
    life->warnings = 0;
    memset(life->events, 0, sizeof life->events);
    life->err.message[0] = '\0';
    life->status =
        options ? sg_train(context, run, life->data ? life->data : TINY_CONCAT, options, &hooks,
                           &life->result, &life->err)
                : sg_train_resume(context, run, life->data, &hooks, &life->result, &life->err);
    sg_context_free(context);
    assert_true((life->status != SG_OK) == (life->err.message[0] != '\0'));
    assert_int_equal(sg_alloc_live(), live);
    return life->status;
}

void tiny_must(tiny_life *life, const char *run, const sg_train_options *options)
{
    must(tiny_train(life, run, options), &life->err);
}

// ---- ends -------------------------------------------------------------------------------------

static char *file_of(const char *run, const char *name, size_t *bytes)
{
    char path[SG_PATH_MAX], *text;
    sg_error err;
    must(sg_path_join(path, sizeof path, run, name, &err), &err);
    must(sg_file_read(path, 1 << 24, &text, bytes, &err), &err);
    return text;
}

// `text`, JSON, without some members (NULL behind the last).
static char *without(const char *text, size_t bytes, const char *const *members)
{
    json_t *object;
    char *out;
    sg_error err;
    must(sg_json_parse(text, bytes, "a record", &object, &err), &err);
    for (; *members != NULL; members++)
        json_object_del(object, *members);
    must(sg_json_text(object, false, &out, &err), &err);
    json_decref(object);
    return out;
}

tiny_end tiny_end_of(const char *run)
{
    // What says how long something took.
    static const char *const of_record[] = {"tokens_per_second", "seconds", "work_gflops",
                                            "peak_gflops", NULL};
    static const char *const of_summary[] = {"seconds", "checksum", NULL};
    tiny_end end;
    size_t bytes, used = 0;
    end.weights = file_of(run, "model.safetensors", &end.bytes);
    char *text = file_of(run, "summary.json", &bytes);
    end.summary = without(text, bytes, of_summary);
    sg_free(text);
    text = file_of(run, "metrics.jsonl", &bytes);
    end.metrics = sg_alloc(bytes + 1);
    assert_non_null(end.metrics);
    for (char *line = text, *next; (next = strchr(line, '\n')) != NULL; line = next + 1) {
        char *record = without(line, (size_t)(next - line), of_record);
        used += (size_t)sprintf(end.metrics + used, "%s\n", record);
        sg_free(record);
    }
    end.metrics[used] = '\0';
    sg_free(text);
    return end;
}

void tiny_end_free(tiny_end *end)
{
    sg_free(end->weights);
    sg_free(end->metrics);
    sg_free(end->summary);
}

void tiny_same(const tiny_end *found, const tiny_end *expected, const char *where)
{
    if (strcmp(found->metrics, expected->metrics) != 0)
        fail_msg("%s: metrics.jsonl: found\n%s\nexpected\n%s", where, found->metrics,
                 expected->metrics);
    if (strcmp(found->summary, expected->summary) != 0)
        fail_msg("%s: summary.json: found\n%s\nexpected\n%s", where, found->summary,
                 expected->summary);
    if (found->bytes != expected->bytes ||
        memcmp(found->weights, expected->weights, found->bytes) != 0)
        fail_msg("%s: the weights differ", where);
}

void tiny_names(const char *folder, char *out, size_t capacity)
{
    char **names;
    size_t count, used = 0;
    sg_error err;
    must(sg_folder_list(folder, &names, &count, &err), &err);
    out[0] = '\0';
    for (size_t i = 0; i < count && used < capacity; i++)
        used += (size_t)snprintf(out + used, capacity - used, i ? " %s" : "%s", names[i]);
    sg_names_free(names, count);
}
