// The losses against numpy once more, in double.
#include "golden/test_sparse_losses.c"
