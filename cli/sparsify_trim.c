#include "cli/sparsify_trim.h"

#include <stdlib.h>
#include <string.h>

bool cli_trim_is_inputs(const char *method)
{
    return strcmp(method, "teal") == 0 || strcmp(method, "wina") == 0;
}

bool cli_trim_is(const char *method)
{
    return strcmp(method, "cats") == 0 || cli_trim_is_inputs(method);
}

const char *cli_trim_stray(const cli_args *args)
{
    static const char *const of_blocks[] = {
        "split",       "block-size",    "blocks", "shared-blocks", "unread",
        "select",      "router",        "target", "router-size",   "router-epochs",
        "router-rate", "router-tokens", "seed",   "threshold"};
    for (size_t i = 0; i < sizeof of_blocks / sizeof *of_blocks; i++)
        if (cli_given(args, of_blocks[i])) return of_blocks[i];
    return NULL;
}

static void trim_tell_gates(const cli_args *args, const sg_sparsify_options *o,
                            const sg_sparsify_outlook *l)
{
    cli_note(args,
             "method %s: neurons are left out whose gate, or activation in a plain layer, is no "
             "larger than a threshold of the text; nothing is trained",
             o->trim);
    cli_note(args,
             "feed-forward layers are %.0f %% of the bytes that a token reads, %.0f %% of its "
             "FLOPs",
             100 * l->ffn_bytes / l->all_bytes, 100 * l->ffn_flops / l->all_flops);
    cli_note(args,
             "at most %.2f times as fast were they free, %.2f times with %.0f %% of their neurons, "
             "as gates are read all the same",
             l->ceiling, l->bound, 100 * o->active);
}

static void trim_tell_inputs(const cli_args *args, const sg_sparsify_options *o,
                             const sg_sparsify_outlook *l)
{
    cli_note(args,
             "method %s: inputs of products are left out whose size%s is no larger than a "
             "threshold of the text; nothing is trained",
             o->trim, strcmp(o->trim, "wina") == 0 ? ", times the norm of their column," : "");
    cli_note(args,
             "matrices of attention and of feed-forward layers are %.0f %% of the bytes that "
             "a token reads",
             100 * l->trimmed_bytes / l->all_bytes);
    cli_note(args, "at most %.2f times as fast were they free, %.2f times with %.0f %% of them",
             l->ceiling, l->bound, 100 * o->active);
}

void cli_trim_tell(const cli_args *args, const sg_sparsify_options *o, const sg_sparsify_outlook *l)
{
    if (cli_trim_is_inputs(o->trim))
        trim_tell_inputs(args, o, l);
    else
        trim_tell_gates(args, o, l);
}

// The least and the largest of a list.
static void trim_ends(const char *list, double *least, double *most)
{
    char *end;
    for (bool first = true; *list != '\0'; first = false) {
        const double value = strtod(list, &end);
        if (end == list) return;
        if (first || value < *least) *least = value;
        if (first || value > *most) *most = value;
        list = *end == ',' ? end + 1 : end;
    }
}

static json_t *trim_list(const char *list)
{
    json_t *array = json_array();
    char *end;
    while (*list != '\0') {
        json_array_append_new(array, json_real(strtod(list, &end)));
        if (end == list) break;
        list = *end == ',' ? end + 1 : end;
    }
    return array;
}

// ---- gates --------------------------------------------------------------------------------------

static int trim_report_gates(const cli_args *args, const char *path, const cli_trim_made *m)
{
    const sg_sparsify_result *r = m->result;
    const char *thresholds = m->config->ffn_layer_threshold;
    double least = 0, most = 0;
    if (args->json)
        return cli_print_json(
            args,
            json_pack("{s:s, s:s, s:f, s:o, s:f, s:f, s:f, s:f, s:b, s:I, s:o, s:o, s:o, s:o}",
                      "path", path, "method", m->options->trim, "active", m->options->active,
                      "thresholds", trim_list(thresholds), "ffn_bytes", m->look->ffn_bytes, "bytes",
                      m->look->all_bytes, "ceiling", m->look->ceiling, "bound", m->look->bound,
                      "tokenizer", m->tokenizer, "test_tokens", (json_int_t)r->test_tokens,
                      "dense_perplexity", cli_json_number(r->dense_perplexity), "sparse_perplexity",
                      cli_json_number(r->sparse_perplexity), "kept", cli_json_number(r->kept),
                      "executed", cli_json_number(r->executed)));
    trim_ends(thresholds, &least, &most);
    printf("%s: router gate, thresholds of layers %.3g to %.3g, %s tokenizer\n", path, least, most,
           m->tokenizer ? "with" : "without");
    if (r->test_tokens > 0)
        printf("perplexity %.4f, dense %.4f, on %lld tokens of test; %.1f %% of neurons, %.1f %% "
               "of the FLOPs of feed-forward layers\n",
               r->sparse_perplexity, r->dense_perplexity, (long long)r->test_tokens, 100 * r->kept,
               100 * r->executed);
    return CLI_DONE;
}

// ---- inputs -------------------------------------------------------------------------------------

static const char *const trim_places[SG_SPARSIFY_INPUTS] = {"attention", "attention_out", "ffn",
                                                            "ffn_down"};

static const char *trim_thresholds(const sg_config *c, int place)
{
    const char *const lists[SG_SPARSIFY_INPUTS] = {c->trim_attention, c->trim_attention_out,
                                                   c->trim_ffn, c->trim_ffn_down};
    return lists[place];
}

static json_t *trim_place_json(const cli_trim_made *m, int place)
{
    const bool tested = m->result->test_tokens > 0;
    json_t *layers = json_array();
    for (int64_t l = 0; tested && l < m->config->num_hidden_layers; l++)
        json_array_append_new(layers, cli_json_number(m->layers[l].inputs[place]));
    return json_pack("{s:o, s:o, s:o}", "thresholds", trim_list(trim_thresholds(m->config, place)),
                     "kept", cli_json_number(m->result->inputs[place]), "kept_of_layers", layers);
}

static json_t *trim_inputs_json(const char *path, const cli_trim_made *m)
{
    const sg_sparsify_result *r = m->result;
    const char *shares = m->options->shares;
    json_t *places = json_object();
    for (int i = 0; i < SG_SPARSIFY_INPUTS; i++)
        json_object_set_new(places, trim_places[i], trim_place_json(m, i));
    return json_pack("{s:s, s:s, s:s, s:f, s:o, s:f, s:f, s:f, s:f, s:b, s:I, s:o, s:o, s:o, s:o}",
                     "path", path, "method", m->options->trim, "shares",
                     shares != NULL ? shares : "uniform", "active", m->options->active, "places",
                     places, "trimmed_bytes", m->look->trimmed_bytes, "bytes", m->look->all_bytes,
                     "ceiling", m->look->ceiling, "bound", m->look->bound, "tokenizer",
                     m->tokenizer, "test_tokens", (json_int_t)r->test_tokens, "dense_perplexity",
                     cli_json_number(r->dense_perplexity), "sparse_perplexity",
                     cli_json_number(r->sparse_perplexity), "kept", cli_json_number(r->kept),
                     "executed", cli_json_number(r->executed));
}

static void trim_inputs_table(const cli_trim_made *m)
{
    const bool tested = m->result->test_tokens > 0;
    printf("inputs of        thresholds of layers%s\n", tested ? "     kept" : "");
    for (int i = 0; i < SG_SPARSIFY_INPUTS; i++) {
        double least = 0, most = 0;
        char ends[64];
        trim_ends(trim_thresholds(m->config, i), &least, &most);
        snprintf(ends, sizeof ends, "%.3g to %.3g", least, most);
        printf("%-15s  %20s", trim_places[i], ends);
        if (tested) printf("  %5.1f %%", 100 * m->result->inputs[i]);
        printf("\n");
    }
}

static int trim_report_inputs(const cli_args *args, const char *path, const cli_trim_made *m)
{
    const sg_sparsify_result *r = m->result;
    if (args->json) return cli_print_json(args, trim_inputs_json(path, m));
    trim_inputs_table(m);
    printf("%s: family %s with thresholds of inputs, %s tokenizer\n", path, m->config->ffn,
           m->tokenizer ? "with" : "without");
    if (r->test_tokens > 0)
        printf("perplexity %.4f, dense %.4f, on %lld tokens of test; %.1f %% of inputs by the size "
               "of their matrices, %.1f %% of the FLOPs of feed-forward layers\n",
               r->sparse_perplexity, r->dense_perplexity, (long long)r->test_tokens, 100 * r->kept,
               100 * r->executed);
    return CLI_DONE;
}

int cli_trim_report(const cli_args *args, const char *path, const cli_trim_made *made)
{
    return cli_trim_is_inputs(made->options->trim) ? trim_report_inputs(args, path, made)
                                                   : trim_report_gates(args, path, made);
}
