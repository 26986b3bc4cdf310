// Any names, links, folders and pipes in a folder that holds a model and packed data: what opens it
// changes nothing anywhere; what writes into it changes nothing outside.
//
// A line of the input is a kind, a path below the folder, and a text: f PATH BYTES, l PATH TARGET,
// d PATH, p PATH, or m PATH TO, which moves what is there.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/publish.h"
#include "format/model_folder.h"
#include "format/shards.h"
#include "memory_fs.h"
#include "model/model_file.h"
#include "sgatlin_train.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char config_text[] =
    "{\"model_type\": \"llama\", \"vocab_size\": 4, \"hidden_size\": 4, \"num_hidden_layers\": 1, "
    "\"num_attention_heads\": 1, \"intermediate_size\": 4, \"tie_word_embeddings\": true}";

static void must(sg_status status)
{
    if (status != SG_OK) abort();
}

static void put(const char *path, const char *text)
{
    must(sg_file_write_atomic(path, text, strlen(text), NULL));
}

static sg_status save(void)
{
    static const float ones[16] = {1};
    const sg_tensor_view view =
        sg_tensor_view_make("model.embed_tokens.weight", SG_DTYPE_F32, 2, (int64_t[]){4, 4}, ones);
    const sg_named_bytes config = {"config.json", config_text, strlen(config_text)};
    return sg_model_folder_save("/home/me/m", 0, &view, 1, NULL, 0, &config, 1, NULL);
}

// A home with something to lose, and the folder in it.
static memory_fs *begin(void)
{
    memory_fs *fs = memory_fs_new();
    sg_fs_set(memory_fs_table(fs));
    must(sg_folder_make("/home/me/.ssh", NULL));
    must(sg_folder_make("/home/me/blobs", NULL));
    put("/home/me/.ssh/key", "secret");
    put("/home/me/.ssh/config.json", config_text);
    put("/home/me/blobs/model.safetensors", "x");
    must(save());
    return fs;
}

// ---- the folder as the input has it -------------------------------------------------------------

static void add(memory_fs *fs, char kind, const char *name, const char *text)
{
    char path[600], folder[600], to[600];
    if (name[0] == '\0' || strstr(name, "..") != NULL) return;
    snprintf(path, sizeof path, "/home/me/m/%s", name);
    sg_path_folder(folder, sizeof folder, path);
    if (sg_folder_make(folder, NULL) != SG_OK) return;
    snprintf(to, sizeof to, "/home/me/m/%s", text);
    if (kind == 'm' && strstr(text, "..") == NULL) sg_path_rename(path, to, NULL);
    if (kind == 'd') sg_folder_make(path, NULL);
    if (kind != 'f' && kind != 'l' && kind != 'p') return;
    sg_tree_remove(path, NULL);
    if (kind == 'l') memory_fs_link(fs, text, path);
    if (kind == 'p') memory_fs_pipe(fs, path);
    if (kind == 'f') sg_file_write_atomic(path, text, strlen(text), NULL);
}

static void build(memory_fs *fs, const char *text)
{
    for (int lines = 0; *text != '\0' && lines < 40; lines++) {
        char line[512], name[256] = "", rest[256] = "", kind = 0;
        size_t length = strcspn(text, "\n");
        snprintf(line, sizeof line, "%.*s", (int)(length < 500 ? length : 500), text);
        if (sscanf(line, "%c %255s %255[^\n]", &kind, name, rest) >= 2) add(fs, kind, name, rest);
        text += length + (text[length] == '\n');
    }
}

// ---- what may happen to it ----------------------------------------------------------------------

static void read_all(void)
{
    sg_error err;
    sg_model_file *model;
    sg_data *data;
    sg_tokenizer *tokenizer;
    sg_safetensors *weights;
    char folder[SG_PATH_MAX];
    if (sg_model_file_open("/home/me/m", &model, &err) == SG_OK) sg_model_file_close(model);
    if (sg_safetensors_open("/home/me/m", &weights, &err) == SG_OK) sg_safetensors_close(weights);
    if (sg_data_open("/home/me/m", SG_VERIFY_FULL, &data, &err) == SG_OK) sg_data_free(data);
    if (sg_tokenizer_open("/home/me/m", &tokenizer, &err) == SG_OK) sg_tokenizer_free(tokenizer);
    sg_train_model_folder(NULL, "/home/me/m", folder, sizeof folder, &err);
}

static uint64_t outside(const memory_fs *fs)
{
    return memory_fs_digest(fs, "/home/me/.ssh") ^ memory_fs_digest(fs, "/home/me/blobs");
}

static void write_all(void)
{
    char staging[SG_PATH_MAX];
    sg_claim *claim;
    sg_error err = {0};
    if (sg_folder_claim("/home/me/m", true, &claim, &err) == SG_OK) sg_folder_release(claim);
    if (sg_publish_begin(&sg_data_publication, "/home/me/m", staging, &err) == SG_OK)
        sg_publish_abandon("/home/me/m");
    if (save() != SG_OK) return;
    // What was saved is what is found.
    sg_safetensors *weights;
    must(sg_safetensors_open("/home/me/m", &weights, &err));
    if (sg_safetensors_count(weights) != 1) abort();
    sg_safetensors_close(weights);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    if (text == NULL) return 0;
    if (size > 0) memcpy(text, data, size);
    text[size] = '\0';
    memory_fs *fs = begin();
    build(fs, text);
    const uint64_t all = memory_fs_digest(fs, "/"), home = outside(fs);
    read_all();
    if (memory_fs_digest(fs, "/") != all) abort();
    write_all();
    if (outside(fs) != home) abort();
    if (memory_fs_open_maps(fs) != 0 || memory_fs_open_handles(fs) != 0) abort();
    sg_fs_set(NULL);
    memory_fs_free(fs);
    free(text);
    return 0;
}
