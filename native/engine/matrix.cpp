#include "engine/matrix.h"

#include <cstring>
#include <stdexcept>

#include "formats/super_tile.h"

namespace ingle {
namespace {

template <class Block>
constexpr TileFacts super_facts(const char* name) {
    return {name, 0, 0, 0, 0, kTileRows * int{sizeof(Block)}, decode_super_row<Block>};
}

constexpr TileFacts kFacts[kWeightTypes] = {
    {"F32", 0, 0, 0, 4},     {"F16", 0, 0, 0, 2},     {"BF16", 0, 0, 0, 2},
    {"Q8_0", 512, 32, 0, 0}, {"Q4_0", 256, 32, 0, 0}, {"Q4_1", 256, 32, 32, 0},
    {"Q5_0", 320, 32, 0, 0}, {"Q5_1", 320, 32, 32, 0},
    {"IQ4_NL", 256, 32, 0, 0}, {"MXFP4", 256, 16, 0, 0},
    super_facts<BlockQ2_K>("Q2_K"), super_facts<BlockQ3_K>("Q3_K"), super_facts<BlockQ4_K>("Q4_K"),
    super_facts<BlockQ5_K>("Q5_K"), super_facts<BlockQ6_K>("Q6_K"),
    super_facts<BlockIQ4_XS>("IQ4_XS"), {"Q6_0", 384, 32, 0, 0}, {"BF16_BF16", 0, 0, 0, 2},
};

constexpr int8_t kIq4[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                             1, 13, 25, 38, 53, 69, 89, 113};
constexpr int8_t kE2m1Doubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

float bits_to_float(uint32_t bits) {
    float x;
    std::memcpy(&x, &bits, 4);
    return x;
}

float f16_value(const uint8_t* p) {
    const uint32_t h = p[0] | static_cast<uint32_t>(p[1]) << 8;
    const uint32_t sign = (h & 0x8000u) << 16, exponent = h >> 10 & 31, mantissa = h & 1023;
    if (exponent == 31) return bits_to_float(sign | 0x7F800000u | mantissa << 13);
    if (exponent == 0) {
        const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
        return sign ? -magnitude : magnitude;
    }
    return bits_to_float(sign | (exponent + 112) << 23 | mantissa << 13);
}

float float_value(WeightType type, const uint8_t* p) {
    if (type == WeightType::F16) return f16_value(p);
    if (type == WeightType::BF16 || type == WeightType::BF16_BF16)
        return bits_to_float(static_cast<uint32_t>(p[0]) << 16 | static_cast<uint32_t>(p[1]) << 24);
    float x;
    std::memcpy(&x, p, 4);
    return x;
}

float block_value(WeightType type, int code, float scale, float minimum) {
    switch (type) {
        case WeightType::Q4_0: return scale * static_cast<float>(code - 8);
        case WeightType::Q4_1:
        case WeightType::Q5_1: return scale * static_cast<float>(code) + minimum;
        case WeightType::Q5_0: return scale * static_cast<float>(code - 16);
        case WeightType::Q6_0: return scale * static_cast<float>(code - 32);
        case WeightType::IQ4_NL: return scale * static_cast<float>(kIq4[code]);
        case WeightType::MXFP4: return scale * static_cast<float>(kE2m1Doubled[code]);
        default: return scale * static_cast<float>(static_cast<int8_t>(code));
    }
}

}  // namespace

const TileFacts& tile_facts(WeightType type) { return kFacts[static_cast<int>(type)]; }

WeightType weight_type(const std::string& name) {
    for (int i = 0; i < kWeightTypes; ++i)
        if (name == kFacts[i].name) return static_cast<WeightType>(i);
    throw std::invalid_argument("no kernel layout for number format " + name);
}

int64_t tile_bytes(WeightType type, int64_t columns) {
    const TileFacts& f = tile_facts(type);
    if (f.float_bytes) return columns * kTileRows * f.float_bytes;
    if (f.super_bytes) return columns / kSuperColumns * f.super_bytes;
    return columns / kBlock * (f.quant_bytes + f.scale_bytes + f.min_bytes);
}

void Matrix::decode_row_of(const uint8_t* base, int64_t row, float* out) const {
    const TileFacts& f = tile_facts(type);
    const int64_t r = row % kTileRows;
    if (f.float_bytes) {
        for (int64_t k = 0; k < columns; ++k)
            out[k] = float_value(type, base + (k * kTileRows + r) * f.float_bytes);
        return;
    }
    if (f.super_bytes) {
        f.decode_super_row(base, static_cast<size_t>(r), static_cast<size_t>(columns / kSuperColumns), out);
        return;
    }
    const int64_t blocks = columns / kBlock;
    const uint8_t* scales = base + blocks * f.quant_bytes;
    const uint8_t* minima = scales + blocks * f.scale_bytes;
    for (int64_t b = 0; b < blocks; ++b) {
        const uint8_t* quants = base + b * f.quant_bytes;
        const uint8_t* s = scales + b * f.scale_bytes + r * (f.scale_bytes / kTileRows);
        const float scale = f.scale_bytes == kTileRows ? e8m0_half(*s) : f16_value(s);
        const float minimum = f.min_bytes ? f16_value(minima + b * f.min_bytes + 2 * r) : 0.0f;
        for (int j = 0; j < kBlock; ++j) {
            int code;
            if (f.quant_bytes == 512) {
                code = quants[j / 4 * 64 + r * 4 + j % 4];
            } else {
                const uint8_t both = quants[j % 16 / 4 * 64 + r * 4 + j % 4];
                code = j < 16 ? both & 15 : both >> 4;
                if (f.quant_bytes == 320) code |= (quants[256 + 4 * r + j / 8] >> j % 8 & 1) << 4;
                if (f.quant_bytes == 384)  // two groups of high pairs
                    code |= (quants[256 + j % 8 / 4 * 64 + 4 * r + j % 4] >> (j / 8 % 2 * 4 + j / 16 * 2) & 3) << 4;
            }
            out[b * kBlock + j] = block_value(type, code, scale, minimum);
        }
    }
    if (row_scales)
        for (int64_t k = 0; k < columns; ++k) out[k] *= row_scales[row];
}

}  // namespace ingle
