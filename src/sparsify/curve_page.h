// Points of curves as a page for a browser.
#ifndef SG_SPARSIFY_CURVE_PAGE_H
#define SG_SPARSIFY_CURVE_PAGE_H

#include "sgatlin_sparsify.h"

// Writes files->html.
sg_status sg_curve_page(const sg_sparsify_point *points, size_t count,
                        const sg_sparsify_files *files, sg_error *err);

#endif
