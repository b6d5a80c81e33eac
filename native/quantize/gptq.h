// Rounding that makes up for its own errors: GPTQ (Frantar et al. 2022), then coordinate descent on
// the same objective, into blocks of the ordinary formats.
#pragma once
#include "quantize/encode.h"

namespace ingle {

// What rounding one matrix has to know of its inputs X, rows of activations.
struct Curvature {
    const float* hessian;  // (columns, columns): X^T X, damped so that it can be inverted
    const float* factor;   // (columns, columns): upper triangular U with inverse(hessian) = U^T U
    size_t columns;
    int sweeps;            // of coordinate descent after the first pass; 0 for none
};

// As EncodeRows, minimizing (w - q) hessian (w - q)^T for every row.
using EncodeCurved = Fault(const float* rows, size_t num_rows, const Curvature& curvature,
                           uint8_t* out);

EncodeCurved* find_curved_encoder(std::string_view name);  // null when there is none

}  // namespace ingle
