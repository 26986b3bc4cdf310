// The steps of a memory with the points between them. What is not asked for is passed on as it is.
#include "ffn/inside.h"

#include "ffn/moefied.h"
#include "ffn/sparsity.h"

static const char point_pre[] = "mlp.hook_pre";
static const char point_linear[] = "mlp.hook_pre_linear";
static const char point_post[] = "mlp.hook_post";

bool sg_inside_asked(const sg_builder *b)
{
    return sg_build_point_asked(b, point_pre) || sg_build_point_asked(b, point_linear) ||
           sg_build_point_asked(b, point_post);
}

// Of a selection: (rows, channels, k*g).
static sg_tensor *inside_point(const sg_builder *b, sg_tensor *t, const sg_selection *s,
                               const char *name)
{
    return sg_build_point(b, t, &(sg_point_place){.name = name, .runs = s->channels});
}

sg_tensor *sg_inside_rows(const sg_builder *b, sg_tensor *x, const sg_selection *selection,
                          sg_tensor *w_in, sg_tensor *w_out, sg_gate gate)
{
    const sg_selection s = sg_memory_selection(b->tape, selection);
    sg_tensor *post = s.scores;
    if (gate != SG_GATE_VALUE) {
        sg_tensor *pre = inside_point(b, sg_memory_pre(b->tape, x, &s, w_in), &s, point_pre);
        post = sg_memory_post(b->tape, pre, &s, sg_ffn_activation(b->config), gate);
    }
    post = inside_point(b, post, &s, point_post);
    return sg_memory_sum(b->tape, post, &s, w_out);
}

sg_tensor *sg_inside_halves(const sg_builder *b, sg_tensor *u, int64_t runs,
                            const sg_glu_form *form)
{
    // A dense layer has no channels.
    const int64_t channels = runs > 0 ? 1 : 0;
    const sg_point_place place[] = {{.name = point_pre, .runs = channels},
                                    {.name = point_linear, .runs = channels}};
    sg_tensor *halves[2];
    if (u == NULL ||
        (!sg_build_point_asked(b, point_pre) && !sg_build_point_asked(b, point_linear)))
        return u;
    if (runs == 0) runs = 1;
    // One row a unit, as they are split; behind each other again for the points.
    const int64_t rows = sg_rows(u), width = sg_columns(u), F = width / runs / 2;
    u = sg_reshape(b->tape, u, 2, (int64_t[]){rows * runs, 2 * F});
    if (!sg_glu_split(b->tape, u, form->interleaved, halves)) return NULL;
    for (int i = 0; i < 2; i++) {
        halves[i] = sg_reshape(b->tape, halves[i], 2, (int64_t[]){rows, runs * F});
        halves[i] = sg_build_point(b, halves[i], &place[i]);
        halves[i] = sg_reshape(b->tape, halves[i], 2, (int64_t[]){rows * runs, F});
    }
    u = sg_glu_join(b->tape, halves[0], halves[1], form->interleaved);
    return sg_reshape(b->tape, u, 2, (int64_t[]){rows, width});
}

sg_tensor *sg_inside_experts(const sg_builder *b, sg_tensor *x, const sg_selection *selection,
                             const sg_expert_tables *t, const sg_glu_form *form)
{
    sg_tensor *u = sg_memory_experts_pre(b->tape, x, selection, t->up, t->up_bias);
    u = sg_inside_halves(b, u, selection->k, form);
    if (u == NULL) return NULL;
    const int64_t rows = sg_rows(u), k = selection->k, F = sg_columns(u) / k / 2;
    sg_tensor *h = sg_glu(b->tape, sg_reshape(b->tape, u, 2, (int64_t[]){rows * k, 2 * F}), form);
    h = sg_reshape(b->tape, h, 2, (int64_t[]){rows, k * F});
    if (!sg_build_point_asked(b, point_post))
        return sg_memory_experts_sum(b->tape, h, selection, t->down, t->down_bias, false);
    sg_tensor *post = sg_memory_post(b->tape, h, selection, SG_ACT_IDENTITY, SG_GATE_AFTER);
    post = inside_point(b, post, selection, point_post);
    const bool counts = sg_build_point_use(b, point_post) & (SG_POINT_WRITE | SG_POINT_GRADIENT);
    return sg_memory_experts_sum(b->tape, counts ? post : h, selection, t->down, t->down_bias,
                                 counts);
}

sg_tensor *sg_inside_moefied(const sg_builder *b, sg_tensor *x, const sg_selection *selection,
                             const sg_moefied *of)
{
    sg_tensor *u = sg_memory_moefied_pre(b->tape, x, selection, of);
    sg_activation activation = of->activation;
    if (u == NULL) return NULL;
    if (of->glu) {
        u = sg_inside_halves(b, u, selection->k, &of->form);
        if (u == NULL) return NULL;
        sg_build_gate_term(b, u, selection->k, &of->form);
        const int64_t rows = sg_rows(u), k = selection->k, g = sg_columns(u) / k / 2;
        sg_tensor *gates = sg_reshape(b->tape, u, 2, (int64_t[]){rows * k, 2 * g});
        u = sg_glu(b->tape, gates, &of->form);
        if (of->trim > 0) u = sg_trim_gated(b->tape, u, gates, of->activation, of->trim);
        u = sg_reshape(b->tape, u, 2, (int64_t[]){rows, k * g});
        activation = SG_ACT_IDENTITY;
    } else {
        u = inside_point(b, u, selection, point_pre);
        // Before scores are applied, which a term is not of.
        if (sg_build_term_asked(b)) sg_build_term(b, u, sg_activate(b->tape, u, activation));
    }
    sg_tensor *post = sg_memory_post(b->tape, u, selection, activation, of->gate);
    if (!of->glu) post = sg_trim(b->tape, post, NULL, of->trim);
    post = inside_point(b, post, selection, point_post);
    return sg_memory_moefied_sum(b->tape, post, selection, of);
}
