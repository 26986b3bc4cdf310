// The queries of routers: a projection of x, with a bias and a norm where the configuration has
// them (ffn_query_bias, ffn_query_norm).
#ifndef SG_FFN_QUERY_H
#define SG_FFN_QUERY_H

#include "ffn/ffn.h"

// width: of all queries together, a multiple of ffn_key_size.
void sg_query_params(const sg_config *config, const char *prefix, int64_t width,
                     sg_param_list *list);
// x (rows, d) -> (rows, width).
sg_tensor *sg_query_build(const sg_builder *b, sg_tensor *x, int64_t width);
double sg_query_flops(const sg_config *config, int64_t width);

#endif
