// decode_block(block, out) of the super-blocks of 256 weights, associated as GGML does.
#pragma once
#include "formats/decode_small.h"

namespace ingle {

// Element i's 2-bit code in 64 bytes: each half of 32 bytes holds four runs of 32 elements.
inline int pair_code(const uint8_t* qs, int i) {
    return qs[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
}

inline void decode_block(const BlockQ2_K& block, float* out) {
    const float d = block.d.value(), dmin = block.dmin.value();
    for (int b = 0; b < 16; ++b) {
        const float scale = d * static_cast<float>(block.scales[b] & 15);
        const float low = dmin * static_cast<float>(block.scales[b] >> 4);
        for (int i = 16 * b; i < 16 * b + 16; ++i)
            out[i] = scale * static_cast<float>(pair_code(block.qs, i)) - low;
    }
}

// Signed 6-bit scale of sub-block b.
inline int q3_scale(const uint8_t* s, int b) {
    const int low = b < 8 ? s[b] & 15 : s[b - 8] >> 4;
    return (low | (s[8 + b % 4] >> (b / 4 * 2) & 3) << 4) - 32;
}

inline void decode_block(const BlockQ3_K& block, float* out) {
    const float d = block.d.value();
    for (int b = 0; b < 16; ++b) {
        const float scale = d * static_cast<float>(q3_scale(block.scales, b));
        for (int i = 16 * b; i < 16 * b + 16; ++i) {
            const int high = block.hmask[i % 32] >> (i / 32) & 1;
            out[i] = scale * static_cast<float>(pair_code(block.qs, i) - (high ? 0 : 4));
        }
    }
}

struct ScaleAndMin { int scale, min; };

// 6-bit scale and minimum of sub-block b (Q4_K, Q5_K).
inline ScaleAndMin scale_and_min(const uint8_t* s, int b) {
    if (b < 4) return {s[b] & 63, s[b + 4] & 63};
    return {(s[b + 4] & 15) | (s[b - 4] >> 6) << 4, (s[b + 4] >> 4) | (s[b] >> 6) << 4};
}

// Element i's nibble in 128 bytes: 32 bytes hold a run of 32 low nibbles, then the high ones.
inline int nibble_code(const uint8_t* qs, int i) {
    return qs[i / 64 * 32 + i % 32] >> (i % 64 / 32 * 4) & 15;
}

inline void decode_block(const BlockQ4_K& block, float* out) {
    const float d = block.d.value(), dmin = block.dmin.value();
    for (int b = 0; b < 8; ++b) {
        const ScaleAndMin q = scale_and_min(block.scales, b);
        const float scale = d * static_cast<float>(q.scale), low = dmin * static_cast<float>(q.min);
        for (int i = 32 * b; i < 32 * b + 32; ++i)
            out[i] = scale * static_cast<float>(nibble_code(block.qs, i)) - low;
    }
}

inline void decode_block(const BlockQ5_K& block, float* out) {
    const float d = block.d.value(), dmin = block.dmin.value();
    for (int b = 0; b < 8; ++b) {
        const ScaleAndMin q = scale_and_min(block.scales, b);
        const float scale = d * static_cast<float>(q.scale), low = dmin * static_cast<float>(q.min);
        for (int i = 32 * b; i < 32 * b + 32; ++i) {
            const int fifth = (block.qh[i % 32] >> b & 1) << 4;
            out[i] = scale * static_cast<float>(nibble_code(block.qs, i) | fifth) - low;
        }
    }
}

inline void decode_block(const BlockQ6_K& block, float* out) {
    const float d = block.d.value();
    for (int b = 0; b < 16; ++b) {
        const float scale = d * static_cast<float>(block.scales[b]);
        for (int i = 16 * b; i < 16 * b + 16; ++i) {
            const int low = block.ql[i / 128 * 64 + i % 64] >> (i % 128 / 64 * 4) & 15;
            out[i] = scale * static_cast<float>((low | pair_code(block.qh, i) << 4) - 32);
        }
    }
}

inline void decode_block(const BlockIQ4_XS& block, float* out) {
    const float d = block.d.value();
    for (int b = 0; b < 8; ++b) {
        const int low = block.scales_l[b / 2] >> (b % 2 * 4) & 15;
        const int high = block.scales_h[b / 4] >> (b % 4 * 2) & 3;
        const float scale = d * static_cast<float>((low | high << 4) - 32);
        decode_table(kIQ4Codebook, scale, block.qs + 16 * b, 16, out + 32 * b);
    }
}

}  // namespace ingle
