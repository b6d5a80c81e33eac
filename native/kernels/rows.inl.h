// Norms, quantization and activations of rows. Included inside a kernel namespace.

// RMSNorm (Zhang and Sennrich 2019). Sum of squares: lane l folds x[l], x[l + 16], ... by fma.
void rms_norm(const float* x, const float* weight, int64_t n, float eps, float* y) {
    F squares = f_zero();
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) squares = f_fma(f_load(x + i), f_load(x + i), squares);
    if (i < n) {
        float tail[16] = {};
        for (int64_t j = i; j < n; ++j) tail[j - i] = x[j];
        squares = f_fma(f_load(tail), f_load(tail), squares);
    }
    const float mean = f_sum(squares) / static_cast<float>(n);
    const float inverse = 1.0f / __builtin_sqrtf(mean + eps);
    for (i = 0; i + 16 <= n; i += 16)
        f_store(y + i, f_mul(f_mul(f_load(x + i), f_set1(inverse)), f_load(weight + i)));
    for (; i < n; ++i) y[i] = x[i] * inverse * weight[i];
}

// d = max|x| / 127, q = round_half_even(x * (127 / max|x|)) per 32 columns. n % 32 == 0. Where the
// largest is below 2^-121 the reciprocal would not be finite: such columns are zeros.
void quantize_row(const float* x, int64_t n, int8_t* q, float* d, float* ds, int32_t* sum) {
    for (int64_t b = 0; b < n / kBlock; ++b) {
        const F lo = f_load(x + b * kBlock), hi = f_load(x + b * kBlock + 16);
        const float largest = f_hmax(f_max(f_abs(lo), f_abs(hi)));
        const float scale = largest / 127.0f;
        const F inverse = f_set1(largest >= 0x1p-121f ? 127.0f / largest : 0.0f);
        const int32_t first = f_store_i8(q + b * kBlock, f_round(f_mul(lo, inverse)));
        const int32_t second = f_store_i8(q + b * kBlock + 16, f_round(f_mul(hi, inverse)));
        d[b] = scale;
        ds[b] = scale * static_cast<float>(first + second);
        sum[b] = static_cast<int32_t>(static_cast<uint32_t>(second) << 16 | (first & 0xFFFF));
    }
}

// e^x for x <= 88; below -87.3 exactly 0. Cody-Waite reduction, degree-6 polynomial (Cephes expf).
INLINE F f_exp(F x) {
    const F clipped = f_max(f_min(x, f_set1(88.0f)), f_set1(-87.3f));
    const F n = f_round(f_mul(clipped, f_set1(1.44269504088896341f)));
    F r = f_fma(n, f_set1(-0.693359375f), clipped);
    r = f_fma(n, f_set1(2.12194440e-4f), r);
    F p = f_set1(1.9875691500e-4f);
    p = f_fma(p, r, f_set1(1.3981999507e-3f));
    p = f_fma(p, r, f_set1(8.3334519073e-3f));
    p = f_fma(p, r, f_set1(4.1665795894e-2f));
    p = f_fma(p, r, f_set1(1.6666665459e-1f));
    p = f_fma(p, r, f_set1(5.0000001201e-1f));
    p = f_add(f_fma(f_mul(r, r), p, r), f_set1(1.0f));
    return f_where_lt(x, f_set1(-87.3f), f_zero(), f_mul(p, f_pow2(n)));
}

// LayerNorm (Ba et al. 2016): sums lane by lane as above, the bias added by fma.
void layer_norm(const float* x, const float* weight, const float* bias, int64_t n, float eps, float* y) {
    const auto load = [&](int64_t i) {
        if (i + 16 <= n) return f_load(x + i);
        float tail[16] = {};
        for (int64_t j = i; j < n; ++j) tail[j - i] = x[j];
        return f_load(tail);
    };
    F sums = f_zero(), squares = f_zero();
    for (int64_t i = 0; i < n; i += 16) sums = f_add(sums, load(i));
    const float mean = f_sum(sums) / static_cast<float>(n);
    for (int64_t i = 0; i < n; i += 16) {
        const F centred = f_keep(f_sub(load(i), f_set1(mean)), f_zero(), 0, n - i < 16 ? int(n - i) : 16);
        squares = f_fma(centred, centred, squares);
    }
    const float inverse = 1.0f / __builtin_sqrtf(f_sum(squares) / static_cast<float>(n) + eps);
    for (int64_t i = 0; i < n; ++i) y[i] = __builtin_fmaf((x[i] - mean) * inverse, weight[i], bias[i]);
}

// SwiGLU of Llama: gate / (1 + e^-gate) * up
void silu_mul(const float* gate, const float* up, int64_t n, float* y) {
    for (int64_t i = 0; i < n; i += 16) {
        const F g = f_load(gate + i);
        const F denominator = f_add(f_set1(1.0f), f_exp(f_sub(f_zero(), g)));
        f_store(y + i, f_mul(f_div(g, denominator), f_load(up + i)));
    }
}

// SwiGLU of gpt-oss: a = min(gate, 7), b = clamp(up, -7, 7), a / (1 + e^(-1.702 a)) * (b + 1)
void clamped_swiglu(const float* gate, const float* up, int64_t n, float* y) {
    const F limit = f_set1(7.0f), one = f_set1(1.0f);
    for (int64_t i = 0; i < n; i += 16) {
        const F a = f_min(f_load(gate + i), limit);
        const F b = f_min(f_max(f_load(up + i), f_set1(-7.0f)), limit);
        const F swish = f_div(a, f_add(one, f_exp(f_mul(a, f_set1(-1.702f)))));
        f_store(y + i, f_mul(swish, f_add(b, one)));
    }
}

// GELU (Hendrycks and Gimpel 2016), tanh approximation: x / (1 + e^(-2u)),
// u = sqrt(2 / pi) * (x + 0.044715 x^3)
void gelu_tanh(const float*, const float* up, int64_t n, float* y) {
    for (int64_t i = 0; i < n; i += 16) {
        const F x = f_load(up + i);
        const F cubic = f_fma(f_mul(f_mul(x, x), x), f_set1(0.044715f), x);
        const F power = f_exp(f_mul(cubic, f_set1(-1.5957691216057308f)));
        f_store(y + i, f_div(x, f_add(f_set1(1.0f), power)));
    }
}
