// Gated linear units, GLU(x) = glu(x W_up^T + b_up) W_down^T + b_down, glu(u) = act(gate) value of
// the two halves of u (kernel/kernel.h): memory "glu", which is one and nothing else, and what
// every token takes beside its selection.
#include <stdio.h>
#include <string.h>

#include "ffn/gated.h"
#include "ffn/inside.h"
#include "ffn/sparsity.h"

sg_glu_form sg_glu_form_of(const sg_config *c)
{
    static const struct {
        const char *name;
        sg_glu_kind kind;
    } forms[] = {{"clamped_swiglu", SG_GLU_CLAMPED},
                 {"swiglu", SG_GLU_SILU},
                 {"geglu", SG_GLU_GELU},
                 {"geglu_erf", SG_GLU_GELU_ERF},
                 {"reglu", SG_GLU_RELU},
                 // Of a branch beside neurons, which is gated by what they are.
                 {"swish", SG_GLU_SILU},
                 {"gelu", SG_GLU_GELU},
                 {"relu", SG_GLU_RELU}};
    sg_glu_form form = {.kind = SG_GLU_CLAMPED, .interleaved = c->ffn_glu_interleaved != 0};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        if (strcmp(c->ffn_activation, forms[i].name) == 0) form.kind = forms[i].kind;
    return form;
}

int64_t sg_glu_parameters(const sg_config *c, int64_t F)
{
    const int64_t d = c->hidden_size;
    return 3 * d * F + (c->ffn_bias ? 2 * F + d : 0);
}

void sg_glu_params(const sg_config *c, const char *prefix, const char *part, int64_t experts,
                   int64_t F, sg_param_list *list)
{
    int64_t d = c->hidden_size;
    int skip = experts == 0 ? 1 : 0; // one GLU has no leading dimension of experts
    char name[64];
    const double in = 1.0 / (double)d, out = 1.0 / (double)F;
    const int64_t up[] = {experts, 2 * F, d}, up_bias[] = {experts, 2 * F};
    const int64_t down[] = {experts, d, F}, down_bias[] = {experts, d};
    snprintf(name, sizeof name, "%sgate_up_proj.weight", part);
    sg_param_add(list, prefix, name, 3 - skip, up + skip, SG_INIT_TRUNCATED, in);
    snprintf(name, sizeof name, "%sgate_up_proj.bias", part);
    if (c->ffn_bias) sg_param_add(list, prefix, name, 2 - skip, up_bias + skip, SG_INIT_ZERO, 0);
    snprintf(name, sizeof name, "%sdown_proj.weight", part);
    sg_param_add(list, prefix, name, 3 - skip, down + skip, SG_INIT_TRUNCATED, out);
    snprintf(name, sizeof name, "%sdown_proj.bias", part);
    if (c->ffn_bias) sg_param_add(list, prefix, name, 2 - skip, down_bias + skip, SG_INIT_ZERO, 0);
}

// A matrix of a layer, and its bias or NULL.
static sg_tensor *glu_matrix(const sg_builder *b, const char *part, const char *name,
                             sg_tensor **bias)
{
    char full[64];
    snprintf(full, sizeof full, "%s%s.bias", part, name);
    *bias = b->config->ffn_bias ? sg_build_param(b, full) : NULL;
    snprintf(full, sizeof full, "%s%s.weight", part, name);
    return sg_build_param(b, full);
}

sg_tensor *sg_build_part(const sg_builder *b, sg_tensor *x, const char *part, const char *name)
{
    sg_tensor *bias, *w = glu_matrix(b, part, name, &bias);
    return sg_build_linear(b, x, w, bias);
}

sg_tensor *sg_build_dense_part(const sg_builder *b, sg_tensor *x, sg_trimmed place,
                               const char *name)
{
    sg_tensor *bias, *w = glu_matrix(b, "mlp.", name, &bias);
    return sg_build_trimmed_linear(b, x, place, w, bias);
}

sg_tensor *sg_glu_build(const sg_builder *b, sg_tensor *x, const char *part)
{
    const sg_glu_form form = sg_glu_form_of(b->config);
    sg_tensor *u = sg_build_part(b, x, part, "gate_up_proj");
    return sg_build_part(b, sg_glu(b->tape, u, &form), part, "down_proj");
}

// ---- a dense layer ------------------------------------------------------------------------------

static void glu_params(const sg_family *family, const sg_config *c, const sg_memory_place *place)
{
    (void)family;
    sg_glu_params(c, place->prefix, "mlp.", 0, c->ffn_intermediate_size, place->list);
}

static sg_tensor *glu_build(const sg_family *family, const sg_builder *b, sg_tensor *x,
                            const sg_selection *selection)
{
    (void)family, (void)selection;
    const sg_glu_form form = sg_glu_form_of(b->config);
    x = sg_build_trimmed(b, x, SG_TRIMMED_FFN);
    sg_tensor *u = sg_build_dense_part(b, x, SG_TRIMMED_FFN, "gate_up_proj");
    u = sg_inside_halves(b, u, 0, &form);
    sg_build_gate_term(b, u, 1, &form);
    sg_tensor *h = sg_build_trimmed(b, sg_glu(b->tape, u, &form), SG_TRIMMED_FFN_DOWN);
    h = sg_build_whole_point(b, h, "mlp.hook_post");
    return sg_build_dense_part(b, h, SG_TRIMMED_FFN_DOWN, "down_proj");
}

static sg_memory_count glu_count(const sg_family *family, const sg_config *c)
{
    (void)family;
    const double F = (double)c->ffn_intermediate_size;
    return (sg_memory_count){
        .block_flops = 6 * (double)c->hidden_size * F, .numbers = 3 * F, .hits = 1};
}

const sg_memory sg_memory_of_glu = {
    .name = "glu",
    .cell = "neuron",
    .block = "layer",
    .dense = true,
    .gated = true,
    .shape = sg_memory_one_block,
    .params = glu_params,
    .build = glu_build,
    .count = glu_count,
};

// ---- beside a selection -------------------------------------------------------------------------

void sg_shared_params(const sg_config *c, const char *prefix, sg_param_list *list)
{
    const int64_t width = sg_ffn_shared_width(c), shape[] = {1, c->hidden_size};
    if (width > 0) sg_glu_params(c, prefix, "mlp.shared_experts.", 0, width, list);
    if (c->ffn_shared_gate)
        sg_param_add(list, prefix, "mlp.shared_expert_gate.weight", 2, shape, SG_INIT_TRUNCATED,
                     1.0 / (double)c->hidden_size);
}

// Scaled by a sigmoid of its own where there is one (Qwen2-MoE).
sg_tensor *sg_shared_build(const sg_builder *b, sg_tensor *x, sg_tensor *y)
{
    if (sg_ffn_shared_width(b->config) == 0) return y;
    sg_tensor *shared = sg_glu_build(b, x, "mlp.shared_experts.");
    if (b->config->ffn_shared_gate) {
        sg_tensor *w = sg_build_param(b, "mlp.shared_expert_gate.weight");
        sg_tensor *s = sg_build_linear(b, x, w, NULL);
        shared = sg_scale_rows(b->tape, shared, sg_activate(b->tape, s, SG_ACT_SIGMOID));
    }
    return sg_add(b->tape, y, shared);
}

double sg_shared_flops(const sg_config *c)
{
    const double d = (double)c->hidden_size;
    return 6 * d * (double)sg_ffn_shared_width(c) + (c->ffn_shared_gate ? 2 * d : 0);
}
