// sgatlin info: what a model or a preset is and costs.
#include <string.h>

#include "cli/computing.h"
#include "cli/field_options.h"
#include "cli/model_options.h"
#include "sgatlin_train.h"

static struct {
    const char *preset;
    int64_t seq_len, batch;
    bool recompute, tensors;
    bool run; // a run, with the kinds of products below unless others were asked for
    sg_compute_kind compute, logits;
} info = {.batch = 1};

static const cli_option own_options[] = {
    {.name = "preset",
     .kind = CLI_STRING,
     .value = &info.preset,
     .argument = "NAME",
     .shown = "",
     .help = "describe a preset instead of a model folder"},
    {.name = "seq-len",
     .kind = CLI_COUNT,
     .value = &info.seq_len,
     .argument = "T",
     .shown = "",
     .help = "tokens of a sequence; default: the model's longest",
     .low = 1,
     .high = 1 << 24},
    {.name = "batch-size",
     .kind = CLI_COUNT,
     .value = &info.batch,
     .argument = "B",
     .help = "sequences of a training step, for its memory",
     .low = 1,
     .high = 1 << 20},
    {.name = "recompute",
     .kind = CLI_FLAG,
     .value = &info.recompute,
     .help = "plan the memory of a step that computes activations twice"},
    {.name = "tensors",
     .kind = CLI_FLAG,
     .value = &info.tensors,
     .help = "list the tensors of a model, layer by layer, and what each is stored in"},
};

static const cli_option *info_table(void)
{
    static cli_option table[CLI_MAX_OPTIONS];
    if (table[0].name != NULL) return table;
    cli_option kinds[] = {
        cli_field_option(sg_train_field("compute"), &cli_computing_given.compute),
        cli_field_option(sg_train_field("logits_compute"), &cli_computing_given.logits)};
    kinds[0].help = "of the products of a training step, for its memory: with bf16 activations are "
                    "kept in it";
    kinds[0].shown = kinds[1].shown = "f32, or the run's";
    size_t count = cli_table_add(table, 0, own_options, sizeof own_options / sizeof *own_options);
    count = cli_table_add(table, count, kinds, sizeof kinds / sizeof *kinds);
    cli_config_options(table, count);
    return table;
}

// Whole numbers, but for those that no integer of JSON holds.
static json_t *info_flops(double flops)
{
    return flops < 0x1p63 ? json_integer((json_int_t)flops) : json_real(flops);
}

static json_t *info_about_json(const sg_model_about *about)
{
    json_t *types = json_array();
    for (size_t i = 0; i < about->type_count; i++)
        json_array_append_new(types, json_pack("{s:s, s:I, s:I}", "type", about->types[i].name,
                                               "tensors", (json_int_t)about->types[i].tensors,
                                               "bytes", (json_int_t)about->types[i].bytes));
    return json_pack("{s:s, s:s, s:I, s:I, s:o, s:s?, s:b}", "form", about->form, "architecture",
                     about->architecture, "files", (json_int_t)about->files, "bytes",
                     (json_int_t)about->bytes, "types", types, "tokenizer",
                     about->tokenizer[0] != '\0' ? about->tokenizer : NULL, "chat_template",
                     about->has_chat);
}

static void info_about_text(const sg_model_about *about)
{
    char bytes[32];
    cli_short_number(bytes, sizeof bytes, (double)about->bytes);
    printf("%s, architecture %s, %sB in %lld file%s\n", about->form, about->architecture, bytes,
           (long long)about->files, about->files == 1 ? "" : "s");
    for (size_t i = 0; i < about->type_count; i++) {
        cli_short_number(bytes, sizeof bytes, (double)about->types[i].bytes);
        printf("  %-8s%6lld tensor%s %sB\n", about->types[i].name,
               (long long)about->types[i].tensors, about->types[i].tensors == 1 ? ", " : "s,",
               bytes);
    }
    printf("  tokenizer: %s\n", about->tokenizer[0] != '\0' ? about->tokenizer : "none");
    printf("  chat template: %s\n", !about->has_chat         ? "none"
                                    : about->chat[0] != '\0' ? about->chat
                                                             : "yes");
}

// Every tensor as the library reads it, in its order; NULL: out of memory.
static json_t *info_tensors_of(const sg_model *model)
{
    json_t *list = json_array();
    for (size_t i = 0; i < sg_model_tensor_count(model); i++) {
        sg_tensor_info t;
        if (sg_model_tensor_info(model, i, &t, NULL) != SG_OK) break;
        json_t *shape = json_array();
        for (int k = 0; k < t.rank; k++)
            json_array_append_new(shape, json_integer((json_int_t)t.shape[k]));
        json_array_append_new(list,
                              json_pack("{s:s, s:I, s:o, s:s, s:I}", "name", t.name, "layer",
                                        (json_int_t)t.layer, "shape", shape, "type",
                                        sg_weights_name(t.weights), "bytes", (json_int_t)t.bytes));
    }
    return list;
}

static void info_tensors_text(const json_t *list)
{
    size_t i, k;
    json_t *tensor, *size;
    if (list != NULL) printf("Tensors, named as they are here\n");
    json_array_foreach(list, i, tensor)
    {
        char bytes[32], shape[128];
        size_t used = 0;
        json_array_foreach(json_object_get(tensor, "shape"), k, size) used +=
            (size_t)snprintf(shape + used, sizeof shape - used, "%s%lld", k > 0 ? " x " : "",
                             (long long)json_integer_value(size));
        cli_short_number(bytes, sizeof bytes,
                         (double)json_integer_value(json_object_get(tensor, "bytes")));
        printf("  %-20s %-5s%9sB  %s\n", shape, json_string_value(json_object_get(tensor, "type")),
               bytes, json_string_value(json_object_get(tensor, "name")));
    }
}

// The recipe that a preset is trained by unless told otherwise.
static json_t *info_recipe_json(const sg_preset *p)
{
    const sg_train_options o = sg_train_options_from_preset(p);
    return json_pack("{s:I, s:I, s:f, s:s, s:I, s:f, s:f, s:f, s:f}", "batch_size",
                     (json_int_t)o.batch_size, "seq_len", (json_int_t)p->seq_len, "lr", o.lr,
                     "schedule", o.schedule, "warmup_steps", (json_int_t)o.warmup_steps,
                     "decay_fraction", o.decay_fraction, "weight_decay", o.weight_decay, "clip",
                     o.clip, "spike_limit", o.spike_limit);
}

static void info_recipe_text(const sg_preset *p)
{
    const sg_train_options o = sg_train_options_from_preset(p);
    printf("Recipe of train --preset %s\n"
           "  %lld sequences of %lld tokens a step, learning rate %g, schedule %s,\n"
           "  warm-up %lld steps, the last %g of all steps decay, weight decay %g, clip %g,\n"
           "  updates are skipped whose loss is %g nats above the running mean\n",
           p->name, (long long)o.batch_size, (long long)p->seq_len, o.lr, o.schedule,
           (long long)o.warmup_steps, o.decay_fraction, o.weight_decay, o.clip, o.spike_limit);
}

static int info_json(const cli_args *args, const sg_preset *preset, int64_t seq_len,
                     const sg_cost *c, const sg_model_about *about, json_t *tensors)
{
    const sg_config *config = &preset->config;
    json_t *object =
        json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "seq_len", (json_int_t)seq_len, "batch_size",
                  (json_int_t)info.batch, "parameters", (json_int_t)c->parameters,
                  "active_parameters_per_token", (json_int_t)c->active_parameters_per_token,
                  "ffn_neurons", (json_int_t)c->ffn_neurons, "ffn_active_neurons_per_token",
                  (json_int_t)c->ffn_active_neurons_per_token);
    json_t *parts = json_pack(
        "{s:I, s:I, s:I, s:I, s:I}", "embedding_parameters", (json_int_t)c->embedding_parameters,
        "attention_parameters", (json_int_t)c->attention_parameters, "router_parameters",
        (json_int_t)c->router_parameters, "memory_parameters", (json_int_t)c->memory_parameters,
        "norm_parameters", (json_int_t)c->norm_parameters);
    json_t *rest = json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:I}", "forward_flops_per_sequence",
        info_flops(c->forward_flops_per_sequence), "forward_flops_per_sequence_all_in",
        info_flops(c->forward_flops_per_sequence_all_in), "attention_flops",
        info_flops(c->attention_flops), "router_flops", info_flops(c->router_flops), "memory_flops",
        info_flops(c->memory_flops), "logits_flops", info_flops(c->logits_flops), "weight_bytes",
        (json_int_t)c->weight_bytes, "gradient_bytes", (json_int_t)c->gradient_bytes,
        "optimizer_bytes", (json_int_t)c->optimizer_bytes, "activation_bytes",
        (json_int_t)c->activation_bytes, "bf16_table_bytes", (json_int_t)c->bf16_table_bytes);
    if (object != NULL) {
        json_object_update(object, parts);
        json_object_update(object, rest);
        json_object_set_new(object, "compute", json_string(sg_compute_kind_name(info.compute)));
        json_object_set_new(object, "logits_compute",
                            json_string(sg_compute_kind_name(info.logits)));
        if (about->form[0] != '\0') json_object_set_new(object, "file", info_about_json(about));
        if (tensors != NULL) json_object_set(object, "tensors", tensors);
        if (info.preset != NULL) json_object_set_new(object, "recipe", info_recipe_json(preset));
        json_object_set_new(object, "config", cli_config_json(config));
    }
    json_decref(parts);
    json_decref(rest);
    return cli_print_json(args, object);
}

static void info_line(const char *label, double value, const char *unit)
{
    char text[32];
    cli_short_number(text, sizeof text, value);
    printf("  %-34s%12s%s\n", label, text, unit);
}

// Projections of attention that are MLPs.
static void info_projections(const sg_config *k)
{
    const struct {
        const char *name, *widths;
    } all[] = {{"q", k->attention_mlp_q},
               {"k", k->attention_mlp_k},
               {"v", k->attention_mlp_v},
               {"o", k->attention_mlp_o}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i].widths[0] != '\0')
            printf("  projections %s of attention are MLPs of hidden width %s\n", all[i].name,
                   all[i].widths);
}

static void info_text(const sg_config *k, int64_t seq_len, const sg_cost *c)
{
    printf("%s, router %s, activation %s\n", k->ffn, k->ffn_router, k->ffn_activation);
    printf("  %lld layers of width %lld, %lld heads of %lld, vocabulary %lld\n",
           (long long)k->num_hidden_layers, (long long)k->hidden_size,
           (long long)k->num_attention_heads, (long long)k->head_dim, (long long)k->vocab_size);
    if (k->ffn_dense[0] != '\0')
        printf("  sparse layers %s; the others %s of width %lld\n", k->ffn_layers, k->ffn_dense,
               (long long)k->ffn_dense_size);
    if (k->ffn_share_pool) printf("  one memory for all sparse layers\n");
    info_projections(k);
    info_line("parameters", (double)c->parameters, "");
    info_line("  embedding, also for logits", (double)c->embedding_parameters, "");
    info_line("  attention", (double)c->attention_parameters, "");
    info_line("  router", (double)c->router_parameters, "");
    info_line("  memory", (double)c->memory_parameters, "");
    info_line("  norms", (double)c->norm_parameters, "");
    info_line("active parameters per token", (double)c->active_parameters_per_token, "");
    info_line("neurons", (double)c->ffn_neurons, "");
    info_line("active neurons per token", (double)c->ffn_active_neurons_per_token, "");
    printf("Forward, one sequence of %lld tokens\n", (long long)seq_len);
    info_line("counted as published", c->forward_flops_per_sequence, "FLOP");
    info_line("  attention", c->attention_flops, "FLOP");
    info_line("  router", c->router_flops, "FLOP");
    info_line("  memory", c->memory_flops, "FLOP");
    info_line("with logits", c->forward_flops_per_sequence_all_in, "FLOP");
    info_line("  logits", c->logits_flops, "FLOP");
    printf("Memory of a training step, micro-batch of %lld, products in %s, logits in %s%s\n",
           (long long)info.batch, sg_compute_kind_name(info.compute),
           sg_compute_kind_name(info.logits), info.run ? ", as of this run" : "");
    info_line("weights", (double)c->weight_bytes, "B");
    info_line("gradients", (double)c->gradient_bytes, "B");
    info_line("optimiser", (double)c->optimizer_bytes, "B");
    char label[48];
    snprintf(label, sizeof label, "activations%s%s",
             info.compute == SG_COMPUTE_BF16 ? " kept in bf16" : "",
             info.recompute ? ", recomputed" : "");
    info_line(label, (double)c->activation_bytes, "B");
    if (c->bf16_table_bytes > 0)
        info_line("copies, with --table-dtype bf16", (double)c->bf16_table_bytes, "B");
}

static sg_status info_of_preset(sg_preset *preset, sg_error *err)
{
    sg_status status = sg_preset_find(info.preset, preset, err);
    if (status == SG_OK) status = cli_config_apply(preset, info.seq_len, err);
    return status == SG_OK ? sg_config_complete(&preset->config, err) : status;
}

static sg_status info_of_model(sg_context *context, const char *folder, sg_config *config,
                               sg_model_about *about, json_t **tensors, sg_error *err)
{
    sg_model *model;
    char found[CLI_PATH];
    sg_status status = cli_model_open(context, folder, "stored", &model, found, err);
    if (status != SG_OK) return status;
    *config = *sg_model_config(model);
    if (info.tensors) *tensors = info_tensors_of(model);
    sg_model_free(model);
    status = sg_model_describe(found, about, err);
    if (status != SG_OK) return status;
    if (info.seq_len <= config->max_position_embeddings) return SG_OK;
    err->code = SG_ERR_ARGUMENT;
    snprintf(err->message, sizeof err->message,
             "seq-len: found %lld, expected at most the model's %lld", (long long)info.seq_len,
             (long long)config->max_position_embeddings);
    return err->code;
}

// The kinds of products that were given, or else those of a run.
static sg_status info_kinds(const cli_args *args, sg_error *err)
{
    sg_train_options run;
    sg_error none = {0};
    sg_status status = cli_computing_kinds(&info.compute, &info.logits, err);
    if (status != SG_OK || info.preset != NULL) return status;
    if (sg_train_read_options(args->operands[0], &run, &none) != SG_OK) return SG_OK; // no run
    info.run = !cli_given(args, "compute") && !cli_given(args, "logits-compute");
    if (!cli_given(args, "compute")) info.compute = run.compute;
    if (!cli_given(args, "logits-compute")) info.logits = run.logits_compute;
    return SG_OK;
}

static int info_print(const cli_args *args, const sg_preset *preset, int64_t seq_len,
                      const sg_cost *cost, const sg_model_about *about, json_t *tensors)
{
    if (args->json) return info_json(args, preset, seq_len, cost, about, tensors);
    if (about->form[0] != '\0') info_about_text(about);
    info_tensors_text(tensors);
    info_text(&preset->config, seq_len, cost);
    if (info.preset != NULL) info_recipe_text(preset);
    return CLI_DONE;
}

static int info_run(const cli_args *args)
{
    sg_error err = {0};
    sg_preset preset = {0};
    sg_context *context;
    sg_cost cost;
    sg_model_about about = {0};
    json_t *tensors = NULL;
    if ((args->count == 1) == (info.preset != NULL))
        return cli_wrong(args, "found %s, expected a model folder or --preset NAME",
                         info.preset ? "both" : "neither");
    if (info.preset != NULL && info.tensors)
        return cli_wrong(args, "--tensors lists those of a model; a preset has none");
    for (size_t i = 0; info.preset == NULL && i < sg_config_field_count(); i++)
        if (cli_config_values[i] != NULL)
            return cli_wrong(args, "%s changes a preset; a model folder is as it is",
                             sg_config_field_at(i)->name);
    sg_status status = cli_context_new(args, &context, &err);
    if (status != SG_OK) return cli_fail(args, status, &err);
    if (info.preset != NULL)
        status = info_of_preset(&preset, &err);
    else
        status = info_of_model(context, args->operands[0], &preset.config, &about, &tensors, &err);
    int64_t seq_len = info.seq_len ? info.seq_len : preset.config.max_position_embeddings;
    if (status == SG_OK) status = info_kinds(args, &err);
    const sg_cost_options options = {.seq_len = seq_len,
                                     .batch = info.batch,
                                     .recompute = info.recompute,
                                     .threads = sg_context_threads(context),
                                     .compute = info.compute,
                                     .logits_compute = info.logits};
    if (status == SG_OK) status = sg_config_cost_of(&preset.config, &options, &cost, &err);
    sg_context_free(context);
    const int code = status == SG_OK ? info_print(args, &preset, seq_len, &cost, &about, tensors)
                                     : cli_fail(args, status, &err);
    json_decref(tensors);
    return code;
}

const cli_command cli_cmd_info = {
    .name = "info",
    .summary = "sizes, FLOPs and memory of a model or a preset",
    .usage = "MODEL | --preset NAME [options]",
    .about =
        "Counts parameters, neurons and FLOPs, and plans the memory of a training step. "
        "FLOPs are of the forward pass of one sequence: the published count (attention over "
        "the full square, feed-forward layers) and, beside it, all with the logits. Of a model "
        "on disk it tells first what it is: its form and architecture, the types that its "
        "weights are stored in, its tokenizer, and whether it has a chat template; with --tensors "
        "also every tensor with its shape, what it is stored in and its bytes.",
    .table = info_table,
    .example = "sgatlin info --preset tinystories-sgatlin --vocab-size 8192 --seq-len 1024",
    .max_operands = 1,
    .operands = "MODEL",
    .run = info_run,
};
