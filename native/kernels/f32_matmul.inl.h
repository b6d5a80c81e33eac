// Matrix times float activations. Included inside a kernel namespace, after q8_matmul.inl.h.
//
// A float tile is column after column of 16 values. Each output element sums 32 products by fma
// from zero, then adds that partial sum to its total: blocks in index order here too.

constexpr int64_t kFloatAheadStep = 128;  // as kAheadStep of bytes
constexpr int kFewColumns = 2;            // so few that decoded weights are not worth keeping

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
// Beside activations rounded to BF16. What is below these magnitudes counts as zero, so that no sum
// of 32 products is subnormal: CPUs' own BF16 products know no subnormal numbers.
struct RoundedBF16 : FloatBF16 {
    static INLINE F load(const uint8_t* p) {
        const F w = f_load_bf16(p);
        return f_where_lt(f_abs(w), f_set1(0x1p-60f), f_zero(), w);
    }
};
INLINE F rounded_activation(F x) {
    const F rounded = f_to_bf16(x);
    return f_where_lt(f_abs(rounded), f_set1(0x1p-40f), f_zero(), rounded);
}

// 32 columns of a tile as floats, column by column.
template <class T>
struct AsFloat {
    static INLINE void block(const uint8_t* tile, int64_t, int64_t start, int64_t count, float* w) {
        for (int64_t k = 0; k < count; ++k) {
            const uint8_t* column = tile + (start + k) * kTileRows * T::kBytes;
            f_store(w + k * kTileRows, T::load(column));
        }
    }
    static constexpr bool kDirect = true;
    static INLINE F column(const uint8_t* tile, int64_t k) { return T::load(tile + k * kTileRows * T::kBytes); }
};

// The same of a block format: scale * code, plus the minimum where there is one.
template <class T>
struct BlockAsFloat {
    static constexpr bool kDirect = false;
    static INLINE void block(const uint8_t* tile, int64_t width, int64_t start, int64_t, float* w) {
        const int64_t blocks = width / kBlock, b = start / kBlock;
        const uint8_t* parts = tile + blocks * T::kQuantBytes;
        B groups[kGroups];
        for (int g = 0; g < kGroups / 2; ++g)
            T::groups(tile + b * T::kQuantBytes, g, groups[g], groups[g + 4]);
        for (int g = 0; g < kGroups; ++g) {
            const F scale = T::scale(parts, b, g / 4);
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
                if constexpr (T::kAffine) value = f_add(value, T::minimum(parts, blocks, b, g / 4));
                f_store(w + (4 * g + j) * kTileRows, value);
            }
        }
    }
};

// R decoded tiles (R, 32, 16) times N columns of 32 values, `count` of them there.
template <int R, int N>
INLINE void f32_columns(const float* w, int64_t count, const float* x, int64_t x_stride, float* out,
                        int64_t out_stride, bool first) {
    F part[N][R];
#pragma GCC unroll 8
    for (int c = 0; c < N; ++c)
#pragma GCC unroll 2
        for (int r = 0; r < R; ++r) part[c][r] = f_zero();
    for (int64_t k = 0; k < count; ++k) {
        F weight[R];
#pragma GCC unroll 2
        for (int r = 0; r < R; ++r) weight[r] = f_load(w + (r * kBlock + k) * kTileRows);
#pragma GCC unroll 8
        for (int c = 0; c < N; ++c) {
            const F value = f_set1(x[c * x_stride + k]);
#pragma GCC unroll 2
            for (int r = 0; r < R; ++r) part[c][r] = f_fma(weight[r], value, part[c][r]);
        }
    }
#pragma GCC unroll 8
    for (int c = 0; c < N; ++c)
#pragma GCC unroll 2
        for (int r = 0; r < R; ++r) {
            float* to = out + c * out_stride + r * kTileRows;
            f_store(to, first ? part[c][r] : f_add(f_load(to), part[c][r]));
        }
}

// R decoded tiles (R, 32, 16) times columns in passes of nearly equal width.
template <int R, int N>
INLINE void f32_pass(int64_t columns, const float* w, int64_t count, const float* x, int64_t x_stride,
                     float* out, int64_t out_stride, bool first) {
    if (columns == N) f32_columns<R, N>(w, count, x, x_stride, out, out_stride, first);
    else if constexpr (N > 1) f32_pass<R, N - 1>(columns, w, count, x, x_stride, out, out_stride, first);
}

// `columns` rows of `count` activations from x, x_stride apart, into rounded[columns][32].
INLINE void round_block(int64_t columns, int64_t count, const float* x, int64_t x_stride, float* rounded) {
    for (int64_t c = 0; c < columns; ++c)
        for (int64_t i = 0; i < count; i += 16) {
            float tail[16] = {};
            for (int64_t j = i; i + 16 > count && j < count; ++j) tail[j - i] = x[c * x_stride + j];
            f_store(rounded + c * kBlock + i,
                    rounded_activation(f_load(i + 16 > count ? tail : x + c * x_stride + i)));
        }
}

// R tiles times N columns, few enough that weights are used as they are loaded.
template <class T, int R, int N>
INLINE void f32_direct(const uint8_t* tile, int64_t tile_stride, int64_t width, const float* x,
                       int64_t x_stride, float* out, int64_t out_stride, const uint8_t* ahead, int lines) {
    F total[N][R];
    for (int64_t start = 0; start < width; start += kBlock) {
        const int64_t end = start + kBlock < width ? start + kBlock : width;
        for (int line = 0; line < lines; ++line, ahead += kFloatAheadStep) prefetch_l2(ahead);
        F part[N][R];
        for (int c = 0; c < N; ++c)
            for (int r = 0; r < R; ++r) part[c][r] = f_zero();
        for (int64_t k = start; k < end; ++k)
#pragma GCC unroll 2
            for (int r = 0; r < R; ++r) {
                const F weight = T::column(tile + r * tile_stride, k);
#pragma GCC unroll 2
                for (int c = 0; c < N; ++c) part[c][r] = f_fma(weight, f_set1(x[c * x_stride + k]), part[c][r]);
            }
        for (int c = 0; c < N; ++c)
            for (int r = 0; r < R; ++r) total[c][r] = start ? f_add(total[c][r], part[c][r]) : part[c][r];
    }
    for (int c = 0; c < N; ++c)
        for (int r = 0; r < R; ++r) f_store(out + c * out_stride + r * kTileRows, total[c][r]);
}

template <class T, int R, bool kRounded>
INLINE void f32_tiles(const uint8_t* tile, int64_t tile_stride, int64_t width, const float* x,
                      int64_t x_stride, int64_t num_columns, float* out, int64_t out_stride, Ahead ahead) {
    const int64_t share = (width + kBlock - 1) / kBlock * kFloatAheadStep;  // that one line a block comes to
    if (!ahead.at) ahead = {tile + R * tile_stride, R * tile_stride};  // nobody said: what lies there
    const int lines = static_cast<int>((ahead.nbytes + share - 1) / share);
    if constexpr (T::kDirect && !kRounded) {
        if (num_columns == 1)
            return f32_direct<T, R, 1>(tile, tile_stride, width, x, x_stride, out, out_stride, ahead.at, lines);
        if (num_columns == kFewColumns)
            return f32_direct<T, R, kFewColumns>(tile, tile_stride, width, x, x_stride, out, out_stride,
                                                 ahead.at, lines);
    }
    alignas(64) float w[R * kBlock * kTileRows];
    alignas(64) float rounded[kRounded ? kMaxColumns * kBlock : 1];
    const int64_t passes = (num_columns + kMaxColumns - 1) / kMaxColumns;
    for (int64_t start = 0; start < width; start += kBlock) {
        const int64_t count = start + kBlock < width ? kBlock : width - start;
        for (int line = 0; line < lines; ++line, ahead.at += kFloatAheadStep) prefetch_l2(ahead.at);
        for (int r = 0; r < R; ++r)
            T::block(tile + r * tile_stride, width, start, count, w + r * kBlock * kTileRows);
        int64_t done = 0;
        for (int64_t pass = 0; pass < passes; ++pass) {
            const int64_t end = num_columns * (pass + 1) / passes;
            const float* from = x + done * x_stride + start;
            if constexpr (kRounded) round_block(end - done, count, from, x_stride, rounded);
            f32_pass<R, kMaxColumns>(end - done, w, count, kRounded ? rounded : from,
                                     kRounded ? kBlock : x_stride, out + done * out_stride, out_stride,
                                     start == 0);
            done = end;
        }
    }
}

template <class T, bool kRounded = false>
void f32_matmul(const uint8_t* tile, int64_t tile_stride, int num_tiles, int64_t width, const float* x,
                int64_t x_stride, int64_t num_columns, float* out, int64_t out_stride, Ahead ahead) {
    const auto after = [&](int t) { return tiles_after(tile, tile_stride, t, num_tiles, ahead); };
    int t = 0;
    if constexpr (kTilesTogether == 2)
        for (; t + 2 <= num_tiles; t += 2)
            f32_tiles<T, 2, kRounded>(tile + t * tile_stride, tile_stride, width, x, x_stride,
                                      num_columns, out + t * kTileRows, out_stride, after(t + 2));
    for (; t < num_tiles; ++t)
        f32_tiles<T, 1, kRounded>(tile + t * tile_stride, tile_stride, width, x, x_stride, num_columns,
                                  out + t * kTileRows, out_stride, after(t + 1));
}

// Weights in BF16 times activations rounded to BF16 (nearest even): otherwise the sums above.
void bf16_matmul(const uint8_t* tile, int64_t tile_stride, int num_tiles, int64_t width, const float* x,
                 int64_t x_stride, int64_t num_columns, float* out, int64_t out_stride, Ahead ahead) {
    if constexpr (kMayHaveBf16Products)
        if (avx512bf16::works())
            return avx512bf16::matmul(tile, tile_stride, num_tiles, width, x, x_stride, num_columns, out,
                                      out_stride, ahead);
    f32_matmul<AsFloat<RoundedBF16>, true>(tile, tile_stride, num_tiles, width, x, x_stride, num_columns, out,
                                           out_stride, ahead);
}
