// Talk goes through a callback of the caller; the library itself never prints.
#ifndef SG_BASE_LOG_H
#define SG_BASE_LOG_H

#include "base/status.h"

// Sends one line to the context's callback; does nothing for a NULL context or callback.
void sg_log(sg_context *context, sg_log_level level, const char *format, ...) SG_PRINTF(3, 4);

#endif
