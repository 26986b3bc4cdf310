// sgatlin probe cka: how alike the gates of layers and channels are, and the embeddings.
#include <stdlib.h>
#include <string.h>

#include "cli/recorded.h"

static struct {
    const char *layers, *channels, *model, *form;
    int64_t top, rows, seed;
    bool first, activations, npy;
} cka = {.channels = "0", .form = "auto", .rows = 20000};

static const cli_option cka_options[] = {
    {.name = "layers",
     .kind = CLI_STRING,
     .value = &cka.layers,
     .argument = "LIST",
     .shown = "all",
     .help = "of a record: these layers, 0,2-4; layers and channels are from 0"},
    {.name = "channels",
     .kind = CLI_STRING,
     .value = &cka.channels,
     .argument = "LIST",
     .help = "these channels of each of them"},
    {.name = "model",
     .kind = CLI_STRING,
     .value = &cka.model,
     .argument = "DIR",
     .shown = "",
     .help = "also with the rows of this model's embedding table for the input tokens"},
    {.name = "tokens-top",
     .kind = CLI_COUNT,
     .value = &cka.top,
     .argument = "N",
     .shown = "all",
     .help = "only the N most frequent input tokens; with embeddings 100 as published",
     .low = 1,
     .high = 1e9},
    {.name = "first-only",
     .kind = CLI_FLAG,
     .value = &cka.first,
     .help = "only where an input token comes first; with embeddings as published"},
    {.name = "rows",
     .kind = CLI_COUNT,
     .value = &cka.rows,
     .argument = "N",
     .help = "at most N rows, drawn where there are more",
     .low = 2,
     .high = 1e8},
    {.name = "seed",
     .kind = CLI_INT,
     .value = &cka.seed,
     .argument = "N",
     .help = "of the rows that are drawn",
     .low = 0,
     .high = CLI_SEED_MOST},
    {.name = "activations",
     .kind = CLI_FLAG,
     .value = &cka.activations,
     .help = "activations (hook_post) in place of the router's scores, as always in a dense layer"},
    {.name = "npy",
     .kind = CLI_FLAG,
     .value = &cka.npy,
     .help = "FILEs are two or more .npy arrays of floats, (rows, …), in place of a record"},
    {.name = "form",
     .kind = CLI_STRING,
     .value = &cka.form,
     .argument = "NAME",
     .help = "products of columns, or Gram matrices of rows: the same value; auto: the cheaper one",
     .choices = "auto|features|gram"},
    {0},
};

// One description of the rows.
typedef struct cka_space {
    char *name;
    sg_patterns *patterns;
    sg_array *rows;
    float *values; // of embeddings
    sg_vectors vectors;
} cka_space;

typedef struct cka_work {
    const cli_args *args;
    sg_context *context;
    sg_record *record;
    cka_space *spaces; // (count)
    int64_t count;
    double *matrix; // (count, count)
} cka_work;

static sg_status cka_memory(sg_error *err)
{
    snprintf(err->message, sizeof err->message, "out of memory for results");
    return err->code = SG_ERR_MEMORY;
}

static cka_space *cka_add(cka_work *w, const char *name)
{
    cka_space *spaces = realloc(w->spaces, (size_t)(w->count + 1) * sizeof *spaces);
    if (spaces == NULL) return NULL;
    w->spaces = spaces;
    spaces[w->count] = (cka_space){.name = strdup(name)};
    if (spaces[w->count].name == NULL) return NULL;
    return &spaces[w->count++];
}

// ---- spaces -------------------------------------------------------------------------------------

static sg_status cka_channel(cka_work *w, sg_record_channel at, sg_error *err)
{
    char name[64];
    sg_patterns_options o = sg_patterns_options_default();
    snprintf(name, sizeof name, "%lld.%lld", (long long)at.layer, (long long)at.channel);
    cka_space *space = cka_add(w, name);
    if (space == NULL) return cka_memory(err);
    o.layer = at.layer;
    o.channel = at.channel;
    o.top = cka.top;
    o.first_only = cka.first;
    o.most = cka.rows;
    o.seed = (uint64_t)cka.seed;
    o.activations = cka.activations;
    const sg_status status = sg_patterns_read(w->record, &o, &space->patterns, err);
    if (status != SG_OK) return status;
    const sg_patterns *p = space->patterns, *first = w->spaces[0].patterns;
    space->vectors = p->vectors;
    cli_patterns_note(w->args, p);
    if (p->vectors.rows == first->vectors.rows &&
        memcmp(p->tokens, first->tokens, (size_t)p->vectors.rows * sizeof *p->tokens) == 0)
        return SG_OK;
    snprintf(err->message, sizeof err->message,
             "layer %lld, channel %lld: is recorded for other tokens than layer %lld, channel %lld",
             (long long)at.layer, (long long)at.channel, (long long)first->layer,
             (long long)first->channel);
    return err->code = SG_ERR_MISMATCH;
}

static sg_status cka_embedding_read(const sg_model *model, const sg_patterns *p, cka_space *space,
                                    sg_error *err)
{
    size_t index;
    sg_tensor_info info;
    sg_status status = sg_model_tensor_find(model, "model.embed_tokens.weight", &index, err);
    if (status == SG_OK) status = sg_model_tensor_info(model, index, &info, err);
    if (status != SG_OK) return status;
    const int64_t rows = p->vectors.rows;
    space->values = malloc((size_t)(rows * info.columns) * sizeof *space->values + 1);
    if (space->values == NULL) return cka_memory(err);
    for (int64_t r = 0; status == SG_OK && r < rows; r++)
        status = sg_model_tensor_read(model, index, p->inputs[r], 1,
                                      space->values + r * info.columns, err);
    space->vectors = (sg_vectors){.rows = rows, .columns = info.columns, .values = space->values};
    return status;
}

static sg_status cka_embedding(cka_work *w, sg_error *err)
{
    sg_model *model = NULL;
    char folder[CLI_PATH];
    sg_status status = cli_model_open(w->context, cka.model, "stored", &model, folder, err);
    if (status != SG_OK) return status;
    const sg_patterns *p = w->spaces[0].patterns;
    cka_space *space = cka_add(w, "embed");
    status = space == NULL ? cka_memory(err) : cka_embedding_read(model, p, space, err);
    sg_model_free(model);
    return status;
}

static sg_status cka_open_record(cka_work *w, sg_error *err)
{
    sg_status status = sg_record_open(w->args->operands[0], &w->record, err);
    if (status == SG_OK) status = cli_lists_recorded(w->record, cka.layers, cka.channels, err);
    if (status != SG_OK) return status;
    const sg_record_info *info = sg_record_get_info(w->record);
    for (size_t i = 0; status == SG_OK && i < info->channel_count; i++)
        if (cli_list_has(cka.layers, info->channels[i].layer) &&
            cli_list_has(cka.channels, info->channels[i].channel))
            status = cka_channel(w, info->channels[i], err);
    if (status == SG_OK && cka.model != NULL) status = cka_embedding(w, err);
    const sg_patterns *p = w->count > 0 ? w->spaces[0].patterns : NULL;
    if (status == SG_OK && p->vectors.rows < p->fitting)
        cli_note(w->args, "%lld rows drawn of %lld (--rows)", (long long)p->vectors.rows,
                 (long long)p->fitting);
    return status;
}

static sg_status cka_open_arrays(cka_work *w, sg_error *err)
{
    for (int i = 0; i < w->args->count; i++) {
        cka_space *space = cka_add(w, w->args->operands[i]);
        if (space == NULL) return cka_memory(err);
        const sg_status status = sg_array_open(w->args->operands[i], &space->rows, err);
        if (status != SG_OK) return status;
        space->vectors = space->rows->vectors;
    }
    return SG_OK;
}

// ---- results ------------------------------------------------------------------------------------

static sg_status cka_compute(cka_work *w, sg_error *err)
{
    const sg_cka_form form = strcmp(cka.form, "gram") == 0       ? SG_CKA_GRAM
                             : strcmp(cka.form, "features") == 0 ? SG_CKA_FEATURES
                                                                 : SG_CKA_AUTO;
    cli_progress bar;
    sg_status status = SG_OK;
    w->matrix = calloc((size_t)(w->count * w->count), sizeof *w->matrix);
    if (w->matrix == NULL) return cka_memory(err);
    const double pairs = (double)(w->count * (w->count + 1)) / 2;
    double done = 0;
    cli_progress_begin(&bar, w->args, "cka", "pairs");
    for (int64_t i = 0; status == SG_OK && i < w->count; i++)
        for (int64_t j = 0; status == SG_OK && j <= i; j++) {
            double *value = &w->matrix[i * w->count + j];
            status =
                sg_cka(w->context, &w->spaces[i].vectors, &w->spaces[j].vectors, form, value, err);
            w->matrix[j * w->count + i] = *value;
            cli_progress_update(&bar, ++done, pairs, NULL);
            if (status == SG_OK && cli_stop_requested()) {
                snprintf(err->message, sizeof err->message, "stopped");
                status = err->code = SG_ERR_STOPPED;
            }
        }
    cli_progress_end(&bar);
    return status;
}

static json_t *cka_json(const cka_work *w)
{
    json_t *names = json_array(), *matrix = json_array();
    for (int64_t i = 0; i < w->count; i++) {
        json_t *row = json_array();
        json_array_append_new(names, json_string(w->spaces[i].name));
        for (int64_t j = 0; j < w->count; j++)
            json_array_append_new(row, json_real(w->matrix[i * w->count + j]));
        json_array_append_new(matrix, row);
    }
    return json_pack("{s:I, s:s, s:o, s:o}", "rows", (json_int_t)w->spaces[0].vectors.rows,
                     "values",
                     cka.npy                              ? "arrays"
                     : w->spaces[0].patterns->activations ? "activations"
                                                          : "scores",
                     "names", names, "cka", matrix);
}

static void cka_print(const cka_work *w)
{
    int width = 7;
    for (int64_t i = 0; i < w->count; i++)
        if ((int)strlen(w->spaces[i].name) > width) width = (int)strlen(w->spaces[i].name);
    printf("%lld rows%s\n", (long long)w->spaces[0].vectors.rows,
           cka.npy ? "" : "; names are layer.channel");
    printf("%*s", width, "");
    for (int64_t i = 0; i < w->count; i++)
        printf("  %*s", width, w->spaces[i].name);
    fputc('\n', stdout);
    for (int64_t i = 0; i < w->count; i++) {
        printf("%*s", width, w->spaces[i].name);
        for (int64_t j = 0; j < w->count; j++)
            printf("  %*.5f", width, w->matrix[i * w->count + j]);
        fputc('\n', stdout);
    }
}

// ---- all ----------------------------------------------------------------------------------------

static int cka_wrong(const cli_args *args)
{
    static const char *const of_record[] = {"layers",     "channels",    "model",
                                            "tokens-top", "first-only",  "rows",
                                            "seed",       "activations", NULL};
    for (int i = 0; cka.npy && of_record[i] != NULL; i++)
        if (cli_given(args, of_record[i]))
            return cli_wrong(args, "--%s: goes with a record, not with --npy", of_record[i]);
    if (cka.npy && args->count < 2)
        return cli_wrong(args, "--npy: found one FILE, expected two or more");
    if (!cka.npy && args->count > 1)
        return cli_wrong(args, "found %d FILEs, expected one record, or --npy", args->count);
    if (cka.layers != NULL && !cli_list_valid(cka.layers))
        return cli_wrong(args, "--layers: found \"%s\", expected such as 0,2-4", cka.layers);
    if (!cli_list_valid(cka.channels))
        return cli_wrong(args, "--channels: found \"%s\", expected such as 0,2-4", cka.channels);
    return CLI_DONE;
}

static void cka_free(cka_work *w)
{
    for (int64_t i = 0; i < w->count; i++) {
        free(w->spaces[i].name);
        free(w->spaces[i].values);
        sg_patterns_free(w->spaces[i].patterns);
        sg_array_free(w->spaces[i].rows);
    }
    free(w->spaces);
    free(w->matrix);
    sg_record_free(w->record);
    sg_context_free(w->context);
}

static int cka_run(const cli_args *args)
{
    sg_error err = {0};
    cka_work w = {.args = args};
    const int wrong = cka_wrong(args);
    if (wrong != CLI_DONE) return wrong;
    cli_catch_signals();
    sg_status status = cli_context_new(args, &w.context, &err);
    if (status != SG_OK) return cli_fail(args, status, &err);
    status = cka.npy ? cka_open_arrays(&w, &err) : cka_open_record(&w, &err);
    if (status == SG_OK) status = cka_compute(&w, &err);
    int code = CLI_DONE;
    if (status != SG_OK)
        code = cli_fail(args, status, &err);
    else if (args->json)
        code = cli_print_json(args, cka_json(&w));
    else
        cka_print(&w);
    cka_free(&w);
    return code;
}

const cli_command cli_cmd_probe_cka = {
    .name = "probe cka",
    .summary = "how alike the gates of layers and channels are (CKA)",
    .usage = "(RECORD | --npy FILE FILE) [options]",
    .about =
        "Linear centred kernel alignment (Kornblith et al. 2019) of the gates of channels at the "
        "tokens of a record, of each pair: 1 where one is the other but for rotation and scale, 0 "
        "where they have nothing in common. With few rows and many columns it is high by chance: "
        "compare with an untrained model of the same shape.",
    .options = cka_options,
    .example = "sgatlin probe cka scope.db\n"
               "sgatlin probe cka scope.db --model run --tokens-top 100 --first-only\n"
               "sgatlin probe cka --npy a.npy b.npy",
    .min_operands = 1,
    .max_operands = 16,
    .operands = "FILE",
    .run = cka_run,
};
