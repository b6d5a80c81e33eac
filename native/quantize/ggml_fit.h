// GGML's own searches for a block's scale, operation by operation (ggml-quants.c). Every sum runs in
// index order in float32, so that the codes equal llama-quantize's bit for bit.
#pragma once
#include "quantize/rounding.h"

namespace ingle::ggml {

constexpr float kTiny = 1e-15f;  // a block whose largest magnitude is below counts as zeros

// The first element of largest magnitude, with its sign.
inline float signed_max(const float* x, int n) {
    float largest = 0.0f, max = 0.0f;
    for (int i = 0; i < n; ++i)
        if (const float a = std::fabs(x[i]); a > largest) {
            largest = a;
            max = x[i];
        }
    return max;
}

// make_qx_quants, rmse_type 1: codes -nmax..nmax-1, stored from 0 on; w null means x^2.
inline float symmetric(int n, int nmax, const float* x, const float* w, uint8_t* codes) {
    const float max = signed_max(x, n);
    if (std::fabs(max) < kTiny) {
        for (int i = 0; i < n; ++i) codes[i] = 0;
        return 0.0f;
    }
    constexpr int kSteps = 19, kLanes = 20;  // candidates side by side: each one's sums in index order
    float inverse[kLanes], sum_a[kLanes] = {}, sum_b[kLanes] = {};
    for (int step = 0; step < kLanes; ++step) {
        const int t = step == 0 ? 0 : step <= 9 ? step - 10 : step - 9;  // 0, -9..-1, 1..9
        inverse[step] = step == 0 ? -nmax / max : -(nmax + 0.1f * t) / max;
    }
    const float low = static_cast<float>(-nmax), high = static_cast<float>(nmax - 1);
    for (int i = 0; i < n; ++i) {
        const float xi = x[i], weight = w ? w[i] : xi * xi, weighted = weight * xi;
        for (int step = 0; step < kLanes; ++step) {
            const float rounded = (inverse[step] * xi + kRoundingBias) - kRoundingBias;
            const float least = rounded > low ? rounded : low, l = least < high ? least : high;
            sum_a[step] += weighted * l;
            sum_b[step] += weight * l * l;
        }
    }
    float scale = 0.0f, best = 0.0f;
    int chosen = 0;
    for (int step = 0; step < kSteps; ++step) {
        const float a = sum_a[step], b = sum_b[step];
        if (step != 0 && !(b > 0 && a * a > best * b)) continue;
        chosen = step;
        scale = b != 0.0f ? a / b : 0.0f;
        best = scale * a;
    }
    for (int i = 0; i < n; ++i)
        codes[i] = static_cast<uint8_t>(clamped(nearest_int(inverse[chosen] * x[i]), -nmax, nmax - 1) + nmax);
    return scale;
}

// Moves single codes as long as that raises a^2 / b; the tail of make_q3_quants and make_qp_quants.
template <bool kPositive>
float sweep(int n, int low, int high, const float* x, const float* w, int* codes, float a, float b) {
    for (int round = 0; round < 5; ++round) {
        bool changed = false;
        for (int i = 0; i < n; ++i) {
            const float weight = w ? w[i] : x[i] * x[i];
            float a1 = a - weight * x[i] * codes[i];
            float b1 = b - weight * codes[i] * codes[i];
            if (!(a1 > 0) || (kPositive && !(b1 > 0))) continue;
            const int moved = clamped(nearest_int(x[i] * b1 / a1), low, high);
            if (moved == codes[i]) continue;
            a1 += weight * x[i] * moved;
            b1 += weight * moved * moved;
            if ((kPositive || b1 > 0) && a1 * a1 * b > a * a * b1) {
                codes[i] = moved;
                a = a1;
                b = b1;
                changed = true;
            }
        }
        if (!changed) break;
    }
    return b > 0 ? a / b : 0.0f;
}

// make_q3_quants: codes -nmax..nmax-1, stored from 0 on, weights x^2.
inline float symmetric_swept(int n, int nmax, const float* x, uint8_t* codes) {
    const float max = signed_max(x, n);
    int l[32] = {};
    float scale = 0.0f;
    if (std::fabs(max) >= kTiny) {
        const float inverse = -nmax / max;
        float a = 0.0f, b = 0.0f;
        for (int i = 0; i < n; ++i) {
            l[i] = clamped(nearest_int(inverse * x[i]), -nmax, nmax - 1);
            const float weight = x[i] * x[i];
            a += weight * x[i] * l[i];
            b += weight * l[i] * l[i];
        }
        scale = sweep<false>(n, -nmax, nmax - 1, x, nullptr, l, a, b);
        for (int i = 0; i < n; ++i) l[i] += nmax;
    }
    for (int i = 0; i < n; ++i) codes[i] = static_cast<uint8_t>(l[i]);
    return scale;
}

struct Grid {  // scales tried by `affine`: (first + step * s + nmax) / range, s = 0..count
    float first, step;
    int count;
    bool absolute;  // errors count absolutely, else squared
};

struct Affine {
    float scale, low;  // x is about scale * code - low
};

// make_qkx2_quants, make_qkx3_quants: codes 0..nmax above a minimum that is never positive.
inline Affine affine(int n, int nmax, const float* x, const float* w, const Grid& grid, uint8_t* codes) {
    float min = x[0], max = x[0], sum_w = w[0], sum_x = sum_w * x[0];
    for (int i = 1; i < n; ++i) {
        if (x[i] < min) min = x[i];
        if (x[i] > max) max = x[i];
        sum_w += w[i];
        sum_x += w[i] * x[i];
    }
    if (min > 0) min = 0;
    for (int i = 0; i < n; ++i) codes[i] = 0;
    if (max <= min) return {0.0f, -min};
    float inverse = nmax / (max - min), scale = 1 / inverse, best = 0.0f;
    for (int i = 0; i < n; ++i) {
        codes[i] = static_cast<uint8_t>(clamped(nearest_int(inverse * (x[i] - min)), 0, nmax));
        const float diff = scale * codes[i] + min - x[i];
        best += w[i] * (grid.absolute ? std::fabs(diff) : diff * diff);
    }
    uint8_t tried[32];
    for (int s = 0; s <= grid.count; ++s) {
        inverse = (grid.first + grid.step * s + nmax) / (max - min);
        float sum_l = 0.0f, sum_l2 = 0.0f, sum_xl = 0.0f;
        for (int i = 0; i < n; ++i) {
            const int l = clamped(nearest_int(inverse * (x[i] - min)), 0, nmax);
            tried[i] = static_cast<uint8_t>(l);
            sum_l += w[i] * l;
            sum_l2 += w[i] * l * l;
            sum_xl += w[i] * l * x[i];
        }
        const float determinant = sum_w * sum_l2 - sum_l * sum_l;
        if (!(determinant > 0)) continue;
        float this_scale = (sum_w * sum_xl - sum_x * sum_l) / determinant;
        float this_min = (sum_l2 * sum_x - sum_l * sum_xl) / determinant;
        if (this_min > 0) {
            this_min = 0;
            this_scale = sum_xl / sum_l2;
        }
        float error = 0.0f;
        for (int i = 0; i < n; ++i) {
            const float diff = this_scale * tried[i] + this_min - x[i];
            error += w[i] * (grid.absolute ? std::fabs(diff) : diff * diff);
        }
        if (!(error < best)) continue;
        for (int i = 0; i < n; ++i) codes[i] = tried[i];
        best = error;
        scale = this_scale;
        min = this_min;
    }
    return {scale, -min};
}

// make_qp_quants: codes 0..nmax of numbers that are not negative.
inline float positive(int n, int nmax, const float* x, const float* w, int* codes) {
    float max = 0.0f;
    for (int i = 0; i < n; ++i) max = max > x[i] ? max : x[i];
    for (int i = 0; i < n; ++i) codes[i] = 0;
    if (max < kTiny) return 0.0f;
    float inverse = nmax / max, best = 0.0f;
    for (int step = 0; step < 9; ++step) {
        const int t = step == 0 ? 0 : step <= 4 ? step - 5 : step - 4;  // 0, -4..-1, 1..4
        const float tried = step == 0 ? inverse : (0.1f * t + nmax) / max;
        const float scale = 1 / tried;
        float error = 0.0f;
        for (int i = 0; i < n; ++i) {
            int l = nearest_int(tried * x[i]);
            if (step != 0 && l > nmax) l = nmax;
            const float diff = x[i] - scale * l;
            error += w[i] * diff * diff;
        }
        if (step != 0 && !(error < best)) continue;
        best = error;
        inverse = tried;
    }
    float a = 0.0f, b = 0.0f;
    for (int i = 0; i < n; ++i) {
        const int l = nearest_int(inverse * x[i]);
        codes[i] = l < nmax ? l : nmax;
        a += w[i] * x[i] * codes[i];
        b += w[i] * codes[i] * codes[i];
    }
    return sweep<true>(n, -0x400000, nmax, x, w, codes, a, b);
}

}  // namespace ingle::ggml
