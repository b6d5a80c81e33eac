// What cannot be encoded: weights that are not finite, scales that float16 cannot hold.
#pragma once
#include "quantize/codec.h"
#include "quantize/encode.h"

namespace ingle {

// No block whose scale is a float16 reaches further: 65504 * 32 * 128.
constexpr float kFarthest = 2.7e8f;

inline float largest_magnitude(const float* x, size_t n) {  // NaN counts as larger than infinity
    uint32_t largest = 0;
    for (size_t i = 0; i < n; ++i) {
        const uint32_t magnitude = std::bit_cast<uint32_t>(x[i]) & 0x7FFFFFFFu;
        largest = magnitude > largest ? magnitude : largest;
    }
    return std::bit_cast<float>(largest);
}

template <class Block>
Fault fault_of_row(const float* x, size_t columns) {
    const float largest = largest_magnitude(x, columns);
    if (!(largest <= 3.402823e38f)) return Fault::Weight;
    const bool half = Codec<Block>::kScaling != Scaling::Power;
    return half && largest > kFarthest ? Fault::Scale : Fault::None;
}

inline bool finite(const F16& half) { return (half.bytes[1] & 0x7C) != 0x7C; }

template <class Block>
bool finite_scales(const Block& block) {
    bool good = true;
    if constexpr (requires { block.d.value(); }) good = good && finite(block.d);
    if constexpr (requires { block.m; }) good = good && finite(block.m);
    if constexpr (requires { block.dmin; }) good = good && finite(block.dmin);
    return good;
}

}  // namespace ingle
