// Rows of sg_probe_patch as an SQLite database and as CSV: one a patch, pair, control, direction
// and metric. docs/PROBE.md has the tables.
#include <math.h>
#include <string.h>

#include "model/model.h"
#include "probe/patch_inside.h"
#include "probe/result_files.h"

static const sg_database_kind patch_kind = {
    .name = "results of patching", .application = 0x73675054, .version = 1};

static const char patch_tables[] =
    "CREATE TABLE meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID;"
    "CREATE TABLE fact(id INTEGER PRIMARY KEY, relation TEXT NOT NULL, subject TEXT NOT NULL,"
    " answers TEXT NOT NULL);"
    "CREATE TABLE pair(id INTEGER PRIMARY KEY, clean INTEGER NOT NULL REFERENCES fact,"
    " counterfactual INTEGER NOT NULL REFERENCES fact, prompt TEXT NOT NULL,"
    " length INTEGER NOT NULL, subject_first INTEGER NOT NULL, subject_last INTEGER NOT NULL,"
    " clean_logit_difference REAL NOT NULL, counterfactual_logit_difference REAL NOT NULL);"
    "CREATE TABLE patch(id INTEGER PRIMARY KEY, point TEXT NOT NULL, layers TEXT NOT NULL,"
    " channels TEXT NOT NULL, position TEXT NOT NULL);"
    "CREATE TABLE result(patch INTEGER NOT NULL REFERENCES patch,"
    " pair INTEGER NOT NULL REFERENCES pair, control TEXT NOT NULL, direction TEXT NOT NULL,"
    " metric TEXT NOT NULL, before REAL, value REAL NOT NULL,"
    " PRIMARY KEY(patch, pair, control, direction, metric)) WITHOUT ROWID;"
    "CREATE TABLE summary(patch INTEGER NOT NULL REFERENCES patch, control TEXT NOT NULL,"
    " direction TEXT NOT NULL, metric TEXT NOT NULL, pairs INTEGER NOT NULL,"
    " facts INTEGER NOT NULL, mean REAL, low REAL, high REAL, of_sums REAL, of_sums_low REAL,"
    " of_sums_high REAL, p REAL, p_holm REAL,"
    " PRIMARY KEY(patch, control, direction, metric)) WITHOUT ROWID;"
    "CREATE VIEW results AS SELECT patch.point, patch.layers, patch.channels, patch.position,"
    " result.control, result.direction, result.metric, result.before, result.value, pair.prompt,"
    " a.relation, a.subject AS clean, a.answers AS clean_answers, b.subject AS counterfactual,"
    " b.answers AS counterfactual_answers, result.patch, result.pair"
    " FROM result JOIN patch ON patch.id = result.patch JOIN pair ON pair.id = result.pair"
    " JOIN fact a ON a.id = pair.clean JOIN fact b ON b.id = pair.counterfactual;"
    "CREATE VIEW summaries AS SELECT patch.point, patch.layers, patch.channels, patch.position,"
    " summary.* FROM summary JOIN patch ON patch.id = summary.patch;";

// ---- what both tell -----------------------------------------------------------------------------

static const sg_fact *output_fact(const sg_patch_run *r, size_t prompt)
{
    return &r->facts->facts[r->pairs->prompts[prompt].fact];
}

static const char *output_prompt(const sg_patch_run *r, size_t prompt)
{
    return r->facts->relations[output_fact(r, prompt)->relation]
        .prompts[r->pairs->prompts[prompt].prompt];
}

// One row; the value is there.
typedef struct output_row {
    size_t patch, pair;
    sg_patch_control control;
    sg_patch_direction direction;
    sg_patch_metric metric;
    double before, value;
} output_row;

typedef sg_status (*output_fn)(void *user, const output_row *row, sg_error *err);

static sg_status output_of_pair(const sg_patch_run *r, output_row *row, output_fn each, void *user,
                                sg_error *err)
{
    for (int direction = 1; direction <= 2; direction++)
        for (int metric = 0; metric < SG_PATCH_METRICS; metric++) {
            if (((int)r->options->direction & direction) == 0) continue;
            row->direction = (sg_patch_direction)direction;
            row->metric = (sg_patch_metric)metric;
            row->value = sg_patch_value(r, row->patch, row->control, row->direction, row->metric,
                                        row->pair, &row->before);
            if (!isnan(row->value)) SG_TRY(each(user, row, err));
        }
    return SG_OK;
}

static sg_status output_each(const sg_patch_run *r, output_fn each, void *user, sg_error *err)
{
    output_row row = {0};
    for (row.patch = 0; row.patch < r->plan.count; row.patch++)
        for (row.pair = 0; row.pair < r->pairs->count; row.pair++)
            for (int control = 0; control < SG_PATCH_CONTROLS; control++) {
                row.control = (sg_patch_control)control;
                SG_TRY(output_of_pair(r, &row, each, user, err));
            }
    return SG_OK;
}

// ---- SQLite -------------------------------------------------------------------------------------

static sg_status write_metas(const void *results, sg_statement *s, sg_error *err)
{
    const sg_patch_run *r = results;
    const sg_patch_options *o = r->options;
    char seed[24];
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)o->seed);
    const struct {
        const char *key, *text;
        int64_t number;
    } rows[] = {{"format", "sgatlin patch", 0},
                {"version", sg_version(), 0},
                {"model", o->model, 0},
                {"command", o->command, 0},
                {"facts", o->facts, 0},
                {"kernel", sg_context_kernel(r->model->context), 0},
                {"products", sg_context_products(r->model->context), 0},
                {"neurons", o->neurons, 0},
                {"seed", seed, 0},
                {"bootstrap", NULL, o->bootstrap},
                {"permutations", NULL, o->permutations},
                {"runs", NULL, r->result->runs},
                {"pairs", NULL, r->result->counts.pairs}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (i < 9 && rows[i].text == NULL) continue; // was not given
        SG_TRY(sg_result_meta(s, rows[i].key, rows[i].text, rows[i].number, err));
    }
    return SG_OK;
}

static sg_status write_facts(const void *results, sg_statement *s, sg_error *err)
{
    const sg_patch_run *r = results;
    char answers[1024];
    for (size_t i = 0; i < r->facts->count; i++) {
        const sg_fact *fact = &r->facts->facts[i];
        size_t used = 0;
        answers[0] = '\0';
        for (size_t n = 0; n < fact->answer_count && used < sizeof answers; n++)
            used += (size_t)snprintf(answers + used, sizeof answers - used, "%s%s",
                                     n > 0 ? "; " : "", fact->answers[n]);
        sg_statement_bind_int(s, 1, (int64_t)i);
        sg_result_bind_text(s, 2, r->facts->relations[fact->relation].name);
        sg_result_bind_text(s, 3, fact->subject);
        sg_result_bind_text(s, 4, answers);
        SG_TRY(sg_statement_run(s, err));
    }
    return SG_OK;
}

static sg_status write_pairs(const void *results, sg_statement *s, sg_error *err)
{
    const sg_patch_run *r = results;
    for (size_t i = 0; i < r->pairs->count; i++) {
        const sg_fact_pair *pair = &r->pairs->pairs[i];
        const sg_fact_prompt *prompt = &r->pairs->prompts[pair->clean];
        sg_statement_bind_int(s, 1, (int64_t)i);
        sg_statement_bind_int(s, 2, (int64_t)prompt->fact);
        sg_statement_bind_int(s, 3, (int64_t)r->pairs->prompts[pair->counterfactual].fact);
        sg_result_bind_text(s, 4, output_prompt(r, pair->clean));
        sg_statement_bind_int(s, 5, prompt->length);
        sg_statement_bind_int(s, 6, prompt->subject_first);
        sg_statement_bind_int(s, 7, prompt->subject_last);
        sg_statement_bind_real(s, 8, r->base[0][i].m);
        sg_statement_bind_real(s, 9, -r->base[0][i ^ 1].m);
        SG_TRY(sg_statement_run(s, err));
    }
    return SG_OK;
}

static sg_status write_patches(const void *results, sg_statement *s, sg_error *err)
{
    const sg_patch_run *r = results;
    for (size_t i = 0; i < r->plan.count; i++) {
        const sg_patch *p = &r->plan.items[i];
        sg_statement_bind_int(s, 1, (int64_t)i);
        sg_result_bind_text(s, 2, p->point_name);
        sg_result_bind_text(s, 3, p->layers_name);
        sg_result_bind_text(s, 4, p->channels_name);
        sg_result_bind_text(s, 5, p->position_name);
        SG_TRY(sg_statement_run(s, err));
    }
    return SG_OK;
}

static sg_status write_result(void *user, const output_row *row, sg_error *err)
{
    sg_statement *s = user;
    sg_statement_bind_int(s, 1, (int64_t)row->patch);
    sg_statement_bind_int(s, 2, (int64_t)row->pair);
    sg_result_bind_text(s, 3, sg_patch_control_name(row->control));
    sg_result_bind_text(s, 4, sg_patch_direction_name(row->direction));
    sg_result_bind_text(s, 5, sg_patch_metric_name(row->metric));
    sg_result_bind_number(s, 6, row->before);
    sg_result_bind_number(s, 7, row->value);
    return sg_statement_run(s, err);
}

static sg_status write_results(const void *results, sg_statement *s, sg_error *err)
{
    const sg_patch_run *r = results;
    return output_each(r, write_result, s, err);
}

static sg_status write_summaries(const void *results, sg_statement *s, sg_error *err)
{
    const sg_patch_run *r = results;
    for (size_t i = 0; i < r->result->count; i++) {
        const sg_patch_summary *item = &r->result->items[i];
        const double numbers[] = {item->mean,        item->low,          item->high, item->of_sums,
                                  item->of_sums_low, item->of_sums_high, item->p,    item->p_holm};
        sg_statement_bind_int(s, 1, item->patch);
        sg_result_bind_text(s, 2, sg_patch_control_name(item->control));
        sg_result_bind_text(s, 3, sg_patch_direction_name(item->direction));
        sg_result_bind_text(s, 4, sg_patch_metric_name(item->metric));
        sg_statement_bind_int(s, 5, item->pairs);
        sg_statement_bind_int(s, 6, item->facts);
        for (int n = 0; n < 8; n++)
            sg_result_bind_number(s, 7 + n, numbers[n]);
        SG_TRY(sg_statement_run(s, err));
    }
    return SG_OK;
}

static const sg_result_table patch_inserts[] = {
    {"INSERT INTO meta VALUES(?1, ?2)", write_metas},
    {"INSERT INTO fact VALUES(?1, ?2, ?3, ?4)", write_facts},
    {"INSERT INTO pair VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)", write_pairs},
    {"INSERT INTO patch VALUES(?1, ?2, ?3, ?4, ?5)", write_patches},
    {"INSERT INTO result VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)", write_results},
    {"INSERT INTO summary VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
     write_summaries},
};

// ---- CSV ----------------------------------------------------------------------------------------

typedef struct csv_user {
    const sg_patch_run *run;
    sg_writer *writer;
} csv_user;

static sg_status csv_row(void *user, const output_row *row, sg_error *err)
{
    (void)err;
    const csv_user *c = user;
    const sg_patch_run *r = c->run;
    const sg_patch *p = &r->plan.items[row->patch];
    const sg_fact_pair *pair = &r->pairs->pairs[row->pair];
    const sg_fact *clean = output_fact(r, pair->clean);
    const char *const texts[] = {p->point_name,
                                 p->layers_name,
                                 p->channels_name,
                                 p->position_name,
                                 sg_patch_control_name(row->control),
                                 sg_patch_direction_name(row->direction),
                                 sg_patch_metric_name(row->metric),
                                 r->facts->relations[clean->relation].name,
                                 output_prompt(r, pair->clean),
                                 clean->subject,
                                 output_fact(r, pair->counterfactual)->subject};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        sg_result_csv_text(c->writer, texts[i]);
    if (!isnan(row->before)) sg_writer_printf(c->writer, "%.9g", row->before);
    sg_writer_printf(c->writer, ",%.9g\n", row->value);
    return SG_OK;
}

static sg_status write_csv(const void *results, sg_writer *w, sg_error *err)
{
    csv_user user = {results, w};
    return output_each(results, csv_row, &user, err);
}

// ---- both ---------------------------------------------------------------------------------------

static const sg_result_form patch_form = {
    .kind = &patch_kind,
    .schema = patch_tables,
    .tables = patch_inserts,
    .count = sizeof patch_inserts / sizeof *patch_inserts,
    .header = "point,layers,channels,position,control,direction,metric,relation,prompt,clean,"
              "counterfactual,before,value\n",
    .csv = write_csv,
};

static sg_result_files patch_files(const sg_patch_options *o)
{
    return (sg_result_files){.out = o->out, .csv = o->csv, .force = o->force};
}

sg_status sg_patch_write(const sg_patch_run *r, sg_error *err)
{
    const sg_result_files files = patch_files(r->options);
    return sg_result_files_write(&files, &patch_form, r, err);
}

sg_status sg_patch_check_outputs(const sg_patch_options *o, sg_error *err)
{
    const sg_result_files files = patch_files(o);
    return sg_result_files_check(&files, err);
}
