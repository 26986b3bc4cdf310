// Names of codes, and filling the caller's error.
#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *sg_status_name(sg_status status)
{
    switch (status) {
    case SG_OK:
        return "ok";
    case SG_ERR_ARGUMENT:
        return "wrong argument";
    case SG_ERR_MEMORY:
        return "out of memory";
    case SG_ERR_IO:
        return "input/output error";
    case SG_ERR_NOT_FOUND:
        return "not found";
    case SG_ERR_FORMAT:
        return "format error";
    case SG_ERR_MISMATCH:
        return "mismatch";
    case SG_ERR_UNSUPPORTED:
        return "unsupported";
    case SG_ERR_NUMERIC:
        return "numeric error";
    case SG_ERR_STOPPED:
        return "stopped";
    case SG_ERR_INTERNAL:
        return "internal error";
    }
    return "unknown status";
}

const char *sg_version(void)
{
    return "0.1.0";
}

sg_status sg_fail(sg_error *err, sg_status code, const char *format, ...)
{
    if (err == NULL) return code;
    va_list args;
    va_start(args, format);
    err->code = code;
    vsnprintf(err->message, sizeof err->message, format, args);
    va_end(args);
    return code;
}

sg_status sg_fail_context(sg_error *err, sg_status code, const char *format, ...)
{
    if (err == NULL) return code;
    char old[sizeof err->message];
    memcpy(old, err->message, sizeof old);
    va_list args;
    va_start(args, format);
    vsnprintf(err->message, sizeof err->message, format, args);
    va_end(args);
    size_t used = strlen(err->message);
    snprintf(err->message + used, sizeof err->message - used, ": %s", old);
    err->code = code;
    return code;
}

bool sg_ignored(sg_status status, sg_status code, sg_error *err)
{
    if (status != code) return false;
    if (err != NULL) {
        err->code = SG_OK;
        err->message[0] = '\0';
    }
    return true;
}

const char *sg_number_text(double value, char text[32])
{
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, 32, "%.*g", digits, value + 0.0);
        if (strtod(text, NULL) == value) break;
    }
    return text;
}
