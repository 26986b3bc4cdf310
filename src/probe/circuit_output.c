// Circuits as an SQLite database, and their neurons as CSV. docs/PROBE.md has the tables.
#include <math.h>
#include <stdio.h>

#include "model/model.h"
#include "probe/circuit_inside.h"
#include "probe/result_files.h"

static const sg_database_kind circuit_kind = {
    .name = "circuits", .application = 0x73674349, .version = 1};

static const char circuit_tables[] =
    "CREATE TABLE meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID;"
    "CREATE TABLE circuit(id INTEGER PRIMARY KEY, relation TEXT NOT NULL, clean TEXT,"
    " counterfactual TEXT, neurons INTEGER NOT NULL, candidates INTEGER NOT NULL,"
    " flips INTEGER NOT NULL, minimal REAL);"
    "CREATE TABLE neuron(circuit INTEGER NOT NULL REFERENCES circuit, place INTEGER NOT NULL,"
    " layer INTEGER NOT NULL, channel INTEGER NOT NULL, neuron INTEGER NOT NULL,"
    " alone REAL NOT NULL, without REAL NOT NULL, PRIMARY KEY(circuit, place)) WITHOUT ROWID;"
    // circuit NULL: all sets of pairs together.
    "CREATE TABLE measure(circuit INTEGER REFERENCES circuit, half TEXT NOT NULL,"
    " metric TEXT NOT NULL, pairs INTEGER NOT NULL, facts INTEGER NOT NULL, mean REAL, low REAL,"
    " high REAL, random REAL, p REAL);"
    "CREATE VIEW neurons AS SELECT circuit.relation, circuit.clean, circuit.counterfactual,"
    " circuit.flips, neuron.place, neuron.layer, neuron.channel, neuron.neuron, neuron.alone,"
    " neuron.without FROM neuron JOIN circuit ON circuit.id = neuron.circuit;";

// ---- SQLite -------------------------------------------------------------------------------------

static sg_status write_metas(const void *results, sg_statement *s, sg_error *err)
{
    const sg_circuit *c = results;
    static const char *const positions[] = {"all", "subject", "last"};
    const sg_circuit_options *o = c->options;
    const sg_circuit_counts *counts = &c->result->counts;
    char seed[24];
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)o->seed);
    const struct {
        const char *key, *text;
        int64_t number;
    } rows[] = {{"format", "sgatlin circuits", 0},
                {"version", sg_version(), 0},
                {"model", o->model, 0},
                {"command", o->command, 0},
                {"facts", o->facts, 0},
                {"kernel", sg_context_kernel(c->model->context), 0},
                {"products", sg_context_products(c->model->context), 0},
                {"position", positions[o->position], 0},
                {"seed", seed, 0},
                {"random", NULL, o->random},
                {"bootstrap", NULL, o->bootstrap},
                {"looked_at", NULL, counts->looked_at},
                {"known", NULL, counts->known},
                {"runs", NULL, counts->runs}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (i < 9 && rows[i].text == NULL) continue; // was not given
        SG_TRY(sg_result_meta(s, rows[i].key, rows[i].text, rows[i].number, err));
    }
    return SG_OK;
}

static sg_status write_circuits(const void *results, sg_statement *s, sg_error *err)
{
    const sg_circuit *c = results;
    for (size_t i = 0; i < c->result->count; i++) {
        const sg_circuit_set *set = &c->result->sets[i];
        sg_statement_bind_int(s, 1, (int64_t)i);
        sg_result_bind_text(s, 2, set->relation);
        sg_result_bind_text(s, 3, set->clean);
        sg_result_bind_text(s, 4, set->counterfactual);
        sg_statement_bind_int(s, 5, (int64_t)set->count);
        sg_statement_bind_int(s, 6, set->candidates);
        sg_statement_bind_int(s, 7, set->flips);
        sg_result_bind_number(s, 8, set->found.minimal);
        SG_TRY(sg_statement_run(s, err));
    }
    return SG_OK;
}

static sg_status write_neurons(const void *results, sg_statement *s, sg_error *err)
{
    const sg_circuit *c = results;
    for (size_t i = 0; i < c->result->count; i++)
        for (size_t k = 0; k < c->result->sets[i].count; k++) {
            const sg_circuit_neuron *n = &c->result->sets[i].neurons[k];
            sg_statement_bind_int(s, 1, (int64_t)i);
            sg_statement_bind_int(s, 2, (int64_t)k);
            sg_statement_bind_int(s, 3, n->layer);
            sg_statement_bind_int(s, 4, n->channel);
            sg_statement_bind_int(s, 5, n->neuron);
            sg_statement_bind_real(s, 6, n->alone);
            sg_statement_bind_real(s, 7, n->without);
            SG_TRY(sg_statement_run(s, err));
        }
    return SG_OK;
}

// circuit -1: all pairs together.
static sg_status write_measure(int64_t circuit, const char *half, const sg_circuit_measure *m,
                               sg_statement *s, sg_error *err)
{
    const struct {
        const char *metric;
        sg_circuit_interval value;
        double random, p;
    } rows[] = {{"flips", m->flips, m->random_flips, m->p_flips},
                {"effect", m->effect, m->random_effect, m->p_effect},
                {"all_flips", m->all_flips, NAN, NAN},
                {"all_effect", m->all_effect, NAN, NAN},
                {"still_flips", m->still_flips, NAN, NAN},
                {"lost", m->lost, NAN, NAN}};
    for (size_t i = 0; m->pairs > 0 && i < sizeof rows / sizeof *rows; i++) {
        const double numbers[] = {rows[i].value.mean, rows[i].value.low, rows[i].value.high,
                                  rows[i].random, rows[i].p};
        if (circuit < 0)
            sg_statement_bind_null(s, 1);
        else
            sg_statement_bind_int(s, 1, circuit);
        sg_result_bind_text(s, 2, half);
        sg_result_bind_text(s, 3, rows[i].metric);
        sg_statement_bind_int(s, 4, m->pairs);
        sg_statement_bind_int(s, 5, m->facts);
        for (int k = 0; k < 5; k++)
            sg_result_bind_number(s, 6 + k, numbers[k]);
        SG_TRY(sg_statement_run(s, err));
    }
    return SG_OK;
}

static sg_status write_measures(const void *results, sg_statement *s, sg_error *err)
{
    const sg_circuit *c = results;
    for (size_t i = 0; i < c->result->count; i++) {
        const sg_circuit_set *set = &c->result->sets[i];
        SG_TRY(write_measure((int64_t)i, "found", &set->found, s, err));
        SG_TRY(write_measure((int64_t)i, "tested", &set->tested, s, err));
    }
    SG_TRY(write_measure(-1, "found", &c->result->pairs, s, err));
    return write_measure(-1, "tested", &c->result->wordings, s, err);
}

static const sg_result_table circuit_inserts[] = {
    {"INSERT INTO meta VALUES(?1, ?2)", write_metas},
    {"INSERT INTO circuit VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)", write_circuits},
    {"INSERT INTO neuron VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)", write_neurons},
    {"INSERT INTO measure VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)", write_measures},
};

// ---- CSV ----------------------------------------------------------------------------------------

static sg_status write_csv(const void *results, sg_writer *w, sg_error *err)
{
    (void)err;
    const sg_circuit *c = results;
    for (size_t i = 0; i < c->result->count; i++) {
        const sg_circuit_set *set = &c->result->sets[i];
        for (size_t k = 0; k < set->count; k++) {
            const sg_circuit_neuron *n = &set->neurons[k];
            sg_writer_printf(w, "%zu,", i);
            sg_result_csv_text(w, set->relation);
            sg_result_csv_text(w, set->clean);
            sg_result_csv_text(w, set->counterfactual);
            sg_writer_printf(w, "%d,%zu,%lld,%lld,%lld,%.9g,%.9g\n", set->flips, k,
                             (long long)n->layer, (long long)n->channel, (long long)n->neuron,
                             n->alone, n->without);
        }
    }
    return SG_OK;
}

// ---- both ---------------------------------------------------------------------------------------

static const sg_result_form circuit_form = {
    .kind = &circuit_kind,
    .schema = circuit_tables,
    .tables = circuit_inserts,
    .count = sizeof circuit_inserts / sizeof *circuit_inserts,
    .header = "circuit,relation,clean,counterfactual,flips,place,layer,channel,neuron,alone,"
              "without\n",
    .csv = write_csv,
};

static sg_result_files circuit_files(const sg_circuit_options *o)
{
    return (sg_result_files){.out = o->out, .csv = o->csv, .force = o->force};
}

sg_status sg_circuit_write(const sg_circuit *c, sg_error *err)
{
    const sg_result_files files = circuit_files(c->options);
    return sg_result_files_write(&files, &circuit_form, c, err);
}

sg_status sg_circuit_check_outputs(const sg_circuit_options *o, sg_error *err)
{
    const sg_result_files files = circuit_files(o);
    return sg_result_files_check(&files, err);
}
