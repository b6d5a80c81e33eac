// What each block format can express: levels of codes, and which scales. Searches choose scales and
// codes; `store` puts them into the bytes of a block.
#pragma once
#include <cstring>

#include "formats/decode_super.h"
#include "quantize/rounding.h"

namespace ingle {

// How the sub-blocks of a block are scaled.
enum class Scaling {
    Half,         // scale: a float16
    HalfAndMin,   // scale and minimum: float16 each
    Power,        // scale: a power of two
    SuperAffine,  // d * sc and -dmin * mn, both codes unsigned
    SuperSigned,  // d * sc, sc signed
};

// Scales of one block. d, m: already rounded to what is stored; sc, mn: codes of sub-blocks.
struct Scales {
    float d = 0.0f, m = 0.0f;
    int sc[16] = {}, mn[16] = {};
};

template <int Low, int High>
struct IntegerLevels {
    static constexpr int kCount = High - Low + 1, kLow = Low, kHigh = High;
    static float level(int code) { return static_cast<float>(code + Low); }
    static int nearest(float v) {
        // Far beyond the ends the integer conversion would wrap.
        v = v < Low ? Low : v > High ? High : v;
        return nearest_int(v) - Low;
    }
};

// Sixteen ascending integers; halfway goes up.
struct CodebookLevels {
    static constexpr int kCount = 16, kLow = -127, kHigh = 113;
    static float level(int code) { return kIQ4Codebook[code]; }
    static int nearest(float v) {
        int code = 0;
        for (int i = 1; i < 16; ++i)
            code += v >= 0.5f * (kIQ4Codebook[i - 1] + kIQ4Codebook[i]);
        return code;
    }
    // level(nearest(v)) without a table, for loops over many v.
    static float nearest_level(float v) {
        float q = kIQ4Codebook[0];
        for (int i = 1; i < 16; ++i)
            q += v >= 0.5f * (kIQ4Codebook[i - 1] + kIQ4Codebook[i])
                     ? static_cast<float>(kIQ4Codebook[i] - kIQ4Codebook[i - 1]) : 0.0f;
        return q;
    }
};

// E2M1 doubled; halfway goes towards zero, and minus zero is never chosen.
struct E2M1Levels {
    static constexpr int kCount = 16, kLow = -12, kHigh = 12;
    static float level(int code) { return kE2M1Doubled[code]; }
    static int nearest(float v) {
        const float a = std::fabs(v);
        const int code = (a > 0.5f) + (a > 1.5f) + (a > 2.5f) + (a > 3.5f) + (a > 5.0f) +
                         (a > 7.0f) + (a > 10.0f);
        return v < 0 && code ? code + 8 : code;
    }
};

template <class LevelsOf, Scaling Kind, int Subs, int MaxScale = 0, int MinScale = 0>
struct CodecOf {
    using Levels = LevelsOf;
    static constexpr Scaling kScaling = Kind;
    static constexpr int kSubs = Subs;                                 // sub-blocks per block
    static constexpr int kMaxScale = MaxScale, kMinScale = MinScale;   // range of sc (and mn)
};

template <class Block>
struct Codec;
template <> struct Codec<BlockQ8_0> : CodecOf<IntegerLevels<-127, 127>, Scaling::Half, 1> {};
template <> struct Codec<BlockQ4_0> : CodecOf<IntegerLevels<-8, 7>, Scaling::Half, 1> {};
template <> struct Codec<BlockQ5_0> : CodecOf<IntegerLevels<-16, 15>, Scaling::Half, 1> {};
template <> struct Codec<BlockQ6_0> : CodecOf<IntegerLevels<-32, 31>, Scaling::Half, 1> {};
template <> struct Codec<BlockQ4_1> : CodecOf<IntegerLevels<0, 15>, Scaling::HalfAndMin, 1> {};
template <> struct Codec<BlockQ5_1> : CodecOf<IntegerLevels<0, 31>, Scaling::HalfAndMin, 1> {};
template <> struct Codec<BlockIQ4_NL> : CodecOf<CodebookLevels, Scaling::Half, 1> {};
template <> struct Codec<BlockMXFP4> : CodecOf<E2M1Levels, Scaling::Power, 1> {};
template <> struct Codec<BlockQ2_K> : CodecOf<IntegerLevels<0, 3>, Scaling::SuperAffine, 16, 15> {};
template <> struct Codec<BlockQ4_K> : CodecOf<IntegerLevels<0, 15>, Scaling::SuperAffine, 8, 63> {};
template <> struct Codec<BlockQ5_K> : CodecOf<IntegerLevels<0, 31>, Scaling::SuperAffine, 8, 63> {};
template <> struct Codec<BlockQ3_K> : CodecOf<IntegerLevels<-4, 3>, Scaling::SuperSigned, 16, 31, -32> {};
template <> struct Codec<BlockQ6_K> : CodecOf<IntegerLevels<-32, 31>, Scaling::SuperSigned, 16, 127, -128> {};
template <> struct Codec<BlockIQ4_XS> : CodecOf<CodebookLevels, Scaling::SuperSigned, 8, 31, -32> {};

// A weight of sub-block `sub` decodes to scale * level + offset.
template <class C>
float scale_of(const Scales& s, int sub) {
    if constexpr (C::kScaling == Scaling::SuperAffine || C::kScaling == Scaling::SuperSigned)
        return s.d * static_cast<float>(s.sc[sub]);
    return s.d;
}

template <class C>
float offset_of(const Scales& s, int sub) {
    if constexpr (C::kScaling == Scaling::SuperAffine) return -(s.m * static_cast<float>(s.mn[sub]));
    if constexpr (C::kScaling == Scaling::HalfAndMin) return s.m;
    return 0.0f;
}

inline void store_nibbles(const uint8_t* codes, uint8_t* qs) {
    for (int j = 0; j < 16; ++j) qs[j] = static_cast<uint8_t>((codes[j] & 15) | codes[j + 16] << 4);
}

inline void store_high_bits(const uint8_t* codes, uint8_t (&qh)[4]) {
    std::memset(qh, 0, 4);
    for (int i = 0; i < 32; ++i) qh[i / 8] |= static_cast<uint8_t>((codes[i] >> 4 & 1) << i % 8);
}

inline void store_high_bits(const uint8_t* codes, uint8_t (&qh)[8]) {
    std::memset(qh, 0, 8);
    for (int i = 0; i < 32; ++i)
        qh[i % 8] |= static_cast<uint8_t>((codes[i] >> 4) << (i / 8 % 2 * 4 + i / 16 * 2));
}

// 256 codes' two low bits, four runs of 32 to each half of 32 bytes.
inline void store_pairs(const uint8_t* codes, int shift, uint8_t* qs) {
    std::memset(qs, 0, 64);
    for (int i = 0; i < 256; ++i)
        qs[i / 128 * 32 + i % 32] |= static_cast<uint8_t>((codes[i] >> shift & 3) << i % 128 / 32 * 2);
}

inline void store_nibble_runs(const uint8_t* codes, uint8_t* qs) {
    for (int i = 0; i < 256; i += 64)
        for (int j = 0; j < 32; ++j)
            qs[i / 2 + j] = static_cast<uint8_t>((codes[i + j] & 15) | (codes[i + j + 32] & 15) << 4);
}

inline void store(const Scales& s, const uint8_t* codes, BlockQ8_0& block) {
    block.d = to_half(s.d);
    for (int i = 0; i < 32; ++i) block.qs[i] = static_cast<int8_t>(codes[i] - 127);
}

template <class Block>
    requires requires(Block b) { requires sizeof(b.qs) == 16; requires sizeof(b.d) == 2; }
void store(const Scales& s, const uint8_t* codes, Block& block) {
    block.d = to_half(s.d);
    if constexpr (requires { block.m; }) block.m = to_half(s.m);
    if constexpr (requires { block.qh; }) store_high_bits(codes, block.qh);
    store_nibbles(codes, block.qs);
}

inline void store(const Scales& s, const uint8_t* codes, BlockMXFP4& block) {
    int exponent = 0;
    std::frexp(s.d, &exponent);  // d = 2^(e - 128) = 0.5 * 2^(e - 127)
    block.d = static_cast<uint8_t>(s.d == 0.0f ? 0 : clamped(exponent + 127, 0, 254));
    store_nibbles(codes, block.qs);
}

inline void store(const Scales& s, const uint8_t* codes, BlockQ2_K& block) {
    block.d = to_half(s.d);
    block.dmin = to_half(s.m);
    for (int b = 0; b < 16; ++b) block.scales[b] = static_cast<uint8_t>(s.sc[b] | s.mn[b] << 4);
    store_pairs(codes, 0, block.qs);
}

inline void store(const Scales& s, const uint8_t* codes, BlockQ3_K& block) {
    block.d = to_half(s.d);
    std::memset(block.scales, 0, sizeof block.scales);
    for (int b = 0; b < 16; ++b) {
        const int six = s.sc[b] + 32;
        block.scales[b % 8] |= static_cast<uint8_t>((six & 15) << b / 8 * 4);
        block.scales[8 + b % 4] |= static_cast<uint8_t>((six >> 4) << b / 4 * 2);
    }
    std::memset(block.hmask, 0, sizeof block.hmask);
    for (int i = 0; i < 256; ++i)
        block.hmask[i % 32] |= static_cast<uint8_t>((codes[i] >> 2 & 1) << i / 32);
    store_pairs(codes, 0, block.qs);
}

inline void store_scales_and_mins(const Scales& s, uint8_t* packed) {
    for (int b = 0; b < 4; ++b) {
        packed[b] = static_cast<uint8_t>(s.sc[b] | (s.sc[b + 4] >> 4) << 6);
        packed[b + 4] = static_cast<uint8_t>(s.mn[b] | (s.mn[b + 4] >> 4) << 6);
        packed[b + 8] = static_cast<uint8_t>((s.sc[b + 4] & 15) | (s.mn[b + 4] & 15) << 4);
    }
}

inline void store(const Scales& s, const uint8_t* codes, BlockQ4_K& block) {
    block.d = to_half(s.d);
    block.dmin = to_half(s.m);
    store_scales_and_mins(s, block.scales);
    store_nibble_runs(codes, block.qs);
}

inline void store(const Scales& s, const uint8_t* codes, BlockQ5_K& block) {
    block.d = to_half(s.d);
    block.dmin = to_half(s.m);
    store_scales_and_mins(s, block.scales);
    std::memset(block.qh, 0, sizeof block.qh);
    for (int i = 0; i < 256; ++i)
        block.qh[i % 32] |= static_cast<uint8_t>((codes[i] >> 4 & 1) << i / 32);
    store_nibble_runs(codes, block.qs);
}

inline void store(const Scales& s, const uint8_t* codes, BlockQ6_K& block) {
    block.d = to_half(s.d);
    for (int b = 0; b < 16; ++b) block.scales[b] = static_cast<int8_t>(s.sc[b]);
    for (int h = 0; h < 2; ++h)
        for (int i = 0; i < 64; ++i)
            block.ql[64 * h + i] = static_cast<uint8_t>((codes[128 * h + i] & 15) |
                                                        (codes[128 * h + 64 + i] & 15) << 4);
    store_pairs(codes, 4, block.qh);
}

inline void store(const Scales& s, const uint8_t* codes, BlockIQ4_XS& block) {
    block.d = to_half(s.d);
    std::memset(block.scales_h, 0, 2);
    std::memset(block.scales_l, 0, 4);
    for (int b = 0; b < 8; ++b) {
        const int six = s.sc[b] + 32;
        block.scales_l[b / 2] |= static_cast<uint8_t>((six & 15) << b % 2 * 4);
        block.scales_h[b / 4] |= static_cast<uint8_t>((six >> 4) << b % 4 * 2);
        store_nibbles(codes + 32 * b, block.qs + 16 * b);
    }
}

}  // namespace ingle
