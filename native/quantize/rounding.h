// Roundings of the quantizers, each with the bits that GGML gives.
#pragma once
#include <cmath>

#include "formats/blocks.h"

namespace ingle {

// Adding it leaves no bits for fractions: 1.5 * 2^23.
constexpr float kRoundingBias = 12582912.0f;

// Nearest integer, ties to even, for |x| below 2^22.
inline int nearest_int(float x) {
    const uint32_t bits = std::bit_cast<uint32_t>(x + kRoundingBias);
    return static_cast<int>(bits & 0x007FFFFFu) - 0x00400000;
}

inline int clamped(int value, int low, int high) {
    return value < low ? low : value > high ? high : value;
}

// Nearest float16, ties to even; what is too large becomes infinite.
inline F16 to_half(float x) {
    const uint32_t bits = std::bit_cast<uint32_t>(x);
    const uint32_t sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7FFFFFFFu;
    uint32_t half;
    if (magnitude > 0x7F800000u) half = 0x7E00u;
    else if (magnitude >= 0x47800000u) half = 0x7C00u;
    else if (magnitude < 0x38800000u) {  // subnormal: the adder does the rounding
        const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
        half = std::bit_cast<uint32_t>(shifted) - 0x3F000000u;
    } else {
        half = (magnitude + 0xFFFu + (magnitude >> 13 & 1u) - 0x38000000u) >> 13;
    }
    half |= sign;
    return {{static_cast<uint8_t>(half), static_cast<uint8_t>(half >> 8)}};
}

inline float as_half(float x) { return to_half(x).value(); }

// Nearest bfloat16, ties to even; NaN stays NaN.
inline BlockBF16 to_bfloat16(float x) {
    const uint32_t bits = std::bit_cast<uint32_t>(x);
    const uint32_t upper = (bits & 0x7FFFFFFFu) > 0x7F800000u
                               ? bits >> 16 | 64u
                               : (bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16;
    return {{}, {static_cast<uint8_t>(upper), static_cast<uint8_t>(upper >> 8)}};
}

}  // namespace ingle
