// Blocks of the number formats as they lie in files: byte-aligned, little endian.
#pragma once
#include <bit>
#include <cstddef>
#include <cstdint>

namespace ingle {

static_assert(std::endian::native == std::endian::little, "blocks are read in place");

struct F16 {
    uint8_t bytes[2];

    float value() const {
        const uint32_t half = bytes[0] | static_cast<uint32_t>(bytes[1]) << 8;
        const uint32_t sign = (half & 0x8000u) << 16;
        const uint32_t exponent = (half >> 10) & 31, mantissa = half & 0x3FFu;
        if (exponent == 31) return std::bit_cast<float>(sign | 0x7F800000u | mantissa << 13);
        if (exponent) return std::bit_cast<float>(sign | (exponent + 112) << 23 | mantissa << 13);
        const float tiny = static_cast<float>(mantissa) * 0x1p-24f;
        return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(tiny));
    }
};

template <size_t Weights>
struct Block {
    static constexpr size_t kWeights = Weights;
};

struct BlockF32 : Block<1> { uint8_t bytes[4]; };
struct BlockF16 : Block<1> { uint8_t bytes[2]; };
struct BlockBF16 : Block<1> { uint8_t bytes[2]; };
struct BlockF8_E4M3 : Block<1> { uint8_t code; };
struct BlockF8_E5M2 : Block<1> { uint8_t code; };

struct BlockQ8_0 : Block<32> { F16 d; int8_t qs[32]; };
struct BlockQ4_0 : Block<32> { F16 d; uint8_t qs[16]; };
struct BlockQ4_1 : Block<32> { F16 d, m; uint8_t qs[16]; };
struct BlockQ5_0 : Block<32> { F16 d; uint8_t qh[4], qs[16]; };
struct BlockQ5_1 : Block<32> { F16 d, m; uint8_t qh[4], qs[16]; };
struct BlockQ6_0 : Block<32> { F16 d; uint8_t qh[8], qs[16]; };
struct BlockIQ4_NL : Block<32> { F16 d; uint8_t qs[16]; };
struct BlockMXFP4 : Block<32> { uint8_t d, qs[16]; };  // d: E8M0 exponent
struct BlockNVFP4 : Block<64> { uint8_t scales[4], qs[32]; };  // scales: unsigned E4M3

struct BlockQ2_K : Block<256> { uint8_t scales[16], qs[64]; F16 d, dmin; };
struct BlockQ3_K : Block<256> { uint8_t hmask[32], qs[64], scales[12]; F16 d; };
struct BlockQ4_K : Block<256> { F16 d, dmin; uint8_t scales[12], qs[128]; };
struct BlockQ5_K : Block<256> { F16 d, dmin; uint8_t scales[12], qh[32], qs[128]; };
struct BlockQ6_K : Block<256> { uint8_t ql[128], qh[64]; int8_t scales[16]; F16 d; };
struct BlockIQ4_XS : Block<256> { F16 d; uint8_t scales_h[2], scales_l[4], qs[128]; };

static_assert(sizeof(BlockF32) == 4 && sizeof(BlockF16) == 2 && sizeof(BlockBF16) == 2);
static_assert(sizeof(BlockF8_E4M3) == 1 && sizeof(BlockF8_E5M2) == 1);
static_assert(sizeof(BlockQ8_0) == 34 && sizeof(BlockIQ4_NL) == 18);
static_assert(sizeof(BlockQ4_0) == 18 && sizeof(BlockQ4_1) == 20);
static_assert(sizeof(BlockQ5_0) == 22 && sizeof(BlockQ5_1) == 24);
static_assert(sizeof(BlockQ6_0) == 26);
static_assert(sizeof(BlockMXFP4) == 17 && sizeof(BlockNVFP4) == 36);
static_assert(sizeof(BlockQ2_K) == 84 && sizeof(BlockQ3_K) == 110);
static_assert(sizeof(BlockQ4_K) == 144 && sizeof(BlockQ5_K) == 176);
static_assert(sizeof(BlockQ6_K) == 210 && sizeof(BlockIQ4_XS) == 136);
static_assert(alignof(BlockQ4_K) == 1 && alignof(BlockQ8_0) == 1);

}  // namespace ingle
