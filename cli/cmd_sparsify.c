// sgatlin sparsify: the sparse version of a dense model.
#include <string.h>

#include "cli/cli.h"
#include "sgatlin_sparsify.h"

static struct {
    const char *method, *split, *router, *select, *out;
    int64_t block_size;
    double active, threshold;
    int64_t seed;
} sparsify = {.method = "moefication",
              .split = "kmeans",
              .router = "centroid",
              .select = "top_k",
              .block_size = 32,
              .active = 0.25};

static const cli_option options[] = {
    {.name = "method",
     .kind = CLI_STRING,
     .value = &sparsify.method,
     .argument = "NAME",
     .help = "moefication: neurons in blocks, of which a router chooses",
     .choices = "moefication"},
    {.name = "split",
     .kind = CLI_STRING,
     .value = &sparsify.split,
     .argument = "NAME",
     .help = "neurons of a block: random; kmeans, balanced; auction, the same faster",
     .choices = "random|kmeans|auction"},
    {.name = "router",
     .kind = CLI_STRING,
     .value = &sparsify.router,
     .argument = "NAME",
     .help = "centroid: by the mean of a block; random: by one neuron of it, the control",
     .choices = "centroid|random"},
    {.name = "block-size",
     .kind = CLI_COUNT,
     .value = &sparsify.block_size,
     .argument = "M",
     .help = "neurons of a block, a divisor of the width of a layer",
     .low = 1,
     .high = 1 << 24},
    {.name = "active",
     .kind = CLI_DOUBLE,
     .value = &sparsify.active,
     .argument = "SHARE",
     .help = "of the blocks, that a token reads",
     .low = 0,
     .high = 1},
    {.name = "select",
     .kind = CLI_STRING,
     .value = &sparsify.select,
     .argument = "RULE",
     .help = "top_k: those with the best scores; threshold: of these what has a score that high",
     .choices = "top_k|threshold"},
    {.name = "threshold",
     .kind = CLI_DOUBLE,
     .value = &sparsify.threshold,
     .argument = "X",
     .help = "of scores; --sparsify-threshold of generate and eval changes it",
     .low = -1e12,
     .high = 1e12},
    {.name = "seed",
     .kind = CLI_INT,
     .value = &sparsify.seed,
     .argument = "N",
     .help = "of the split",
     .low = 0,
     .high = CLI_SEED_MOST},
    {.name = "out",
     .kind = CLI_STRING,
     .value = &sparsify.out,
     .argument = "DIR",
     .shown = "",
     .help = "where to: a new folder",
     .required = true},
    {0}};

static bool sparsify_progress(void *user, int64_t done, int64_t total)
{
    cli_progress_update(user, (double)done, (double)total, NULL);
    return !cli_stop_requested();
}

typedef struct sparsify_made {
    sg_sparsify_outlook look;
    double distance;
    int64_t blocks, active;
    bool tokenizer;
} sparsify_made;

// Said before the work, which may be long.
static void sparsify_tell(const cli_args *args, const sg_sparsify_outlook *l)
{
    cli_note(args,
             "feed-forward layers are %.0f %% of the bytes that a token reads, %.0f %% of its "
             "FLOPs",
             100 * l->ffn_bytes / l->all_bytes, 100 * l->ffn_flops / l->all_flops);
    cli_note(args,
             "at most %.2f times as fast were they free, %.2f times with %.0f %% of their "
             "blocks and a router of %.1f %% of their FLOPs",
             l->ceiling, l->bound, 100 * sparsify.active, 100 * l->router);
}

// The tokenizer of the dense model goes along.
static void sparsify_tokenizer(const cli_args *args, const char *folder, sg_sparsify_options *o,
                               sg_tokenizer **tokenizer)
{
    sg_error none = {0};
    *tokenizer = NULL;
    if (sg_tokenizer_open(folder, tokenizer, &none) != SG_OK)
        cli_note(args, "without a tokenizer: %s", none.message);
    o->tokenizer = *tokenizer;
}

static sg_status sparsify_make(const cli_args *args, sg_context *context, sparsify_made *made,
                               sg_error *err)
{
    char folder[CLI_PATH];
    sg_model *dense, *sparse = NULL;
    sg_tokenizer *tokenizer = NULL;
    sg_sparsify_options o = sg_sparsify_options_default();
    o.split = sparsify.split;
    o.router = sparsify.router;
    o.block_size = sparsify.block_size;
    o.active = sparsify.active;
    o.select = sparsify.select;
    o.threshold = sparsify.threshold;
    o.seed = (uint64_t)sparsify.seed;
    o.out = sparsify.out;
    sg_status status = cli_model_open(context, args->operands[0], "stored", &dense, folder, err);
    if (status != SG_OK) return status;
    status = sg_sparsify_look(dense, &o, &made->look, err);
    if (status == SG_OK) {
        cli_progress bar;
        sparsify_tell(args, &made->look);
        sparsify_tokenizer(args, folder, &o, &tokenizer);
        cli_progress_begin(&bar, args, "splitting", "layers");
        o.progress = sparsify_progress;
        o.progress_user = &bar;
        status = sg_sparsify(dense, &o, &sparse, &made->distance, err);
        cli_progress_end(&bar);
    }
    sg_model_free(dense);
    if (status == SG_OK) {
        const sg_config *c = sg_model_config(sparse);
        made->blocks = c->ffn_intermediate_size / c->ffn_block_size;
        made->active = c->ffn_top_k;
        made->tokenizer = tokenizer != NULL;
    }
    sg_tokenizer_free(tokenizer);
    sg_model_free(sparse);
    return status;
}

static int sparsify_report(const cli_args *args, const sparsify_made *m)
{
    if (args->json)
        return cli_print_json(
            args,
            json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:b}",
                      "path", sparsify.out, "method", sparsify.method, "split", sparsify.split,
                      "router", sparsify.router, "block_size", (json_int_t)sparsify.block_size,
                      "blocks", (json_int_t)m->blocks, "active_blocks", (json_int_t)m->active,
                      "distance", m->distance, "ffn_bytes", m->look.ffn_bytes, "bytes",
                      m->look.all_bytes, "ceiling", m->look.ceiling, "bound", m->look.bound,
                      "router_share", m->look.router, "tokenizer", m->tokenizer));
    printf(
        "%s: layers of %lld blocks of %lld neurons, %lld of which a token reads, %s split at mean "
        "distance %.3f, router %s, %s tokenizer\n",
        sparsify.out, (long long)m->blocks, (long long)sparsify.block_size, (long long)m->active,
        sparsify.split, m->distance, sparsify.router, m->tokenizer ? "with" : "without");
    return CLI_DONE;
}

static int sparsify_run(const cli_args *args)
{
    sg_error err = {0};
    sg_context *context;
    sparsify_made made = {0};
    sg_status status = cli_context_new(args, &context, &err);
    if (status != SG_OK) return cli_fail(args, status, &err);
    cli_catch_signals();
    status = sparsify_make(args, context, &made, &err);
    sg_context_free(context);
    return status == SG_OK ? sparsify_report(args, &made) : cli_fail(args, status, &err);
}

const cli_command cli_cmd_sparsify = {
    .name = "sparsify",
    .summary = "make a dense model sparse",
    .usage = "MODEL --out DIR [options]",
    .about = "MODEL is any model with dense feed-forward layers that can be opened: a folder or a "
             "run of this program, a Hugging Face folder, a GGUF file, a model of llama2.c. First "
             "what there is to gain is told: the share of feed-forward layers in what a token "
             "reads, and how much faster decoding can be at most.\n"
             "\n"
             "DIR is a folder of family moefied, whose weights are f32. The layers compute what "
             "those of MODEL do where all blocks are read (--active 1).",
    .options = options,
    .example = "sgatlin sparsify SmolLM2-135M --active 0.5 --out smol-sparse\n"
               "sgatlin eval --model smol-sparse --text book.txt",
    .min_operands = 1,
    .max_operands = 1,
    .operands = "MODEL",
    .run = sparsify_run,
};
