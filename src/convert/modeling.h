// share/modeling_sgatlin.py, which goes along with models that the Hugging Face library has no
// class for. CMake makes the bytes from the file.
#ifndef SG_CONVERT_MODELING_H
#define SG_CONVERT_MODELING_H

#include <stddef.h>

extern const unsigned char sg_modeling_text[];
extern const size_t sg_modeling_bytes;

#endif
