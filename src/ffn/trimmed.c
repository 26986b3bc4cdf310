// Inputs that are left out, in front of the matrices of attention and of dense layers:
//
//     x_i' = 0 where |x_i| <= t, with norms |x_i n_i| <= t, else x_i
//
// t of the layer and place. (TEAL, Liu et al. 2024; with norms WINA, Chen et al. 2025.)
#include "ffn/trimmed.h"

#include <stdio.h>
#include <string.h>

#include "base/number_list.h"

static const double trimmed_most = 1e30; // of a threshold

static const struct {
    const char *field;
    size_t list;       // offset in sg_config
    const char *norms; // a parameter
} places[SG_TRIMMED_PLACES] = {
    {"trim_attention", offsetof(sg_config, trim_attention), "self_attn.qkv_norms.weight"},
    {"trim_attention_out", offsetof(sg_config, trim_attention_out), "self_attn.o_norms.weight"},
    {"trim_ffn", offsetof(sg_config, trim_ffn), "mlp.up_norms.weight"},
    {"trim_ffn_down", offsetof(sg_config, trim_ffn_down), "mlp.down_norms.weight"}};

static const char *trimmed_text(const sg_config *c, sg_trimmed place)
{
    return (const char *)c + places[place].list;
}

const char *sg_trimmed_field(sg_trimmed place)
{
    return places[place].field;
}

char *sg_trimmed_list(sg_config *c, sg_trimmed place, size_t *bytes)
{
    *bytes = sizeof c->trim_ffn; // all have the same
    return (char *)c + places[place].list;
}

bool sg_trimmed_has(const sg_config *c, sg_trimmed place)
{
    return trimmed_text(c, place)[0] != '\0';
}

bool sg_trimmed_any(const sg_config *c)
{
    bool any = false;
    for (int place = 0; place < SG_TRIMMED_PLACES; place++)
        any = any || sg_trimmed_has(c, (sg_trimmed)place);
    return any;
}

double sg_trimmed_threshold(const sg_config *c, sg_trimmed place, int64_t layer)
{
    const char *at = trimmed_text(c, place);
    double value = 0;
    for (int64_t l = 0; l <= layer && *at != '\0'; l++)
        sg_list_number(&at, false, &value);
    return value;
}

int64_t sg_trimmed_width(const sg_config *c, sg_trimmed place)
{
    if (place == SG_TRIMMED_ATTENTION_OUT) return c->num_attention_heads * c->head_dim;
    return place == SG_TRIMMED_FFN_DOWN ? c->ffn_intermediate_size : c->hidden_size;
}

const char *sg_trimmed_norms(sg_trimmed place)
{
    return places[place].norms;
}

const char *const *sg_trimmed_matrices(const sg_config *c, sg_trimmed place)
{
    static const char *const qkv[] = {"self_attn.q_proj.weight", "self_attn.k_proj.weight",
                                      "self_attn.v_proj.weight", NULL};
    static const char *const out[] = {"self_attn.o_proj.weight", NULL};
    static const char *const up[] = {"mlp.up_proj.weight", NULL};
    static const char *const gate_up[] = {"mlp.gate_up_proj.weight", NULL};
    static const char *const down[] = {"mlp.down_proj.weight", NULL};
    if (place == SG_TRIMMED_ATTENTION) return qkv;
    if (place == SG_TRIMMED_ATTENTION_OUT) return out;
    if (place == SG_TRIMMED_FFN_DOWN) return down;
    return sg_ffn_is_gated(c) ? gate_up : up;
}

// ---- rules --------------------------------------------------------------------------------------

static sg_status trimmed_check_list(const sg_config *c, sg_trimmed place, sg_error *err)
{
    const char *text = trimmed_text(c, place), *at = text;
    const bool ffn = place == SG_TRIMMED_FFN || place == SG_TRIMMED_FFN_DOWN;
    int64_t found = 0;
    double value;
    if (*text == '\0') return SG_OK;
    if (ffn && !sg_family_is_dense(sg_family_find(c->ffn)))
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "%s: found \"%.60s\", expected none for family %s, which is not dense",
                       places[place].field, text, c->ffn);
    while (*at != '\0' && sg_list_number(&at, false, &value)) {
        found++;
        if (!(value >= 0 && value <= trimmed_most))
            return sg_fail(err, SG_ERR_ARGUMENT,
                           "%s: layer %lld: found %s, expected a threshold of 0 to %g",
                           places[place].field, (long long)found, SG_NUMBER(value), trimmed_most);
    }
    if (*at == '\0' && found == c->num_hidden_layers) return SG_OK;
    return sg_fail(err, SG_ERR_ARGUMENT, "%s: found \"%.60s\", expected %lld numbers, as 0.1,0.25",
                   places[place].field, text, (long long)c->num_hidden_layers);
}

sg_status sg_trimmed_check(const sg_config *c, sg_error *err)
{
    for (int place = 0; place < SG_TRIMMED_PLACES; place++)
        SG_TRY(trimmed_check_list(c, (sg_trimmed)place, err));
    if (c->trim_scaled == 0 || sg_trimmed_any(c)) return SG_OK;
    return sg_fail(err, SG_ERR_ARGUMENT,
                   "trim_scaled: found 1, expected 0 where no inputs have thresholds");
}

// Norms are of weights, which gradients move and these do not.
void sg_trimmed_params(const sg_config *c, sg_trimmed place, const char *prefix,
                       sg_param_list *list)
{
    const int64_t width = sg_trimmed_width(c, place);
    if (c->trim_scaled == 0 || !sg_trimmed_has(c, place)) return;
    sg_param_add(list, prefix, places[place].norms, 1, &width, SG_INIT_ONE, 0);
    if (list->status == SG_OK) list->specs[list->count - 1].frozen = true;
}

// ---- recording ----------------------------------------------------------------------------------

sg_tensor *sg_build_trimmed(const sg_builder *b, sg_tensor *x, sg_trimmed place)
{
    const double t = sg_trimmed_threshold(b->config, place, b->layer);
    if (t == 0) return x;
    sg_tensor *norms = b->config->trim_scaled ? sg_build_param(b, places[place].norms) : NULL;
    return sg_trim(b->tape, x, norms, t);
}

sg_tensor *sg_build_trimmed_linear(const sg_builder *b, sg_tensor *x, sg_trimmed place,
                                   sg_tensor *w, sg_tensor *bias)
{
    if (sg_trimmed_threshold(b->config, place, b->layer) == 0)
        return sg_build_linear(b, x, w, bias);
    sg_tensor *y = sg_linear_sparse(b->tape, x, w, bias);
    return b->adapt != NULL && y != NULL ? b->adapt(b->user, x, w, y) : y;
}
