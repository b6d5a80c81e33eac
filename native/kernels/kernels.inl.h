// The kernels, written once over the primitives of simd_<isa>.h and compiled per instruction set.
// Included inside `namespace ingle { namespace { ... } }` by <isa>.cpp, after simd_<isa>.h.

// --- matrix times 8-bit activations --------------------------------------------------------------
// A tile is 16 rows: the quants of all blocks, then the scales of all blocks, then the minima.
// Each output element folds its 32-column blocks in index order:
//   acc = fma(float(sum of integer products), weight_scale * activation_scale, acc)
// and for affine types   acc = fma(weight_min, activation_scale * activation_sum, acc).

// With few columns a tile is read once and left: lines are asked for this far ahead, across the 4 KiB
// pages at which the hardware's own prefetching stops.
constexpr int kPrefetchBytes = 16384;
constexpr int kMaxColumnsBoundByMemory = 2;

constexpr int kGroups = 8;  // groups of 4 columns in a block, one 64-byte register each

INLINE void nibble_groups(const uint8_t* quants, B* w) {  // group g low nibbles, g + 4 high
#pragma GCC unroll 4
    for (int g = 0; g < 4; ++g) {
        const B both = b_load(quants + 64 * g);
        w[g] = b_low(both);
        w[g + 4] = b_high(both);
    }
}

struct TypeQ8_0 {
    static constexpr int kQuantBytes = 512, kScaleBytes = 2;
    static constexpr bool kSigned = true, kAffine = false;
    static constexpr int kOffset = kBiasedSigned ? 128 : 0;
    static INLINE void quants(const uint8_t* p, B* w) {
#pragma GCC unroll 8
        for (int g = 0; g < kGroups; ++g) w[g] = b_bias(b_load(p + 64 * g));
    }
    static INLINE F scale(const uint8_t* p) { return f_load_f16(p); }
};

struct TypeQ4_0 {
    static constexpr int kQuantBytes = 256, kScaleBytes = 2;
    static constexpr bool kSigned = false, kAffine = false;
    static constexpr int kOffset = 8;
    static INLINE void quants(const uint8_t* p, B* w) { nibble_groups(p, w); }
    static INLINE F scale(const uint8_t* p) { return f_load_f16(p); }
};

struct TypeQ4_1 : TypeQ4_0 {
    static constexpr bool kAffine = true;
    static constexpr int kOffset = 0;
};

struct TypeIQ4_NL : TypeQ4_0 {
    static constexpr bool kSigned = true;
    static constexpr int kOffset = kBiasedSigned ? 128 : 0;
    static INLINE void quants(const uint8_t* p, B* w) {
        alignas(16) static constexpr int8_t table[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                                         1, 13, 25, 38, 53, 69, 89, 113};
        nibble_groups(p, w);
#pragma GCC unroll 8
        for (int g = 0; g < kGroups; ++g)
            w[g] = b_bias(b_lookup(reinterpret_cast<const uint8_t*>(table), w[g]));
    }
};

struct TypeMXFP4 {  // doubled E2M1 values, raised by 12 to stay unsigned; scale 2^(e - 128)
    static constexpr int kQuantBytes = 256, kScaleBytes = 1;
    static constexpr bool kSigned = false, kAffine = false;
    static constexpr int kOffset = 12;
    static INLINE void quants(const uint8_t* p, B* w) {
        alignas(16) static constexpr uint8_t table[16] = {12, 13, 14, 15, 16, 18, 20, 24,
                                                          12, 11, 10, 9, 8, 6, 4, 0};
        nibble_groups(p, w);
#pragma GCC unroll 8
        for (int g = 0; g < kGroups; ++g) w[g] = b_lookup(table, w[g]);
    }
    static INLINE F scale(const uint8_t* p) { return f_load_e8m0_half(p); }
};

template <class T>
INLINE I dot(I acc, B w, const int8_t* a) {
    if constexpr (T::kSigned) return dot_s8(acc, w, a);
    else return dot_u8(acc, w, a);
}

// N columns of x from `column` on: weights are decoded once per block and reused N times.
template <class T, int N>
INLINE void q8_matmul_columns(const uint8_t* tile, const Q8Rows& x, int64_t column, float* out,
                              int64_t out_stride) {
    const int64_t blocks = x.columns / kBlock;
    const uint8_t* scales = tile + blocks * T::kQuantBytes;
    [[maybe_unused]] const uint8_t* minima = scales + blocks * kTileRows * T::kScaleBytes;
    const int8_t* q = x.q + column * x.columns;
    F acc[N];
#pragma GCC unroll 16
    for (int c = 0; c < N; ++c) acc[c] = f_zero();
    for (int64_t b = 0; b < blocks; ++b) {
        if constexpr (N <= kMaxColumnsBoundByMemory) {
#pragma GCC unroll 8
            for (int line = 0; line < T::kQuantBytes; line += 64)
                prefetch(tile + b * T::kQuantBytes + kPrefetchBytes + line);
        }
        B w[kGroups];
        T::quants(tile + b * T::kQuantBytes, w);
        const F weight_scale = T::scale(scales + b * kTileRows * T::kScaleBytes);
        F weight_min;
        if constexpr (T::kAffine) weight_min = f_load_f16(minima + b * kTileRows * 2);
#pragma GCC unroll 16
        for (int c = 0; c < N; ++c) {
            const int64_t at = (column + c) * blocks + b;
            const int8_t* a = q + c * x.columns + b * kBlock;
            I t = i_set1(T::kOffset ? -T::kOffset * x.sum[at] : 0);
#pragma GCC unroll 8
            for (int g = 0; g < kGroups; ++g) t = dot<T>(t, w[g], a + 4 * g);
            acc[c] = f_fma(i_to_f(t), f_mul(weight_scale, f_set1(x.d[at])), acc[c]);
            if constexpr (T::kAffine) acc[c] = f_fma(weight_min, f_set1(x.ds[at]), acc[c]);
        }
    }
#pragma GCC unroll 16
    for (int c = 0; c < N; ++c) f_store(out + c * out_stride, acc[c]);
}

template <class T, int N = kMaxColumns>
INLINE void q8_matmul_rest(const uint8_t* tile, const Q8Rows& x, int64_t column, int64_t left,
                           float* out, int64_t out_stride) {
    if (left == N) q8_matmul_columns<T, N>(tile, x, column, out, out_stride);
    else if constexpr (N > 1) q8_matmul_rest<T, N - 1>(tile, x, column, left, out, out_stride);
}

template <class T>
void q8_matmul(const uint8_t* tile, const Q8Rows& x, int64_t first_column, int64_t num_columns,
               float* out, int64_t out_stride) {
    int64_t c = 0;
    for (; c + kMaxColumns <= num_columns; c += kMaxColumns)
        q8_matmul_columns<T, kMaxColumns>(tile, x, first_column + c, out + c * out_stride, out_stride);
    if (c < num_columns)
        q8_matmul_rest<T>(tile, x, first_column + c, num_columns - c, out + c * out_stride, out_stride);
}

// --- matrix times float activations --------------------------------------------------------------
// A float tile is column after column of 16 values. Each output element sums 32 products by fma
// from zero, then adds that partial sum to its total: blocks in index order here too.

struct FloatF32 {
    static constexpr int kBytes = 4;
    static INLINE F load(const uint8_t* p) { return f_load(reinterpret_cast<const float*>(p)); }
};
struct FloatF16 {
    static constexpr int kBytes = 2;
    static INLINE F load(const uint8_t* p) { return f_load_f16(p); }
};
struct FloatBF16 {
    static constexpr int kBytes = 2;
    static INLINE F load(const uint8_t* p) { return f_load_bf16(p); }
};

// 32 columns of a tile as floats, column by column.
template <class T>
struct AsFloat {
    static INLINE void block(const uint8_t* tile, int64_t, int64_t start, int64_t count, float* w) {
        for (int64_t k = 0; k < count; ++k)
            f_store(w + k * kTileRows, T::load(tile + (start + k) * kTileRows * T::kBytes));
    }
};

// The same of a block format: scale * code, plus the minimum where there is one.
template <class T>
struct BlockAsFloat {
    static INLINE void block(const uint8_t* tile, int64_t width, int64_t start, int64_t, float* w) {
        const int64_t blocks = width / kBlock, b = start / kBlock;
        const uint8_t* scales = tile + blocks * T::kQuantBytes;
        const uint8_t* minima = scales + blocks * kTileRows * T::kScaleBytes;
        B groups[kGroups];
        T::quants(tile + b * T::kQuantBytes, groups);
        const F scale = T::scale(scales + b * kTileRows * T::kScaleBytes);
        for (int g = 0; g < kGroups; ++g) {
            uint8_t codes[64];
            __builtin_memcpy(codes, &groups[g], 64);
            for (int j = 0; j < 4; ++j) {
                float values[kTileRows];
                for (int r = 0; r < kTileRows; ++r) {
                    const uint8_t code = codes[4 * r + j];
                    values[r] = static_cast<float>(T::kSigned && !kBiasedSigned
                                                       ? static_cast<int8_t>(code)
                                                       : static_cast<int>(code) - T::kOffset);
                }
                F value = f_mul(scale, f_load(values));
                if constexpr (T::kAffine) value = f_add(value, f_load_f16(minima + b * kTileRows * 2));
                f_store(w + (4 * g + j) * kTileRows, value);
            }
        }
    }
};

template <int N>
INLINE void f32_columns(const float* w, int64_t count, const float* x, int64_t x_stride, float* out,
                        int64_t out_stride, bool first) {
    F part[N];
#pragma GCC unroll 4
    for (int c = 0; c < N; ++c) part[c] = f_zero();
    for (int64_t k = 0; k < count; ++k) {
        const F weight = f_load(w + k * kTileRows);
#pragma GCC unroll 4
        for (int c = 0; c < N; ++c) part[c] = f_fma(weight, f_set1(x[c * x_stride + k]), part[c]);
    }
#pragma GCC unroll 4
    for (int c = 0; c < N; ++c)
        f_store(out + c * out_stride, first ? part[c] : f_add(f_load(out + c * out_stride), part[c]));
}

template <class T>
void f32_matmul(const uint8_t* tile, int64_t width, const float* x, int64_t x_stride,
                int64_t num_columns, float* out, int64_t out_stride) {
    alignas(64) float w[kBlock * kTileRows];
    for (int64_t start = 0; start < width; start += kBlock) {
        const int64_t count = start + kBlock < width ? kBlock : width - start;
        T::block(tile, width, start, count, w);
        int64_t c = 0;
        for (; c + 4 <= num_columns; c += 4)
            f32_columns<4>(w, count, x + c * x_stride + start, x_stride, out + c * out_stride,
                           out_stride, start == 0);
        for (; c < num_columns; ++c)
            f32_columns<1>(w, count, x + c * x_stride + start, x_stride, out + c * out_stride,
                           out_stride, start == 0);
    }
}

// --- rows ----------------------------------------------------------------------------------------

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

// d = max|x| / 127, q = round_half_even(x * (127 / max|x|)) per 32 columns. n % 32 == 0.
void quantize_row(const float* x, int64_t n, int8_t* q, float* d, float* ds, int32_t* sum) {
    for (int64_t b = 0; b < n / kBlock; ++b) {
        const F lo = f_load(x + b * kBlock), hi = f_load(x + b * kBlock + 16);
        const float largest = f_hmax(f_max(f_abs(lo), f_abs(hi)));
        const float scale = largest / 127.0f;
        const F inverse = f_set1(largest > 0.0f ? 127.0f / largest : 0.0f);
        const int32_t total = f_store_i8(q + b * kBlock, f_round(f_mul(lo, inverse))) +
                              f_store_i8(q + b * kBlock + 16, f_round(f_mul(hi, inverse)));
        d[b] = scale;
        ds[b] = scale * static_cast<float>(total);
        sum[b] = total;
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

// --- mixture of experts --------------------------------------------------------------------------

void add_weighted(float weight, const float* y, int64_t n, float* total) {
    for (int64_t i = 0; i < n; i += 16)
        f_store(total + i, f_fma(f_set1(weight), f_load(y + i), f_load(total + i)));
}

// e[i] = e^(x[i] - shift); returns the sum, lane by lane
INLINE float shifted_exp(const float* x, int n, float shift, float* e) {
    F sum = f_zero();
    for (int i = 0; i < n; i += 16) {
        float padded[16] = {};
        for (int j = 0; j < 16 && i + j < n; ++j) padded[j] = x[i + j];
        const F y = f_keep(f_exp(f_sub(f_load(padded), f_set1(shift))), f_zero(), 0, n - i);
        f_store(padded, y);
        for (int j = 0; j < 16 && i + j < n; ++j) e[i + j] = padded[j];
        sum = f_add(sum, y);
    }
    return f_sum(sum);
}

void route(const RouteArgs& a) {
    bool taken[kMaxExperts] = {};
    float chosen[kMaxExperts], scratch[kMaxExperts];
    for (int rank = 0; rank < a.ranks; ++rank) {
        int best = -1;
        for (int e = 0; e < a.num_experts; ++e)
            if (!taken[e] && (best < 0 || a.logits[e] > a.logits[best])) best = e;
        taken[best] = true;
        a.ids[rank] = best;
        chosen[rank] = a.logits[best];
    }
    shifted_exp(chosen, a.ranks, chosen[0], a.weights);
    if (a.routing == Routing::TopKOfSoftmax) {
        const float all = shifted_exp(a.logits, a.num_experts, chosen[0], scratch);
        for (int rank = 0; rank < a.ranks; ++rank) a.weights[rank] /= all;
        if (!a.renormalize) return;
    }
    float total = a.weights[0];
    for (int rank = 1; rank < a.ranks; ++rank) total += a.weights[rank];
    for (int rank = 0; rank < a.ranks; ++rank) a.weights[rank] /= total;
}

// --- attention -----------------------------------------------------------------------------------
// Flash attention (Dao et al. 2022) over pages of 64 absolute positions, folded in order. A score
// is an fma chain over head_dim; a page's maximum rescales what came before; values are added by
// fma position after position. A sink (gpt-oss) is the initial maximum with weight 1.

constexpr int kHeadChunk = 4;  // query heads whose score chains run side by side
constexpr int kMaxHeadDim = 256;
constexpr float kMinusInfinity = -__builtin_inff();

struct Fold {
    float maximum;
    F weight;  // lane-wise sum of exponentials
};

template <int H>
INLINE void page_scores(const AttendArgs& a, int head, const float* keys, float (*scores)[kPageTokens]) {
    const float* q = a.q + head * a.head_dim;
    for (int half = 0; half < kPageTokens; half += 32) {
        F s[H][2];
#pragma GCC unroll 4
        for (int h = 0; h < H; ++h) s[h][0] = s[h][1] = f_zero();
        for (int k = 0; k < a.head_dim; ++k) {
            const F k0 = f_load(keys + k * kPageTokens + half);
            const F k1 = f_load(keys + k * kPageTokens + half + 16);
#pragma GCC unroll 4
            for (int h = 0; h < H; ++h) {
                const F query = f_set1(q[h * a.head_dim + k]);
                s[h][0] = f_fma(query, k0, s[h][0]);
                s[h][1] = f_fma(query, k1, s[h][1]);
            }
        }
#pragma GCC unroll 4
        for (int h = 0; h < H; ++h) {
            f_store(scores[h] + half, f_mul(s[h][0], f_set1(a.scale)));
            f_store(scores[h] + half + 16, f_mul(s[h][1], f_set1(a.scale)));
        }
    }
}

// Turns scores of positions [lo, hi) of the page into weights; the others become 0.
INLINE float page_weights(float* scores, int lo, int hi, Fold& fold) {
    F largest = f_set1(kMinusInfinity);
    for (int j = 0; j < kPageTokens; j += 16)
        largest = f_max(f_keep(f_load(scores + j), f_set1(kMinusInfinity), lo - j < 0 ? 0 : lo - j,
                               hi - j < 0 ? 0 : hi - j), largest);
    const float page_maximum = f_hmax(largest);
    const float maximum = page_maximum > fold.maximum ? page_maximum : fold.maximum;
    float correction[16];
    f_store(correction, f_exp(f_set1(fold.maximum - maximum)));
    F weight = f_mul(fold.weight, f_set1(correction[0]));
    for (int j = 0; j < kPageTokens; j += 16) {
        const F e = f_exp(f_sub(f_load(scores + j), f_set1(maximum)));
        const F p = f_keep(e, f_zero(), lo - j < 0 ? 0 : lo - j, hi - j < 0 ? 0 : hi - j);
        f_store(scores + j, p);
        weight = f_add(weight, p);
    }
    fold = {maximum, weight};
    return correction[0];
}

template <int H>
INLINE void page_values(const AttendArgs& a, int head, const float* values, int lo, int hi,
                        const float (*weights)[kPageTokens], const float* corrections) {
    for (int k = 0; k < a.head_dim; k += 32) {
        const bool two = k + 16 < a.head_dim;
        F o[H][2];
#pragma GCC unroll 4
        for (int h = 0; h < H; ++h) {
            const float* out = a.out + (head + h) * a.head_dim + k;
            o[h][0] = f_mul(f_load(out), f_set1(corrections[h]));
            if (two) o[h][1] = f_mul(f_load(out + 16), f_set1(corrections[h]));
            else o[h][1] = f_zero();
        }
        for (int j = lo; j < hi; ++j) {
            const F v0 = f_load(values + j * a.head_dim + k);
            const F v1 = two ? f_load(values + j * a.head_dim + k + 16) : f_zero();
#pragma GCC unroll 4
            for (int h = 0; h < H; ++h) {
                const F p = f_set1(weights[h][j]);
                o[h][0] = f_fma(p, v0, o[h][0]);
                o[h][1] = f_fma(p, v1, o[h][1]);
            }
        }
#pragma GCC unroll 4
        for (int h = 0; h < H; ++h) {
            float* out = a.out + (head + h) * a.head_dim + k;
            f_store(out, o[h][0]);
            if (two) f_store(out + 16, o[h][1]);
        }
    }
}

template <int H>
void attend_heads(const AttendArgs& a, int head) {
    alignas(64) float scores[H][kPageTokens];
    Fold fold[H];
    for (int h = 0; h < H; ++h) {
        fold[h] = {kMinusInfinity, f_zero()};
        if (a.sinks) fold[h] = {a.sinks[head + h], f_keep(f_set1(1.0f), f_zero(), 0, 1)};
        for (int k = 0; k < a.head_dim; k += 16) f_store(a.out + (head + h) * a.head_dim + k, f_zero());
    }
    for (int64_t page = a.first / kPageTokens; page <= a.last / kPageTokens; ++page) {
        const int64_t start = page * kPageTokens;
        const int lo = a.first > start ? static_cast<int>(a.first - start) : 0;
        const int hi = a.last - start < kPageTokens ? static_cast<int>(a.last - start + 1) : kPageTokens;
        const int64_t offset = a.pages[page] * a.page_stride;
        page_scores<H>(a, head, a.keys + offset, scores);
        float corrections[H];
        for (int h = 0; h < H; ++h) corrections[h] = page_weights(scores[h], lo, hi, fold[h]);
        page_values<H>(a, head, a.values + offset, lo, hi, scores, corrections);
    }
    for (int h = 0; h < H; ++h) {
        const F inverse = f_set1(1.0f / f_sum(fold[h].weight));
        float* out = a.out + (head + h) * a.head_dim;
        for (int k = 0; k < a.head_dim; k += 16) f_store(out + k, f_mul(f_load(out + k), inverse));
    }
}

void attend(const AttendArgs& a) {
    int head = 0;
    for (; head + kHeadChunk <= a.heads; head += kHeadChunk) attend_heads<kHeadChunk>(a, head);
    if (a.heads - head == 3) attend_heads<3>(a, head);
    else if (a.heads - head == 2) attend_heads<2>(a, head);
    else if (a.heads - head == 1) attend_heads<1>(a, head);
}

constexpr Kernels kTable = {
    kIsa,
    {nullptr, nullptr, nullptr, q8_matmul<TypeQ8_0>, q8_matmul<TypeQ4_0>, q8_matmul<TypeQ4_1>,
     q8_matmul<TypeIQ4_NL>, q8_matmul<TypeMXFP4>},
    {f32_matmul<AsFloat<FloatF32>>, f32_matmul<AsFloat<FloatF16>>, f32_matmul<AsFloat<FloatBF16>>,
     f32_matmul<BlockAsFloat<TypeQ8_0>>, f32_matmul<BlockAsFloat<TypeQ4_0>>,
     f32_matmul<BlockAsFloat<TypeQ4_1>>, f32_matmul<BlockAsFloat<TypeIQ4_NL>>,
     f32_matmul<BlockAsFloat<TypeMXFP4>>},
    rms_norm,
    quantize_row,
    layer_norm,
    {silu_mul, clamped_swiglu, gelu_tanh},
    add_weighted,
    route,
    attend,
};
