// The golden models once more on the library built with double in place of float.
#include "golden/test_models.c"
