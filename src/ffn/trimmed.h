// Inputs of linear layers that are left out where they are small: which layers have thresholds, and
// how a layer is recorded with them (docs/MODEL.md, "Inputs that are left out").
#ifndef SG_FFN_TRIMMED_H
#define SG_FFN_TRIMMED_H

#include "ffn/ffn.h"

// What stands in front of matrices; the inputs of all that read the same are left out together.
typedef enum sg_trimmed {
    SG_TRIMMED_ATTENTION,     // queries, keys, values
    SG_TRIMMED_ATTENTION_OUT, // the projection behind attention
    SG_TRIMMED_FFN,           // a dense feed-forward layer
    SG_TRIMMED_FFN_DOWN,      // its w_out
    SG_TRIMMED_PLACES
} sg_trimmed;

// The field of the configuration with the thresholds of a place.
const char *sg_trimmed_field(sg_trimmed place);
// Its text in a configuration: a member of sg_config. bytes: room of it.
char *sg_trimmed_list(sg_config *config, sg_trimmed place, size_t *bytes);
// Whether there are thresholds of a place, and of any.
bool sg_trimmed_has(const sg_config *config, sg_trimmed place);
bool sg_trimmed_any(const sg_config *config);
// That of a layer, from 0; 0 where there is none.
double sg_trimmed_threshold(const sg_config *config, sg_trimmed place, int64_t layer);
// How many numbers a token has there.
int64_t sg_trimmed_width(const sg_config *config, sg_trimmed place);
// The parameter with the norms of columns, which is there with trim_scaled: (width).
const char *sg_trimmed_norms(sg_trimmed place);
// The matrices that read a place, NULL behind the last; names as of parameters of a layer.
enum { SG_TRIMMED_MATRICES = 4 };
const char *const *sg_trimmed_matrices(const sg_config *config, sg_trimmed place);

// That the lists are what they should be, of an otherwise complete configuration.
sg_status sg_trimmed_check(const sg_config *config, sg_error *err);
void sg_trimmed_params(const sg_config *config, sg_trimmed place, const char *prefix,
                       sg_param_list *list);

// x with what is left out set to 0; x itself where there is no threshold, or one of 0.
sg_tensor *sg_build_trimmed(const sg_builder *b, sg_tensor *x, sg_trimmed place);
// sg_build_linear of that: what was left out is not read where rows are few.
sg_tensor *sg_build_trimmed_linear(const sg_builder *b, sg_tensor *x, sg_trimmed place,
                                   sg_tensor *w, sg_tensor *bias);

#endif
