// sgatlin probe neuron: what one neuron reads and writes, where it fires, and with which others.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/visible.h"
#include "sgatlin_usage.h"

static struct {
    const char *model, *records;
    int64_t layer, channel, neuron, tokens, contexts, partners, around;
} probe = {.tokens = 8, .contexts = 10, .partners = 10, .around = 8};

static const cli_option neuron_options[] = {
    {.name = "records",
     .kind = CLI_STRING,
     .value = &probe.records,
     .argument = "FILE",
     .shown = "",
     .help = "a record (probe record): where the neuron fires, and with which others"},
    {.name = "model",
     .kind = CLI_STRING,
     .value = &probe.model,
     .argument = "DIR",
     .shown = "",
     .help = "the model (a folder, a GGUF file, llama2.c's), or a run: what the neuron reads and "
             "writes"},
    {.name = "tokens",
     .kind = CLI_COUNT,
     .value = &probe.tokens,
     .argument = "N",
     .help = "tokens of each list",
     .low = 1,
     .high = 1e6},
    {.name = "contexts",
     .kind = CLI_COUNT,
     .value = &probe.contexts,
     .argument = "N",
     .help = "places where it contributes most",
     .low = 0,
     .high = 1e6},
    {.name = "around",
     .kind = CLI_COUNT,
     .value = &probe.around,
     .argument = "N",
     .help = "tokens shown before and behind each",
     .low = 0,
     .high = 1000},
    {.name = "partners",
     .kind = CLI_COUNT,
     .value = &probe.partners,
     .argument = "N",
     .help = "neurons that are selected with it",
     .low = 0,
     .high = 1e6},
    {0},
};

// ---- what there is ------------------------------------------------------------------------------

// How often an input token made it fire.
typedef struct neuron_input {
    int32_t token;
    int64_t hits;
    double activation; // sum of |activation|
} neuron_input;

typedef struct neuron_result {
    const cli_args *args;
    sg_tokenizer *tokenizer; // NULL: none
    sg_record *record;       // NULL: none
    bool viewed;
    sg_neuron_view view;
    const sg_record_layer *layer;
    int64_t id; // in the record: the neuron, or the block it is in
    sg_record_neuron sums;
    sg_record_hit *hits; // (hit_count), those that contribute most first
    int64_t hit_count;
    neuron_input *inputs; // (input_count), those with most hits first
    int64_t input_count;
    sg_neuron_pair *pairs;
    int64_t pair_count;
    int64_t cells; // ids of the record to one of a pair: partners are blocks
} neuron_result;

static void neuron_free(neuron_result *r)
{
    if (r->viewed) sg_neuron_view_free(&r->view);
    sg_tokenizer_free(r->tokenizer);
    sg_record_free(r->record);
    sg_buffer_free(r->hits);
    sg_buffer_free(r->pairs);
    free(r->inputs);
}

static sg_status neuron_memory(sg_error *err)
{
    snprintf(err->message, sizeof err->message, "out of memory for what a neuron does");
    return err->code = SG_ERR_MEMORY;
}

static sg_status neuron_view(neuron_result *r, sg_error *err)
{
    sg_context *context;
    sg_model *model = NULL;
    char folder[CLI_PATH];
    sg_error ignored;
    if (probe.model == NULL) return SG_OK;
    sg_status status = cli_context_new(r->args, &context, err);
    if (status != SG_OK) return status;
    status = cli_model_open(context, probe.model, "stored", &model, folder, err);
    if (status == SG_OK)
        status = sg_neuron_view_of(model, probe.layer, probe.channel, probe.neuron, probe.tokens,
                                   &r->view, err);
    r->viewed = status == SG_OK;
    if (status == SG_OK && probe.records == NULL &&
        sg_tokenizer_open(folder, &r->tokenizer, &ignored) != SG_OK)
        cli_warn(r->args, "tokens are told by id alone: %s", ignored.message);
    sg_model_free(model);
    sg_context_free(context);
    return status;
}

static int neuron_order_hits(const void *a, const void *b)
{
    const sg_record_hit *x = a, *y = b;
    const float u = fabsf(x->activation), v = fabsf(y->activation);
    if (u != v) return u > v ? -1 : 1;
    return (x->token > y->token) - (x->token < y->token);
}

static int neuron_order_tokens(const void *a, const void *b)
{
    const neuron_input *x = a, *y = b;
    return (x->token > y->token) - (x->token < y->token);
}

static int neuron_order_inputs(const void *a, const void *b)
{
    const neuron_input *x = a, *y = b;
    if (x->hits != y->hits) return x->hits > y->hits ? -1 : 1;
    return neuron_order_tokens(a, b);
}

// The input tokens of all hits, each once.
static sg_status neuron_count_inputs(neuron_result *r, sg_error *err)
{
    sg_record_token token;
    int64_t count, used = 0;
    r->inputs = calloc((size_t)r->hit_count + 1, sizeof *r->inputs);
    if (r->inputs == NULL) return neuron_memory(err);
    for (int64_t i = 0; i < r->hit_count; i++) {
        sg_status status = sg_record_tokens(r->record, r->hits[i].token, 1, &token, &count, err);
        if (status != SG_OK) return status;
        r->inputs[i] = (neuron_input){token.token, 1, fabs((double)r->hits[i].activation)};
    }
    qsort(r->inputs, (size_t)r->hit_count, sizeof *r->inputs, neuron_order_tokens);
    for (int64_t i = 0; i < r->hit_count; i++) {
        if (used > 0 && r->inputs[used - 1].token == r->inputs[i].token) {
            r->inputs[used - 1].hits++;
            r->inputs[used - 1].activation += r->inputs[i].activation;
        } else {
            r->inputs[used++] = r->inputs[i];
        }
    }
    qsort(r->inputs, (size_t)used, sizeof *r->inputs, neuron_order_inputs);
    r->input_count = used;
    return SG_OK;
}

static sg_status neuron_partners(neuron_result *r, sg_error *err)
{
    char channel[24];
    sg_selections *selections;
    snprintf(channel, sizeof channel, "%lld", (long long)probe.channel);
    sg_status status = sg_selections_read(r->record, probe.layer, channel, &selections, err);
    if (status != SG_OK) return status;
    const sg_layer_selections layer = sg_selections_layer(selections, 0);
    r->cells = r->layer->neurons / layer.neurons;
    status = sg_coactive_neurons(&layer, 0, r->id / r->cells, probe.partners, &r->pairs,
                                 &r->pair_count, err);
    sg_selections_free(selections);
    return status;
}

static sg_status neuron_sums(neuron_result *r, sg_error *err)
{
    sg_record_neuron *all = calloc((size_t)r->layer->neurons, sizeof *all);
    if (all == NULL) return neuron_memory(err);
    sg_status status = sg_record_neurons(r->record, probe.layer, probe.channel, all, err);
    if (status == SG_OK) r->sums = all[r->id];
    free(all);
    return status;
}

static sg_status neuron_records(neuron_result *r, sg_error *err)
{
    if (probe.records == NULL) return SG_OK;
    sg_status status = sg_record_open(probe.records, &r->record, err);
    if (status == SG_OK)
        status = sg_record_check_channel(r->record, probe.layer, probe.channel, err);
    if (status != SG_OK) return status;
    r->layer = sg_record_find_layer(r->record, probe.layer);
    r->id = probe.neuron / r->layer->unit;
    if (r->id >= r->layer->neurons) {
        snprintf(err->message, sizeof err->message,
                 "neuron: found %lld, expected 0 to %lld in layer %lld", (long long)probe.neuron,
                 (long long)(r->layer->neurons * r->layer->unit - 1), (long long)probe.layer);
        return err->code = SG_ERR_ARGUMENT;
    }
    status = neuron_sums(r, err);
    if (status == SG_OK)
        status = sg_record_neuron_hits(r->record, probe.layer, probe.channel, r->id, &r->hits,
                                       &r->hit_count, err);
    if (status != SG_OK || r->hit_count == 0) return status;
    qsort(r->hits, (size_t)r->hit_count, sizeof *r->hits, neuron_order_hits);
    status = neuron_count_inputs(r, err);
    return status == SG_OK ? neuron_partners(r, err) : status;
}

// The text of an id, NULL: none is known.
static const char *neuron_text(const neuron_result *r, int32_t id, size_t *bytes)
{
    if (r->record != NULL) return sg_record_text(r->record, id, bytes);
    const char *text = r->tokenizer != NULL ? sg_tokenizer_token_text(r->tokenizer, id) : NULL;
    *bytes = text != NULL ? strlen(text) : 0;
    return text;
}

// ---- as text ------------------------------------------------------------------------------------

static void neuron_put_token(const neuron_result *r, int32_t id)
{
    size_t bytes;
    const char *text = neuron_text(r, id, &bytes);
    if (text == NULL) {
        printf("%d", (int)id);
        return;
    }
    putchar('"');
    cli_put_visible(stdout, text, bytes, false);
    putchar('"');
}

static void neuron_put_matches(const neuron_result *r, const char *name, const sg_token_match *list,
                               bool cosine)
{
    printf("  %-6s", name);
    for (int64_t i = 0; i < r->view.count; i++) {
        printf(i > 0 ? ", " : " ");
        neuron_put_token(r, list[i].token);
        if (cosine)
            printf(" %.2f (%.3g)", list[i].cosine, list[i].dot);
        else
            printf(" %.3g (%.2f)", list[i].dot, list[i].cosine);
    }
    printf("\n");
}

static void neuron_put_view(const neuron_result *r)
{
    const sg_neuron_view *v = &r->view;
    if (v->first_key >= 0)
        printf("sub-keys %lld and %lld%s\n", (long long)v->first_key, (long long)v->second_key,
               v->block > 1 ? ", of its block" : "");
    if (v->reads) {
        printf("reads: cosine (and product) of w_in with the norm of an embedding; |w_in| %.4g\n",
               v->in_norm);
        neuron_put_matches(r, "most", v->read_most, true);
        neuron_put_matches(r, "least", v->read_least, true);
    } else {
        printf("reads: it has no w_in of its own, its key alone selects it\n");
    }
    if (!v->writes) {
        printf("writes: the layer goes on computing with the sum, so that w_out says nothing of "
               "logits; |w_out| %.4g\n",
               v->out_norm);
        return;
    }
    printf("writes: what one unit adds to a logit, times the last norm's scale (and cosine); "
           "|w_out| %.4g\n",
           v->out_norm);
    neuron_put_matches(r, "most", v->write_most, false);
    neuron_put_matches(r, "least", v->write_least, false);
}

static double neuron_contribution(const neuron_result *r, const sg_record_hit *hit)
{
    const double length = fabs((double)hit->activation); // of a block that of the contribution
    return isnan(r->sums.out_norm) ? length : length * (double)r->sums.out_norm;
}

static void neuron_put_contexts(neuron_result *r)
{
    sg_error err;
    const int64_t count = r->hit_count < probe.contexts ? r->hit_count : probe.contexts;
    if (count > 0) printf("contributes most\n  length  activation    score  place\n");
    for (int64_t i = 0; i < count; i++) {
        sg_record_excerpt e;
        const sg_record_hit *hit = &r->hits[i];
        printf("%8.4g  %10.4g %8.4g  ", neuron_contribution(r, hit), hit->activation, hit->score);
        if (sg_record_excerpt_of(r->record, hit->token, probe.around, probe.around, &e, &err) !=
            SG_OK) {
            printf("token %lld: %s\n", (long long)hit->token, err.message);
            continue;
        }
        cli_put_visible(stdout, e.before, strlen(e.before), false);
        printf("**");
        cli_put_visible(stdout, e.token, strlen(e.token), false);
        printf("**");
        cli_put_visible(stdout, e.after, strlen(e.after), false);
        printf("\n");
        sg_record_excerpt_clear(&e);
    }
}

static void neuron_put_inputs(const neuron_result *r)
{
    const int64_t count = r->input_count < probe.tokens ? r->input_count : probe.tokens;
    if (count == 0) return;
    printf("fires for");
    for (int64_t i = 0; i < count; i++) {
        printf(i > 0 ? ", " : " ");
        neuron_put_token(r, r->inputs[i].token);
        printf(" %lld", (long long)r->inputs[i].hits);
    }
    printf(count < r->input_count ? ", %lld more\n" : "\n", (long long)(r->input_count - count));
}

static void neuron_put_records(neuron_result *r)
{
    const sg_record_info *info = sg_record_get_info(r->record);
    const double hits = (double)r->sums.hits;
    if (r->layer->unit > 1)
        printf("recorded is block %lld of %lld neurons, which are selected together\n",
               (long long)r->id, (long long)r->layer->unit);
    if (r->layer->strongest)
        printf("recorded are the %lld strongest neurons of each token alone\n",
               (long long)r->layer->slots);
    printf("fires at %lld of %lld tokens", (long long)r->sums.hits, (long long)info->tokens);
    if (r->sums.hits > 0)
        printf(": mean score %.4g, mean |activation| %.4g", r->sums.score / hits,
               r->sums.activation / hits);
    printf("\n");
    neuron_put_inputs(r);
    neuron_put_contexts(r);
    if (r->pair_count > 0)
        printf("with %s   tokens   P(it | this)   P(this | it)     lift\n",
               r->cells * r->layer->unit > 1 ? " block" : "neuron");
    for (int64_t i = 0; i < r->pair_count; i++)
        printf("%11d %8lld %14.3f %14.3f %8.1f\n", (int)r->pairs[i].b, (long long)r->pairs[i].count,
               r->pairs[i].given_a, r->pairs[i].given_b, r->pairs[i].lift);
}

// ---- as JSON ------------------------------------------------------------------------------------

// Text that is not UTF-8 by itself, as half a character, is told by its id alone.
static json_t *neuron_token_json(const neuron_result *r, int32_t id)
{
    size_t bytes;
    const char *text = neuron_text(r, id, &bytes);
    json_t *string = text != NULL ? json_stringn(text, bytes) : NULL;
    return string != NULL ? string : json_null();
}

static json_t *neuron_matches_json(const neuron_result *r, const sg_token_match *list)
{
    json_t *array = json_array();
    for (int64_t i = 0; list != NULL && i < r->view.count; i++)
        json_array_append_new(array,
                              json_pack("{s:i, s:o, s:f, s:f}", "id", (int)list[i].token, "token",
                                        neuron_token_json(r, list[i].token), "dot",
                                        (double)list[i].dot, "cosine", (double)list[i].cosine));
    return array;
}

static json_t *neuron_view_json(const neuron_result *r)
{
    const sg_neuron_view *v = &r->view;
    json_t *keys = v->first_key < 0
                       ? json_null()
                       : json_pack("[I, I]", (json_int_t)v->first_key, (json_int_t)v->second_key);
    return json_pack("{s:o, s:I, s:b, s:o, s:o, s:{s:b, s:o, s:o}, s:{s:b, s:o, s:o}}", "sub_keys",
                     keys, "block", (json_int_t)v->block, "dense", (int)v->dense, "in_norm",
                     cli_json_number(v->in_norm), "out_norm", cli_json_number(v->out_norm), "reads",
                     "known", (int)v->reads, "most", neuron_matches_json(r, v->read_most), "least",
                     neuron_matches_json(r, v->read_least), "writes", "known", (int)v->writes,
                     "most", neuron_matches_json(r, v->write_most), "least",
                     neuron_matches_json(r, v->write_least));
}

static json_t *neuron_context_json(neuron_result *r, const sg_record_hit *hit)
{
    sg_record_excerpt e = {0};
    sg_error err;
    const bool there =
        sg_record_excerpt_of(r->record, hit->token, probe.around, probe.around, &e, &err) == SG_OK;
    json_t *object = json_pack("{s:I, s:f, s:f, s:f, s:s?, s:s?, s:s?}", "id",
                               (json_int_t)hit->token, "contribution", neuron_contribution(r, hit),
                               "activation", (double)hit->activation, "score", (double)hit->score,
                               "before", there ? e.before : NULL, "token", there ? e.token : NULL,
                               "after", there ? e.after : NULL);
    if (there) sg_record_excerpt_clear(&e);
    return object;
}

static json_t *neuron_records_json(neuron_result *r)
{
    json_t *inputs = json_array(), *contexts = json_array(), *partners = json_array();
    for (int64_t i = 0; i < r->input_count && i < probe.tokens; i++)
        json_array_append_new(inputs,
                              json_pack("{s:i, s:o, s:I, s:f}", "id", (int)r->inputs[i].token,
                                        "token", neuron_token_json(r, r->inputs[i].token), "hits",
                                        (json_int_t)r->inputs[i].hits, "activation",
                                        r->inputs[i].activation / (double)r->inputs[i].hits));
    for (int64_t i = 0; i < r->hit_count && i < probe.contexts; i++)
        json_array_append_new(contexts, neuron_context_json(r, &r->hits[i]));
    for (int64_t i = 0; i < r->pair_count; i++) {
        const sg_neuron_pair *p = &r->pairs[i];
        json_array_append_new(partners,
                              json_pack("{s:i, s:I, s:f, s:f, s:f}", "neuron", (int)p->b, "tokens",
                                        (json_int_t)p->count, "it_given_this", p->given_a,
                                        "this_given_it", p->given_b, "lift", p->lift));
    }
    return json_pack(
        "{s:I, s:I, s:b, s:I, s:I, s:f, s:f, s:o, s:I, s:o, s:o, s:o}", "id", (json_int_t)r->id,
        "unit", (json_int_t)r->layer->unit, "strongest_alone", (int)r->layer->strongest, "tokens",
        (json_int_t)sg_record_get_info(r->record)->tokens, "hits", (json_int_t)r->sums.hits,
        "score_sum", r->sums.score, "activation_sum", r->sums.activation, "out_norm",
        cli_json_number((double)r->sums.out_norm), "different_inputs", (json_int_t)r->input_count,
        "inputs", inputs, "contexts", contexts, "partners", partners);
}

static int neuron_report(neuron_result *r)
{
    if (r->args->json)
        return cli_print_json(
            r->args,
            json_pack("{s:I, s:I, s:I, s:o, s:o}", "layer", (json_int_t)probe.layer, "channel",
                      (json_int_t)probe.channel, "neuron", (json_int_t)probe.neuron, "weights",
                      r->viewed ? neuron_view_json(r) : json_null(), "records",
                      r->record != NULL ? neuron_records_json(r) : json_null()));
    printf("layer %lld channel %lld neuron %lld\n", (long long)probe.layer,
           (long long)probe.channel, (long long)probe.neuron);
    if (r->viewed) neuron_put_view(r);
    if (r->record != NULL) neuron_put_records(r);
    return CLI_DONE;
}

// ---- the command --------------------------------------------------------------------------------

static bool neuron_number(const char *text, int64_t *number)
{
    char *end;
    const long long value = strtoll(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || value > INT32_MAX) return false;
    *number = value;
    return true;
}

static int neuron_run(const cli_args *args)
{
    sg_error err = {0};
    neuron_result r = {.args = args};
    int64_t *const numbers[] = {&probe.layer, &probe.channel, &probe.neuron};
    for (int i = 0; i < 3; i++)
        if (!neuron_number(args->operands[i], numbers[i]))
            return cli_wrong(args,
                             "found \"%s\", expected a layer, a channel and a neuron: 2 0 117",
                             args->operands[i]);
    if (probe.model == NULL && probe.records == NULL)
        return cli_wrong(args, "found neither --records nor --model, expected one or both");
    sg_status status = neuron_view(&r, &err);
    if (status == SG_OK) status = neuron_records(&r, &err);
    const int code = status == SG_OK ? neuron_report(&r) : cli_fail(args, status, &err);
    neuron_free(&r);
    return code;
}

const cli_command cli_cmd_probe_neuron = {
    .name = "probe neuron",
    .summary = "show what a neuron reads, writes and fires for",
    .usage = "LAYER CHANNEL NEURON [--records FILE] [--model DIR] [options]",
    .about =
        "Layers, channels and neurons are from 0; of blocks of g neurons (experts), neuron "
        "b g + j is the j-th of block b, and a dense layer is one channel.\n"
        "\n"
        "From the model's weights: the tokens whose embeddings, through the layer's norm, fit "
        "w_in best and worst, and those whose logits w_out raises and lowers most, through the "
        "last norm's weights (the logit lens). A neuron without an activation also does the "
        "opposite of both. From a record: the tokens it fires for, the places where its "
        "contribution |activation| |w_out| is greatest, and the neurons of its channel that are "
        "selected with it; lift is how many times more often than if they knew nothing of each "
        "other.",
    .options = neuron_options,
    .example = "sgatlin probe neuron 2 0 117 --records scope.db --model runs/first",
    .min_operands = 3,
    .max_operands = 3,
    .operands = "LAYER CHANNEL NEURON",
    .run = neuron_run,
};
