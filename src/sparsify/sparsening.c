// One formula: what is published stands in the header.
#include "sparsify/sparsening.h"

#include <math.h>

int64_t sg_replacement_width(int64_t d, double share)
{
    const double width = (double)d;
    const double hidden = round(share * (width * width + width) / (2 * width + 1));
    return hidden < 1 ? 1 : (int64_t)hidden;
}
