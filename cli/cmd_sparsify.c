// sgatlin sparsify: the sparse version of a dense model.
#include <stdlib.h>
#include <string.h>

#include "cli/prompts.h"
#include "cli/reading.h"
#include "cli/sparsify_projections.h"
#include "cli/sparsify_trim.h"
#include "sgatlin_sparsify.h"

static struct {
    const char *method, *split, *router, *target, *unread, *select, *shares, *out;
    const char *text, *data, *tokenizer;
    int64_t block_size, blocks, shared_blocks, router_size, router_epochs;
    int64_t context, calibration_tokens, router_tokens, test_tokens, memory;
    double active, threshold, router_rate;
    const char *projections, *projection_layers;
    int64_t projection_steps, projection_batch;
    double projection_size, projection_rate, projection_sparsity;
    int64_t seed;
} sparsify = {.method = "similarity"};

// Options that a method has values for; what is not given is the method's.
#define OF_METHOD .shown = "the method's"

static const cli_option options[] = {
    {.name = "method",
     .kind = CLI_STRING,
     .value = &sparsify.method,
     .argument = "NAME",
     .help =
         "a published one: values of the options below, which may be given beside it; similarity "
         "needs no text",
     .choices = "similarity|moefication|gmoefication|dsti|cmoe|cats|teal|wina|attention-mlp"},
    {.name = "out",
     .kind = CLI_STRING,
     .value = &sparsify.out,
     .argument = "DIR",
     .shown = "",
     .help = "where to: a new folder",
     .required = true},
    {.name = "seed",
     .kind = CLI_INT,
     .value = &sparsify.seed,
     .argument = "N",
     .help = "of splits, routers and MLPs",
     .low = 0,
     .high = CLI_SEED_MOST},
    {.name = "", .kind = CLI_HEADING, .help = "Blocks"},
    {.name = "split",
     .kind = CLI_STRING,
     .value = &sparsify.split,
     .argument = "NAME",
     OF_METHOD,
     .help = "neurons of a block: random; by their weights kmeans, balanced, or auction, the same "
             "faster; by what they do on the text coactivation, or shared, some blocks always read",
     .choices = "random|kmeans|auction|coactivation|shared"},
    {.name = "block-size",
     .kind = CLI_COUNT,
     .value = &sparsify.block_size,
     .argument = "M",
     OF_METHOD,
     .help = "neurons of a block, a divisor of the width of a layer",
     .low = 1,
     .high = 1 << 24},
    {.name = "blocks",
     .kind = CLI_COUNT,
     .value = &sparsify.blocks,
     .argument = "E",
     OF_METHOD,
     .help = "in place of --block-size how many blocks a layer has",
     .low = 1,
     .high = 1 << 24},
    {.name = "shared-blocks",
     .kind = CLI_COUNT,
     .value = &sparsify.shared_blocks,
     .argument = "N",
     OF_METHOD,
     .help = "of split shared: how many of them every token reads; 0: none",
     .low = 0,
     .high = 1 << 24},
    {.name = "unread",
     .kind = CLI_STRING,
     .value = &sparsify.unread,
     .argument = "WHAT",
     OF_METHOD,
     .help = "what a block gives that is not read: nothing, or its mean on the text",
     .choices = "nothing|mean"},
    {.name = "", .kind = CLI_HEADING, .help = "Which blocks a token reads"},
    {.name = "active",
     .kind = CLI_DOUBLE,
     .value = &sparsify.active,
     .argument = "SHARE",
     OF_METHOD,
     .help = "of the blocks, that a token reads, shared ones among them; the most where there is a "
             "threshold; of cats of the neurons, of teal and wina of the inputs",
     .low = 0,
     .high = 1},
    {.name = "shares",
     .kind = CLI_STRING,
     .value = &sparsify.shares,
     .argument = "HOW",
     .shown = "uniform",
     .help = "of teal and wina: the same share of inputs everywhere, or greedy: shares that move "
             "the output of their layer least, looked for step by step",
     .choices = "uniform|greedy"},
    {.name = "select",
     .kind = CLI_STRING,
     .value = &sparsify.select,
     .argument = "RULE",
     OF_METHOD,
     .help = "top_k: those with the best scores; of these max: what has the threshold's share of "
             "the best score; share: the best that have that share of all scores; threshold: what "
             "has a score that high",
     .choices = "top_k|max|share|threshold"},
    {.name = "threshold",
     .kind = CLI_DOUBLE,
     .value = &sparsify.threshold,
     .argument = "X",
     OF_METHOD,
     .help = "of --select; --sparsify-threshold of generate and eval changes it",
     .low = -1e12,
     .high = 1e12},
    {.name = "router",
     .kind = CLI_STRING,
     .value = &sparsify.router,
     .argument = "NAME",
     OF_METHOD,
     .help = "centroid: by the mean of a block; random: by one neuron of it, the control; "
             "representative: by one neuron that split shared chooses; mlp, norm, sigmoid: trained "
             "on the text",
     .choices = "centroid|random|representative|mlp|norm|sigmoid"},
    {.name = "target",
     .kind = CLI_STRING,
     .value = &sparsify.target,
     .argument = "WHAT",
     OF_METHOD,
     .help = "what routers are trained to foresee of a block: positive, the sum of its positive "
             "activations; deviation, absolute: squares, absolute values of what they differ from "
             "their means by; norm, the length of what it adds",
     .choices = "positive|deviation|absolute|norm"},
    {.name = "router-size",
     .kind = CLI_COUNT,
     .value = &sparsify.router_size,
     .argument = "W",
     .shown = "as many as blocks; 128 of norm",
     .help = "hidden width of routers mlp and norm",
     .low = 1,
     .high = 1 << 20},
    {.name = "router-epochs",
     .kind = CLI_COUNT,
     .value = &sparsify.router_epochs,
     .argument = "N",
     .shown = "30",
     .help =
         "passes of a router's training over its tokens; the best one on the last tenth of them "
         "stays; 0: it stays as it is drawn, as LTE begins",
     .low = 0,
     .high = 1e6},
    {.name = "router-rate",
     .kind = CLI_DOUBLE,
     .value = &sparsify.router_rate,
     .argument = "X",
     .shown = "0.01; 0.001 of norm",
     .help = "learning rate of it",
     .low = 1e-12,
     .high = 1e3},
    {.name = "", .kind = CLI_HEADING, .help = "Projections of attention (attention-mlp)"},
    {.name = "projections",
     .kind = CLI_STRING,
     .value = &sparsify.projections,
     .argument = "LIST",
     .shown = "q,k,v,o",
     .help = "which become MLPs: to queries, keys and values, and the one behind attention"},
    {.name = "projection-layers",
     .kind = CLI_STRING,
     .value = &sparsify.projection_layers,
     .argument = "LIST",
     .shown = "all",
     .help = "of which layers, as --ffn-layers of train: all, every:N or 1,3-4"},
    {.name = "projection-size",
     .kind = CLI_DOUBLE,
     .value = &sparsify.projection_size,
     .argument = "F",
     .help = "FLOPs of an MLP over those of the linear layer, which make its hidden width",
     .low = 1e-6,
     .high = 1e3},
    {.name = "projection-steps",
     .kind = CLI_COUNT,
     .value = &sparsify.projection_steps,
     .argument = "N",
     .help = "updates of their training; published are 3 epochs of images",
     .low = 1,
     .high = 1e9},
    {.name = "projection-batch",
     .kind = CLI_COUNT,
     .value = &sparsify.projection_batch,
     .argument = "N",
     .help = "tokens of an update, at most those to calibrate by",
     .low = 1,
     .high = 1e6},
    {.name = "projection-rate",
     .kind = CLI_DOUBLE,
     .value = &sparsify.projection_rate,
     .argument = "X",
     .help = "learning rate, down to a tenth along a cosine",
     .low = 1e-12,
     .high = 1e3},
    {.name = "projection-sparsity",
     .kind = CLI_DOUBLE,
     .value = &sparsify.projection_sparsity,
     .argument = "X",
     .help = "weight of the square Hoyer of hidden activations, from 0 on; 0: none",
     .low = 0,
     .high = 1e6},
    {.name = "", .kind = CLI_HEADING, .help = "The text, cut into three parts in its order"},
    {.name = "text",
     .kind = CLI_STRING,
     .value = &sparsify.text,
     .argument = "FILE",
     .shown = "",
     .help = "a text; - is standard input"},
    {.name = "data",
     .kind = CLI_STRING,
     .value = &sparsify.data,
     .argument = "DIR",
     .shown = "",
     .help = "in its place packed data; the test is of the validation split"},
    {.name = "calibration-tokens",
     .kind = CLI_COUNT,
     .value = &sparsify.calibration_tokens,
     .argument = "N",
     .help = "for splits by the text, and for means; MoEfication takes up to 200,000; those that "
             "attention-mlp trains on",
     .low = 1,
     .high = 1e8},
    {.name = "router-tokens",
     .kind = CLI_COUNT,
     .value = &sparsify.router_tokens,
     .argument = "N",
     .help = "that routers are trained on; fewer than published",
     .low = 1,
     .high = 1e8},
    {.name = "test-tokens",
     .kind = CLI_COUNT,
     .value = &sparsify.test_tokens,
     .argument = "N",
     .help = "that all of it is tested on; 0: no test",
     .low = 0,
     .high = 1e8},
    {.name = "context",
     .kind = CLI_COUNT,
     .value = &sparsify.context,
     .argument = "N",
     .shown = "the model's longest sequence, at most 2048",
     .help = "tokens of a sequence of a text, which knows nothing of those before it",
     .low = 1,
     .high = 1e9},
    {.name = "tokenizer",
     .kind = CLI_STRING,
     .value = &sparsify.tokenizer,
     .argument = "DIR",
     .shown = "the model's",
     .help = "tokenizer.json, or the folder it lies in: what cuts the text, and goes along"},
    CLI_BAD_TEXT_OPTION("replace|stop",
                        "where the text is not UTF-8: replace it by U+FFFD, counted, or stop"),
    {.name = "memory",
     .kind = CLI_COUNT,
     .value = &sparsify.memory,
     .argument = "BYTES",
     .help = "for inputs of layers: as many layers as fit are collected in one pass over the text",
     .low = 1,
     .high = 1e15},
    {0}};

// What the library begins with is the default here.
static const cli_option *sparsify_table(void)
{
    static bool filled; // once: a 0 that is there later was given
    const sg_sparsify_options o = sg_sparsify_options_default();
    if (filled) return options;
    filled = true;
    sparsify.calibration_tokens = o.calibration_tokens;
    sparsify.router_tokens = o.router_tokens;
    sparsify.test_tokens = o.test_tokens;
    sparsify.memory = o.memory;
    sparsify.projection_size = o.projection_size;
    sparsify.projection_steps = o.projection_steps;
    sparsify.projection_batch = o.projection_batch;
    sparsify.projection_rate = o.projection_rate;
    sparsify.projection_sparsity = o.projection_sparsity;
    return options;
}

static bool sparsify_progress(void *user, int64_t done, int64_t total)
{
    cli_progress_update(user, (double)done, (double)total, NULL);
    return !cli_stop_requested();
}

typedef struct sparsify_made {
    sg_sparsify_options o;
    sg_sparsify_outlook look;
    sg_sparsify_result result;
    sg_sparsify_layer *layers;         // (count)
    sg_sparsify_projection *projected; // (4 * count)
    int64_t count;
    int64_t block_size, blocks, active; // blocks, active: shared ones among them
    sg_config config;                   // of the model that was made
    bool tokenizer;
} sparsify_made;

// The method's options, and what was given beside it.
static sg_status sparsify_options(const cli_args *args, sg_sparsify_options *o, sg_error *err)
{
    sg_status status = sg_sparsify_options_of(sparsify.method, o, err);
    if (cli_given(args, "split")) o->split = sparsify.split;
    if (cli_given(args, "router")) o->router = sparsify.router;
    if (cli_given(args, "router") && !cli_given(args, "target")) o->target = NULL;
    if (cli_given(args, "target")) o->target = sparsify.target;
    if (cli_given(args, "unread")) o->unread = sparsify.unread;
    if (cli_given(args, "select")) o->select = sparsify.select;
    if (cli_given(args, "block-size")) o->block_size = sparsify.block_size, o->blocks = 0;
    if (cli_given(args, "blocks")) o->blocks = sparsify.blocks;
    if (cli_given(args, "split") && !cli_given(args, "shared-blocks")) o->shared_blocks = 0;
    if (cli_given(args, "shared-blocks")) o->shared_blocks = sparsify.shared_blocks;
    if (cli_given(args, "active")) o->active = sparsify.active;
    if (cli_given(args, "threshold")) o->threshold = sparsify.threshold;
    if (cli_given(args, "projections")) o->projections = sparsify.projections;
    if (cli_given(args, "projection-layers")) o->projection_layers = sparsify.projection_layers;
    o->projection_size = sparsify.projection_size;
    o->projection_steps = sparsify.projection_steps;
    o->projection_batch = sparsify.projection_batch;
    o->projection_rate = sparsify.projection_rate;
    o->projection_sparsity = sparsify.projection_sparsity;
    o->shares = sparsify.shares;
    o->router_size = sparsify.router_size;
    if (cli_given(args, "router-epochs")) o->router_epochs = sparsify.router_epochs;
    o->router_rate = sparsify.router_rate;
    o->context = sparsify.context;
    o->calibration_tokens = sparsify.calibration_tokens;
    o->router_tokens = sparsify.router_tokens;
    o->test_tokens = sparsify.test_tokens;
    o->memory = sparsify.memory;
    o->seed = (uint64_t)sparsify.seed;
    o->out = sparsify.out;
    return status;
}

// Said before the work, which may be long.
static void sparsify_tell(const cli_args *args, const sparsify_made *made)
{
    const sg_sparsify_options *o = &made->o;
    const sg_sparsify_outlook *l = &made->look;
    const char *target = sg_sparsify_target(o);
    cli_note(args, "method %s: split %s, router %s%s%s, select %s, unread blocks give %s",
             sparsify.method, o->split, o->router, target != NULL ? " for target " : "",
             target != NULL ? target : "", o->select, o->unread);
    cli_note(args,
             "feed-forward layers are %.0f %% of the bytes that a token reads, %.0f %% of its "
             "FLOPs",
             100 * l->ffn_bytes / l->all_bytes, 100 * l->ffn_flops / l->all_flops);
    cli_note(args,
             "at most %.2f times as fast were they free, %.2f times with %.0f %% of their "
             "blocks and a router of %.1f %% of their FLOPs",
             l->ceiling, l->bound, 100 * o->active, 100 * l->router);
    if (l->passes == 0) return;
    char bytes[32];
    cli_short_number(bytes, sizeof bytes, (double)l->input_bytes);
    cli_note(args,
             "of the text %lld tokens to calibrate by, %lld to train routers on, %lld to test "
             "with; inputs of layers take %sB, in %lld pass%s",
             (long long)l->calibration_tokens, (long long)l->router_tokens,
             (long long)l->test_tokens, bytes, (long long)l->passes, l->passes == 1 ? "" : "es");
}
// The tokenizer cuts the text, and goes along. Where nothing is cut it may be missing.
static sg_status sparsify_tokenizer(const cli_args *args, const char *folder,
                                    sg_tokenizer **tokenizer, sg_error *err)
{
    sg_error none = {0};
    if (sparsify.text != NULL || sparsify.tokenizer != NULL)
        return cli_tokenizer_open(sparsify.tokenizer, folder, tokenizer, err);
    if (sg_tokenizer_open(folder, tokenizer, &none) != SG_OK)
        cli_note(args, "without a tokenizer: %s", none.message);
    return SG_OK;
}

typedef struct sparsify_texts {
    sg_corpus *corpus;
    sg_document text;
    sg_data *data;
} sparsify_texts;

static sg_status sparsify_texts_open(const cli_args *args, sg_context *context, const char *folder,
                                     sparsify_texts *t, sg_sparsify_options *o, sg_error *err)
{
    sg_status status = SG_OK;
    if (sparsify.text != NULL) {
        status = cli_text_open(sparsify.text, false, &t->corpus, err);
        if (status == SG_OK) status = sg_corpus_next(t->corpus, &t->text, err);
        o->text = t->text.text;
        o->text_bytes = t->text.bytes;
    }
    if (sparsify.data != NULL) {
        status = cli_data_check(args, context, sparsify.tokenizer, folder, sparsify.data, err);
        if (status == SG_OK) status = sg_data_open(sparsify.data, SG_VERIFY_AUTO, &t->data, err);
        o->data = t->data;
    }
    return status;
}

// What of the text was not read as it stood.
static void sparsify_texts_close(const cli_args *args, sparsify_texts *t,
                                 const sg_sparsify_result *result)
{
    if (t->corpus != NULL && result != NULL) {
        sg_text_counts counts = sg_corpus_counts(t->corpus);
        counts.replaced += result->replaced;
        cli_reading_warn(args, &counts);
        cli_lost_warn(args, "text", result->lost_bytes, (int64_t)t->text.bytes);
    }
    sg_corpus_close(t->corpus);
    sg_data_free(t->data);
}

static sg_status sparsify_work(const cli_args *args, sg_context *context, sg_model *dense,
                               const char *folder, sparsify_made *made, sg_model **sparse,
                               sg_error *err)
{
    cli_progress bar;
    sparsify_texts texts = {0};
    sg_tokenizer *tokenizer = NULL;
    sg_sparsify_options *o = &made->o;
    sg_status status = sparsify_tokenizer(args, folder, &tokenizer, err);
    o->tokenizer = tokenizer;
    if (status == SG_OK) status = sparsify_texts_open(args, context, folder, &texts, o, err);
    if (status == SG_OK) status = sg_sparsify_look(dense, o, &made->look, err);
    if (status == SG_OK) {
        if (o->projections != NULL)
            cli_projections_tell(args, o, &made->look);
        else if (o->trim != NULL)
            cli_trim_tell(args, o, &made->look);
        else
            sparsify_tell(args, made);
        cli_progress_begin(&bar, args, "sparsify", "layers");
        o->progress = sparsify_progress;
        o->progress_user = &bar;
        o->layers = made->layers;
        o->projected = made->projected;
        status = sg_sparsify(dense, o, sparse, &made->result, err);
        cli_progress_end(&bar);
    }
    sparsify_texts_close(args, &texts, status == SG_OK ? &made->result : NULL);
    made->tokenizer = tokenizer != NULL;
    sg_tokenizer_free(tokenizer);
    return status;
}

static sg_status sparsify_make(const cli_args *args, sg_context *context, sparsify_made *made,
                               sg_error *err)
{
    char folder[CLI_PATH];
    sg_model *dense = NULL, *sparse = NULL;
    sg_status status = sparsify_options(args, &made->o, err);
    if (status == SG_OK)
        status = cli_model_open(context, args->operands[0], "stored", &dense, folder, err);
    if (status != SG_OK) return status;
    const int64_t width = sg_model_config(dense)->ffn_intermediate_size;
    made->count = sg_model_config(dense)->num_hidden_layers;
    made->layers = calloc((size_t)made->count, sizeof *made->layers);
    made->projected = calloc((size_t)made->count, 4 * sizeof *made->projected);
    if (made->layers == NULL || made->projected == NULL) {
        snprintf(err->message, sizeof err->message, "out of memory for what layers come to");
        status = err->code = SG_ERR_MEMORY;
    }
    if (status == SG_OK) status = sparsify_work(args, context, dense, folder, made, &sparse, err);
    if (status == SG_OK) cli_chat_stays_note(args, folder, sparsify.out);
    if (status == SG_OK) made->config = *sg_model_config(sparse);
    if (status == SG_OK && made->o.trim == NULL && made->o.projections == NULL) {
        made->block_size = made->config.ffn_block_size;
        made->blocks = width / made->block_size;
        made->active = made->config.ffn_top_k + made->o.shared_blocks;
    }
    sg_model_free(dense);
    sg_model_free(sparse);
    return status;
}

// ---- what came of it ----------------------------------------------------------------------------

static json_t *sparsify_captured_json(const sg_sparsify_captured *c)
{
    return json_pack("{s:o, s:o, s:o}", "router", cli_json_number(c->router), "oracle",
                     cli_json_number(c->oracle), "random", cli_json_number(c->random));
}

static json_t *sparsify_layer_json(int64_t layer, const sg_sparsify_layer *l, bool tested)
{
    json_t *object = json_pack("{s:I, s:f}", "layer", (json_int_t)layer, "distance", l->distance);
    if (object != NULL && l->router_epoch > 0) {
        json_object_set_new(object, "router_epoch", json_integer((json_int_t)l->router_epoch));
        json_object_set_new(object, "router_loss", cli_json_number(l->router_loss));
    }
    if (object == NULL || !tested) return object;
    json_t *more = json_pack(
        "{s:o, s:{s:f, s:f, s:I, s:I, s:I, s:I, s:I}, s:I, s:o, s:o}", "within",
        cli_json_number(l->within), "blocks", "mean", l->mean, "deviation", l->deviation, "least",
        (json_int_t)l->least, "p5", (json_int_t)l->p5, "p50", (json_int_t)l->p50, "p95",
        (json_int_t)l->p95, "most", (json_int_t)l->most, "compared", (json_int_t)l->compared,
        "captured_positive", sparsify_captured_json(&l->positive), "captured_norm",
        sparsify_captured_json(&l->norm));
    if (more != NULL) json_object_update(object, more);
    json_decref(more);
    return object;
}

static json_t *sparsify_json(const sparsify_made *m)
{
    const sg_sparsify_result *r = &m->result;
    const char *target = sg_sparsify_target(&m->o);
    json_t *layers = json_array();
    for (int64_t i = 0; i < m->count; i++)
        json_array_append_new(layers, sparsify_layer_json(i, &m->layers[i], r->test_tokens > 0));
    return json_pack(
        "{s:s, s:s, s:s, s:s, s:s?, s:s, s:s, s:f, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:f, "
        "s:f, s:b, s:I, s:o, s:o, s:o, s:o}",
        "path", sparsify.out, "method", sparsify.method, "split", m->o.split, "router", m->o.router,
        "target", target, "unread", m->o.unread, "select", m->o.select, "threshold", m->o.threshold,
        "block_size", (json_int_t)m->block_size, "blocks", (json_int_t)m->blocks, "shared_blocks",
        (json_int_t)m->o.shared_blocks, "active_blocks", (json_int_t)m->active, "distance",
        r->distance, "ffn_bytes", m->look.ffn_bytes, "bytes", m->look.all_bytes, "ceiling",
        m->look.ceiling, "bound", m->look.bound, "router_share", m->look.router, "tokenizer",
        m->tokenizer, "test_tokens", (json_int_t)r->test_tokens, "dense_perplexity",
        cli_json_number(r->dense_perplexity), "sparse_perplexity",
        cli_json_number(r->sparse_perplexity), "executed", cli_json_number(r->executed), "layers",
        layers);
}

// A line for each layer: what the router captures, of which the oracle is the most there is.
static void sparsify_table_print(const sparsify_made *m)
{
    printf(
        "                        blocks read   positive sums: share of    output norms: share of\n"
        "layer  distance  within   mean    p95   router  oracle  random   router  oracle  "
        "random\n");
    for (int64_t i = 0; i < m->count; i++) {
        const sg_sparsify_layer *l = &m->layers[i];
        printf("%5lld  %8.3f  %6.3f  %5.1f  %5lld   %6.3f  %6.3f  %6.3f   %6.3f  %6.3f  %6.3f\n",
               (long long)i, l->distance, l->within, l->mean, (long long)l->p95, l->positive.router,
               l->positive.oracle, l->positive.random, l->norm.router, l->norm.oracle,
               l->norm.random);
    }
}

static int sparsify_report(const cli_args *args, const sparsify_made *m)
{
    const sg_sparsify_result *r = &m->result;
    if (r->resumed > 0)
        cli_note(args, "%lld of %lld layers were there from before", (long long)r->resumed,
                 (long long)m->count);
    if (m->o.projections != NULL)
        return cli_projections_report(args, sparsify.out, &m->o, &m->look, r, m->count,
                                      m->tokenizer);
    if (m->o.trim != NULL)
        return cli_trim_report(args, sparsify.out,
                               &(cli_trim_made){.options = &m->o,
                                                .look = &m->look,
                                                .result = r,
                                                .layers = m->layers,
                                                .config = &m->config,
                                                .tokenizer = m->tokenizer});
    if (args->json) return cli_print_json(args, sparsify_json(m));
    if (r->test_tokens > 0) sparsify_table_print(m);
    printf("%s: layers of %lld blocks of %lld neurons, %s%lld of which a token reads, %s split at "
           "mean "
           "distance %.3f, router %s, %s tokenizer\n",
           sparsify.out, (long long)m->blocks, (long long)m->block_size,
           strcmp(m->o.select, "top_k") == 0 ? "" : "at most ", (long long)m->active, m->o.split,
           r->distance, m->o.router, m->tokenizer ? "with" : "without");
    if (r->test_tokens > 0)
        printf("perplexity %.4f, dense %.4f, on %lld tokens of test; %.1f %% of the FLOPs of "
               "feed-forward layers\n",
               r->sparse_perplexity, r->dense_perplexity, (long long)r->test_tokens,
               100 * r->executed);
    return CLI_DONE;
}

// Options that say nothing without others; NULL: all is well.
static const char *sparsify_stray(const cli_args *args)
{
    static const char *const of_texts[] = {
        "calibration-tokens", "router-tokens", "test-tokens", "context", "bad-text", "memory"};
    if (sparsify.text != NULL || sparsify.data != NULL) return NULL;
    for (size_t i = 0; i < sizeof of_texts / sizeof *of_texts; i++)
        if (cli_given(args, of_texts[i])) return of_texts[i];
    return NULL;
}

static int sparsify_run(const cli_args *args)
{
    sg_error err = {0};
    sg_context *context;
    sparsify_made made = {0};
    if (sparsify.text != NULL && sparsify.data != NULL)
        return cli_wrong(args, "found both, expected one of --data and --text");
    if (sparsify_stray(args) != NULL)
        return cli_wrong(args, "--%s: goes with --text or --data only", sparsify_stray(args));
    if (cli_trim_is(sparsify.method) && cli_trim_stray(args) != NULL)
        return cli_wrong(args, "--%s: says nothing beside --method %s", cli_trim_stray(args),
                         sparsify.method);
    if (cli_given(args, "shares") && !cli_trim_is_inputs(sparsify.method))
        return cli_wrong(args, "--shares: says nothing beside --method %s", sparsify.method);
    const char *stray = cli_projections_stray(args, strcmp(sparsify.method, "attention-mlp") == 0);
    if (stray != NULL)
        return cli_wrong(args, "--%s: says nothing beside --method %s", stray, sparsify.method);
    sg_status status = cli_context_new(args, &context, &err);
    if (status != SG_OK) return cli_fail(args, status, &err);
    cli_catch_signals();
    status = sparsify_make(args, context, &made, &err);
    sg_context_free(context);
    const int code = status == SG_OK ? sparsify_report(args, &made) : cli_fail(args, status, &err);
    free(made.layers);
    free(made.projected);
    return code;
}

const cli_command cli_cmd_sparsify = {
    .name = "sparsify",
    .summary = "make a dense model sparse",
    .usage = "MODEL --out DIR [options]",
    .about =
        "MODEL is any model with dense feed-forward layers that can be opened: a folder or a "
        "run of this program, a Hugging Face folder, a GGUF file, a model of llama2.c. First "
        "what there is to gain is told: the share of feed-forward layers in what a token "
        "reads, and how much faster decoding can be at most.\n"
        "\n"
        "DIR is a folder of family moefied, whose weights are f32. The layers compute what "
        "those of MODEL do where all blocks are read (--active 1).\n"
        "\n"
        "A text is cut into three parts: splits and means are made of the first, routers "
        "trained on the second, and on the third all is tested: a line for each layer says "
        "how far neurons are from the centre of their block, how much of what pairs of them "
        "do together lies within blocks, and how much of the truth the blocks have that the "
        "router chooses, beside as many of an oracle's and of the control's. Perplexities are "
        "of sequences that know nothing of each other.\n"
        "\n"
        "What is stopped, or ends in any other way, goes on with the same command and loses a "
        "layer at most; where thresholds are found for several layers in one pass over the "
        "text, these.\n"
        "\n"
        "--method cats needs no blocks and no router: neurons are left out whose gate, or "
        "activation in a plain layer, is no larger in size than a threshold of its layer, "
        "which the first part of the text has, so that --active of them stay.\n"
        "\n"
        "--method teal leaves out inputs of products, those of attention among them, that are "
        "no larger in size than a threshold of their place and layer, so that --active of them "
        "stay; --method wina goes by their size times the norm of their column of weights. DIR "
        "is then a model of the family of MODEL.\n"
        "\n"
        "--method attention-mlp leaves feed-forward layers as they are, of any family, and "
        "puts MLPs of ReLU in the place of projections of attention, trained on the first "
        "part of the text to say what the projections say. Made sparse they are by training: "
        "train --sparsity-term hoyer --sparsity-modules both.",
    .table = sparsify_table,
    .example = "sgatlin sparsify SmolLM2-135M --active 0.5 --out smol-sparse\n"
               "sgatlin sparsify SmolLM2-135M --method moefication --text book.txt --out smol\n"
               "sgatlin sparsify SmolLM2-135M --method cats --text book.txt --out smol-cats\n"
               "sgatlin sparsify smol --method attention-mlp --text book.txt --out smol-mlp\n"
               "sgatlin sparsify SmolLM2-135M --method teal --text book.txt --out smol-teal\n"
               "sgatlin eval --model smol-sparse --text book.txt",
    .min_operands = 1,
    .max_operands = 1,
    .operands = "MODEL",
    .run = sparsify_run,
};
