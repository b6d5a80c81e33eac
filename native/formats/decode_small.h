// decode_block(block, out): weights of floats and of blocks of 32 or 64, associated as GGML does.
#pragma once
#include <cstring>

#include "formats/blocks.h"

namespace ingle {

// E2M1 doubled to integers; block scales are halved in exchange. Code 8 is +0, as in GGML.
constexpr int8_t kE2M1Doubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
constexpr int8_t kIQ4Codebook[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                     1, 13, 25, 38, 53, 69, 89, 113};

inline void decode_block(const BlockF32& block, float* out) { std::memcpy(out, block.bytes, 4); }

inline void decode_block(const BlockF16& block, float* out) {
    *out = F16{{block.bytes[0], block.bytes[1]}}.value();
}

inline void decode_block(const BlockBF16& block, float* out) {
    const uint32_t upper = block.bytes[0] | static_cast<uint32_t>(block.bytes[1]) << 8;
    *out = std::bit_cast<float>(upper << 16);
}

// Finite value of an 8-bit float's magnitude bits.
template <int kMantissaBits, int kBias>
inline float float8_magnitude(uint32_t magnitude) {
    if (magnitude >> kMantissaBits)
        return std::bit_cast<float>((magnitude << (23 - kMantissaBits)) + ((127u - kBias) << 23));
    constexpr uint32_t kUnitExponent = 127 + 1 - kBias - kMantissaBits;
    return static_cast<float>(magnitude) * std::bit_cast<float>(kUnitExponent << 23);
}

inline float with_sign(float magnitude, uint8_t code) {
    return std::bit_cast<float>(std::bit_cast<uint32_t>(magnitude) | (code & 0x80u) << 24);
}

inline void decode_block(const BlockF8_E4M3& block, float* out) {
    const uint32_t magnitude = block.code & 0x7Fu;
    const float value = magnitude == 0x7F ? std::bit_cast<float>(0x7FC00000u)
                                          : float8_magnitude<3, 7>(magnitude);
    *out = with_sign(value, block.code);
}

inline void decode_block(const BlockF8_E5M2& block, float* out) {  // the upper half of a float16
    *out = F16{{0, block.code}}.value();
}

inline void decode_block(const BlockQ8_0& block, float* out) {
    const float d = block.d.value();
    for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(block.qs[i]);
}

inline void decode_block(const BlockQ4_0& block, float* out) {
    const float d = block.d.value();
    for (int j = 0; j < 16; ++j) {
        out[j] = d * static_cast<float>((block.qs[j] & 15) - 8);
        out[j + 16] = d * static_cast<float>((block.qs[j] >> 4) - 8);
    }
}

inline void decode_block(const BlockQ4_1& block, float* out) {
    const float d = block.d.value(), m = block.m.value();
    for (int j = 0; j < 16; ++j) {
        out[j] = d * static_cast<float>(block.qs[j] & 15) + m;
        out[j + 16] = d * static_cast<float>(block.qs[j] >> 4) + m;
    }
}

// 16 where element i of a block has its fifth bit set.
inline int fifth_bit(const uint8_t* qh, int i) { return (qh[i / 8] >> (i % 8) & 1) << 4; }

inline void decode_block(const BlockQ5_0& block, float* out) {
    const float d = block.d.value();
    for (int j = 0; j < 16; ++j) {
        out[j] = d * static_cast<float>(((block.qs[j] & 15) | fifth_bit(block.qh, j)) - 16);
        out[j + 16] = d * static_cast<float>(((block.qs[j] >> 4) | fifth_bit(block.qh, j + 16)) - 16);
    }
}

inline void decode_block(const BlockQ5_1& block, float* out) {
    const float d = block.d.value(), m = block.m.value();
    for (int j = 0; j < 16; ++j) {
        out[j] = d * static_cast<float>((block.qs[j] & 15) | fifth_bit(block.qh, j)) + m;
        out[j + 16] = d * static_cast<float>((block.qs[j] >> 4) | fifth_bit(block.qh, j + 16)) + m;
    }
}

// The two high bits of element i of a block, 0 to 48; runs of 8 elements take bits 0, 4, 2, 6.
inline int high_pair(const uint8_t* qh, int i) {
    return (qh[i % 8] >> (i / 8 % 2 * 4 + i / 16 * 2) & 3) << 4;
}

inline void decode_block(const BlockQ6_0& block, float* out) {
    const float d = block.d.value();
    for (int j = 0; j < 16; ++j) {
        out[j] = d * static_cast<float>(((block.qs[j] & 15) | high_pair(block.qh, j)) - 32);
        out[j + 16] = d * static_cast<float>(((block.qs[j] >> 4) | high_pair(block.qh, j + 16)) - 32);
    }
}

// `count` packed bytes through a table of 16: low nibbles first, then high nibbles.
inline void decode_table(const int8_t* table, float scale, const uint8_t* qs, int count, float* out) {
    for (int j = 0; j < count; ++j) {
        out[j] = scale * static_cast<float>(table[qs[j] & 15]);
        out[j + count] = scale * static_cast<float>(table[qs[j] >> 4]);
    }
}

inline void decode_block(const BlockIQ4_NL& block, float* out) {
    decode_table(kIQ4Codebook, block.d.value(), block.qs, 16, out);
}

// 2^(e - 128): subnormal for e below 2.
inline float e8m0_half(uint8_t e) {
    return std::bit_cast<float>(e < 2 ? 0x00200000u << e : static_cast<uint32_t>(e - 1) << 23);
}

inline void decode_block(const BlockMXFP4& block, float* out) {
    decode_table(kE2M1Doubled, e8m0_half(block.d), block.qs, 16, out);
}

// Half of an unsigned E4M3; 0x7F counts as 0 and bit 7 is ignored otherwise, as in GGML.
inline float ue4m3_half(uint8_t code) {
    return code == 0x7F ? 0.0f : 0.5f * float8_magnitude<3, 7>(code & 0x7Fu);
}

inline void decode_block(const BlockNVFP4& block, float* out) {
    for (int s = 0; s < 4; ++s)
        decode_table(kE2M1Doubled, ue4m3_half(block.scales[s]), block.qs + 8 * s, 8, out + 16 * s);
}

}  // namespace ingle
