// Matrix times 8-bit activations. Included inside a kernel namespace.
//
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
