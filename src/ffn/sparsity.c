// Terms of the loss that make feed-forward layers sparse, where they are recorded. Over the rows
// that count, h the hidden activations of a token (of a gated layer the outputs of its gates), u
// what they are of, G (E) the scores of a router, N how many (op_row_loss.c has the gradients):
//
//     l1             sum |h_j|                hoyer            (sum |h_j|)^2 / sum h_j^2
//     clamped        sum max(u_j, c) - c      clamped_hoyer    Hoyer of max(u_j, c) - c
//     efficiency     1/N sum G_i^2            separability     1/N sum 1 / max((G_i - 1/2)^2, e^2)
//
// The first four are D2DMoE's (Szatkowski et al. 2024; of DSTI the L1), c is -10 there; the last
// two are LTE's (Zheng et al. 2024), which is published without e.
#include "ffn/sparsity.h"

#include <stdio.h>
#include <string.h>

#include "ffn/gated.h"
#include "ffn/inside.h"

static const double lte_threshold = 0.5;

// ---- rules --------------------------------------------------------------------------------------

static bool sparsity_family_has(const sg_family *family, const char *activation)
{
    for (int i = 0; i < SG_FAMILY_CHOICES && family->activations[i] != NULL; i++)
        if (strcmp(family->activations[i], activation) == 0) return true;
    return false;
}

bool sg_relufy(sg_config *c)
{
    static const struct {
        const char *from, *to;
    } with[] = {{"gelu", "relu"},    {"gelu_erf", "relu"},        {"swish", "relu"},
                {"swiglu", "reglu"}, {"geglu", "reglu"},          {"geglu_erf", "reglu"},
                {"relu", "relu"},    {"clamped_swiglu", "reglu"}, {"reglu", "reglu"},
                {"relu2", "relu2"}};
    for (size_t i = 0; i < sizeof with / sizeof *with; i++) {
        if (strcmp(c->ffn_activation, with[i].from) != 0) continue;
        if (!sparsity_family_has(sg_family_find(c->ffn), with[i].to)) return false;
        snprintf(c->ffn_activation, sizeof c->ffn_activation, "%s", with[i].to);
        return true;
    }
    return false;
}

bool sg_takes_term(const sg_config *c)
{
    const sg_memory *m = sg_ffn_memory_of(c);
    return m == &sg_memory_of_mlp || m == &sg_memory_of_glu || m == &sg_memory_of_moefied;
}

bool sg_takes_lte(const sg_config *c)
{
    return sg_ffn_memory_of(c) == &sg_memory_of_moefied && sg_ffn_router(c) == &sg_router_sigmoid;
}

// ---- terms --------------------------------------------------------------------------------------

bool sg_build_term_asked(const sg_builder *b)
{
    const sg_sparsity *s = b->sparsity;
    if (!b->training || s == NULL || s->term == SG_SPARSITY_NONE) return false;
    const sg_sparsity_modules without =
        b->of_attention ? SG_SPARSITY_OF_FFN : SG_SPARSITY_OF_ATTENTION;
    return s->modules != without && sg_takes_term(b->config);
}

static bool sparsity_clamped(const sg_sparsity *s)
{
    return s->term == SG_SPARSITY_CLAMPED || s->term == SG_SPARSITY_CLAMPED_HOYER;
}

void sg_build_term(const sg_builder *b, sg_tensor *pre, sg_tensor *post)
{
    if (!sg_build_term_asked(b)) return;
    const sg_sparsity *s = b->sparsity;
    const bool l1 = s->term == SG_SPARSITY_L1 || s->term == SG_SPARSITY_CLAMPED;
    const sg_row_loss_options options = {.counted = b->counted,
                                         .clamped = sparsity_clamped(s),
                                         .floor = s->floor,
                                         .group = b->of_attention};
    sg_tape_add_loss(
        b->tape,
        sg_row_loss(b->tape, l1 ? SG_ROW_L1 : SG_ROW_HOYER, options.clamped ? pre : post, &options),
        b->loss_share);
}

void sg_build_gate_term(const sg_builder *b, sg_tensor *u, int64_t runs, const sg_glu_form *form)
{
    sg_tensor *halves[2], *gate, *post = NULL;
    if (u == NULL || !sg_build_term_asked(b)) return;
    const int64_t rows = sg_rows(u), f = sg_columns(u) / runs / 2;
    u = sg_reshape(b->tape, u, 2, (int64_t[]){rows * runs, 2 * f});
    if (!sg_glu_split(b->tape, u, form->interleaved, halves)) return;
    gate = sg_reshape(b->tape, halves[0], 2, (int64_t[]){rows, runs * f});
    if (!sparsity_clamped(b->sparsity))
        post = sg_activate(b->tape, gate, sg_glu_activation(form->kind));
    sg_build_term(b, gate, post);
}

static bool sparsity_is_term(const sg_node *node, bool of_attention)
{
    if (!sg_is_row_loss(node, SG_ROW_L1) && !sg_is_row_loss(node, SG_ROW_HOYER)) return false;
    return sg_row_loss_group(node) == of_attention;
}

bool sg_is_term(const sg_node *node)
{
    return sparsity_is_term(node, false);
}

bool sg_is_attention_term(const sg_node *node)
{
    return sparsity_is_term(node, true);
}

// ---- LTE ----------------------------------------------------------------------------------------

bool sg_build_is_soft(const sg_builder *b)
{
    return b->training && b->sparsity != NULL && b->sparsity->soft && sg_takes_lte(b->config);
}

const sg_config *sg_soft_config(const sg_config *c, sg_config *own)
{
    if (c != own) *own = *c;
    snprintf(own->ffn_gate, sizeof own->ffn_gate, "after");
    snprintf(own->ffn_select, sizeof own->ffn_select, "top_k");
    own->ffn_top_k = sg_ffn_memory(own).blocks;
    return own;
}

void sg_build_lte(const sg_builder *b, sg_tensor *scores)
{
    if (!sg_build_is_soft(b)) return;
    const sg_row_loss_options options = {
        .counted = b->counted, .centre = lte_threshold, .least = b->sparsity->least};
    sg_tape_add_loss(b->tape, sg_row_loss(b->tape, SG_ROW_EFFICIENCY, scores, &options),
                     b->loss_share);
    sg_tape_add_loss(b->tape, sg_row_loss(b->tape, SG_ROW_SEPARABILITY, scores, &options),
                     b->loss_share);
}

bool sg_is_efficiency(const sg_node *node)
{
    return sg_is_row_loss(node, SG_ROW_EFFICIENCY);
}

bool sg_is_separability(const sg_node *node)
{
    return sg_is_row_loss(node, SG_ROW_SEPARABILITY);
}
