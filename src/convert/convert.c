// A model in another form: which configuration the form has, its tensors (export_tensors.c), and
// the files around them.
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/context.h"
#include "base/fields.h"
#include "base/publish.h"
#include "convert/export_tensors.h"
#include "convert/hf_form.h"
#include "convert/modeling.h"
#include "convert/side_files.h"
#include "format/gguf_architecture.h"
#include "format/model_folder.h"
#include "model/config.h"
#include "model/gguf_rope.h"
#include "text/vocab.h"
#include "sgatlin_convert.h"

typedef struct convert_work {
    const sg_convert_options *options;
    const char *path;
    sg_compute compute;
    sg_model_file *file;
    sg_dtype dtype; // SG_DTYPE_COUNT: as stored
    sg_export out;
    float *rope; // factors of its frequencies, of GGUF
    char type[32];
    sg_side_files along;
    sg_claim *claim; // of a folder
    sg_error *err;
} convert_work;

sg_convert_options sg_convert_options_default(void)
{
    return (sg_convert_options){.form = SG_CONVERT_HF};
}

// ---- options ------------------------------------------------------------------------------------

static sg_status convert_dtype(convert_work *w)
{
    static const struct {
        const char *name;
        sg_dtype dtype;
    } names[] = {{"f32", SG_DTYPE_F32},
                 {"bf16", SG_DTYPE_BF16},
                 {"f16", SG_DTYPE_F16},
                 {"q8_0", SG_DTYPE_Q8_0}};
    const bool gguf = w->options->form == SG_CONVERT_GGUF;
    w->dtype = SG_DTYPE_COUNT;
    if (w->options->dtype == NULL) return SG_OK;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i].name, w->options->dtype) == 0) w->dtype = names[i].dtype;
    if (w->dtype != SG_DTYPE_COUNT && (gguf || w->dtype != SG_DTYPE_Q8_0)) return SG_OK;
    return sg_fail(w->err, SG_ERR_ARGUMENT, "dtype: found \"%.40s\", expected f32, bf16%s",
                   w->options->dtype, gguf ? ", f16 or q8_0" : " or f16");
}

// Nothing is overwritten: what is converted may be what lies there. The disk must have room for it.
static sg_status convert_claim(convert_work *w)
{
    if (w->options->form == SG_CONVERT_GGUF) return sg_output_check(w->path, SG_OUTPUT_NEW, w->err);
    if (sg_publish_is_interrupted(w->path)) {
        SG_TRY(sg_folder_claim(w->path, true, &w->claim, w->err));
        sg_status status = sg_model_folder_recover(w->path, w->err);
        sg_folder_release(w->claim);
        w->claim = NULL;
        SG_TRY(status);
    }
    return sg_folder_claim(w->path, false, &w->claim, w->err);
}

// Of a file or folder that is about to be written; a pipe has no end.
static sg_status convert_need_space(const convert_work *w)
{
    sg_fs_info info;
    int64_t bytes = 0;
    if (sg_path_info(w->path, &info, NULL) == SG_OK && info.is_special) return SG_OK;
    for (size_t i = 0; i < w->out.count; i++)
        bytes += (int64_t)w->out.views[i].bytes;
    return sg_file_need_space(w->path, bytes, w->err);
}

// ---- folders ------------------------------------------------------------------------------------

// What most of the weights are: the type of the largest tensor.
static sg_dtype convert_main_dtype(const convert_work *w)
{
    const sg_tensor_view *most = &w->out.views[0];
    for (size_t i = 1; i < w->out.count; i++)
        if (sg_tensor_view_elements(&w->out.views[i]) > sg_tensor_view_elements(most))
            most = &w->out.views[i];
    return most->dtype;
}

static const char *convert_dtype_name(sg_dtype dtype)
{
    return dtype == SG_DTYPE_BF16 ? "bfloat16" : dtype == SG_DTYPE_F16 ? "float16" : "float32";
}

static sg_status convert_export(convert_work *w, const sg_tensor_map *map,
                                const sg_export_types *types, sg_pairing pairing)
{
    SG_TRY(sg_export_new(w->file, map, types, pairing, w->compute, &w->out, w->err));
    w->out.progress = w->options->progress;
    w->out.progress_user = w->options->progress_user;
    return SG_OK;
}

// The model code of our own type, and where the library is to look for it.
static sg_status convert_add_modeling(convert_work *w, json_t *config)
{
    json_t *map = json_pack("{s:s, s:s}", "AutoConfig", "modeling_sgatlin.SgatlinConfig",
                            "AutoModelForCausalLM", "modeling_sgatlin.SgatlinForCausalLM");
    if (json_object_set_new(config, "auto_map", map) != 0)
        return sg_fail(w->err, SG_ERR_MEMORY, "out of memory for config.json");
    // The library expects an object of that name where it reads the file without our code, for the
    // tokenizer alone.
    if (strcmp(w->file->config.rope_scaling, "none") == 0) json_object_del(config, "rope_scaling");
    sg_side_files_add(&w->along, "modeling_sgatlin.py", sg_modeling_text, sg_modeling_bytes);
    return SG_OK;
}

// The rest of config.json, which is given up.
static sg_status convert_config(convert_work *w, json_t *config)
{
    const bool hf = w->options->form == SG_CONVERT_HF, ours = strcmp(w->type, "sgatlin") == 0;
    const char *dtype = convert_dtype_name(convert_main_dtype(w));
    sg_status status = SG_OK;
    // Version 4 of the library knows the older name only.
    if (json_object_set_new(config, ours ? "dtype" : "torch_dtype", json_string(dtype)) != 0)
        status = sg_fail(w->err, SG_ERR_MEMORY, "out of memory for config.json");
    if (status == SG_OK && hf && ours) status = convert_add_modeling(w, config);
    if (status == SG_OK) status = sg_side_files_add_json(&w->along, "config.json", config, w->err);
    json_decref(config);
    return status;
}

static sg_status convert_folder(convert_work *w)
{
    const bool hf = w->options->form == SG_CONVERT_HF;
    const sg_export_types types = {.matrices = w->dtype, .vectors = w->dtype};
    const sg_key_value metadata[] = {{"format", "pt"}};
    sg_hf_form form;
    SG_TRY(sg_hf_form_find(&w->file->config, hf ? w->options->model_type : "sgatlin", w->file->type,
                           &form, w->err));
    memcpy(w->type, form.type, sizeof w->type);
    const bool apart = w->file->config.rope_interleaved && !form.config.rope_interleaved;
    sg_status status = convert_export(w, sg_tensor_map_find(form.type), &types,
                                      apart ? SG_PAIRING_TO_HALVES : SG_PAIRING_KEPT);
    if (status != SG_OK) {
        json_decref(form.object);
        return status;
    }
    SG_TRY(convert_config(w, form.object));
    SG_TRY(sg_side_files_put_begin(&w->along, strcmp(w->type, "sgatlin") == 0, w->err));
    SG_TRY(sg_side_files_add_all(&w->along, w->err));
    SG_TRY(convert_need_space(w));
    return sg_model_folder_save(w->path, 0, w->out.views, w->out.count, metadata, 1, w->along.files,
                                w->along.count, w->err);
}

// ---- GGUF ---------------------------------------------------------------------------------------

// The configuration as the file will say it; anything that gets lost is refused by name.
static sg_status convert_gguf_config(convert_work *w, const sg_gguf_architecture *architecture,
                                     sg_config *said)
{
    char found[200], expected[200];
    size_t field;
    sg_config c = w->file->config;
    snprintf(w->type, sizeof w->type, "%s", architecture->name);
    SG_TRY(sg_gguf_config_say(&c, architecture, said, w->err));
    SG_TRY(sg_config_complete(said, w->err));
    c.rope_interleaved = said->rope_interleaved; // rows move
    if (!sg_config_differ(&c, said, &field)) return SG_OK;
    const sg_field *f = sg_config_field_at(field);
    return sg_fail(w->err, SG_ERR_UNSUPPORTED, "%s: found %s, expected %s for GGUF's %s", f->name,
                   sg_field_text(f, &c, found, sizeof found),
                   sg_field_text(f, said, expected, sizeof expected), architecture->name);
}

static sg_status convert_gguf_tokenizer(convert_work *w, const sg_config *said,
                                        sg_gguf_metadata *metadata)
{
    char *chat;
    size_t bytes;
    if (w->along.opened == NULL) return SG_OK;
    SG_TRY(sg_gguf_vocab_put(w->along.opened, said, metadata, w->err));
    SG_TRY(sg_side_files_chat(&w->along, &chat, &bytes, w->err));
    if (chat != NULL) sg_gguf_put_string(metadata, "tokenizer.chat_template", chat);
    sg_free(chat);
    return SG_OK;
}

// The file has a key for each of three: the end of a text, of a turn, of a message.
static sg_status convert_gguf_ends(const convert_work *w, sg_gguf_metadata *metadata)
{
    const sg_end_tokens *ends = &w->file->ends;
    int64_t turn = -1, message = -1;
    if (ends->count > 3)
        return sg_fail(w->err, SG_ERR_UNSUPPORTED,
                       "eos_token_id: found %zu ids that end a text, expected at most 3 for GGUF",
                       ends->count);
    for (size_t i = 1; i < ends->count; i++) {
        const char *text =
            w->along.opened ? sg_tokenizer_token_text(w->along.opened, ends->ids[i]) : NULL;
        const bool is_message = text != NULL && strstr(text, "eom") != NULL;
        int64_t *first = is_message ? &message : &turn, *second = is_message ? &turn : &message;
        *(*first < 0 ? first : second) = ends->ids[i];
    }
    if (turn >= 0) sg_gguf_put_u32(metadata, "tokenizer.ggml.eot_token_id", (uint32_t)turn);
    if (message >= 0) sg_gguf_put_u32(metadata, "tokenizer.ggml.eom_token_id", (uint32_t)message);
    return SG_OK;
}

// Llama 3's scaling of positions is a tensor.
static sg_status convert_gguf_rope(convert_work *w, const sg_config *said)
{
    const int64_t pairs = sg_config_rotary_dim(said) / 2;
    if (strcmp(said->rope_scaling, "llama3") != 0) return SG_OK;
    w->rope = sg_alloc_array((size_t)pairs, sizeof *w->rope);
    if (w->rope == NULL) return sg_fail(w->err, SG_ERR_MEMORY, "out of memory for positions");
    SG_TRY(sg_gguf_rope_factors(said, w->rope, w->err));
    return sg_export_add(
        &w->out, sg_tensor_view_make(SG_GGUF_ROPE_FREQS, SG_DTYPE_F32, 1, &pairs, w->rope), w->err);
}

static sg_status convert_gguf(convert_work *w)
{
    const sg_gguf_architecture *architecture = sg_gguf_config_architecture(&w->file->config);
    sg_config said;
    SG_TRY(convert_gguf_config(w, architecture, &said));
    SG_TRY(sg_side_files_put_begin(&w->along, false, w->err));
    static const char *const f32[] = {"position_embd.weight", "ffn_gate_inp.weight", NULL};
    const sg_export_types types = {.matrices = w->dtype, .vectors = SG_DTYPE_F32, .f32 = f32};
    const bool from = w->file->config.rope_interleaved != 0, to = said.rope_interleaved != 0;
    SG_TRY(convert_export(w, architecture->map, &types,
                          from == to ? SG_PAIRING_KEPT
                          : to       ? SG_PAIRING_TO_NEIGHBOURS
                                     : SG_PAIRING_TO_HALVES));
    SG_TRY(convert_gguf_rope(w, &said));
    sg_gguf_metadata *metadata = sg_gguf_metadata_new();
    if (metadata == NULL)
        return sg_fail(w->err, SG_ERR_MEMORY, "%s: out of memory for metadata", w->path);
    sg_gguf_config_put(&said, architecture, convert_main_dtype(w), metadata);
    sg_status status = convert_gguf_ends(w, metadata);
    if (status == SG_OK) status = convert_gguf_tokenizer(w, &said, metadata);
    if (status == SG_OK) status = convert_need_space(w);
    if (status == SG_OK)
        status =
            sg_gguf_write(w->path, SG_OUTPUT_NEW, metadata, w->out.views, w->out.count, w->err);
    sg_gguf_metadata_free(metadata);
    return status;
}

// ---- the whole ----------------------------------------------------------------------------------

static sg_status convert_run(sg_context *context, convert_work *w, const char *model)
{
    SG_TRY(convert_dtype(w));
    if (w->options->model_type != NULL && w->options->form != SG_CONVERT_HF)
        return sg_fail(w->err, SG_ERR_ARGUMENT,
                       "model type: found \"%.40s\", expected none but for a Hugging Face folder",
                       w->options->model_type);
    SG_TRY(sg_model_file_open(model, &w->file, w->err));
    sg_model_file_tell(w->file, context);
    SG_TRY(convert_claim(w));
    SG_TRY(sg_side_files_open(w->options, w->file, model, &w->along, w->err));
    return w->options->form == SG_CONVERT_GGUF ? convert_gguf(w) : convert_folder(w);
}

sg_status sg_convert(sg_context *context, const char *model, const sg_convert_options *options,
                     const char *path, sg_convert_result *result, sg_error *err)
{
    const sg_convert_options standard = sg_convert_options_default();
    convert_work w = {.options = options ? options : &standard,
                      .path = path,
                      .compute = context->compute,
                      .err = err};
    sg_status status = convert_run(context, &w, model);
    if (status == SG_OK && result != NULL) {
        *result =
            (sg_convert_result){.tensors = (int64_t)w.out.count,
                                .bytes = w.out.bytes,
                                .tokenizer = w.along.tokenizer != NULL || w.along.opened != NULL};
        memcpy(result->type, w.type, sizeof result->type);
    }
    sg_folder_release(w.claim);
    sg_side_files_free(&w.along);
    sg_export_free(&w.out);
    sg_free(w.rope);
    sg_model_file_close(w.file);
    return status;
}
