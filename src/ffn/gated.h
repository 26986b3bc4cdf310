// Gated linear units with weights of their own: a dense layer, or what every token takes beside
// what it selects.
#ifndef SG_FFN_GATED_H
#define SG_FFN_GATED_H

#include "ffn/trimmed.h"

// What ffn_activation says of a gated unit.
sg_glu_form sg_glu_form_of(const sg_config *config);
// Of width F, one (experts 0) or a table of experts; names begin with `part`.
void sg_glu_params(const sg_config *config, const char *prefix, const char *part, int64_t experts,
                   int64_t F, sg_param_list *list);
sg_tensor *sg_glu_build(const sg_builder *b, sg_tensor *x, const char *part);
// Parameters of one of width F.
int64_t sg_glu_parameters(const sg_config *config, int64_t F);

// The shape of a layer that is read as a whole: one block of F cells.
sg_memory_shape sg_memory_one_block(const sg_family *family, const sg_config *config);
// A matrix of a layer and its bias, where layers have them: "mlp.up_proj" is `part` and `name`.
sg_tensor *sg_build_part(const sg_builder *b, sg_tensor *x, const char *part, const char *name);
// Those of a dense layer that read a place where inputs may have been left out: "up_proj".
sg_tensor *sg_build_dense_part(const sg_builder *b, sg_tensor *x, sg_trimmed place,
                               const char *name);

// What every token takes beside its selection ("mlp.shared_experts."), if anything: of width
// sg_ffn_shared_width, added to y.
void sg_shared_params(const sg_config *config, const char *prefix, sg_param_list *list);
sg_tensor *sg_shared_build(const sg_builder *b, sg_tensor *x, sg_tensor *y);
double sg_shared_flops(const sg_config *config);

#endif
