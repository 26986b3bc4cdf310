// Failing every allocation of an operation in turn.
#ifndef SG_TESTS_ALLOC_FAILURE_H
#define SG_TESTS_ALLOC_FAILURE_H

#include "base/status.h"

// Does something and undoes it: nothing it allocated may be alive afterwards, also when it failed.
typedef sg_status (*alloc_operation)(void *user, sg_error *err);

// Runs the operation again and again, failing its first, second, … allocation, until one run has
// none to fail. Asserts SG_ERR_MEMORY, a message and no leak for the runs before, SG_OK for the
// last. Returns how many allocations were failed.
int alloc_failure_loop(alloc_operation operation, void *user);

#endif
