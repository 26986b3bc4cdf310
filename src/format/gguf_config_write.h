// What a GGUF file says of its model, from a configuration of ours: gguf_config.h the other way.
#ifndef SG_FORMAT_GGUF_CONFIG_WRITE_H
#define SG_FORMAT_GGUF_CONFIG_WRITE_H

#include "format/gguf.h"
#include "sgatlin.h"

// Sets *said to what a file of this architecture (one that sg_gguf_config_architecture names) says
// of a complete configuration, not yet complete itself; what it has no key for is as the
// architecture has it. SG_ERR_UNSUPPORTED for a family of layers that the architecture has not.
sg_status sg_gguf_config_say(const sg_config *config, const char *architecture, sg_config *said,
                             sg_error *err);
// The architecture that is nearest to a configuration.
const char *sg_gguf_config_architecture(const sg_config *config);
// Puts the keys. dtype: what most of the weights are stored in.
void sg_gguf_config_put(const sg_config *config, const char *architecture, sg_dtype dtype,
                        sg_gguf_metadata *metadata);

#endif
