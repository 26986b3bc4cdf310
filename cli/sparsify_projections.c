#include "cli/sparsify_projections.h"

static const char letters[] = "qkvo";

const char *cli_projections_stray(const cli_args *args, bool chosen)
{
    static const char *const of_others[] = {
        "split",         "block-size",  "blocks",        "shared-blocks", "unread",
        "active",        "select",      "router",        "target",        "router-size",
        "router-epochs", "router-rate", "router-tokens", "threshold"};
    static const char *const own[] = {"projections",        "projection-layers", "projection-size",
                                      "projection-steps",   "projection-batch",  "projection-rate",
                                      "projection-sparsity"};
    const char *const *names = chosen ? of_others : own;
    const size_t count = chosen ? sizeof of_others / sizeof *of_others : sizeof own / sizeof *own;
    for (size_t i = 0; i < count; i++)
        if (cli_given(args, names[i])) return names[i];
    return NULL;
}

void cli_projections_tell(const cli_args *args, const sg_sparsify_options *o,
                          const sg_sparsify_outlook *l)
{
    char bytes[32];
    cli_note(args,
             "method attention-mlp: projections %s of attention (layers: %s) become MLPs of ReLU "
             "with %g times the FLOPs; feed-forward layers stay",
             o->projections, o->projection_layers, o->projection_size);
    cli_note(args,
             "projections of attention are %.0f %% of the bytes that a token reads, %.0f %% of "
             "its FLOPs",
             100 * l->projection_bytes / l->all_bytes, 100 * l->projection_flops / l->all_flops);
    cli_short_number(bytes, sizeof bytes, (double)l->input_bytes);
    cli_note(args,
             "of the text %lld tokens to train on, %lld to test with; inputs of layers take %sB, "
             "in %lld pass%s",
             (long long)l->calibration_tokens, (long long)l->test_tokens, bytes,
             (long long)l->passes, l->passes == 1 ? "" : "es");
}

static json_t *projections_layer_json(const sg_sparsify_projection *p, int64_t layer)
{
    json_t *object = json_pack("{s:I}", "layer", (json_int_t)layer);
    for (int i = 0; object != NULL && i < 4; i++) {
        const char name[2] = {letters[i], '\0'};
        if (p[i].hidden == 0) continue;
        json_object_set_new(object, name,
                            json_pack("{s:I, s:o, s:o, s:o}", "hidden", (json_int_t)p[i].hidden,
                                      "loss", cli_json_number(p[i].loss), "error",
                                      cli_json_number(p[i].error), "zeros",
                                      cli_json_number(p[i].zeros)));
    }
    return object;
}

static json_t *projections_json(const char *path, const sg_sparsify_options *o,
                                const sg_sparsify_outlook *l, const sg_sparsify_result *r,
                                int64_t count, bool tokenizer)
{
    json_t *layers = json_array();
    for (int64_t i = 0; i < count; i++)
        json_array_append_new(layers, projections_layer_json(o->projected + 4 * i, i));
    return json_pack("{s:s, s:s, s:s, s:s, s:f, s:I, s:I, s:f, s:f, s:f, s:f, s:b, s:I, s:o, s:o, "
                     "s:o}",
                     "path", path, "method", "attention-mlp", "projections", o->projections,
                     "projection_layers", o->projection_layers, "projection_size",
                     o->projection_size, "projection_steps", (json_int_t)o->projection_steps,
                     "projection_batch", (json_int_t)o->projection_batch, "projection_rate",
                     o->projection_rate, "projection_sparsity", o->projection_sparsity,
                     "projection_bytes", l->projection_bytes, "bytes", l->all_bytes, "tokenizer",
                     tokenizer, "test_tokens", (json_int_t)r->test_tokens, "dense_perplexity",
                     cli_json_number(r->dense_perplexity), "sparse_perplexity",
                     cli_json_number(r->sparse_perplexity), "layers", layers);
}

// A line for each layer: of each projection the relative error and the share of zeros.
static void projections_print(const sg_sparsify_projection *p, int64_t count)
{
    printf("        relative error on the test part        zeros of hidden activations\n"
           "layer       q       k       v       o            q      k      v      o\n");
    for (int64_t l = 0; l < count; l++, p += 4) {
        printf("%5lld", (long long)l);
        for (int i = 0; i < 4; i++)
            if (p[i].hidden > 0)
                printf("  %6.4f", p[i].error);
            else
                printf("  %6s", "-");
        printf("       ");
        for (int i = 0; i < 4; i++)
            if (p[i].hidden > 0)
                printf("  %5.3f", p[i].zeros);
            else
                printf("  %5s", "-");
        printf("\n");
    }
}

int cli_projections_report(const cli_args *args, const char *path, const sg_sparsify_options *o,
                           const sg_sparsify_outlook *l, const sg_sparsify_result *r,
                           int64_t layers, bool tokenizer)
{
    if (args->json) return cli_print_json(args, projections_json(path, o, l, r, layers, tokenizer));
    if (r->test_tokens > 0) projections_print(o->projected, layers);
    printf("%s: projections %s as MLPs, trained for %lld steps, %s tokenizer\n", path,
           o->projections, (long long)o->projection_steps, tokenizer ? "with" : "without");
    if (r->test_tokens > 0)
        printf("perplexity %.4f, %.4f before, on %lld tokens of test\n", r->sparse_perplexity,
               r->dense_perplexity, (long long)r->test_tokens);
    return CLI_DONE;
}
