// Formatting a message into a fixed buffer before it goes to the caller, so that talking never
// allocates and never fails.
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/context.h"

void sg_log(sg_context *context, sg_log_level level, const char *format, ...)
{
    if (context == NULL || context->log == NULL) return;
    char text[2048];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    context->log(context->log_user, level, text);
}
