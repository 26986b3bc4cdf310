#include "cli/sparsify_trim.h"

#include <stdlib.h>

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

void cli_trim_tell(const cli_args *args, const sg_sparsify_options *o, const sg_sparsify_outlook *l)
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

int cli_trim_report(const cli_args *args, const char *path, const sg_sparsify_options *o,
                    const sg_sparsify_outlook *l, const sg_sparsify_result *r,
                    const char *thresholds, bool tokenizer)
{
    double least = 0, most = 0;
    if (args->json)
        return cli_print_json(
            args,
            json_pack("{s:s, s:s, s:f, s:o, s:f, s:f, s:f, s:f, s:b, s:I, s:o, s:o, s:o, s:o}",
                      "path", path, "method", o->trim, "active", o->active, "thresholds",
                      trim_list(thresholds), "ffn_bytes", l->ffn_bytes, "bytes", l->all_bytes,
                      "ceiling", l->ceiling, "bound", l->bound, "tokenizer", tokenizer,
                      "test_tokens", (json_int_t)r->test_tokens, "dense_perplexity",
                      cli_json_number(r->dense_perplexity), "sparse_perplexity",
                      cli_json_number(r->sparse_perplexity), "kept", cli_json_number(r->kept),
                      "executed", cli_json_number(r->executed)));
    trim_ends(thresholds, &least, &most);
    printf("%s: router gate, thresholds of layers %.3g to %.3g, %s tokenizer\n", path, least, most,
           tokenizer ? "with" : "without");
    if (r->test_tokens > 0)
        printf("perplexity %.4f, dense %.4f, on %lld tokens of test; %.1f %% of neurons, %.1f %% "
               "of the FLOPs of feed-forward layers\n",
               r->sparse_perplexity, r->dense_perplexity, (long long)r->test_tokens, 100 * r->kept,
               100 * r->executed);
    return CLI_DONE;
}
