// sgatlin bench: how fast layers, training steps and decoding are on this machine, against what the
// machine can do at all.
#include <stdlib.h>
#include <string.h>

#include "cli/beside.h"
#include "cli/computing.h"
#include "cli/field_options.h"
#include "cli/model_options.h"
#include "sgatlin_bench.h"
#include "sgatlin_sparsify.h"
#include "sgatlin_train.h"

static struct {
    cli_strings presets;
    const char *families, *what, *rows, *table_dtype, *memory_path, *weights, *model;
    const char *beside, *text, *tokenizer;
    int64_t seq_len, batch, context, sessions, repeats, seed;
    double seconds;
    bool profile;
} bench = {.what = "layer,train,decode",
           .rows = "auto",
           .table_dtype = "f32",
           .memory_path = "auto",
           .weights = "f32",
           .batch = 8,
           .sessions = 1,
           .repeats = 3,
           .seed = 1,
           .seconds = 1};

static const cli_option own_options[] = {
    {.name = "preset",
     .kind = CLI_STRINGS,
     .value = &bench.presets,
     .argument = "NAME",
     .shown = "tinystories of each family",
     .help = "what to measure; may be given again and again"},
    {.name = "families",
     .kind = CLI_STRING,
     .value = &bench.families,
     .argument = "LIST",
     .shown = "the preset's",
     .help = "each preset in these families: mlp,sgatlin"},
    {.name = "model",
     .kind = CLI_STRING,
     .value = &bench.model,
     .argument = "PATH",
     .shown = "none",
     .help = "in place of presets a model that opens: prefill and "
             "decoding at 128, 512 and 2,048 tokens, or "
             "--context, with its weights as they are stored"},
    {.name = "beside",
     .kind = CLI_STRING,
     .value = &bench.beside,
     .argument = "PATH",
     .shown = "none",
     .help = "a second model, measured with --model in turns: prefill, and decoding with 1, 4 and "
             "16 sessions or --sessions, by 1 and 2 threads or --threads, behind 128 tokens or "
             "--context"},
    {.name = "text",
     .kind = CLI_STRING,
     .value = &bench.text,
     .argument = "FILE",
     .shown = "ids at random",
     .help = "with --beside: what is read; - is standard input"},
    {.name = "tokenizer",
     .kind = CLI_STRING,
     .value = &bench.tokenizer,
     .argument = "DIR",
     .shown = "each model's",
     .help = "with --text: what cuts it, for both models"},
    {.name = "what",
     .kind = CLI_STRING,
     .value = &bench.what,
     .argument = "LIST",
     .shown = "layer,train,decode; of a model prefill,decode",
     .help = "of layer, train, decode and prefill"},
    {.name = "weights",
     .kind = CLI_STRING,
     .value = &bench.weights,
     .argument = "TYPE",
     .help = "f32, bf16 or int8: what decoding reads matrices in",
     .choices = "f32|bf16|int8"},
    {.name = "batch-size",
     .kind = CLI_COUNT,
     .value = &bench.batch,
     .argument = "B",
     .help = "sequences of a layer's pass and of a training step",
     .low = 1,
     .high = 1 << 20},
    {.name = "seq-len",
     .kind = CLI_COUNT,
     .value = &bench.seq_len,
     .argument = "T",
     .shown = "preset's",
     .help = "tokens of a sequence",
     .low = 1,
     .high = 1 << 24},
    {.name = "context",
     .kind = CLI_COUNT,
     .value = &bench.context,
     .argument = "N",
     .shown = "half of T, at most 512",
     .help = "tokens before those that are decoded",
     .low = 0,
     .high = 1 << 24},
    {.name = "sessions",
     .kind = CLI_COUNT,
     .value = &bench.sessions,
     .argument = "N",
     .help = "decoded at once, a token of each in one pass",
     .low = 1,
     .high = SG_BATCH_MAX},
    {.name = "seconds",
     .kind = CLI_DOUBLE,
     .value = &bench.seconds,
     .argument = "S",
     .help = "spent on each figure, at least",
     .low = 0,
     .high = 1e6},
    {.name = "repeats",
     .kind = CLI_COUNT,
     .value = &bench.repeats,
     .argument = "N",
     .shown = "3; 12 with --beside",
     .help = "of each figure, at least; one more warms up",
     .low = 1,
     .high = 1000},
    {.name = "seed",
     .kind = CLI_INT,
     .value = &bench.seed,
     .argument = "N",
     .help = "of weights, tokens and hidden states",
     .low = 0,
     .high = CLI_SEED_MOST},
    {.name = "profile",
     .kind = CLI_FLAG,
     .value = &bench.profile,
     .help = "show the time of each operation"},
};

static const cli_option *bench_table(void)
{
    static cli_option table[CLI_MAX_OPTIONS];
    if (table[0].name != NULL) return table;
    const cli_option as_of_train[] = {
        cli_field_option(sg_train_field("compute"), &cli_computing_given.compute),
        cli_field_option(sg_train_field("logits_compute"), &cli_computing_given.logits),
        cli_field_option(sg_train_field("table_dtype"), &bench.table_dtype),
        cli_field_option(sg_train_field("memory_path"), &bench.memory_path),
        cli_field_option(sg_train_field("optimizer_rows"), &bench.rows)};
    size_t count = cli_table_add(table, 0, own_options, sizeof own_options / sizeof *own_options);
    count = cli_table_add(table, count, as_of_train, sizeof as_of_train / sizeof *as_of_train);
    cli_config_options(table, count);
    return table;
}

// ---- what to measure ----------------------------------------------------------------------------

enum { BENCH_JOBS = 64, BENCH_FAMILIES = 8 };

// Tokens of a model's session behind its prompt.
static int64_t bench_room(int64_t positions)
{
    return positions < 512 ? (positions + 3) / 4 : 128;
}

typedef struct bench_job {
    char name[64];
    sg_config config;
    int64_t context; // of a model: tokens of its prompt; 0: no model
} bench_job;

typedef struct bench_jobs {
    bench_job items[BENCH_JOBS];
    int count;
} bench_jobs;

// Calls `take` for each word of a list parted by commas; stops at the first code that is not DONE.
static int bench_words(const char *list, int (*take)(void *user, const char *word), void *user)
{
    for (const char *at = list;; at++) {
        char word[64];
        size_t length = strcspn(at, ",");
        snprintf(word, sizeof word, "%.*s", length < sizeof word ? (int)length : 60, at);
        int code = take(user, word);
        if (code != CLI_DONE) return code;
        at += length;
        if (*at == '\0') return CLI_DONE;
    }
}

typedef struct bench_what {
    const cli_args *args;
    unsigned set;
} bench_what;

static int bench_take_what(void *user, const char *word)
{
    bench_what *w = user;
    if (strcmp(word, "layer") == 0)
        w->set |= SG_BENCH_LAYER_FORWARD | SG_BENCH_LAYER_FORWARD_BACKWARD;
    else if (strcmp(word, "train") == 0)
        w->set |= SG_BENCH_TRAIN_STEP;
    else if (strcmp(word, "decode") == 0)
        w->set |= SG_BENCH_DECODE;
    else if (strcmp(word, "prefill") == 0)
        w->set |= SG_BENCH_PREFILL;
    else
        return cli_wrong(
            w->args, "--what: found '%s', expected a list of layer, train, decode, prefill", word);
    return CLI_DONE;
}

typedef struct bench_maker {
    const cli_args *args;
    const char *preset;
    bench_jobs *jobs;
} bench_maker;

// Tokens are drawn from the whole vocabulary, special or not: a smaller vocabulary than the
// preset's must not fail because special ids lie outside.
static void bench_specials(sg_config *c)
{
    int64_t *ids[] = {&c->pad_token_id, &c->eos_token_id, &c->bos_token_id};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        if (*ids[i] >= c->vocab_size) *ids[i] = -1;
}

// One preset in one family (NULL: its own), changed as the options say.
static int bench_take_family(void *user, const char *family)
{
    bench_maker *m = user;
    sg_preset p;
    sg_error err = {0};
    if (m->jobs->count == BENCH_JOBS)
        return cli_wrong(m->args, "found more than %d models, expected less", BENCH_JOBS);
    bench_job *job = &m->jobs->items[m->jobs->count++];
    sg_status status = sg_preset_find(m->preset, &p, &err);
    char own[sizeof p.config.ffn];
    snprintf(own, sizeof own, "%s", status == SG_OK ? p.config.ffn : "");
    if (status == SG_OK && family != NULL) status = sg_preset_set_family(&p, family, &err);
    if (status == SG_OK) status = cli_config_apply(&p, bench.seq_len, &err);
    bench_specials(&p.config);
    if (status == SG_OK) status = sg_config_complete(&p.config, &err);
    if (status != SG_OK) return cli_fail(m->args, status, &err);
    if (bench.context >= p.config.max_position_embeddings)
        return cli_wrong(m->args, "--context: found %lld, expected less than the %lld tokens of %s",
                         (long long)bench.context, (long long)p.config.max_position_embeddings,
                         m->preset);
    job->config = p.config;
    // slimpajama-mlp-s3 in family glu is slimpajama-glu-s3; demo has no family in its name.
    const char *at = strchr(m->preset, '-');
    if (at == NULL || strcmp(own, p.config.ffn) == 0)
        snprintf(job->name, sizeof job->name, "%s", m->preset);
    else
        snprintf(job->name, sizeof job->name, "%.*s-%s%s", (int)(at - m->preset), m->preset,
                 p.config.ffn, at + 1 + strlen(own));
    return CLI_DONE;
}

// Alone a model's bytes are those of its weights.
static sg_status bench_tell_whole(const cli_args *args, const sg_model *model, sg_error *err)
{
    int64_t bytes, copied, dense;
    const sg_status status = sg_sparsify_columns(model, &bytes, &copied, &dense, err);
    if (status != SG_OK || copied == 0) return status;
    cli_note(args, "bytes and shares of the limit are of whole matrices, of which inputs are left "
                   "out; --beside counts what is read");
    return cli_columns_tell(args, model, err);
}

// A model at several contexts that it can hold.
static int bench_model_jobs(const cli_args *args, sg_context *context, bench_jobs *jobs)
{
    const int64_t usual[] = {128, 512, 2048};
    const char *slash = strrchr(bench.model, '/');
    sg_error err = {0};
    sg_model *model;
    sg_status status = sg_model_open_stored(context, bench.model, &model, &err);
    if (status != SG_OK) return cli_fail(args, status, &err);
    const sg_config config = *sg_model_config(model);
    status = bench_tell_whole(args, model, &err);
    sg_model_free(model);
    if (status != SG_OK) return cli_fail(args, status, &err);
    // Behind the prompt there is room for the tokens that are measured.
    const int64_t positions = config.max_position_embeddings, room = bench_room(positions);
    const int64_t most = positions - room;
    const bool given = cli_given(args, "context");
    if (given && (bench.context < 1 || bench.context > most))
        return cli_wrong(args, "--context: found %lld, expected 1 to %lld for this model",
                         (long long)bench.context, (long long)most);
    for (int i = 0; i < (given ? 1 : 3); i++) {
        const int64_t tokens = given ? bench.context : usual[i] < most ? usual[i] : most;
        bench_job *job = &jobs->items[jobs->count++];
        *job = (bench_job){.config = config, .context = tokens};
        snprintf(job->name, sizeof job->name, "%s", slash ? slash + 1 : bench.model);
        if (tokens == most) break;
    }
    return CLI_DONE;
}

static int bench_make_jobs(const cli_args *args, bench_jobs *jobs)
{
    static const char small[] = "tinystories-"; // of each family that has presets
    int code = CLI_DONE;
    bench_maker maker = {.args = args, .jobs = jobs};
    if (bench.families != NULL && cli_given(args, "ffn"))
        return cli_wrong(args, "found both --families and --ffn, expected one of them");
    bool chosen = bench.presets.count > 0 || bench.families != NULL || cli_given(args, "ffn");
    for (size_t i = 0; !chosen && code == CLI_DONE && (maker.preset = sg_preset_name(i)); i++)
        if (strncmp(maker.preset, small, strlen(small)) == 0)
            code = bench_take_family(&maker, NULL);
    for (int i = 0; chosen && code == CLI_DONE && (i == 0 || i < bench.presets.count); i++) {
        maker.preset = bench.presets.count > 0 ? bench.presets.items[i] : "tinystories-sgatlin";
        code = bench.families == NULL ? bench_take_family(&maker, NULL)
                                      : bench_words(bench.families, bench_take_family, &maker);
    }
    return code;
}

// ---- results ------------------------------------------------------------------------------------

typedef struct bench_talk {
    const cli_args *args;
    const bench_job *job;
    const sg_context *context;
    const char *products;
    double gemm[SG_COMPUTE_BF16 + 1]; // GFLOP/s by kind; 0: not measured
    double stream;                    // GB/s
    int threads;
    int code;
} bench_talk;

static json_t *bench_profile_json(const sg_bench_result *r)
{
    json_t *list = json_array();
    for (size_t i = 0; i < r->line_count; i++) {
        const sg_bench_line *l = &r->lines[i];
        json_array_append_new(list,
                              json_pack("{s:s, s:I, s:f, s:f, s:f, s:f}", "operation", l->operation,
                                        "nodes", (json_int_t)l->nodes, "forward_seconds",
                                        l->forward_seconds, "backward_seconds", l->backward_seconds,
                                        "flops", l->flops, "share", l->share));
    }
    return list;
}

static int bench_json(const bench_talk *t, const sg_bench_result *r)
{
    const bool model = t->job->context > 0;
    const int64_t sequences = strcmp(r->name, "decode") == 0 ? bench.sessions
                              : model                        ? 1
                                                             : bench.batch;
    json_t *object = json_pack(
        "{s:s, s:s, s:s, s:s, s:I, s:I, s:i, s:I, s:I, s:f, s:f, s:f}", "name", r->name, "preset",
        t->job->name, "family", r->family, "dtype", r->dtype, "batch_size", (json_int_t)sequences,
        "seq_len", (json_int_t)t->job->config.max_position_embeddings, "threads", t->threads,
        "tokens", (json_int_t)r->tokens, "repeats", (json_int_t)r->repeats, "seconds", r->seconds,
        "fastest_seconds", r->fastest, "tokens_per_second", r->tokens_per_second);
    json_t *rest = json_pack(
        "{s:f, s:f, s:f, s:f, s:f, s:s, s:f, s:I, s:o, s:o}", "flops_published", r->flops_published,
        "flops", r->flops, "bytes", r->bytes, "gemm_gflops", r->gemm_gflops, "stream_gbs",
        r->stream_gbs, "limit", r->limit, "limit_fraction", r->limit_fraction, "peak_bytes",
        (json_int_t)r->peak_bytes, "reuse", r->reuse > 0 ? json_real(r->reuse) : json_null(),
        "config", cli_config_json(&t->job->config));
    cli_computing_json(object, t->context, r->compute, r->logits_compute);
    if (object != NULL) json_object_update(object, rest);
    json_decref(rest);
    if (model && object != NULL)
        json_object_set_new(object, "context", json_integer((json_int_t)t->job->context));
    if (r->router_seconds > 0 && object != NULL) {
        json_object_set_new(object, "router_flops_share", json_real(r->router_share));
        json_object_set_new(object, "router_seconds", json_real(r->router_seconds));
    }
    if (r->memory_order != NULL && object != NULL)
        json_object_set_new(object, "memory_order", json_string(r->memory_order));
    if (r->optimizer_rows != NULL && object != NULL)
        json_object_set_new(object, "optimizer_rows", json_string(r->optimizer_rows));
    if (bench.profile && object != NULL)
        json_object_set_new(object, "profile", bench_profile_json(r));
    return cli_print_json_line(t->args, object);
}

static void bench_text_profile(const sg_bench_result *r)
{
    printf("      %-18s %6s %12s %12s %7s %10s\n", "operation", "places", "forward ms",
           "backward ms", "share", "GEMM peak");
    for (size_t i = 0; i < r->line_count; i++) {
        const sg_bench_line *l = &r->lines[i];
        double both = l->forward_seconds + l->backward_seconds;
        printf("      %-18s %6lld %12.3f %12.3f %6.1f%% ", l->operation, (long long)l->nodes,
               1e3 * l->forward_seconds, 1e3 * l->backward_seconds, 100 * l->share);
        const double share = both > 0 ? 1e-9 * l->flops / both / r->gemm_gflops : 0;
        if (share > 0 && share <= 1)
            printf("%9.1f%%\n", 100 * share);
        else
            printf("%10s\n", "-");
    }
}

// Of a figure whose sparse layers have routers.
static void bench_text_router(const sg_bench_result *r)
{
    if (r->router_seconds <= 0) return;
    printf("      routers: %.2f %% of the FLOPs of the layers with all blocks, %.2f us a token, "
           "%.1f %% of this time\n",
           100 * r->router_share, 1e6 * r->router_seconds / (double)r->tokens,
           100 * r->router_seconds / r->seconds);
}

static void bench_text(const sg_bench_result *r)
{
    char rate[32], memory[32], reuse[32] = "-", name[32], share[16];
    snprintf(name, sizeof name, "%s", r->name);
    for (char *c = name; *c != '\0'; c++)
        if (*c == '_') *c = ' ';
    cli_short_number(rate, sizeof rate, r->tokens_per_second);
    cli_short_number(memory, sizeof memory, (double)r->peak_bytes);
    if (r->reuse > 0) cli_short_number(reuse, sizeof reuse, r->reuse);
    bool gemm = strcmp(r->limit, "gemm") == 0;
    // Products that were measured slower than the figure were so while others had the machine.
    if (gemm && r->limit_fraction > 1)
        snprintf(share, sizeof share, "-");
    else
        snprintf(share, sizeof share, "%.0f%%", 100 * r->limit_fraction);
    printf("  %-23s %9.2f %9.2f %9s %8.1f %6.1f %5s of %5.1f %-8s %8sB %7s\n", name,
           1e3 * r->seconds, 1e3 * r->fastest, rate, 1e-9 * r->flops / r->seconds,
           1e-9 * r->bytes / r->seconds, share, gemm ? r->gemm_gflops : r->stream_gbs,
           gemm ? "GFLOP/s" : "GB/s", memory, reuse);
    bench_text_router(r);
    if (bench.profile) bench_text_profile(r);
    fflush(stdout);
}

static bool bench_result(void *user, const sg_bench_result *r)
{
    bench_talk *t = user;
    if (t->args->json)
        t->code = bench_json(t, r);
    else
        bench_text(r);
    return t->code == CLI_DONE && !cli_stop_requested();
}

// Below this share of what the processor could do, the limit is not the processor's.
static const double bench_least_share = 0.5;

static const double bench_kind_seconds = 0.3; // measuring products of a kind beside f32

// The measured limit of products against what numbers in registers allow.
static void bench_check_peak(const bench_talk *t, double peak)
{
    if (t->gemm[SG_COMPUTE_F32] < bench_least_share * peak)
        cli_warn(t->args,
                 "products in f32 reach %.0f GFLOP/s, %.0f %% of the %.0f that %d threads multiply "
                 "and add in registers: other programs take the processor, or the products of %s "
                 "do not suit it; shares of this limit mean little",
                 t->gemm[SG_COMPUTE_F32], 100 * t->gemm[SG_COMPUTE_F32] / peak, peak, t->threads,
                 t->products);
}

// What is measured of the other kinds than f32: those that the processor has units for, and those
// that figures are held against.
static sg_status bench_measure(bench_talk *t, sg_context *context, sg_error *err)
{
    sg_compute_kind used[2];
    sg_status status = cli_computing_kinds(&used[0], &used[1], err);
    if (status == SG_OK)
        status = sg_measure_machine(context, &t->gemm[SG_COMPUTE_F32], &t->stream, err);
    for (int kind = SG_COMPUTE_BF16X3; kind <= SG_COMPUTE_BF16 && status == SG_OK; kind++)
        if (sg_context_units(context, (sg_compute_kind)kind) != NULL || (int)used[0] == kind ||
            (int)used[1] == kind)
            status = sg_measure_products(context, (sg_compute_kind)kind, bench_kind_seconds,
                                         &t->gemm[kind], err);
    return status;
}

// {"f32": 152.1, "bf16": 1210.5}
static json_t *bench_kinds_json(const bench_talk *t)
{
    json_t *object = json_object();
    for (int kind = SG_COMPUTE_F32; kind <= SG_COMPUTE_BF16; kind++)
        if (t->gemm[kind] > 0)
            json_object_set_new(object, sg_compute_kind_name((sg_compute_kind)kind),
                                json_real(t->gemm[kind]));
    return object;
}

static int bench_machine(const bench_talk *t, const char *kernel)
{
    const char *units = sg_context_units(t->context, SG_COMPUTE_BF16);
    const double peak = sg_measure_peak(t->context);
    bench_check_peak(t, peak);
    if (t->args->json)
        return cli_print_json_line(
            t->args, json_pack("{s:s, s:f, s:f, s:o, s:i, s:s, s:s, s:o, s:o}", "name", "machine",
                               "gemm_gflops", t->gemm[SG_COMPUTE_F32], "stream_gbs", t->stream,
                               "peak_gflops", json_real(peak), "threads", t->threads, "kernel",
                               kernel, "products", t->products, "units",
                               units != NULL ? json_string(units) : json_null(), "products_gflops",
                               bench_kinds_json(t)));
    printf("machine: products %.1f GFLOP/s in f32", t->gemm[SG_COMPUTE_F32]);
    for (int kind = SG_COMPUTE_BF16X3; kind <= SG_COMPUTE_BF16; kind++)
        if (t->gemm[kind] > 0)
            printf(", %.1f in %s", t->gemm[kind], sg_compute_kind_name((sg_compute_kind)kind));
    printf("; reads %.1f GB/s, threads %d, kernel %s\n"
           "products by %s, bf16 units: %s; the processor's limit in f32 %.0f GFLOP/s\n",
           t->stream, t->threads, kernel, t->products, units != NULL ? units : "none", peak);
    printf("%-25s %9s %9s %9s %8s %6s %-22s %9s %7s\n", "", "median ms", "fastest", "tokens/s",
           "GFLOP/s", "GB/s", " share of limit", "memory", "reuse");
    fflush(stdout);
    return CLI_DONE;
}

static void bench_title(const bench_talk *t)
{
    const sg_config *c = &t->job->config;
    if (t->args->json) {
        cli_note(t->args, "measuring %s (%s)", t->job->name, c->ffn);
        return;
    }
    if (t->job->context > 0) {
        printf("%s (%s): %lld tokens of context, width %lld, %lld layers, vocabulary %lld\n",
               t->job->name, c->ffn, (long long)t->job->context, (long long)c->hidden_size,
               (long long)c->num_hidden_layers, (long long)c->vocab_size);
        fflush(stdout);
        return;
    }
    printf("%s (%s): %lld x %lld tokens, width %lld, %lld layers, vocabulary %lld\n", t->job->name,
           c->ffn, (long long)bench.batch, (long long)c->max_position_embeddings,
           (long long)c->hidden_size, (long long)c->num_hidden_layers, (long long)c->vocab_size);
    fflush(stdout);
}

// ---- the verb -----------------------------------------------------------------------------------

static int bench_go(const cli_args *args, sg_context *context, const bench_jobs *jobs,
                    unsigned what)
{
    sg_error err = {0};
    sg_compute_kind compute = SG_COMPUTE_F32, logits = SG_COMPUTE_F32;
    bench_talk talk = {.args = args,
                       .context = context,
                       .threads = sg_context_threads(context),
                       .products = sg_context_products(context)};
    sg_status status = bench_measure(&talk, context, &err);
    if (status != SG_OK) return cli_fail(args, status, &err);
    int code = bench_machine(&talk, sg_context_kernel(context));
    sg_weights table_dtype = SG_WEIGHTS_F32, weights = SG_WEIGHTS_F32;
    sg_memory_path memory_path = SG_MEMORY_PATH_AUTO;
    status = sg_weights_parse(bench.table_dtype, "table-dtype", &table_dtype, &err);
    if (status == SG_OK)
        status = sg_memory_path_parse(bench.memory_path, "memory-path", &memory_path, &err);
    if (status == SG_OK) status = sg_weights_parse(bench.weights, "weights", &weights, &err);
    if (status == SG_OK) status = cli_computing_kinds(&compute, &logits, &err);
    if (status != SG_OK) return cli_fail(args, status, &err);
    cli_computing_tell(args, context, compute, logits);
    for (int i = 0; i < jobs->count && code == CLI_DONE; i++) {
        talk.job = &jobs->items[i];
        sg_bench_options o = sg_bench_options_default();
        o.optimizer_rows = bench.rows;
        o.config = talk.job->config;
        o.batch_size = bench.batch;
        if (cli_given(args, "context")) o.context = bench.context;
        if (talk.job->context > 0) {
            o.model = bench.model;
            o.context = talk.job->context;
            o.seq_len = o.context + bench_room(o.config.max_position_embeddings);
            o.batch_size = 1;
        }
        o.sessions = bench.sessions;
        o.what = what;
        o.seconds = bench.seconds;
        o.repeats = bench.repeats;
        o.seed = (uint64_t)bench.seed;
        o.table_dtype = table_dtype;
        o.memory_path = memory_path;
        o.weights = weights;
        o.compute = compute;
        o.logits_compute = logits;
        bench_title(&talk);
        status = sg_bench(context, &o, bench_result, &talk, &err);
        code = talk.code != CLI_DONE ? talk.code
               : status == SG_OK     ? CLI_DONE
                                     : cli_fail(args, status, &err);
    }
    return code;
}

// The first option given that two models do not take; NULL: none.
static const char *bench_stray(const cli_args *args)
{
    static const char *const takes[] = {"model",   "beside",  "text",     "tokenizer",
                                        "what",    "context", "sessions", "seconds",
                                        "repeats", "seed",    "compute",  "logits-compute"};
    const cli_option *o = bench_table();
    for (; o->name != NULL; o++) {
        size_t i = 0;
        while (i < sizeof takes / sizeof *takes && strcmp(takes[i], o->name) != 0)
            i++;
        if (i == sizeof takes / sizeof *takes && cli_given(args, o->name)) return o->name;
    }
    return NULL;
}

static int bench_beside_run(const cli_args *args, unsigned what)
{
    if (bench.model == NULL)
        return cli_wrong(args, "--beside: found no --model, expected the first of the two");
    const char *stray = bench_stray(args);
    if (stray != NULL) return cli_wrong(args, "--%s: does not go with --beside", stray);
    if (bench.tokenizer != NULL && bench.text == NULL)
        return cli_wrong(args, "--tokenizer: goes with --text only");
    if (cli_given(args, "context") && bench.context < 1)
        return cli_wrong(args, "--context: found 0, expected at least 1 with --beside");
    const cli_beside beside = {.models = {bench.model, bench.beside},
                               .text = bench.text,
                               .tokenizer = bench.tokenizer,
                               .context = bench.context,
                               .sessions = cli_given(args, "sessions") ? bench.sessions : 0,
                               .rounds = cli_given(args, "repeats") ? bench.repeats : 0,
                               .seconds = bench.seconds,
                               .seed = (uint64_t)bench.seed,
                               .what = what};
    return cli_beside_run(args, &beside);
}

static int bench_run(const cli_args *args)
{
    static bench_jobs jobs;
    bench_what what = {.args = args};
    sg_error err = {0};
    sg_context *context;
    cli_catch_signals();
    if (bench.model != NULL && !cli_given(args, "what")) bench.what = "prefill,decode";
    int code = bench_words(bench.what, bench_take_what, &what);
    if (code == CLI_DONE && bench.model != NULL &&
        what.set & ~(unsigned)(SG_BENCH_PREFILL | SG_BENCH_DECODE))
        return cli_wrong(args, "--what: found '%s', expected a list of prefill, decode for a model",
                         bench.what);
    if (code == CLI_DONE && bench.beside != NULL) return bench_beside_run(args, what.set);
    if (code == CLI_DONE && (bench.text != NULL || bench.tokenizer != NULL))
        return cli_wrong(args, "--%s: goes with --beside only", bench.text ? "text" : "tokenizer");
    if (code == CLI_DONE && bench.model == NULL) code = bench_make_jobs(args, &jobs);
    if (code != CLI_DONE) return code;
    sg_status status = cli_context_new(args, &context, &err);
    if (status != SG_OK) return cli_fail(args, status, &err);
    if (bench.model != NULL) code = bench_model_jobs(args, context, &jobs);
    if (code == CLI_DONE) code = bench_go(args, context, &jobs, what.set);
    sg_context_free(context);
    return code;
}

const cli_command cli_cmd_bench = {
    .name = "bench",
    .summary = "measure layers, training steps and decoding on this machine",
    .usage = "[--preset NAME]... [--families LIST] [--what LIST] [options]; or --model A "
             "[--beside B] [options]",
    .about = "First the machine's limits: dense products and reading memory, with a\n"
             "warning where products stay below 30 % of what the processor's flags and\n"
             "frequency allow. Then one feed-forward layer alone (forward; forward and\n"
             "backward), a training step, and decoding one token: medians, held against\n"
             "the limit that is hit first.\n"
             "The limits are measured again between the repeats of each figure, as a\n"
             "machine that others share changes within seconds; their medians count. A\n"
             "share is left out where products were slower then than the figure.\n"
             "GFLOP/s count work that must be done, with logits and attention over the\n"
             "causal half; GB/s count each weight in use once a pass (reuse: selections\n"
             "for each different neuron or expert selected). What lies in a cache can be\n"
             "faster than its limit. Memory is what is planned. With --json one object\n"
             "a line, the machine first.\n"
             "\n"
             "--beside measures two models in turns: in each round both, and the one that\n"
             "begins is the other one in the next, so that a slow moment of the machine\n"
             "meets both. B/A is the median ratio of speeds of a round, with an interval\n"
             "over rounds; the ceiling is what B could gain were reading memory all that\n"
             "counts, and each byte read once a pass. Of sparse layers: the blocks that\n"
             "a token reads in a layer, the share of neurons that these are, and the\n"
             "share that the tokens of a pass read together; where inputs are left out,\n"
             "these shares of inputs, by the weights behind them.",
    .table = bench_table,
    .example = "sgatlin bench --preset tinystories-sgatlin --what layer,train --profile\n"
               "sgatlin bench --model smol --beside smol-sparse --text book.txt",
    .run = bench_run,
};
