// sgatlin convert: a model in the form of another program.
#include <string.h>

#include "cli/cli.h"
#include "sgatlin_convert.h"
#include "sgatlin_train.h"

static struct {
    const char *to, *out, *dtype, *model_type, *tokenizer, *tensor;
    bool no_tokenizer;
} convert = {.dtype = "stored"};

static const cli_option options[] = {
    {.name = "to",
     .kind = CLI_STRING,
     .value = &convert.to,
     .argument = "FORM",
     .shown = "",
     .help = "hf, gguf, sgatlin, or npy for one tensor",
     .choices = "hf|gguf|sgatlin|npy",
     .required = true},
    {.name = "out",
     .kind = CLI_STRING,
     .value = &convert.out,
     .argument = "PATH",
     .shown = "",
     .help = "where to: a new folder (hf, sgatlin) or file (gguf, npy)",
     .required = true},
    {.name = "dtype",
     .kind = CLI_STRING,
     .value = &convert.dtype,
     .argument = "TYPE",
     .help = "of the weights; stored: as in MODEL, f32 where that has blocks",
     .choices = "stored|f32|bf16|f16|q8_0"},
    {.name = "model-type",
     .kind = CLI_STRING,
     .value = &convert.model_type,
     .argument = "NAME",
     .shown = "",
     .help = "of hf: llama, mistral, qwen2, ..., or sgatlin; default: the first that fits"},
    {.name = "tokenizer",
     .kind = CLI_STRING,
     .value = &convert.tokenizer,
     .argument = "DIR|FILE",
     .shown = "",
     .help = "that goes along; default: the one in MODEL"},
    {.name = "no-tokenizer",
     .kind = CLI_FLAG,
     .value = &convert.no_tokenizer,
     .help = "write the weights alone"},
    {.name = "tensor",
     .kind = CLI_STRING,
     .value = &convert.tensor,
     .argument = "NAME",
     .shown = "",
     .help = "of npy: a parameter, or a tensor by its name in the file"},
    {0}};

static bool convert_progress(void *user, int64_t done, int64_t total)
{
    cli_progress_update(user, (double)done, (double)total, NULL);
    return !cli_stop_requested();
}

static int convert_wrong(const cli_args *args)
{
    const bool npy = strcmp(convert.to, "npy") == 0, hf = strcmp(convert.to, "hf") == 0;
    if (npy != (convert.tensor != NULL))
        return cli_wrong(args, npy ? "--to npy needs --tensor NAME" : "--tensor needs --to npy");
    if (!hf && convert.model_type != NULL) return cli_wrong(args, "--model-type needs --to hf");
    if (npy && (cli_given(args, "dtype") || convert.tokenizer != NULL || convert.no_tokenizer))
        return cli_wrong(args, "--to npy takes no --dtype and no tokenizer");
    if (convert.tokenizer != NULL && convert.no_tokenizer)
        return cli_wrong(args, "found --tokenizer and --no-tokenizer, expected one of them");
    return CLI_DONE;
}

static int convert_report(const cli_args *args, const sg_convert_result *r)
{
    if (args->json)
        return cli_print_json(args, json_pack("{s:s, s:s, s:s, s:I, s:I, s:b}", "to", convert.to,
                                              "type", r->type, "path", convert.out, "tensors",
                                              (json_int_t)r->tensors, "bytes", (json_int_t)r->bytes,
                                              "tokenizer", r->tokenizer));
    char bytes[32];
    cli_short_number(bytes, sizeof bytes, (double)r->bytes);
    printf("%s: %s, %lld tensors, %sB, %s tokenizer\n", convert.out, r->type, (long long)r->tensors,
           bytes, r->tokenizer ? "with" : "without");
    return CLI_DONE;
}

static int convert_run(const cli_args *args)
{
    char model[CLI_PATH];
    sg_error err = {0};
    sg_context *context;
    sg_convert_result result = {0};
    int code = convert_wrong(args);
    if (code != CLI_DONE) return code;
    sg_status status = cli_context_new(args, &context, &err);
    if (status != SG_OK) return cli_fail(args, status, &err);
    cli_catch_signals();
    cli_progress bar;
    cli_progress_begin(&bar, args, "converting", "B");
    sg_convert_options o = sg_convert_options_default();
    o.form = strcmp(convert.to, "gguf") == 0      ? SG_CONVERT_GGUF
             : strcmp(convert.to, "sgatlin") == 0 ? SG_CONVERT_SGATLIN
                                                  : SG_CONVERT_HF;
    o.dtype = strcmp(convert.dtype, "stored") == 0 ? NULL : convert.dtype;
    o.model_type = convert.model_type;
    o.tokenizer = convert.tokenizer;
    o.no_tokenizer = convert.no_tokenizer;
    o.progress = convert_progress;
    o.progress_user = &bar;
    status = sg_train_model_folder(context, args->operands[0], model, sizeof model, &err);
    if (status == SG_OK && strcmp(convert.to, "npy") == 0)
        status = sg_export_npy(model, convert.tensor, convert.out, &err);
    else if (status == SG_OK)
        status = sg_convert(context, model, &o, convert.out, &result, &err);
    cli_progress_end(&bar);
    sg_context_free(context);
    if (status != SG_OK) return cli_fail(args, status, &err);
    return strcmp(convert.to, "npy") == 0 ? CLI_DONE : convert_report(args, &result);
}

const cli_command cli_cmd_convert = {
    .name = "convert",
    .summary = "write a model in the form of another program",
    .usage = "MODEL --to hf|gguf|sgatlin|npy --out PATH [options]",
    .about =
        "MODEL is anything that can be opened: a folder or a run of this program, a Hugging "
        "Face folder, a GGUF file, a model of llama2.c. hf is a folder that transformers "
        "loads, of a model type of its own where one computes the same, else of type sgatlin "
        "with its code (trust_remote_code=True). gguf is a file of architecture llama, qwen2, "
        "qwen3, arcee, gpt2, qwen2moe, qwen3moe, olmoe or deepseek. What the other form does not "
        "have is refused by name.\n"
        "\n"
        "PATH must be new. What is written there is the whole model or, where the command is "
        "stopped, no model.",
    .options = options,
    .example = "sgatlin convert run --to hf --out run-hf\n"
               "sgatlin convert run --to npy --tensor model.norm.weight --out norm.npy",
    .min_operands = 1,
    .max_operands = 1,
    .operands = "MODEL",
    .run = convert_run,
};
