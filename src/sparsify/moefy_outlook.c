// What a sparse version can gain and takes to make, before it is made.
#include <stdio.h>
#include <string.h>

#include "ffn/trimmed.h"
#include "model/config.h"
#include "model/model.h"
#include "model/projections.h"
#include "sparsify/moefy.h"
#include "sparsify/projection_mlps.h"
#include "sparsify/trim_model.h"

// Inputs of layers for the text, as many layers at a time as memory is for.
static void outlook_text(const sg_config *c, const sg_sparsify_options *o,
                         sg_sparsify_outlook *look)
{
    int64_t tokens[3];
    sg_moefy_tokens(o, tokens);
    look->calibration_tokens = tokens[0];
    look->router_tokens = tokens[1];
    look->test_tokens = tokens[2];
    const int64_t rows = tokens[0] + tokens[1] + tokens[2];
    const int64_t layer = o->projections != NULL ? sg_projections_bytes(c, rows)
                                                 : rows * c->hidden_size * (int64_t)sizeof(sg_real);
    if (layer == 0) return;
    int64_t group = o->memory / layer;
    if (group < 1) group = 1;
    if (group > c->num_hidden_layers) group = c->num_hidden_layers;
    look->passes = (c->num_hidden_layers + group - 1) / group;
    look->input_bytes = group * layer;
}

static double outlook_bytes(const sg_model *m, size_t index)
{
    sg_tensor_info info;
    return sg_model_tensor_info(m, index, &info, NULL) == SG_OK ? (double)info.bytes : 0;
}

// A token reads all weights but the rows of an embedding that is no classifier.
static void outlook_weigh(const sg_model *m, sg_sparsify_outlook *look)
{
    for (size_t i = 0; i < m->params.count; i++) {
        const char *name = m->params.specs[i].name;
        const double bytes = outlook_bytes(m, i);
        const bool table = strstr(name, "embed_positions") != NULL ||
                           (strstr(name, "embed_tokens") != NULL && m->config.untied_classifier);
        if (table) continue;
        look->all_bytes += bytes;
        if (strstr(name, ".self_attn.") == NULL && strstr(name, ".mlp.") != NULL)
            look->ffn_bytes += bytes;
        if (strstr(name, "_proj.") != NULL && strstr(name, ".self_attn.") != NULL)
            look->projection_bytes += bytes;
    }
}

// Matrices whose inputs are left out, and how much faster decoding is without those, at most.
static sg_status outlook_inputs(const sg_model *m, double active, sg_sparsify_outlook *look,
                                sg_error *err)
{
    for (int64_t l = 0; l < m->config.num_hidden_layers; l++)
        for (int place = 0; place < SG_TRIMMED_PLACES; place++) {
            const char *const *names = sg_trimmed_matrices(&m->config, (sg_trimmed)place);
            for (; *names != NULL; names++) {
                char name[SG_PARAM_NAME];
                size_t index;
                snprintf(name, sizeof name, "model.layers.%lld.%s", (long long)l, *names);
                SG_TRY(sg_model_tensor_find(m, name, &index, err));
                look->trimmed_bytes += outlook_bytes(m, index);
            }
        }
    look->ceiling = look->all_bytes / (look->all_bytes - look->trimmed_bytes);
    look->bound = look->all_bytes / (look->all_bytes - (1 - active) * look->trimmed_bytes);
    return SG_OK;
}

sg_status sg_sparsify_look(const sg_model *dense, const sg_sparsify_options *options,
                           sg_sparsify_outlook *look, sg_error *err)
{
    const sg_sparsify_options o = options ? *options : sg_sparsify_options_default();
    sg_config config;
    sg_cost cost;
    *look = (sg_sparsify_outlook){0};
    if (o.projections != NULL)
        SG_TRY(sg_projections_config(&dense->config, &o, &config, err));
    else if (o.trim != NULL)
        SG_TRY(sg_trim_config(&dense->config, &o, &config, err));
    else
        SG_TRY(sg_moefy_config(&dense->config, &o, &config, err));
    // Thresholds are of the text, which nobody has read: counted with some above 0.
    if (sg_ffn_router(&config) == &sg_router_gate) config.ffn_threshold = 1;
    SG_TRY(sg_config_cost(&dense->config, 1, 1, false, 1, &cost, err));
    outlook_weigh(dense, look);
    outlook_text(&dense->config, &o, look);
    const sg_ffn_count was = sg_ffn_total(&dense->config), is = sg_ffn_total(&config);
    look->ffn_flops = was.memory_flops;
    look->projection_flops = sg_projections_total(&dense->config).flops;
    look->all_flops = cost.forward_flops_per_sequence_all_in;
    look->router = is.router_flops / was.memory_flops;
    const double rest = look->all_bytes - look->ffn_bytes;
    const double left = (is.memory_flops + is.router_flops) / was.memory_flops;
    look->ceiling = look->all_bytes / rest;
    look->bound = look->all_bytes / (rest + left * look->ffn_bytes);
    return sg_trimmed_any(&config) ? outlook_inputs(dense, o.active, look, err) : SG_OK;
}
