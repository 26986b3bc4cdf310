// What a configuration costs, by the published formulas (spec 5.9) and by planning a step.
#include <string.h>

#include "model/config.h"
#include "model/graph.h"
#include "model/projections.h"

enum { cost_bytes = 4 }; // of a weight, gradient or moment

static sg_status cost_activations(const sg_config *config, const sg_param_list *params,
                                  const sg_cost_options *o, sg_cost *cost, sg_error *err)
{
    sg_rope_table rope = {.positions = o->seq_len, .half = sg_config_rotary_dim(config) / 2};
    sg_graph_options options = {.batch = o->batch,
                                .length = o->seq_len,
                                .output = SG_OUTPUT_LOSS,
                                .gradient = true,
                                .recompute = o->recompute,
                                .threads = o->threads,
                                .compute = o->compute,
                                .logits_compute = o->logits_compute,
                                .memory_path = o->memory_path,
                                .sparsity = o->sparsity};
    sg_graph *graph;
    SG_TRY(sg_graph_new(config, params, NULL, NULL, &rope, &options, &graph, err));
    cost->activation_bytes = (int64_t)(sg_tape_bytes(graph->tape) / sizeof(sg_real)) * cost_bytes;
    for (size_t i = 0; i < params->count; i++)
        if (graph->leaves[i] != NULL && sg_tape_reads_narrow(graph->leaves[i], true))
            cost->bf16_table_bytes += params->specs[i].count * (int64_t)sizeof(sg_bf16);
    sg_graph_free(graph);
    return SG_OK;
}

// Every parameter is of the part that its name says; those without one are norm scales.
static void cost_parameters(const sg_param_list *params, sg_cost *cost)
{
    const struct {
        const char *in_name;
        int64_t *part;
    } parts[] = {{".embed_", &cost->embedding_parameters},
                 {"lm_head.", &cost->embedding_parameters},
                 {".self_attn.", &cost->attention_parameters},
                 {".mlp.router.", &cost->router_parameters},
                 {".mlp.", &cost->memory_parameters},
                 {".shared_memory.", &cost->memory_parameters},
                 {"", &cost->norm_parameters}};
    for (size_t i = 0; i < params->count; i++) {
        const sg_param_spec *spec = &params->specs[i];
        size_t p = 0;
        if (spec->buffer != SG_BUFFER_NONE) continue;
        while (strstr(spec->name, parts[p].in_name) == NULL)
            p++;
        *parts[p].part += spec->count;
        cost->parameters += spec->count;
    }
}

sg_status sg_config_cost(const sg_config *config, int64_t seq_len, int64_t batch, bool recompute,
                         int threads, sg_cost *cost, sg_error *err)
{
    return sg_config_cost_of(
        config,
        &(sg_cost_options){
            .seq_len = seq_len, .batch = batch, .recompute = recompute, .threads = threads},
        cost, err);
}

sg_status sg_config_cost_of(const sg_config *config, const sg_cost_options *options, sg_cost *cost,
                            sg_error *err)
{
    const int64_t seq_len = options->seq_len, batch = options->batch;
    const int threads = options->threads;
    *cost = (sg_cost){0};
    if (seq_len < 1 || seq_len > 1 << 24)
        return sg_fail(err, SG_ERR_ARGUMENT, "seq-len: found %lld, expected 1 to %d",
                       (long long)seq_len, 1 << 24);
    if (batch < 1 || batch > 1 << 20)
        return sg_fail(err, SG_ERR_ARGUMENT, "batch-size: found %lld, expected 1 to %d",
                       (long long)batch, 1 << 20);
    if (threads < 0 || threads > 1 << 12)
        return sg_fail(err, SG_ERR_ARGUMENT, "threads: found %d, expected 0 to %d", threads,
                       1 << 12);
    sg_config c = *config;
    SG_TRY(sg_config_complete(&c, err));
    sg_param_list params;
    SG_TRY(sg_config_params(&c, &params, err));
    double T = (double)seq_len, L = (double)c.num_hidden_layers, d = (double)c.hidden_size;
    double width = (double)(c.num_attention_heads * c.head_dim);
    sg_ffn_count ffn = sg_ffn_total(&c);
    cost_parameters(&params, cost);
    cost->active_parameters_per_token = cost->parameters - ffn.idle_parameters;
    cost->ffn_neurons = ffn.neurons;
    cost->ffn_active_neurons_per_token = ffn.active_neurons;
    cost->attention_flops = T * sg_projections_total(&c).flops + L * 4 * T * T * width;
    cost->router_flops = T * ffn.router_flops;
    cost->memory_flops = T * ffn.memory_flops;
    cost->logits_flops = 2 * T * d * (double)c.vocab_size;
    cost->forward_flops_per_sequence =
        cost->attention_flops + cost->router_flops + cost->memory_flops;
    cost->forward_flops_per_sequence_all_in = cost->forward_flops_per_sequence + cost->logits_flops;
    cost->forward_work_per_sequence =
        cost->forward_flops_per_sequence_all_in - L * 2 * T * (T - 1) * width;
    cost->weight_bytes = cost->gradient_bytes = params.total * cost_bytes;
    cost->optimizer_bytes = 2 * params.total * cost_bytes;
    sg_status status = cost_activations(&c, &params, options, cost, err);
    sg_param_list_free(&params);
    return status;
}
