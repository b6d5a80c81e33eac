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

// A type gives groups g and g + 4 of a block, g < 4: the low and the high nibbles of the same bytes.
INLINE void nibble_groups(const uint8_t* quants, int g, B& low, B& high) {
    const B both = b_load(quants + 64 * g);
    low = b_low(both);
    high = b_high(both);
}

struct TypeQ8_0 {
    static constexpr int kQuantBytes = 512, kScaleBytes = 2;
    static constexpr bool kSigned = true, kAffine = false;
    static constexpr int kOffset = kBiasedSigned ? 128 : 0;
    static INLINE void groups(const uint8_t* p, int g, B& low, B& high) {
        low = b_bias(b_load(p + 64 * g));
        high = b_bias(b_load(p + 64 * (g + 4)));
    }
    static INLINE F scale(const uint8_t* p) { return f_load_f16(p); }
};

struct TypeQ4_0 {
    static constexpr int kQuantBytes = 256, kScaleBytes = 2;
    static constexpr bool kSigned = false, kAffine = false;
    static constexpr int kOffset = 8;
    static INLINE void groups(const uint8_t* p, int g, B& low, B& high) {
        nibble_groups(p, g, low, high);
    }
    static INLINE F scale(const uint8_t* p) { return f_load_f16(p); }
};

struct TypeQ4_1 : TypeQ4_0 {
    static constexpr bool kAffine = true;
    static constexpr int kOffset = 0;
};

struct TypeQ5_0 {  // nibbles, then for each row 32 fifth bits
    static constexpr int kQuantBytes = 320, kScaleBytes = 2;
    static constexpr bool kSigned = false, kAffine = false;
    static constexpr int kOffset = 16;
    static INLINE void groups(const uint8_t* p, int g, B& low, B& high) {
        nibble_groups(p, g, low, high);
        const B fifth = b_load(p + 256);
        low = b_or_fifth(low, fifth, g);
        high = b_or_fifth(high, fifth, g + 4);
    }
    static INLINE F scale(const uint8_t* p) { return f_load_f16(p); }
};

struct TypeQ5_1 : TypeQ5_0 {
    static constexpr bool kAffine = true;
    static constexpr int kOffset = 0;
};

struct TypeIQ4_NL : TypeQ4_0 {
    static constexpr bool kSigned = true;
    static constexpr int kOffset = kBiasedSigned ? 128 : 0;
    static INLINE void groups(const uint8_t* p, int g, B& low, B& high) {
        alignas(16) static constexpr int8_t table[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                                         1, 13, 25, 38, 53, 69, 89, 113};
        nibble_groups(p, g, low, high);
        low = b_bias(b_lookup(reinterpret_cast<const uint8_t*>(table), low));
        high = b_bias(b_lookup(reinterpret_cast<const uint8_t*>(table), high));
    }
};

struct TypeMXFP4 {  // doubled E2M1 values, raised by 12 to stay unsigned; scale 2^(e - 128)
    static constexpr int kQuantBytes = 256, kScaleBytes = 1;
    static constexpr bool kSigned = false, kAffine = false;
    static constexpr int kOffset = 12;
    static INLINE void groups(const uint8_t* p, int g, B& low, B& high) {
        alignas(16) static constexpr uint8_t table[16] = {12, 13, 14, 15, 16, 18, 20, 24,
                                                          12, 11, 10, 9, 8, 6, 4, 0};
        nibble_groups(p, g, low, high);
        low = b_lookup(table, low);
        high = b_lookup(table, high);
    }
    static INLINE F scale(const uint8_t* p) { return f_load_e8m0_half(p); }
};

template <class T>
INLINE I dot(I acc, B w, const int8_t* a) {
    if constexpr (T::kSigned) return dot_s8(acc, w, a);
    else return dot_u8(acc, w, a);
}

// R tiles side by side times N columns of x from `column` on: weights are decoded once per block
// and used N times, activations are broadcast once and used R times.
template <class T, int R, int N>
INLINE void q8_matmul_columns(const uint8_t* tile, int64_t tile_stride, const Q8Rows& x,
                              int64_t column, float* out, int64_t out_stride) {
    const int64_t blocks = x.columns / kBlock;
    const int8_t* q = x.q + column * x.columns;
    const float* d = x.d + column * blocks;
    [[maybe_unused]] const float* ds = x.ds + column * blocks;
    [[maybe_unused]] const int32_t* sums = x.sum + column * blocks;
    const uint8_t* scales = tile + blocks * T::kQuantBytes;
    [[maybe_unused]] const uint8_t* minima = scales + blocks * kTileRows * T::kScaleBytes;
    F acc[N][R];
#pragma GCC unroll 8
    for (int c = 0; c < N; ++c)
#pragma GCC unroll 2
        for (int r = 0; r < R; ++r) acc[c][r] = f_zero();
    for (int64_t b = 0; b < blocks; ++b) {
        const uint8_t* quants = tile + b * T::kQuantBytes;
        if constexpr (N <= kMaxColumnsBoundByMemory) {
#pragma GCC unroll 2
            for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
                for (int line = 0; line < T::kQuantBytes; line += 64)
                    prefetch(quants + r * tile_stride + kPrefetchBytes + line);
        }
        I t[N][R];
#pragma GCC unroll 8
        for (int c = 0; c < N; ++c) {
            const I start = i_set1(T::kOffset ? -T::kOffset * sums[c * blocks + b] : 0);
#pragma GCC unroll 2
            for (int r = 0; r < R; ++r) t[c][r] = start;
        }
        const int8_t* a = q + b * kBlock;
#pragma GCC unroll 4
        for (int g = 0; g < kGroups / 2; ++g) {
            B low[R], high[R];
#pragma GCC unroll 2
            for (int r = 0; r < R; ++r) T::groups(quants + r * tile_stride, g, low[r], high[r]);
#pragma GCC unroll 8
            for (int c = 0; c < N; ++c) {
#pragma GCC unroll 2
                for (int r = 0; r < R; ++r) t[c][r] = dot<T>(t[c][r], low[r], a + c * x.columns + 4 * g);
#pragma GCC unroll 2
                for (int r = 0; r < R; ++r)
                    t[c][r] = dot<T>(t[c][r], high[r], a + c * x.columns + 16 + 4 * g);
            }
        }
#pragma GCC unroll 2
        for (int r = 0; r < R; ++r) {
            const F weight_scale = T::scale(scales + r * tile_stride + b * kTileRows * T::kScaleBytes);
            F weight_min;
            if constexpr (T::kAffine) weight_min = f_load_f16(minima + r * tile_stride + b * kTileRows * 2);
#pragma GCC unroll 8
            for (int c = 0; c < N; ++c) {
                const F scale = f_mul(weight_scale, f_set1(d[c * blocks + b]));
                acc[c][r] = f_fma(i_to_f(t[c][r]), scale, acc[c][r]);
                if constexpr (T::kAffine)
                    acc[c][r] = f_fma(weight_min, f_set1(ds[c * blocks + b]), acc[c][r]);
            }
        }
    }
#pragma GCC unroll 8
    for (int c = 0; c < N; ++c)
#pragma GCC unroll 2
        for (int r = 0; r < R; ++r) f_store(out + c * out_stride + r * kTileRows, acc[c][r]);
}

// Columns in passes of nearly equal width, none wider than N.
template <class T, int R, int N>
INLINE void q8_matmul_pass(int64_t width, const uint8_t* tile, int64_t tile_stride, const Q8Rows& x,
                           int64_t column, float* out, int64_t out_stride) {
    if (width == N) q8_matmul_columns<T, R, N>(tile, tile_stride, x, column, out, out_stride);
    else if constexpr (N > 1)
        q8_matmul_pass<T, R, N - 1>(width, tile, tile_stride, x, column, out, out_stride);
}

template <class T, int R>
INLINE void q8_matmul_tiles(const uint8_t* tile, int64_t tile_stride, const Q8Rows& x,
                            int64_t first_column, int64_t num_columns, float* out, int64_t out_stride) {
    const int64_t passes = (num_columns + kMaxColumns - 1) / kMaxColumns;
    int64_t done = 0;
    for (int64_t pass = 0; pass < passes; ++pass) {
        const int64_t end = num_columns * (pass + 1) / passes;
        q8_matmul_pass<T, R, kMaxColumns>(end - done, tile, tile_stride, x, first_column + done,
                                          out + done * out_stride, out_stride);
        done = end;
    }
}

template <class T>
void q8_matmul(const uint8_t* tile, int64_t tile_stride, int num_tiles, const Q8Rows& x,
               int64_t first_column, int64_t num_columns, float* out, int64_t out_stride) {
    int t = 0;
    if constexpr (kTilesTogether == 2)
        for (; t + 2 <= num_tiles; t += 2)
            q8_matmul_tiles<T, 2>(tile + t * tile_stride, tile_stride, x, first_column, num_columns,
                                  out + t * kTileRows, out_stride);
    for (; t < num_tiles; ++t)
        q8_matmul_tiles<T, 1>(tile + t * tile_stride, tile_stride, x, first_column, num_columns,
                              out + t * kTileRows, out_stride);
}
