// Our own choice of scales and codes for one block: least squares over what can be stored.
// The error that is made small is sum w (x - decoded)^2, with the stored scales, not ideal ones.
#pragma once
#include <limits>
#include <utility>

#include "quantize/codec.h"

namespace ingle {

// Scale and offset of a sub-block before they are rounded to what a block can store.
struct Fit {
    float scale = 0.0f, offset = 0.0f, error = std::numeric_limits<float>::infinity();
};

struct Moments {
    float w = 0, x = 0, l = 0, ll = 0, xl = 0, xx = 0;
};

template <class Levels>
Moments moments(const float* x, const float* w, int n, float inverse, float offset) {
    Moments s;
    for (int i = 0; i < n; ++i) {
        const float l = Levels::level(Levels::nearest((x[i] - offset) * inverse));
        const float wl = w[i] * l;
        s.w += w[i];
        s.x += w[i] * x[i];
        s.l += wl;
        s.ll += wl * l;
        s.xl += wl * x[i];
        s.xx += w[i] * x[i] * x[i];
    }
    return s;
}

// Least squares of x = scale * level for fixed codes.
inline Fit solve_scale(const Moments& s) {
    if (!(s.ll > 0)) return {0.0f, 0.0f, s.xx};
    return {s.xl / s.ll, 0.0f, s.xx - s.xl * s.xl / s.ll};
}

// Least squares of x = scale * level + offset; `floor_only`: the offset may not be positive.
inline Fit solve_affine(const Moments& s, bool floor_only) {
    const float determinant = s.w * s.ll - s.l * s.l;
    if (!(determinant > 1e-12f * s.w * s.ll)) return solve_scale(s);
    const float scale = (s.w * s.xl - s.x * s.l) / determinant;
    const float offset = (s.ll * s.x - s.l * s.xl) / determinant;
    if (floor_only && offset > 0) return solve_scale(s);
    return {scale, offset, s.xx - scale * s.xl - offset * s.x};
}

// From a first guess: codes, then scale, and again, while the error falls.
template <class Levels, bool kAffine, bool kFloorOnly>
Fit descend(const float* x, const float* w, int n, float scale, float offset) {
    Fit best;
    for (int round = 0; round < 8 && scale != 0.0f; ++round) {
        const Moments s = moments<Levels>(x, w, n, 1.0f / scale, offset);
        const Fit fit = kAffine ? solve_affine(s, kFloorOnly) : solve_scale(s);
        if (!(fit.error < best.error * 0.9999f)) break;
        best = fit;
        scale = fit.scale;
        offset = fit.offset;
    }
    return best;
}

constexpr int kStarts = 5;

// The best scale of a sub-block without offset; both signs, since levels are not symmetric.
template <class Levels>
Fit fit_symmetric(const float* x, const float* w, int n) {
    float max = 0.0f;
    for (int i = 0; i < n; ++i) max = std::fabs(x[i]) > max ? std::fabs(x[i]) : max;
    if (!(max > 0)) return {0.0f, 0.0f, 0.0f};
    constexpr float kReach = -Levels::kLow;  // the longer end
    Fit starts[kStarts];
    for (int sign = -1; sign <= 1; sign += 2)
        for (int t = -4; t <= 12; ++t) {  // from a sixth beyond the end to half of it
            const float scale = sign * max / kReach * (1.0f - 0.04f * t);
            Fit fit = solve_scale(moments<Levels>(x, w, n, 1.0f / scale, 0.0f));
            for (Fit& kept : starts)
                if (fit.error < kept.error) std::swap(fit, kept);
        }
    Fit best;
    for (const Fit& start : starts) {
        const Fit fit = descend<Levels, false, false>(x, w, n, start.scale, 0.0f);
        if (fit.error < best.error) best = fit;
    }
    return best;
}

// The best scale and offset of a sub-block.
template <class Levels, bool kFloorOnly>
Fit fit_affine(const float* x, const float* w, int n) {
    float min = x[0], max = x[0];
    for (int i = 1; i < n; ++i) {
        min = x[i] < min ? x[i] : min;
        max = x[i] > max ? x[i] : max;
    }
    if (kFloorOnly && min > 0) min = 0;
    if (max <= min) return {0.0f, min, 0.0f};
    constexpr float kTop = Levels::kHigh;
    constexpr int kSteps = kTop <= 3 ? 9 : kTop <= 15 ? 6 : 3;
    const float cut = (max - min) * (kTop <= 3 ? 0.06f : 0.03f);
    Fit starts[kStarts];  // the best guesses after one step; only these descend further
    for (int low = -1; low < kSteps; ++low)
        for (int high = -1; high < kSteps; ++high) {
            float offset = min + cut * low;
            const float scale = (max - cut * high - offset) / kTop;
            if (!(scale > 0)) continue;
            if (kFloorOnly && offset > 0) offset = 0.0f;
            Fit fit = solve_affine(moments<Levels>(x, w, n, 1.0f / scale, offset), kFloorOnly);
            if (!(fit.scale > 0)) continue;
            for (Fit& kept : starts)
                if (fit.error < kept.error) std::swap(fit, kept);
        }
    Fit best;
    for (const Fit& start : starts) {
        if (!(start.scale > 0)) continue;
        const Fit fit = descend<Levels, true, kFloorOnly>(x, w, n, start.scale, start.offset);
        if (fit.scale > 0 && fit.error < best.error) best = fit;
    }
    return best.scale > 0 ? best : Fit{0.0f, kFloorOnly && min > 0 ? 0.0f : min, 0.0f};
}

template <class C>
Fit fit_sub(const float* x, const float* w, int n) {
    using L = typename C::Levels;
    if constexpr (C::kScaling == Scaling::SuperAffine) return fit_affine<L, true>(x, w, n);
    else if constexpr (C::kScaling == Scaling::HalfAndMin) return fit_affine<L, false>(x, w, n);
    else return fit_symmetric<L>(x, w, n);
}

// Codes nearest to x under scales that are stored as they are; the weighted squared error.
template <class Levels>
float assign(const float* x, const float* w, int n, float scale, float offset, uint8_t* codes) {
    const float inverse = scale != 0.0f ? 1.0f / scale : 0.0f;
    float error = 0.0f;
    for (int i = 0; i < n; ++i) {
        const int code = Levels::nearest((x[i] - offset) * inverse);
        const float diff = scale * Levels::level(code) + offset - x[i];
        if (codes) codes[i] = static_cast<uint8_t>(code);
        error += w[i] * diff * diff;
    }
    return error;
}

// The stored scale codes (sc, mn) of one sub-block that make its error least, given d and m.
template <class C>
void choose_sub(const float* x, const float* w, int n, const Fit& ideal, int sub, Scales& s) {
    const float inverse_d = s.d != 0.0f ? 1.0f / s.d : 0.0f;
    const float inverse_m = s.m != 0.0f ? 1.0f / s.m : 0.0f;
    const int sc = clamped(nearest_int(std::fmin(std::fmax(ideal.scale * inverse_d, -1000.0f), 1000.0f)),
                           C::kMinScale, C::kMaxScale);
    const int mn = C::kScaling != Scaling::SuperAffine ? 0
                   : clamped(nearest_int(std::fmin(-ideal.offset * inverse_m, 1000.0f)), 0, C::kMaxScale);
    const int reach = C::kScaling == Scaling::SuperAffine ? 1 : C::Levels::kCount <= 8 ? 2 : 1;
    float best = std::numeric_limits<float>::infinity();
    for (int a = sc - reach; a <= sc + reach; ++a)
        for (int b = mn - 1; b <= mn + 1; ++b) {
            if (a < C::kMinScale || a > C::kMaxScale || b < 0 || b > C::kMaxScale) continue;
            if (C::kScaling != Scaling::SuperAffine && b != mn) continue;
            Scales tried = s;
            tried.sc[sub] = a;
            tried.mn[sub] = b;
            const float error = assign<typename C::Levels>(x, w, n, scale_of<C>(tried, sub),
                                                           offset_of<C>(tried, sub), nullptr);
            if (error < best) {
                best = error;
                s.sc[sub] = a;
                s.mn[sub] = b;
            }
        }
}

// d (and m) by least squares for the codes and scale codes at hand.
template <class C>
void solve_super(const float* x, const float* w, Scales& s) {
    constexpr int kSize = 256 / C::kSubs;
    double aa = 0, ab = 0, bb = 0, ax = 0, bx = 0;
    for (int b = 0; b < C::kSubs; ++b) {
        const float scale = scale_of<C>(s, b), offset = offset_of<C>(s, b);
        const float inverse = scale != 0.0f ? 1.0f / scale : 0.0f;
        for (int i = kSize * b; i < kSize * b + kSize; ++i) {
            const double l = C::Levels::level(C::Levels::nearest((x[i] - offset) * inverse)) * s.sc[b];
            const double k = -static_cast<double>(s.mn[b]);
            aa += w[i] * l * l;
            ab += w[i] * l * k;
            bb += w[i] * k * k;
            ax += w[i] * l * x[i];
            bx += w[i] * k * x[i];
        }
    }
    const double determinant = aa * bb - ab * ab;
    if (C::kScaling == Scaling::SuperAffine && determinant > 1e-9 * aa * bb) {
        const double m = (aa * bx - ab * ax) / determinant;
        s.d = as_half(static_cast<float>((bb * ax - ab * bx) / determinant));
        s.m = as_half(static_cast<float>(m > 0 ? m : 0.0));
    } else if (aa > 0) {
        s.d = as_half(static_cast<float>((ax - ab * s.m) / aa));
    }
}

template <class C>
float super_error(const float* x, const float* w, const Scales& s) {
    constexpr int kSize = 256 / C::kSubs;
    float error = 0.0f;
    for (int b = 0; b < C::kSubs; ++b)
        error += assign<typename C::Levels>(x + kSize * b, w + kSize * b, kSize, scale_of<C>(s, b),
                                            offset_of<C>(s, b), nullptr);
    return error;
}

template <class C>
Scales search_super(const float* x, const float* w) {
    constexpr int kSize = 256 / C::kSubs;
    Fit fits[16];
    float max_scale = 0.0f, max_low = 0.0f;
    for (int b = 0; b < C::kSubs; ++b) {
        fits[b] = fit_sub<C>(x + kSize * b, w + kSize * b, kSize);
        if (std::fabs(fits[b].scale) > std::fabs(max_scale)) max_scale = fits[b].scale;
        max_low = -fits[b].offset > max_low ? -fits[b].offset : max_low;
    }
    constexpr float kReach = C::kMinScale < 0 ? C::kMinScale : C::kMaxScale;
    Scales best;
    float least = std::numeric_limits<float>::infinity();
    for (int t = -1; t <= 4; ++t) {
        Scales s;
        s.d = as_half(max_scale / kReach * (1.0f - 0.05f * t));
        s.m = C::kScaling == Scaling::SuperAffine ? as_half(max_low / C::kMaxScale * (1.0f - 0.05f * t)) : 0.0f;
        for (int round = 0; round < 3; ++round) {
            for (int b = 0; b < C::kSubs; ++b)
                choose_sub<C>(x + kSize * b, w + kSize * b, kSize, fits[b], b, s);
            const float error = super_error<C>(x, w, s);
            if (!(error < least)) {
                if (round > 0) break;
            } else {
                least = error;
                best = s;
            }
            solve_super<C>(x, w, s);
        }
    }
    return best;
}

template <class C>
Scales search_power(const float* x, const float* w) {
    float max = 0.0f;
    for (int i = 0; i < 32; ++i) max = std::fabs(x[i]) > max ? std::fabs(x[i]) : max;
    Scales best;
    if (!(max > 0)) return best;
    int exponent = 0;
    std::frexp(max, &exponent);
    float least = std::numeric_limits<float>::infinity();
    for (int e = exponent - 7; e <= exponent - 2; ++e) {
        Scales s;
        s.d = std::ldexp(1.0f, clamped(e, -128, 126));
        const float error = assign<typename C::Levels>(x, w, 32, s.d, 0.0f, nullptr);
        if (error < least) {
            least = error;
            best = s;
        }
    }
    return best;
}

// Scales of one block, all of them as stored.
template <class C>
Scales search_scales(const float* x, const float* w) {
    if constexpr (C::kScaling == Scaling::Power) return search_power<C>(x, w);
    else if constexpr (C::kSubs > 1) return search_super<C>(x, w);
    else {
        const Fit fit = fit_sub<C>(x, w, 32);
        Scales s;
        s.d = as_half(fit.scale);
        if constexpr (C::kScaling == Scaling::HalfAndMin) s.m = as_half(fit.offset);
        return s;
    }
}

template <class Block>
void encode_search(const float* x, const float* w, Block& block) {
    using C = Codec<Block>;
    constexpr int kSize = static_cast<int>(Block::kWeights) / C::kSubs;
    const Scales s = search_scales<C>(x, w);
    uint8_t codes[Block::kWeights];
    for (int b = 0; b < C::kSubs; ++b)
        assign<typename C::Levels>(x + kSize * b, w + kSize * b, kSize, scale_of<C>(s, b),
                                   offset_of<C>(s, b), codes + kSize * b);
    store(s, codes, block);
}

}  // namespace ingle
