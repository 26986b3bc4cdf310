// Values of points into files: which points, which tokens, and a session that reads the tokens
// sequence by sequence while callbacks pass on what they see (point_output.c writes it).
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/name_pattern.h"
#include "base/number_list.h"
#include "format/json.h"
#include "model/model.h"
#include "probe/point_output.h"
#include "text/batches.h"
#include "sgatlin_data.h"

enum { dump_context = 2048 }; // unless told otherwise

typedef struct dump dump;

// One point that is written.
typedef struct dump_point {
    dump *of;
    size_t file; // of the output
    int64_t rows;
    sg_point_info info;
} dump_point;

struct dump {
    sg_model *model;
    const sg_dump_options *options;
    sg_dump_info info;
    sg_point_list all;
    dump_point *points; // (info.points)
    sg_point_request *requests;
    sg_points list;
    int32_t *ids;        // of a text
    const int32_t *read; // ids that are read; NULL: from batches
    sg_batches *batches;
    int64_t sequence; // that is being read
    sg_point_output output;
    sg_session *session;
    // Of one sequence (length): nothing is predicted, so that no more than logits is computed.
    int32_t *targets;
    double *nll;
    bool *likeliest;
};

sg_dump_options sg_dump_options_default(void)
{
    return (sg_dump_options){.split = SG_SPLIT_VAL};
}

// ---- rows as they come --------------------------------------------------------------------------

static bool dump_go_on(const dump *d, int64_t rows)
{
    const sg_dump_options *o = d->options;
    return o->progress == NULL || o->progress(o->user, rows, d->info.rows);
}

static sg_status dump_call(void *user, const sg_point_values *v, sg_error *err)
{
    dump_point *p = user;
    dump *d = p->of;
    const int64_t first = d->sequence * d->info.length + v->start[0] + v->first_row;
    if (v->row_step != 1 || first != p->rows || v->counts != NULL)
        return sg_fail(err, SG_ERR_INTERNAL, "found row %lld in steps of %lld%s, expected row %lld",
                       (long long)first, (long long)v->row_step,
                       v->counts != NULL ? " with counts" : "", (long long)p->rows);
    if (!dump_go_on(d, d->sequence * d->info.length + v->start[0]))
        return sg_fail(err, SG_ERR_STOPPED, "stopped in row %lld", (long long)first);
    const void *values = v->kind == SG_POINT_I32 ? (const void *)v->ids : v->values;
    p->rows += v->shape[0];
    return sg_point_output_put(&d->output, p->file, values, v->shape[0],
                               v->rank > 1 ? v->shape[v->rank - 1] : 1, err);
}

// ---- which points -------------------------------------------------------------------------------

// The names of the options as requests, for their check. names: the text, cut at its commas.
static sg_status dump_check_names(dump *d, char *names, sg_error *err)
{
    const char *list = d->options->points, *item;
    size_t bytes, count = 1;
    for (const char *at = list; *at != '\0'; at++)
        count += *at == ',';
    sg_point_request *asked = sg_alloc_zero(count, sizeof *asked);
    bool *found = sg_alloc_zero(count, sizeof *found);
    sg_status status = SG_OK;
    if (asked == NULL || found == NULL)
        status = sg_fail(err, SG_ERR_MEMORY, "out of memory for a list of points");
    for (size_t i = 0; status == SG_OK && (item = sg_name_list_next(&list, &bytes)) != NULL; i++) {
        names[item - d->options->points + (ptrdiff_t)bytes] = '\0';
        asked[i] = (sg_point_request){
            .name = names + (item - d->options->points), .use = SG_POINT_READ, .call = dump_call};
        for (size_t p = 0; p < d->all.count && !found[i]; p++)
            found[i] = sg_name_fits(item, bytes, d->all.items[p].name);
    }
    const sg_points points = {asked, count};
    const sg_point_recorder recorder = {.asked = &points, .found = found};
    if (status == SG_OK) status = sg_point_check(&recorder, &d->all, err);
    sg_free(asked);
    sg_free(found);
    return status;
}

static bool dump_wants(const dump *d, const sg_point_info *info)
{
    const char *list = d->options->points, *item;
    size_t bytes;
    bool wanted = false;
    while (!wanted && (item = sg_name_list_next(&list, &bytes)) != NULL)
        wanted = sg_name_fits(item, bytes, info->name);
    return wanted && (info->layer < 0 || sg_list_has(d->options->layers, info->layer));
}

// Those that are written, in the order of the computation, and where to.
static sg_status dump_choose(dump *d, sg_error *err)
{
    d->points = sg_alloc_zero(d->all.count, sizeof *d->points);
    d->requests = sg_alloc_zero(d->all.count, sizeof *d->requests);
    if (d->points == NULL || d->requests == NULL)
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for a list of points");
    for (size_t i = 0; i < d->all.count; i++) {
        const sg_point_info *info = &d->all.items[i];
        if (!dump_wants(d, info)) continue;
        const size_t at = (size_t)d->info.points++;
        int64_t shape[3] = {d->info.rows, info->shape[1], info->shape[2]};
        if (info->rank == 3 && shape[2] == 0) shape[2] = d->info.length; // of a pattern: keys
        d->points[at] = (dump_point){.of = d, .file = d->output.count, .info = *info};
        SG_TRY(sg_point_output_add(&d->output, info->name, info->kind, info->rank, shape, err));
        d->requests[at] = (sg_point_request){.name = d->points[at].info.name,
                                             .use = SG_POINT_READ,
                                             .call = dump_call,
                                             .user = &d->points[at]};
    }
    d->list = (sg_points){d->requests, (size_t)d->info.points};
    if (d->info.points > 0) return SG_OK;
    return sg_fail(err, SG_ERR_NOT_FOUND, "points \"%.200s\": none of them is in layers %.200s",
                   d->options->points, d->options->layers);
}

static sg_status dump_find(dump *d, sg_error *err)
{
    const char *names = d->options->points;
    SG_TRY(
        sg_list_read(d->options->layers, "layers", d->model->config.num_hidden_layers, NULL, err));
    SG_TRY(sg_graph_points(&d->model->config, &d->model->params, &d->all, err));
    char *copy = sg_strdup(names);
    sg_status status = copy == NULL
                           ? sg_fail(err, SG_ERR_MEMORY, "out of memory for a list of points")
                           : dump_check_names(d, copy, err);
    sg_free(copy);
    if (status == SG_OK) status = dump_choose(d, err);
    d->output.folder = strpbrk(names, ",*") != NULL;
    if (status == SG_OK && d->output.folder)
        status =
            sg_point_output_add(&d->output, SG_POINTS_TOKENS, SG_POINT_I32, 1, &d->info.rows, err);
    d->info.bytes = sg_point_output_bytes(&d->output);
    d->info.files = (int64_t)d->output.count + d->output.folder; // points.json
    return status;
}

// ---- which tokens -------------------------------------------------------------------------------

static sg_status dump_check(const dump *d, sg_error *err)
{
    const sg_dump_options *o = d->options;
    const int64_t longest = d->model->config.max_position_embeddings;
    const int sources = (o->tokens != NULL) + (o->text != NULL) + (o->data != NULL);
    if (o->points == NULL || o->path == NULL)
        return sg_fail(err, SG_ERR_ARGUMENT, "dump: found no %s",
                       o->path == NULL ? "path" : "points");
    if (sources != 1)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "dump: found %d sources, expected one of ids, a text and packed data",
                       sources);
    if (o->text != NULL && o->tokenizer == NULL)
        return sg_fail(err, SG_ERR_ARGUMENT, "dump: found a text, expected a tokenizer beside it");
    if (o->max_tokens < 0)
        return sg_fail(err, SG_ERR_ARGUMENT, "max-tokens: found %lld, expected at least 0",
                       (long long)o->max_tokens);
    if (o->context < 0 || o->context > longest)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "context: found %lld, expected 1 to the model's %lld positions",
                       (long long)o->context, (long long)longest);
    if (o->data != NULL && o->context != 0)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "context: found %lld, expected none with packed data, whose rows have "
                       "their length",
                       (long long)o->context);
    return SG_OK;
}

static sg_status dump_open_data(dump *d, int64_t *rows, sg_error *err)
{
    const sg_dump_options *o = d->options;
    const sg_data_info *info = sg_data_get_info(o->data);
    if (o->split != SG_SPLIT_TRAIN && o->split != SG_SPLIT_VAL)
        return sg_fail(err, SG_ERR_ARGUMENT, "split: found %d, expected 0 or 1", (int)o->split);
    SG_TRY(sg_data_fits(o->data, &d->model->config, "data", err));
    if (info->split[o->split].rows == 0)
        return sg_fail(err, SG_ERR_MISMATCH, "data: the %s split is empty",
                       o->split == SG_SPLIT_VAL ? "validation" : "training");
    const sg_batches_options batches = {.split = o->split, .batch_rows = 1, .once = true};
    SG_TRY(sg_batches_new(o->data, &batches, &d->batches, err));
    d->info.length = info->seq_len;
    *rows = info->split[o->split].rows * info->seq_len;
    return SG_OK;
}

static sg_status dump_encode(dump *d, int64_t *rows, sg_error *err)
{
    const sg_dump_options *o = d->options;
    int64_t begins;
    sg_encode_options encode = sg_encode_options_default();
    encode.lost_bytes = &d->info.lost_bytes;
    encode.replaced = &d->info.replaced;
    SG_TRY(sg_model_encode(d->model, o->tokenizer, o->text, o->text_bytes, &encode, &d->ids, rows,
                           &begins, err));
    d->read = d->ids;
    return SG_OK;
}

static sg_status dump_source(dump *d, sg_error *err)
{
    const sg_dump_options *o = d->options;
    int64_t rows = o->token_count;
    d->info.length = o->context;
    if (o->context == 0)
        d->info.length = sg_min(d->model->config.max_position_embeddings, dump_context);
    d->read = o->tokens;
    if (o->data != NULL) SG_TRY(dump_open_data(d, &rows, err));
    if (o->text != NULL) SG_TRY(dump_encode(d, &rows, err));
    if (rows < 1) return sg_fail(err, SG_ERR_ARGUMENT, "tokens: found none, expected some");
    d->info.rows = o->max_tokens > 0 ? sg_min(o->max_tokens, rows) : rows;
    d->info.length = sg_min(d->info.length, d->info.rows);
    d->info.sequences = (d->info.rows + d->info.length - 1) / d->info.length;
    return SG_OK;
}

// ---- points.json --------------------------------------------------------------------------------

// Each of these is NULL when out of memory.
static json_t *dump_note_shape(const sg_tensor_view *view)
{
    json_t *shape = json_array();
    for (int i = 0; i < view->ndim; i++)
        if (json_array_append_new(shape, json_integer(view->shape[i])) != 0) {
            json_decref(shape);
            return NULL;
        }
    return shape;
}

static const char *dump_dtype(const sg_point_file *f)
{
    return f->view.dtype == SG_DTYPE_I32 ? "int32" : "float32";
}

static json_t *dump_note_point(const dump *d, const dump_point *p)
{
    const sg_point_info *info = &p->info;
    const sg_point_file *f = &d->output.files[p->file];
    const bool pattern = info->rank == 3 && info->shape[2] == 0;
    return json_pack("{s:s, s:o, s:s, s:s, s:o, s:s*}", "name", info->name, "layer",
                     info->layer < 0 ? json_null() : json_integer(info->layer), "file", f->name,
                     "dtype", dump_dtype(f), "shape", dump_note_shape(&f->view), "layout",
                     pattern ? "keys of the row's sequence; 0 behind the row's own" : NULL);
}

static json_t *dump_note_points(const dump *d)
{
    json_t *points = json_array();
    for (int64_t i = 0; i < d->info.points; i++)
        if (json_array_append_new(points, dump_note_point(d, &d->points[i])) != 0) {
            json_decref(points);
            return NULL;
        }
    return points;
}

// *text: sg_free.
static sg_status dump_notes(const dump *d, char **text, sg_error *err)
{
    const sg_context *context = d->model->context;
    const sg_dump_options *o = d->options;
    const sg_point_file *tokens = &d->output.files[d->info.points];
    sg_json_setup();
    json_t *root =
        json_pack("{s:s, s:s?, s:s?, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:{s:s, s:s, s:o}, s:o}",
                  "format", "sgatlin points", "model", o->model, "command", o->command, "version",
                  sg_version(), "compiler", sg_compiler(), "kernel", sg_context_kernel(context),
                  "products", sg_context_products(context), "rows", (json_int_t)d->info.rows,
                  "sequences", (json_int_t)d->info.sequences, "length", (json_int_t)d->info.length,
                  "tokens", "file", tokens->name, "dtype", dump_dtype(tokens), "shape",
                  dump_note_shape(&tokens->view), "points", dump_note_points(d));
    sg_status status = root == NULL ? sg_fail(err, SG_ERR_MEMORY, "out of memory for points.json")
                                    : sg_json_text(root, true, text, err);
    json_decref(root);
    return status;
}

// ---- passes -------------------------------------------------------------------------------------

static sg_status dump_open(dump *d, sg_error *err)
{
    const size_t length = (size_t)d->info.length;
    const sg_session_options session = {.capacity = d->info.length, .points = &d->list};
    d->targets = sg_alloc_array(length, sizeof *d->targets);
    d->nll = sg_alloc_array(length, sizeof *d->nll);
    d->likeliest = sg_alloc_array(length, sizeof *d->likeliest);
    if (d->targets == NULL || d->nll == NULL || d->likeliest == NULL)
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for a dump");
    for (size_t i = 0; i < length; i++)
        d->targets[i] = -1;
    return sg_session_open(d->model, &session, &d->session, err);
}

static sg_status dump_sequence(dump *d, sg_error *err)
{
    const int64_t first = d->sequence * d->info.length;
    const int64_t count = sg_min(d->info.length, d->info.rows - first);
    const int32_t *ids = d->read + first;
    if (d->batches != NULL) {
        sg_data_batch batch;
        SG_TRY(sg_batches_next(d->batches, &batch, err));
        ids = batch.inputs;
    }
    if (d->output.folder)
        SG_TRY(sg_point_output_put(&d->output, (size_t)d->info.points, ids, count, 1, err));
    SG_TRY(sg_session_rewind(d->session, 0, err));
    return sg_session_score(d->session, ids, d->targets, count, d->nll, d->likeliest, err);
}

static sg_status dump_run(dump *d, sg_error *err)
{
    char *notes = NULL;
    const sg_dump_options *o = d->options;
    SG_TRY(dump_open(d, err));
    SG_TRY(sg_point_output_begin(&d->output, o->path, o->force, err));
    if (o->plan != NULL && !o->plan(o->user, &d->info))
        return sg_fail(err, SG_ERR_STOPPED, "stopped before the first row");
    for (; d->sequence < d->info.sequences; d->sequence++)
        SG_TRY(dump_sequence(d, err));
    if (!dump_go_on(d, d->info.rows))
        return sg_fail(err, SG_ERR_STOPPED, "stopped after the last row");
    if (d->output.folder) SG_TRY(dump_notes(d, &notes, err));
    sg_status status = sg_point_output_end(&d->output, notes, err);
    sg_free(notes);
    return status;
}

sg_status sg_probe_dump(sg_model *model, const sg_dump_options *options, sg_dump_info *info,
                        sg_error *err)
{
    dump d = {.model = model, .options = options};
    sg_status status = dump_check(&d, err);
    if (status == SG_OK) status = dump_source(&d, err);
    if (status == SG_OK) status = dump_find(&d, err);
    if (status == SG_OK) status = dump_run(&d, err);
    if (status == SG_OK && info != NULL) *info = d.info;
    sg_session_free(d.session);
    sg_point_output_free(&d.output);
    sg_batches_free(d.batches);
    sg_free(d.all.items);
    sg_free(d.points);
    sg_free(d.requests);
    sg_free(d.ids);
    sg_free(d.targets);
    sg_free(d.nll);
    sg_free(d.likeliest);
    return status;
}
