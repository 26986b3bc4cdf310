// From what each fact's prompts came to, to relations and all facts together, with intervals over
// subjects.
#include "probe/fact_recall.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "probe/fact_scores.h"
#include "probe/result_files.h"
#include "probe/statistics.h"

enum { recall_bootstrap_most = 1000000 };

typedef struct recall_sums {
    double facts, recalled, prompts, greedy, bits; // bits: sum of the facts' means
} recall_sums;

typedef struct recall_run {
    sg_model *model;
    const sg_facts *facts;
    const sg_recall_options *options;
    sg_fact_scores scores;
    size_t *subject_of; // (facts) its number; SIZE_MAX: the fact was not asked
    size_t subjects;
    int workers;
    uint32_t *times;   // (workers, subjects)
    recall_sums *sums; // (workers, relations + 1)
    double *values;    // (workers, relations + 1, 3)
    double *drawn;     // (relations + 1, 3, resamples)
} recall_run;

static sg_status recall_memory(sg_error *err)
{
    return sg_fail(err, SG_ERR_MEMORY, "out of memory for the recall of facts");
}

sg_recall_options sg_recall_options_default(void)
{
    return (sg_recall_options){.bootstrap = 1000, .seed = 1};
}

// ---- subjects -----------------------------------------------------------------------------------

typedef struct recall_subject {
    const char *name;
    size_t fact;
} recall_subject;

static int recall_subject_order(const void *one, const void *other)
{
    const recall_subject *a = one, *b = other;
    const int order = strcmp(a->name, b->name);
    return order != 0 ? order : (a->fact > b->fact) - (a->fact < b->fact);
}

static sg_status recall_subjects(recall_run *r, sg_error *err)
{
    const size_t all = r->facts->count;
    size_t asked = 0;
    recall_subject *list = sg_alloc_array(all + 1, sizeof *list);
    r->subject_of = sg_alloc_array(all + 1, sizeof *r->subject_of);
    if (list == NULL || r->subject_of == NULL) {
        sg_free(list);
        return recall_memory(err);
    }
    for (size_t i = 0; i < all; i++) {
        r->subject_of[i] = SIZE_MAX;
        if (r->scores.facts[i].prompts > 0)
            list[asked++] = (recall_subject){r->facts->facts[i].subject, i};
    }
    qsort(list, asked, sizeof *list, recall_subject_order);
    for (size_t i = 0; i < asked; i++) {
        r->subjects += i == 0 || strcmp(list[i].name, list[i - 1].name) != 0;
        r->subject_of[list[i].fact] = r->subjects - 1;
    }
    sg_free(list);
    return SG_OK;
}

// ---- sums and what they come to -----------------------------------------------------------------

// Sums by relation (relations), and of all behind them but for the bits; times (subjects), NULL:
// each once.
static void recall_add(const recall_run *r, const uint32_t *times, recall_sums *sums)
{
    recall_sums *all = &sums[r->facts->relation_count];
    memset(sums, 0, (r->facts->relation_count + 1) * sizeof *sums);
    for (size_t i = 0; i < r->facts->count; i++) {
        const sg_known_fact *k = &r->scores.facts[i];
        if (k->prompts == 0) continue;
        const double n = times == NULL ? 1 : times[r->subject_of[i]];
        recall_sums *s = &sums[r->facts->facts[i].relation];
        s->facts += n;
        s->recalled += n * (2 * k->recalled > k->prompts);
        s->prompts += n * (double)k->prompts;
        s->greedy += n * (double)k->greedy;
        s->bits += n * k->bits / (double)k->prompts;
    }
    for (size_t i = 0; i < r->facts->relation_count; i++) {
        all->facts += sums[i].facts;
        all->recalled += sums[i].recalled;
        all->prompts += sums[i].prompts;
        all->greedy += sums[i].greedy;
    }
}

// Share, greedy and bits of each relation, and of all; facts: of each relation, as it is.
// values (relations + 1, 3); NAN where there is no fact.
static void recall_values(const recall_run *r, const recall_sums *sums, const int64_t *facts,
                          double *values)
{
    const size_t relations = r->facts->relation_count;
    double bits = 0;
    for (size_t i = 0; i <= relations; i++) {
        double *v = values + 3 * i;
        v[0] = sums[i].facts > 0 ? sums[i].recalled / sums[i].facts : NAN;
        v[1] = sums[i].prompts > 0 ? sums[i].greedy / sums[i].prompts : NAN;
        v[2] = NAN;
        if (i == relations || !(sums[i].facts > 0)) continue;
        v[2] = fmax(0, sums[i].bits / sums[i].facts) * (double)facts[i];
        bits += v[2];
    }
    values[3 * relations + 2] = bits;
}

// ---- intervals ----------------------------------------------------------------------------------

typedef struct recall_loop {
    recall_run *r;
    const int64_t *facts;
} recall_loop;

static void recall_resample(void *context, int64_t resample, int worker)
{
    const recall_loop *loop = context;
    recall_run *r = loop->r;
    const uint32_t stream = sg_rng_stream("recall.bootstrap");
    const size_t rows = r->facts->relation_count + 1;
    const int64_t resamples = r->options->bootstrap;
    uint32_t *times = r->times + (size_t)worker * r->subjects;
    recall_sums *sums = r->sums + (size_t)worker * rows;
    double *values = r->values + (size_t)worker * 3 * rows;
    memset(times, 0, r->subjects * sizeof *times);
    for (size_t i = 0; i < r->subjects; i++)
        times[sg_rng_below(r->options->seed, stream, (uint64_t)resample * r->subjects + i,
                           r->subjects)]++;
    recall_add(r, times, sums);
    recall_values(r, sums, loop->facts, values);
    for (size_t i = 0; i < 3 * rows; i++)
        r->drawn[(int64_t)i * resamples + resample] = values[i];
}

static int recall_ascending(const void *one, const void *other)
{
    const double a = *(const double *)one, b = *(const double *)other;
    return (a > b) - (a < b);
}

static sg_recall_number recall_number(recall_run *r, double value, size_t row, int which)
{
    sg_recall_number n = {value, NAN, NAN};
    const int64_t resamples = r->options->bootstrap;
    if (resamples == 0 || r->subjects < 2) return n;
    double *drawn = r->drawn + ((int64_t)row * 3 + which) * resamples;
    int64_t count = 0;
    for (int64_t i = 0; i < resamples; i++)
        if (!isnan(drawn[i])) drawn[count++] = drawn[i];
    qsort(drawn, (size_t)count, sizeof *drawn, recall_ascending);
    n.low = sg_quantile(drawn, count, 0.025);
    n.high = sg_quantile(drawn, count, 0.975);
    return n;
}

static sg_status recall_draw(recall_run *r, const int64_t *facts, sg_error *err)
{
    const size_t rows = r->facts->relation_count + 1;
    sg_pool *pool = r->model->context->compute.pool;
    if (r->options->bootstrap == 0 || r->subjects < 2) return SG_OK;
    r->workers = sg_pool_threads(pool);
    r->times = sg_alloc_array((size_t)r->workers * r->subjects, sizeof *r->times);
    r->drawn = sg_alloc_array(3 * rows * (size_t)r->options->bootstrap, sizeof *r->drawn);
    r->sums = sg_alloc_array((size_t)r->workers * rows, sizeof *r->sums);
    r->values = sg_alloc_array((size_t)r->workers * 3 * rows, sizeof *r->values);
    if (r->times == NULL || r->drawn == NULL || r->sums == NULL || r->values == NULL)
        return recall_memory(err);
    recall_loop loop = {r, facts};
    sg_parallel_for(pool, r->options->bootstrap, recall_resample, &loop);
    return SG_OK;
}

// ---- the result ---------------------------------------------------------------------------------

static sg_status recall_nothing(const recall_run *r, sg_error *err)
{
    const sg_fact_scores *s = &r->scores;
    return sg_fail(err, SG_ERR_MISMATCH,
                   "%s: no prompt of its %zu facts can be asked: in %lld bytes have no token, in "
                   "%lld an answer does not begin where a token does, %lld are longer than the "
                   "model's positions, of %lld all answers of the relation are right",
                   r->options->facts != NULL ? r->options->facts : "facts", r->facts->count,
                   (long long)s->lost, (long long)s->answer_not_found, (long long)s->too_long,
                   (long long)s->no_choice);
}

// Rows of all relations, and behind them their names.
static sg_status recall_rows(const recall_run *r, sg_recall_result *result, sg_error *err)
{
    const size_t relations = r->facts->relation_count;
    size_t bytes = relations * sizeof *result->rows;
    for (size_t i = 0; i < relations; i++)
        bytes += strlen(r->facts->relations[i].name) + 1;
    result->rows = sg_alloc_zero(1, bytes);
    if (result->rows == NULL) return recall_memory(err);
    char *name = (char *)(result->rows + relations);
    for (size_t i = 0; i < relations; i++) {
        result->rows[i].answers = (int64_t)r->scores.answers[i];
        result->rows[i].relation = strcpy(name, r->facts->relations[i].name);
        name += strlen(name) + 1;
    }
    result->all.relation = "";
    return SG_OK;
}

static void recall_count(const recall_run *r, sg_recall_result *result)
{
    for (size_t i = 0; i < r->facts->count; i++) {
        const sg_known_fact *k = &r->scores.facts[i];
        sg_recall_row *rows[] = {&result->rows[r->facts->facts[i].relation], &result->all};
        for (int n = 0; k->prompts > 0 && n < 2; n++) {
            rows[n]->facts++;
            rows[n]->prompts += k->prompts;
            rows[n]->recalled += 2 * k->recalled > k->prompts;
            rows[n]->prompts_recalled += k->recalled;
            rows[n]->prompts_greedy += k->greedy;
            rows[n]->possible += k->possible;
        }
    }
    result->subjects = (int64_t)r->subjects;
    result->lost = r->scores.lost;
    result->too_long = r->scores.too_long;
    result->answer_not_found = r->scores.answer_not_found;
    result->no_choice = r->scores.no_choice;
}

// sums, values: room for (relations + 1) and (relations + 1, 3); facts (relations).
static sg_status recall_numbers(recall_run *r, sg_recall_result *result, recall_sums *sums,
                                double *values, int64_t *facts, sg_error *err)
{
    const size_t relations = r->facts->relation_count;
    for (size_t i = 0; i < relations; i++)
        facts[i] = result->rows[i].facts;
    recall_add(r, NULL, sums);
    recall_values(r, sums, facts, values);
    SG_TRY(recall_draw(r, facts, err));
    for (size_t i = 0; i <= relations; i++) {
        sg_recall_row *row = i < relations ? &result->rows[i] : &result->all;
        row->share = recall_number(r, values[3 * i], i, 0);
        row->greedy = recall_number(r, values[3 * i + 1], i, 1);
        row->bits = recall_number(r, values[3 * i + 2], i, 2);
    }
    return SG_OK;
}

static sg_status recall_summarise(recall_run *r, sg_recall_result *result, sg_error *err)
{
    const size_t relations = r->facts->relation_count;
    SG_TRY(recall_subjects(r, err));
    if (r->subjects == 0) return recall_nothing(r, err);
    SG_TRY(recall_rows(r, result, err));
    recall_count(r, result);
    recall_sums *sums = sg_alloc_array(relations + 1, sizeof *sums);
    double *values = sg_alloc_array(3 * (relations + 1), sizeof *values);
    int64_t *facts = sg_alloc_array(relations + 1, sizeof *facts);
    sg_status status = sums == NULL || values == NULL || facts == NULL
                           ? recall_memory(err)
                           : recall_numbers(r, result, sums, values, facts, err);
    sg_free(sums);
    sg_free(values);
    sg_free(facts);
    for (size_t i = 0; i < relations; i++) // relations without a fact that was asked go
        if (result->rows[i].facts > 0) result->rows[result->count++] = result->rows[i];
    return status;
}

// ---- a file -------------------------------------------------------------------------------------

static sg_status recall_csv(const void *results, sg_writer *w, sg_error *err)
{
    const recall_run *r = results;
    for (size_t i = 0; i < r->facts->count; i++) {
        const sg_fact *fact = &r->facts->facts[i];
        const sg_known_fact *k = &r->scores.facts[i];
        if (k->prompts == 0) continue;
        sg_result_csv_text(w, r->facts->relations[fact->relation].name);
        sg_result_csv_text(w, fact->subject);
        sg_result_csv_text(w, fact->answers[0]);
        sg_writer_printf(w, "%zu,%lld,%lld,%lld,%.6g,%.6g\n", fact->answer_count,
                         (long long)k->prompts, (long long)k->recalled, (long long)k->greedy,
                         k->possible, k->bits / (double)k->prompts);
        if (i % 1024 == 0) SG_TRY(sg_writer_flush(w, err)); // a full disk is noticed now
    }
    return SG_OK;
}

static sg_status recall_write(const recall_run *r, sg_error *err)
{
    static const sg_result_form form = {
        .header = "relation,subject,answer,answers,prompts,recalled,greedy,possible,bits\n",
        .csv = recall_csv};
    const sg_result_files files = {.csv = r->options->csv, .force = r->options->force};
    return r->options->csv == NULL ? SG_OK : sg_result_files_write(&files, &form, r, err);
}

// ---- the whole ----------------------------------------------------------------------------------

static sg_status recall_work(recall_run *r, sg_recall_result *result, sg_error *err)
{
    const sg_recall_options *o = r->options;
    const sg_fact_scores_options scores = {
        .batch = o->batch, .progress = o->progress, .user = o->user};
    const sg_result_files files = {.csv = o->csv, .force = o->force};
    if (o->tokenizer == NULL)
        return sg_fail(err, SG_ERR_ARGUMENT, "facts: found no tokenizer, expected one");
    if (o->bootstrap < 0 || o->bootstrap > recall_bootstrap_most)
        return sg_fail(err, SG_ERR_ARGUMENT, "bootstrap: found %lld, expected 0 to %d",
                       (long long)o->bootstrap, recall_bootstrap_most);
    SG_TRY(sg_result_files_check(&files, err));
    SG_TRY(sg_fact_scores_new(r->model, o->tokenizer, r->facts, &scores, &r->scores, err));
    SG_TRY(recall_summarise(r, result, err));
    return recall_write(r, err);
}

sg_status sg_facts_recall(sg_model *model, const sg_facts *facts, const sg_recall_options *options,
                          sg_recall_result *result, sg_error *err)
{
    recall_run r = {.model = model, .facts = facts, .options = options};
    *result = (sg_recall_result){0};
    const sg_status status = recall_work(&r, result, err);
    sg_fact_scores_clear(&r.scores);
    sg_free(r.subject_of);
    sg_free(r.times);
    sg_free(r.sums);
    sg_free(r.values);
    sg_free(r.drawn);
    if (status != SG_OK) {
        sg_buffer_free(result->rows);
        *result = (sg_recall_result){0};
    }
    return status;
}

sg_status sg_probe_recall(sg_model *model, const sg_recall_options *options,
                          sg_recall_result *result, sg_error *err)
{
    sg_facts *facts;
    *result = (sg_recall_result){0};
    if (options->facts == NULL)
        return sg_fail(err, SG_ERR_ARGUMENT, "facts: found no file, expected one");
    SG_TRY(sg_facts_read(options->facts, &facts, err));
    const sg_status status = sg_facts_recall(model, facts, options, result, err);
    sg_facts_free(facts);
    return status;
}
