// What memories of cells have in common (read_cells.c): F, E, g and k make their shape.
#ifndef SG_FFN_CELLS_H
#define SG_FFN_CELLS_H

#include "ffn/ffn.h"

sg_memory_shape sg_cells_shape(const sg_family *family, const sg_config *config);
sg_status sg_cells_check(const sg_family *family, const sg_config *config, sg_error *err);
void sg_cells_say_cells(const sg_config *config, char text[SG_MEMORY_SAYS]);
void sg_cells_say_selected(const sg_config *config, char text[SG_MEMORY_SAYS]);

// The sum of selected values, and its count.
sg_tensor *sg_values_build(const sg_family *family, const sg_builder *b, sg_tensor *x,
                           const sg_selection *selection);
sg_memory_count sg_values_count(const sg_family *family, const sg_config *config);

#endif
