// Models in the forms of other programs.
// A companion of sgatlin.h, whose conventions hold here too.
#ifndef SGATLIN_CONVERT_H
#define SGATLIN_CONVERT_H

#include "sgatlin.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum sg_convert_form {
    // A folder that the Hugging Face library loads: of a model type of its own that computes the
    // same, where there is one; else of model_type "sgatlin" with modeling_sgatlin.py, one file of
    // PyTorch that AutoModelForCausalLM loads with trust_remote_code=True.
    SG_CONVERT_HF,
    SG_CONVERT_GGUF,   // one file; architectures llama, qwen2, qwen3 and gpt2
    SG_CONVERT_SGATLIN // a folder as sg_model_save writes it
} sg_convert_form;

typedef struct sg_convert_options {
    sg_convert_form form; // default SG_CONVERT_HF
    const char *dtype;    // "f32", "bf16", "f16", and of GGUF "q8_0" (whose vectors, and learned
        // positions, are f32 in any case). NULL, the default: each tensor as it is
        // stored, f32 where it is stored in blocks
    const char
        *model_type; // of a Hugging Face folder; NULL: that which the model came in, else the
                     // first that computes the same
    const char
        *tokenizer;    // as sg_tokenizer_open; NULL: that in the model's folder, if there is one
    bool no_tokenizer; // none goes along
    sg_progress_fn progress; // in bytes; may be NULL
    void *progress_user;
} sg_convert_options;
SG_API sg_convert_options sg_convert_options_default(void);

typedef struct sg_convert_result {
    char type[32]; // model_type or architecture
    int64_t tensors, bytes;
    bool tokenizer; // whether one went along
} sg_convert_result;

// Writes a model that sg_model_open can open in another form, crash-safe, a tensor in memory at a
// time. `path` must be new, or an empty folder; of GGUF it may be a pipe or a device. Nobody else
// may be writing there (SG_ERR_IO), and the disk must have room. What computes something else there
// is SG_ERR_UNSUPPORTED, by name of the field; what only training knows (losses and capacity of a
// router) is left out. tokenizer.json and other small files go along. result may be NULL.
SG_API sg_status sg_convert(sg_context *context, const char *model,
                            const sg_convert_options *options, const char *path,
                            sg_convert_result *result, sg_error *err);
// Writes one tensor of a model as a .npy file: a parameter by our name (f32), or a tensor by the
// name it has in the file (in its type there; f32 where NumPy has none such). `path` must not
// exist, unless it is a pipe or a device.
SG_API sg_status sg_export_npy(const char *model, const char *tensor, const char *path,
                               sg_error *err);

#ifdef __cplusplus
}
#endif
#endif
