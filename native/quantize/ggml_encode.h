// encode_ggml(x, importance, row_mean_square, block): the bytes llama-quantize writes for one block.
// importance null: without an importance matrix.
#pragma once
#include "quantize/codec.h"
#include "quantize/ggml_fit.h"

namespace ingle {

inline void encode_ggml(const float* x, const float*, float, BlockF32& block) {
    std::memcpy(block.bytes, x, 4);
}

inline void encode_ggml(const float* x, const float*, float, BlockF16& block) {
    const F16 half = to_half(*x);
    std::memcpy(block.bytes, half.bytes, 2);
}

inline void encode_ggml(const float* x, const float*, float, BlockBF16& block) {
    block = to_bfloat16(*x);
}

inline void encode_ggml(const float* x, const float*, float, BlockQ8_0& block) {
    const float d = std::fabs(ggml::signed_max(x, 32)) / 127.0f, inverse = d != 0.0f ? 1.0f / d : 0.0f;
    block.d = to_half(d);
    for (int i = 0; i < 32; ++i) block.qs[i] = static_cast<int8_t>(std::round(x[i] * inverse));
}

inline void encode_ggml(const float* x, const float*, float, BlockMXFP4& block) {
    const float a = std::fabs(ggml::signed_max(x, 32));
    uint8_t codes[32];
    Scales s;
    // floor(log2f(a)) - 2, where the logarithm is a correctly rounded one.
    const int e = a > 0 ? clamped(static_cast<int>(std::floor(static_cast<float>(
                              std::log2(static_cast<double>(a))))) + 125, 0, 254) : 0;
    block.d = static_cast<uint8_t>(e);
    const float half = e8m0_half(block.d);
    for (int i = 0; i < 32; ++i) {
        int best = 0;
        float error = std::fabs(x[i]);
        for (int code = 1; code < 16; ++code)
            if (const float e1 = std::fabs(kE2M1Doubled[code] * half - x[i]); e1 < error) {
                error = e1;
                best = code;
            }
        codes[i] = static_cast<uint8_t>(best);
    }
    store_nibbles(codes, block.qs);
}

// w_i = importance_i * sqrt(mean square + x_i^2)
inline float spread_weights(int n, const float* x, const float* importance, float mean_square, float* w) {
    float sum = 0.0f;
    for (int i = 0; i < n; ++i) {
        w[i] = importance[i] * std::sqrt(mean_square + x[i] * x[i]);
        sum += w[i];
    }
    return sum;
}

template <class Block>
    requires(Codec<Block>::kScaling == Scaling::Half && sizeof(Block::qs) == 16 &&
             Codec<Block>::Levels::kLow > -32)
void encode_ggml(const float* x, const float* importance, float row_mean_square, Block& block) {
    constexpr int kHalf = -Codec<Block>::Levels::kLow;  // 8 or 16
    Scales s;
    uint8_t codes[32];
    if (importance) {
        float w[32];
        spread_weights(32, x, importance, row_mean_square, w);
        s.d = ggml::symmetric(32, kHalf, x, w, codes);
    } else {
        s.d = ggml::signed_max(x, 32) / -kHalf;
        const float inverse = s.d != 0.0f ? 1.0f / s.d : 0.0f;
        for (int i = 0; i < 32; ++i) {
            const int code = static_cast<int8_t>(x[i] * inverse + (kHalf + 0.5f));
            codes[i] = static_cast<uint8_t>(code < 2 * kHalf - 1 ? code : 2 * kHalf - 1);
        }
    }
    store(s, codes, block);
}

// As ik_llama.cpp does it without importance: codes of the plain scale, then the scale that fits
// them best, weighted by x^2. With importance, GGML's search for the types of fewer bits.
inline void encode_ggml(const float* x, const float* importance, float row_mean_square, BlockQ6_0& block) {
    Scales s;
    uint8_t codes[32];
    if (importance) {
        float w[32];
        spread_weights(32, x, importance, row_mean_square, w);
        s.d = ggml::symmetric(32, 32, x, w, codes);
        return store(s, codes, block);
    }
    s.d = ggml::signed_max(x, 32) / -32;
    const float reciprocal = 1.0f / s.d, inverse = std::isfinite(reciprocal) ? reciprocal : 0.0f;
    float along[32], square[32];
    for (int i = 0; i < 32; ++i) {
        const float scaled = x[i] * inverse, weight = scaled * scaled;
        const int code = static_cast<int>(scaled + 32.5f);
        codes[i] = static_cast<uint8_t>(code < 63 ? code : 63);
        const float level = static_cast<float>(codes[i]) - 32.0f;
        along[i] = weight * x[i] * level;
        square[i] = weight * level * level;
    }
    float a = 0.0f, b = 0.0f;
    for (int j = 0; j < 16; ++j) {
        a += along[j] + along[j + 16];
        b += square[j] + square[j + 16];
    }
    if (b > 0) s.d = a / b;
    store(s, codes, block);
}

template <class Block>
    requires(Codec<Block>::kScaling == Scaling::HalfAndMin)
void encode_ggml(const float* x, const float* importance, float row_mean_square, Block& block) {
    constexpr int kTop = Codec<Block>::Levels::kHigh;  // 15 or 31
    Scales s;
    uint8_t codes[32];
    if (importance) {
        float w[32];
        spread_weights(32, x, importance, row_mean_square, w);
        const ggml::Affine found = ggml::affine(32, kTop, x, w, {-0.9f, 0.05f, 36, false}, codes);
        s.d = found.scale;
        s.m = -found.low;
    } else {
        float min = x[0], max = x[0];
        for (int i = 1; i < 32; ++i) {
            if (x[i] < min) min = x[i];
            if (x[i] > max) max = x[i];
        }
        s.d = (max - min) / kTop;
        s.m = min;
        const float inverse = s.d != 0.0f ? 1.0f / s.d : 0.0f;
        for (int i = 0; i < 32; ++i) {
            const int code = static_cast<int>((x[i] - min) * inverse + 0.5f);
            codes[i] = static_cast<uint8_t>(code < kTop ? code : kTop);
        }
    }
    store(s, codes, block);
}

// Mean square of a super-block, times `factor`, as GGML associates it.
inline float mean_square(const float* x, int n, float factor) {
    float sum = 0.0f;
    for (int i = 0; i < n; ++i) sum += x[i] * x[i];
    return factor * sum / static_cast<float>(n);
}

template <class C>
void round_codes(const float* x, const Scales& s, uint8_t* codes) {
    constexpr int kSize = 256 / C::kSubs;
    for (int b = 0; b < C::kSubs; ++b) {
        const float scale = scale_of<C>(s, b), low = -offset_of<C>(s, b);
        if (scale == 0.0f) continue;
        for (int i = kSize * b; i < kSize * b + kSize; ++i) {
            const float v = C::kScaling == Scaling::SuperAffine ? (x[i] + low) / scale : x[i] / scale;
            codes[i] = static_cast<uint8_t>(
                clamped(nearest_int(v), C::Levels::kLow, C::Levels::kHigh) - C::Levels::kLow);
        }
    }
}

// Scales and minimums of sub-blocks as codes of the largest, without importance.
inline float linear_codes(int n, int top, const float* values, int* codes) {
    float max = 0.0f;
    for (int b = 0; b < n; ++b) max = values[b] > max ? values[b] : max;
    const float inverse = max > 0 ? static_cast<float>(top) / max : 0.0f;
    for (int b = 0; b < n; ++b) {
        const int code = nearest_int(inverse * values[b]);
        codes[b] = code < top ? code : top;
    }
    return max / static_cast<float>(top);
}

template <class Block>
    requires(Codec<Block>::kScaling == Scaling::SuperAffine)
void encode_ggml(const float* x, const float* importance, float, Block& block) {
    using C = Codec<Block>;
    constexpr int kSize = 256 / C::kSubs, kTop = C::Levels::kHigh;
    constexpr ggml::Grid kPlain = kTop == 3    ? ggml::Grid{-0.5f, 0.1f, 15, true}
                                  : kTop == 15 ? ggml::Grid{-1.0f, 0.1f, 20, false}
                                               : ggml::Grid{-0.5f, 0.1f, 15, false};
    const float sigma2 = mean_square(x, 256, kTop == 3 ? 1.0f : 2.0f);
    float scales[16], lows[16], sums[16], w[32];
    uint8_t codes[256];
    for (int b = 0; b < C::kSubs; ++b) {
        const float* xb = x + kSize * b;
        if (importance) {
            sums[b] = spread_weights(kSize, xb, importance + kSize * b, sigma2, w);
        } else {
            const float mean = kTop == 3 ? 0.0f : std::sqrt(mean_square(xb, kSize, 1.0f));
            for (int i = 0; i < kSize; ++i) w[i] = mean + std::fabs(xb[i]);
        }
        const ggml::Grid grid = importance ? ggml::Grid{-0.9f, 0.05f, 36, false} : kPlain;
        const ggml::Affine found = ggml::affine(kSize, kTop, xb, w, grid, codes + kSize * b);
        scales[b] = found.scale;
        lows[b] = found.low;
    }
    Scales s;
    if (importance) {
        s.d = as_half(ggml::positive(C::kSubs, C::kMaxScale, scales, sums, s.sc));
        s.m = as_half(ggml::positive(C::kSubs, C::kMaxScale, lows, sums, s.mn));
    } else {
        s.d = as_half(linear_codes(C::kSubs, C::kMaxScale, scales, s.sc));
        s.m = as_half(linear_codes(C::kSubs, C::kMaxScale, lows, s.mn));
    }
    round_codes<C>(x, s, codes);
    store(s, codes, block);
}

inline void encode_ggml(const float* x, const float* importance, float, BlockQ3_K& block) {
    using C = Codec<BlockQ3_K>;
    const float sigma2 = mean_square(x, 256, 2.0f);
    float scales[16], sums[16], w[16];
    uint8_t codes[256], six[16];
    for (int b = 0; b < 16; ++b) {
        const float* xb = x + 16 * b;
        if (importance) {
            sums[b] = spread_weights(16, xb, importance + 16 * b, sigma2, w);
            scales[b] = ggml::symmetric(16, 4, xb, w, codes + 16 * b);
        } else {
            scales[b] = ggml::symmetric_swept(16, 4, xb, codes + 16 * b);
        }
    }
    Scales s;
    if (importance) {
        s.d = as_half(ggml::symmetric(16, 32, scales, sums, six));
        for (int b = 0; b < 16; ++b) s.sc[b] = six[b] - 32;
    } else if (const float max = ggml::signed_max(scales, 16); max != 0.0f) {
        const float inverse = -32.0f / max;
        s.d = as_half(1 / inverse);
        for (int b = 0; b < 16; ++b) s.sc[b] = clamped(nearest_int(inverse * scales[b]), -32, 31);
    } else {
        for (int b = 0; b < 16; ++b) s.sc[b] = -32;  // stored as zero
    }
    round_codes<C>(x, s, codes);
    store(s, codes, block);
}

inline void encode_ggml(const float* x, const float* importance, float, BlockQ6_K& block) {
    using C = Codec<BlockQ6_K>;
    float scales[16];
    uint8_t codes[256];
    for (int b = 0; b < 16; ++b)
        scales[b] = ggml::symmetric(16, 32, x + 16 * b, importance ? importance + 16 * b : nullptr,
                                    codes + 16 * b);
    const float max = ggml::signed_max(scales, 16);
    if (std::fabs(max) < ggml::kTiny) {
        std::memset(&block, 0, sizeof block);
        return;
    }
    Scales s;
    const float inverse = -128.0f / max;
    s.d = as_half(1 / inverse);
    for (int b = 0; b < 16; ++b) {
        const int code = nearest_int(inverse * scales[b]);
        s.sc[b] = code < 127 ? code : 127;
    }
    round_codes<C>(x, s, codes);
    store(s, codes, block);
}

// The scale of 32 weights that fits the IQ4 codebook best. The candidates stand side by side, one a
// lane, so that each one's sums run in index order and the compiler takes several at a time.
inline float fit_codebook(const float* x, const float* w) {
    constexpr int kLanes = 16;  // the plain scale, then steps -7 to 7
    const float max = ggml::signed_max(x, 32);
    if (std::fabs(max) < ggml::kTiny) return 0.0f;
    float inverse[kLanes], a[kLanes] = {}, b[kLanes] = {};
    inverse[0] = 1 / (-max / kIQ4Codebook[0]);
    for (int t = 1; t < kLanes; ++t) inverse[t] = (t - 8 + kIQ4Codebook[0]) / max;
    for (int i = 0; i < 32; ++i) {
        const float xi = x[i], wi = w[i];
        for (int t = 0; t < kLanes; ++t) {
            const float q = CodebookLevels::nearest_level(inverse[t] * xi);
            a[t] += wi * q * xi;
            b[t] += wi * q * q;
        }
    }
    float d = a[0] / b[0], best = d * a[0];
    for (int t = 1; t < kLanes; ++t)
        if (b[t] > 0 && a[t] * a[t] > best * b[t]) {
            d = a[t] / b[t];
            best = d * a[t];
        }
    return d;
}

inline void codebook_weights(const float* x, const float* importance, float sigma2, float* w) {
    if (importance) {
        spread_weights(32, x, importance, sigma2, w);
    } else {
        for (int i = 0; i < 32; ++i) w[i] = x[i] * x[i];
    }
}

inline void encode_ggml(const float* x, const float* importance, float, BlockIQ4_NL& block) {
    float w[32], sum = 0.0f;
    for (int i = 0; i < 32; ++i) sum += x[i] * x[i];
    codebook_weights(x, importance, sum * (2.0f / 32), w);
    Scales s;
    s.d = fit_codebook(x, w);
    const float inverse = s.d != 0.0f ? 1 / s.d : 0.0f;
    uint8_t codes[32];
    for (int i = 0; i < 32; ++i)
        codes[i] = static_cast<uint8_t>(CodebookLevels::nearest(inverse * x[i]));
    store(s, codes, block);
}

inline void encode_ggml(const float* x, const float* importance, float, BlockIQ4_XS& block) {
    float w[32], scales[8], sum = 0.0f;
    for (int i = 0; i < 256; ++i) sum += x[i] * x[i];
    const float sigma2 = sum * (2.0f / 256);
    for (int b = 0; b < 8; ++b) {
        codebook_weights(x + 32 * b, importance ? importance + 32 * b : nullptr, sigma2, w);
        scales[b] = fit_codebook(x + 32 * b, w);
    }
    Scales s;
    s.d = -ggml::signed_max(scales, 8) / 32;
    const float inverse = s.d != 0.0f ? 1 / s.d : 0.0f;
    uint8_t codes[256];
    for (int b = 0; b < 8; ++b) {
        s.sc[b] = clamped(nearest_int(inverse * scales[b]), -32, 31);
        const float scale = s.d * s.sc[b], id = scale != 0.0f ? 1 / scale : 0.0f;
        for (int i = 32 * b; i < 32 * b + 32; ++i)
            codes[i] = static_cast<uint8_t>(CodebookLevels::nearest(id * x[i]));
    }
    store(s, codes, block);
}

}  // namespace ingle
