// What training adds to a model so that its feed-forward layers, and MLPs in place of projections
// of attention, become sparse: terms of the loss on activations of dense layers, plain, gated or in
// blocks (D2DMoE), and the two stages of LTE.
#ifndef SG_FFN_SPARSITY_H
#define SG_FFN_SPARSITY_H

#include "ffn/ffn.h"

// The same layer with zeros: relu in place of gelu, gelu_erf and swish, reglu in place of gated
// units, of which clamped_swiglu loses its clamp (ReLU Strikes Back, Mirzadeh et al. 2023).
// Activations that have zeros stay. Returns whether they have zeros now.
bool sg_relufy(sg_config *config);

// Whether a layer of this configuration (sg_ffn_layer_config) takes a term, or LTE's stages.
bool sg_takes_term(const sg_config *config);
bool sg_takes_lte(const sg_config *config);

// ---- recording ----------------------------------------------------------------------------------
// Every loss is recorded with the share of its weight that a micro-batch has; whoever trains weighs
// them before each pass (sg_graph_weigh).

// Whether the layer that is recorded gets a term.
bool sg_build_term_asked(const sg_builder *b);
// The term of a layer whose hidden neurons are pre (rows, n) before their activation, post behind
// it; one of a gated layer, whose gates and linear parts are u (rows, runs * 2f), by its gates.
void sg_build_term(const sg_builder *b, sg_tensor *pre, sg_tensor *post);
void sg_build_gate_term(const sg_builder *b, sg_tensor *u, int64_t runs, const sg_glu_form *form);

// LTE's first stage: all blocks run, each times its score. *own: where the configuration of such a
// layer is written; returns the one it is built by.
bool sg_build_is_soft(const sg_builder *b);
const sg_config *sg_soft_config(const sg_config *config, sg_config *own);
// Its losses, of the scores of all blocks (rows, E).
void sg_build_lte(const sg_builder *b, sg_tensor *scores);

// Which loss a node is.
bool sg_is_term(const sg_node *node); // of a feed-forward layer
bool sg_is_attention_term(const sg_node *node);
bool sg_is_efficiency(const sg_node *node);
bool sg_is_separability(const sg_node *node);

#endif
