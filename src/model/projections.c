// Projections of attention, x (rows, in) -> (rows, out), to queries (which = 0), keys, values and
// out of the heads:
//
//     linear    y = x W^T + b                                         W (out, in)
//     MLP       y = relu(x W_up^T + b_up) W_down^T + b_down           W_up (h, in), W_down (out, h)
//
// With h = round(f (in out + out) / (in + out + 1)) an MLP has about f times the parameters, and
// FLOPs, of a linear layer with a bias (D2DMoE, Szatkowski et al. 2024, of in = out). What stands
// behind the projection (norms of queries and keys, their limit, rotation) stays as it is.
#include "model/projections.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ffn/sparsity.h"
#include "ffn/trimmed.h"
#include "model/config.h"

enum { projection_most = 1 << 20 }; // hidden width

static const char letters[] = "qkvo";

char sg_projection_letter(sg_projection which)
{
    return letters[which];
}

sg_projection sg_projection_of_letter(char letter)
{
    int i = 0;
    while (i < SG_PROJECTIONS && letters[i] != letter)
        i++;
    return (sg_projection)i;
}

int64_t sg_projection_hidden(int64_t in, int64_t out, double f)
{
    const double h = f * (double)(in * out + out) / (double)(in + out + 1);
    return h < 1 ? 1 : llround(fmin(h, projection_most));
}

// ---- lists of hidden widths ---------------------------------------------------------------------

static char *projection_text(sg_config *c, sg_projection which)
{
    char *const texts[] = {c->attention_mlp_q, c->attention_mlp_k, c->attention_mlp_v,
                           c->attention_mlp_o};
    return texts[which];
}

static const char *projection_said(const sg_config *c, sg_projection which)
{
    return projection_text((sg_config *)(uintptr_t)c, which);
}

enum { projection_bytes = sizeof((sg_config *)NULL)->attention_mlp_q };

// One number of a list, *at then behind it and its comma. False: there is none.
static bool projection_number(const char **at, int64_t *value)
{
    char *end;
    if (**at < '0' || **at > '9') return false;
    *value = strtoll(*at, &end, 10);
    if (*value > projection_most || (*end != ',' && *end != '\0')) return false;
    if (*end == ',' && end[1] == '\0') return false;
    *at = *end == ',' ? end + 1 : end;
    return true;
}

static int64_t projection_width(const char *text, int64_t layer)
{
    int64_t value = 0;
    for (int64_t l = 0; l <= layer && *text != '\0'; l++)
        projection_number(&text, &value);
    return value;
}

sg_projection_size sg_projection_size_of(const sg_config *c, int64_t layer, sg_projection which)
{
    const int64_t d = c->hidden_size, w = c->num_attention_heads * c->head_dim;
    const int64_t kv = sg_config_kv_heads(c) * c->head_dim;
    const bool narrow = which == SG_PROJECTION_K || which == SG_PROJECTION_V;
    sg_projection_size s = {.in = d, .out = narrow ? kv : w};
    if (which == SG_PROJECTION_O) s = (sg_projection_size){.in = w, .out = d};
    s.hidden = projection_width(projection_said(c, which), layer);
    return s;
}

bool sg_projections_any(const sg_config *c)
{
    for (int i = 0; i < SG_PROJECTIONS; i++)
        if (projection_said(c, (sg_projection)i)[0] != '\0') return true;
    return false;
}

sg_status sg_projection_list(sg_config *c, sg_projection which, const int64_t *hidden,
                             sg_error *err)
{
    char text[projection_bytes];
    size_t used = 0;
    bool alike = true;
    for (int64_t l = 1; l < c->num_hidden_layers; l++)
        alike = alike && hidden[l] == hidden[0];
    const int64_t count = alike ? 1 : c->num_hidden_layers;
    for (int64_t l = 0; l < count && used < sizeof text; l++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%lld", l > 0 ? "," : "",
                                 (long long)hidden[l]);
    if (used >= sizeof text)
        return sg_fail(err, SG_ERR_UNSUPPORTED,
                       "attention_mlp_%c: found %lld layers, whose widths do not fit into a list "
                       "of %zu characters",
                       letters[which], (long long)c->num_hidden_layers, sizeof text - 1);
    if (alike && hidden[0] == 0) used = 0;
    memset(projection_text(c, which), 0, sizeof text);
    memcpy(projection_text(c, which), text, used);
    return SG_OK;
}

static sg_status projection_complete(sg_config *c, sg_projection which, sg_error *err)
{
    const char *text = projection_said(c, which), *at = text;
    int64_t widths[512], found = 0;
    const int64_t layers = c->num_hidden_layers;
    while (*at != '\0' && found < layers && projection_number(&at, &widths[found]))
        found++;
    if (*at != '\0' || (found > 1 && found != layers))
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "attention_mlp_%c: found \"%.60s\", expected a hidden width of all layers, "
                       "or %lld of them, as 32,0,32, each 0 (linear) to %d",
                       letters[which], text, (long long)layers, projection_most);
    if (found == 0) return SG_OK;
    for (int64_t l = found; l < layers; l++)
        widths[l] = widths[0];
    return sg_projection_list(c, which, widths, err);
}

sg_status sg_projections_complete(sg_config *c, sg_error *err)
{
    for (int i = 0; i < SG_PROJECTIONS; i++)
        SG_TRY(projection_complete(c, (sg_projection)i, err));
    return SG_OK;
}

// ---- one projection -----------------------------------------------------------------------------

static bool projection_biased(const sg_config *c, sg_projection which)
{
    return (which == SG_PROJECTION_O ? c->attention_out_bias : c->attention_bias) != 0;
}

// The configuration of its MLP: that of a model of such layers, in which x is as wide as here.
static sg_config projection_config(const sg_projection_size *s)
{
    return (sg_config){.hidden_size = s->in,
                       .num_hidden_layers = 1,
                       .ffn = "mlp",
                       .ffn_router = "all",
                       .ffn_activation = "relu",
                       .ffn_intermediate_size = s->hidden,
                       .ffn_bias = 1};
}

static void projection_matrix(sg_param_list *list, const char *prefix, const char *name,
                              int64_t out, int64_t in, bool bias)
{
    char full[64];
    snprintf(full, sizeof full, "%s.weight", name);
    sg_param_add(list, prefix, full, 2, (int64_t[]){out, in}, SG_INIT_TRUNCATED, 1.0 / (double)in);
    snprintf(full, sizeof full, "%s.bias", name);
    if (bias) sg_param_add(list, prefix, full, 1, &out, SG_INIT_ZERO, 0);
}

void sg_projection_params(const sg_config *c, int64_t layer, sg_projection which,
                          const char *prefix, sg_param_list *list)
{
    const sg_projection_size s = sg_projection_size_of(c, layer, which);
    char name[64];
    snprintf(name, sizeof name, "self_attn.%c_proj", letters[which]);
    if (s.hidden == 0) {
        projection_matrix(list, prefix, name, s.out, s.in, projection_biased(c, which));
        return;
    }
    snprintf(name, sizeof name, "self_attn.%c_proj.mlp.up_proj", letters[which]);
    projection_matrix(list, prefix, name, s.hidden, s.in, true);
    snprintf(name, sizeof name, "self_attn.%c_proj.mlp.down_proj", letters[which]);
    projection_matrix(list, prefix, name, s.out, s.hidden, true);
}

static sg_tensor *projection_linear(const sg_builder *b, sg_tensor *x, sg_projection which)
{
    char name[64];
    snprintf(name, sizeof name, "self_attn.%c_proj.weight", letters[which]);
    sg_tensor *w = sg_build_param(b, name), *bias = NULL;
    snprintf(name, sizeof name, "self_attn.%c_proj.bias", letters[which]);
    if (projection_biased(b->config, which)) bias = sg_build_param(b, name);
    const bool out = which == SG_PROJECTION_O;
    return sg_build_trimmed_linear(b, x, out ? SG_TRIMMED_ATTENTION_OUT : SG_TRIMMED_ATTENTION, w,
                                   bias);
}

sg_tensor *sg_projection_build(const sg_builder *b, sg_tensor *x, sg_projection which)
{
    const sg_projection_size s = sg_projection_size_of(b->config, b->layer, which);
    if (s.hidden == 0) return projection_linear(b, x, which);
    const sg_config own = projection_config(&s);
    char prefix[SG_PARAM_NAME], point[32];
    snprintf(prefix, sizeof prefix, "%sself_attn.%c_proj.", b->prefix, letters[which]);
    snprintf(point, sizeof point, "attn.%c_mlp.", letters[which]);
    sg_builder of = *b;
    of.config = &own;
    of.prefix = prefix;
    of.mlp_point = point;
    of.of_attention = true;
    return sg_family_build(&of, x);
}

// ---- all of a model -----------------------------------------------------------------------------

sg_projections_count sg_projections_total(const sg_config *c)
{
    sg_projections_count total = {0};
    for (int64_t l = 0; l < c->num_hidden_layers; l++)
        for (int i = 0; i < SG_PROJECTIONS; i++) {
            const sg_projection_size s = sg_projection_size_of(c, l, (sg_projection)i);
            const double in = (double)s.in, out = (double)s.out, h = (double)s.hidden;
            total.flops += s.hidden > 0 ? 2 * h * (in + out) : 2 * in * out;
            total.numbers += 2 * h;
        }
    return total;
}
