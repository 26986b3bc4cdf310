// What is read is counted as decoding reads it: |x n| above the threshold; behind activations what
// is not 0, since zeros are not read either.
#include "train/input_use.h"

#include <stdio.h>

#include "base/alloc.h"
#include "model/config.h"
#include "op/trim.h"

const char *sg_input_point(sg_trimmed place)
{
    static const char *const points[] = {"ln1.hook_normalized", "attn.hook_z",
                                         "ln2.hook_normalized", "mlp.hook_post"};
    return points[place];
}

static sg_status use_norms(const sg_model *m, int64_t layer, sg_trimmed place,
                           const sg_real **norms, sg_error *err)
{
    char name[SG_PARAM_NAME];
    size_t index;
    snprintf(name, sizeof name, "model.layers.%lld.%s", (long long)layer, sg_trimmed_norms(place));
    SG_TRY(sg_model_tensor_find(m, name, &index, err));
    *norms = m->values[index]; // of one dimension, which stays as it is
    return *norms != NULL ? SG_OK : sg_fail(err, SG_ERR_INTERNAL, "%s: found no values", name);
}

sg_status sg_input_use_new(const sg_model *m, sg_input_use *use, sg_error *err)
{
    const sg_config *c = &m->config;
    *use = (sg_input_use){.config = c};
    use->counts =
        sg_alloc_zero((size_t)c->num_hidden_layers, SG_TRIMMED_PLACES * sizeof *use->counts);
    if (use->counts == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a count");
    for (int64_t l = 0; l < c->num_hidden_layers; l++)
        for (int place = 0; place < SG_TRIMMED_PLACES; place++) {
            sg_input_count *count = &use->counts[l * SG_TRIMMED_PLACES + place];
            if (!sg_trimmed_has(c, (sg_trimmed)place)) continue;
            count->threshold = sg_trimmed_threshold(c, (sg_trimmed)place, l);
            if (c->trim_scaled) SG_TRY(use_norms(m, l, (sg_trimmed)place, &count->norms, err));
        }
    return SG_OK;
}

void sg_input_use_free(sg_input_use *use)
{
    sg_free(use->counts);
    *use = (sg_input_use){0};
}

void sg_input_use_add(sg_input_use *use, int64_t layer, sg_trimmed place, const sg_real *values,
                      int64_t rows, int64_t n)
{
    sg_input_count *count = &use->counts[layer * SG_TRIMMED_PLACES + place];
    const bool post = place == SG_TRIMMED_FFN_DOWN;
    int64_t read = 0;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < n; i++) {
            const sg_real x = values[r * n + i];
            if (post || count->threshold == 0)
                read += !post || x != 0;
            else
                read += !sg_trim_takes(count->norms ? x * count->norms[i] : x, count->threshold);
        }
    count->read += (double)read;
    count->all += (double)(rows * n);
}

double sg_input_use_share(const sg_input_use *use, int64_t layer, sg_trimmed place)
{
    const sg_input_count *count = &use->counts[layer * SG_TRIMMED_PLACES + place];
    return count->all > 0 ? count->read / count->all : 1;
}

double sg_input_flops(const sg_config *c, sg_trimmed place)
{
    const double d = (double)c->hidden_size, F = (double)c->ffn_intermediate_size;
    const double width = (double)(c->num_attention_heads * c->head_dim);
    const double kv = (double)(sg_config_kv_heads(c) * c->head_dim);
    switch (place) {
    case SG_TRIMMED_ATTENTION:
        return 2 * d * (width + 2 * kv);
    case SG_TRIMMED_ATTENTION_OUT:
        return 2 * d * width;
    case SG_TRIMMED_FFN:
        return 2 * d * F * (sg_ffn_is_gated(c) ? 2 : 1);
    default:
        return 2 * d * F;
    }
}

// All layers have the same sizes.
double sg_input_use_place(const sg_input_use *use, sg_trimmed place)
{
    const int64_t layers = use->config->num_hidden_layers;
    double sum = 0;
    for (int64_t l = 0; l < layers; l++)
        sum += sg_input_use_share(use, l, place);
    return sum / (double)layers;
}

static double use_flops(const sg_input_use *use, int first)
{
    double read = 0, all = 0;
    for (int place = first; place < SG_TRIMMED_PLACES; place++) {
        const double flops = sg_input_flops(use->config, (sg_trimmed)place);
        read += flops * sg_input_use_place(use, (sg_trimmed)place);
        all += flops;
    }
    return read / all;
}

double sg_input_use_ffn(const sg_input_use *use)
{
    return use_flops(use, SG_TRIMMED_FFN);
}

double sg_input_use_all(const sg_input_use *use)
{
    return use_flops(use, 0);
}
