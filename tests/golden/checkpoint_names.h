// The golden checkpoints of other programs (tests/twins/checkpoint_twin.py): folders, and GGUF
// files.
#ifndef SG_TESTS_CHECKPOINT_NAMES_H
#define SG_TESTS_CHECKPOINT_NAMES_H

static const char *const checkpoint_folders[] = {
    "llama",         "llama_biases", "mistral",   "qwen2",     "qwen3",
    "arcee",         "gpt2",         "gpt_neox",  "opt",       "gpt_neox_sequential",
    "mixtral",       "olmoe",        "qwen2_moe", "qwen3_moe", "gpt_oss",
    "gpt_oss_mxfp4", "deepseek"};
static const char *const checkpoint_ggufs[] = {
    "gguf_llama",   "gguf_llama3",   "gguf_qwen3",    "gguf_arcee", "gguf_gpt2",
    "gguf_mixtral", "gguf_qwen2moe", "gguf_qwen3moe", "gguf_olmoe", "gguf_deepseek"};
enum {
    checkpoint_folder_count = sizeof checkpoint_folders / sizeof *checkpoint_folders,
    checkpoint_gguf_count = sizeof checkpoint_ggufs / sizeof *checkpoint_ggufs
};

#endif
