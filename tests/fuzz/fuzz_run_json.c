// Any bytes as the options, state and result of a run, and as its run.json, sealed: what is taken
// must be the same after writing and reading, and what is taken of a state can be counted on from.
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "format/json.h"
#include "format/json_seal.h"
#include "memory_fs.h"
#include "train/run_options.h"
#include "train/run_state.h"
#include "sgatlin_train.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect_equal(json_t *a, json_t *b)
{
    if (a == NULL || b == NULL || !json_equal(a, b)) abort();
    json_decref(a);
    json_decref(b);
}

static void options(const json_t *root)
{
    sg_error err = {0};
    sg_train_options o, back;
    if (sg_run_options_parse(root, "input", &o, &err) != SG_OK) {
        if (err.message[0] == '\0') abort();
        return;
    }
    json_t *object = sg_run_options_json(&o);
    if (object == NULL || sg_run_options_parse(object, "again", &back, NULL) != SG_OK) abort();
    expect_equal(object, sg_run_options_json(&back));
    sg_cost cost = {.forward_flops_per_sequence = 1e9};
    int64_t steps = 0;
    if (sg_run_options_steps(&o, 16, 100, &cost, &steps, NULL) == SG_OK && steps < 1) abort();
}

static void states(const json_t *root)
{
    sg_error err = {0};
    sg_train_state s, state_back;
    sg_train_result r, result_back;
    if (sg_train_state_parse(root, "input", &s, &err) == SG_OK) {
        json_t *object = sg_train_state_json(&s);
        if (object == NULL || sg_train_state_parse(object, "again", &state_back, NULL) != SG_OK)
            abort();
        expect_equal(object, sg_train_state_json(&state_back));
        const int64_t most = (int64_t)1 << 44; // what a step adds at most
        if (s.step < 0 || s.tokens > INT64_MAX - most || s.position > INT64_MAX - most) abort();
    } else if (err.message[0] == '\0') {
        abort();
    }
    if (sg_train_result_parse(root, "input", &r, &err) == SG_OK) {
        json_t *object = sg_train_result_json(&r);
        if (object == NULL || sg_train_result_parse(object, "again", &result_back, NULL) != SG_OK)
            abort();
        expect_equal(object, sg_train_result_json(&result_back));
    }
}

// The whole file, with a checksum that fits: read as a run is resumed, listed and compared, and as
// a new one is begun from.
static void settings(json_t *root)
{
    sg_error err = {0};
    sg_train_run run;
    char *text = NULL;
    memory_fs *fs = memory_fs_new();
    sg_fs_set(memory_fs_table(fs));
    if (sg_json_seal(root, "input", NULL) != SG_OK ||
        sg_json_text(root, true, &text, NULL) != SG_OK)
        abort();
    if (sg_file_write_atomic("run.json", text, strlen(text), NULL) != SG_OK) abort();
    if (sg_file_write_atomic("summary.json", text, strlen(text), NULL) != SG_OK) abort();
    if (sg_train_run_read(".", &run, &err) != SG_OK && err.message[0] == '\0') abort();
    sg_train_file file;
    err.message[0] = '\0';
    if (sg_train_file_read("run.json", &file, &err) != SG_OK && err.message[0] == '\0') abort();
    sg_train_file_clear(&file);
    sg_free(text);
    sg_fs_set(NULL);
    memory_fs_free(fs);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t *root;
    if (sg_json_parse((const char *)data, size, "input", &root, NULL) != SG_OK) return 0;
    if (json_is_object(root)) {
        options(root);
        states(root);
        settings(root);
    }
    json_decref(root);
    return 0;
}
