// Matrix times 8-bit activations. Included inside a kernel namespace.
//
// Each output element folds the runs of columns that share a weight scale, 32 or 16, in index order:
//   acc = fma(float(sum of integer products), weight_scale * activation_scale, acc)
// and for affine types   acc = fma(weight_min, activation_scale * activation_sum, acc).

// With few columns a tile is read once and left: while R tiles are in use, what comes next is asked
// for, evenly, across the 4 KiB pages at which the hardware's own prefetching stops.
constexpr int64_t kMaxColumnsAhead = 16;
// Bytes from one line asked for to the next. CPUs fetch lines in pairs; where a block is mostly bytes,
// asking for each line only keeps the first cache busy, where decoding takes time too it pays.
template <class T>
constexpr int64_t kAheadStep = T::kQuantBytes >= 512 ? 128 : 64;

// What is read after the first `done` of `num_tiles` tiles.
INLINE Ahead tiles_after(const uint8_t* tile, int64_t tile_stride, int done, int num_tiles, Ahead ahead) {
    const int next = num_tiles - done < 2 ? num_tiles - done : 2;
    return next > 0 ? Ahead{tile + done * tile_stride, next * tile_stride} : ahead;
}

template <class T>
INLINE I dot(I acc, B w, const int8_t* a) {
    if constexpr (T::kSigned) return dot_s8(acc, w, a);
    else return dot_u8(acc, w, a);
}

// Of a block's columns, or of one half of them, in the form of Q8Rows::sum.
INLINE int32_t half_sum(int32_t sums, int half) {
    return half ? sums >> 16 : static_cast<int16_t>(sums);
}
INLINE int32_t block_sum(int32_t sums) { return half_sum(sums, 0) + half_sum(sums, 1); }

// R tiles side by side times N columns of x from `column` on: weights are decoded once per block
// and used N times, activations are broadcast once and used R times. With every block, `lines` cache
// lines from `ahead` on are asked for.
template <class T, int R, int N>
INLINE void q8_matmul_columns(const uint8_t* tile, int64_t tile_stride, const Q8Rows& x,
                              int64_t column, float* out, int64_t out_stride, const uint8_t* ahead,
                              int lines) {
    const int64_t blocks = x.columns / kBlock;
    const int8_t* q = x.q + column * x.columns;
    const float* d = x.d + column * blocks;
    [[maybe_unused]] const float* ds = x.ds + column * blocks;
    [[maybe_unused]] const int32_t* sums = x.sum + column * blocks;
    const uint8_t* parts = tile + blocks * T::kQuantBytes;
    constexpr int kRuns = T::kHalves ? 2 : 1;  // of columns that share a weight scale
    F acc[N][R];
#pragma GCC unroll 8
    for (int c = 0; c < N; ++c)
#pragma GCC unroll 2
        for (int r = 0; r < R; ++r) acc[c][r] = f_zero();
    for (int64_t b = 0; b < blocks; ++b) {
        const uint8_t* quants = tile + b * T::kQuantBytes;
        for (int line = 0; line < lines; ++line, ahead += kAheadStep<T>) prefetch_l2(ahead);
        const int8_t* a = q + b * kBlock;
#pragma GCC unroll 2
        for (int run = 0; run < kRuns; ++run) {
            I t[N][R];
#pragma GCC unroll 8
            for (int c = 0; c < N; ++c) {
                const int32_t both = T::kOffset ? sums[c * blocks + b] : 0;
                const I start = i_set1(-T::kOffset * (T::kHalves ? half_sum(both, run) : block_sum(both)));
#pragma GCC unroll 2
                for (int r = 0; r < R; ++r) t[c][r] = start;
            }
#pragma GCC unroll 4
            for (int g = 0; g < kGroups / 2; ++g) {
                B low[R], high[R];
#pragma GCC unroll 2
                for (int r = 0; r < R; ++r) T::groups(quants + r * tile_stride, g, low[r], high[r]);
#pragma GCC unroll 8
                for (int c = 0; c < N; ++c) {
                    const int8_t* four = a + c * x.columns + 4 * g;
#pragma GCC unroll 2
                    for (int r = 0; r < R && run == 0; ++r) t[c][r] = dot<T>(t[c][r], low[r], four);
#pragma GCC unroll 2
                    for (int r = 0; r < R && run == kRuns - 1; ++r)
                        t[c][r] = dot<T>(t[c][r], high[r], four + 16);
                }
            }
#pragma GCC unroll 2
            for (int r = 0; r < R; ++r) {
                const uint8_t* tile_parts = parts + r * tile_stride;
                const F weight_scale = T::scale(tile_parts, b, run);
                F weight_min;
                if constexpr (T::kAffine) weight_min = T::minimum(tile_parts, blocks, b, run);
#pragma GCC unroll 8
                for (int c = 0; c < N; ++c) {
                    const float activation_scale = d[c * blocks + b];
                    const F scale = f_mul(weight_scale, f_set1(activation_scale));
                    acc[c][r] = f_fma(i_to_f(t[c][r]), scale, acc[c][r]);
                    if constexpr (T::kAffine) {
                        const float sum = T::kHalves
                            ? activation_scale * static_cast<float>(half_sum(sums[c * blocks + b], run))
                            : ds[c * blocks + b];
                        acc[c][r] = f_fma(weight_min, f_set1(sum), acc[c][r]);
                    }
                }
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
                           int64_t column, float* out, int64_t out_stride, const uint8_t* ahead, int lines) {
    if (width == N)
        q8_matmul_columns<T, R, N>(tile, tile_stride, x, column, out, out_stride, ahead, lines);
    else if constexpr (N > 1)
        q8_matmul_pass<T, R, N - 1>(width, tile, tile_stride, x, column, out, out_stride, ahead, lines);
}

template <class T, int R>
INLINE void q8_matmul_tiles(const uint8_t* tile, int64_t tile_stride, const Q8Rows& x,
                            int64_t first_column, int64_t num_columns, float* out, int64_t out_stride,
                            Ahead ahead) {
    const int64_t passes = (num_columns + kMaxColumns - 1) / kMaxColumns;
    const int64_t share = passes * (x.columns / kBlock) * kAheadStep<T>;  // that one line a block comes to
    const bool streams = ahead.at && num_columns > 0 && num_columns <= kMaxColumnsAhead;
    const int lines = streams ? static_cast<int>((ahead.nbytes + share - 1) / share) : 0;
    int64_t done = 0;
    for (int64_t pass = 0; pass < passes; ++pass) {
        const int64_t end = num_columns * (pass + 1) / passes;
        q8_matmul_pass<T, R, kMaxColumns>(end - done, tile, tile_stride, x, first_column + done,
                                          out + done * out_stride, out_stride, ahead.at, lines);
        if (streams) ahead.at += x.columns / kBlock * lines * kAheadStep<T>;
        done = end;
    }
}

template <class T>
void q8_matmul(const uint8_t* tile, int64_t tile_stride, int num_tiles, const Q8Rows& x,
               int64_t first_column, int64_t num_columns, float* out, int64_t out_stride, Ahead ahead) {
    const auto after = [&](int t) { return tiles_after(tile, tile_stride, t, num_tiles, ahead); };
    int t = 0;
    if constexpr (kTilesTogether == 2)
        for (; t + 2 <= num_tiles; t += 2)
            q8_matmul_tiles<T, 2>(tile + t * tile_stride, tile_stride, x, first_column, num_columns,
                                  out + t * kTileRows, out_stride, after(t + 2));
    for (; t < num_tiles; ++t)
        q8_matmul_tiles<T, 1>(tile + t * tile_stride, tile_stride, x, first_column, num_columns,
                              out + t * kTileRows, out_stride, after(t + 1));
}

#ifndef INGLE_NIBBLE_LOOKUP
// The types whose codes are looked up, by the instructions that do it best.
template <class T>
void looked_up(const uint8_t* tile, int64_t tile_stride, int num_tiles, const Q8Rows& x, int64_t first_column,
               int64_t num_columns, float* out, int64_t out_stride, Ahead ahead) {
    if constexpr (kMayHaveByteLookup)
        if (avx512vbmi::works()) {
            constexpr auto best = std::is_same_v<T, TypeMXFP4> ? avx512vbmi::mxfp4 : avx512vbmi::iq4_nl;
            return best(tile, tile_stride, num_tiles, x, first_column, num_columns, out, out_stride, ahead);
        }
    q8_matmul<T>(tile, tile_stride, num_tiles, x, first_column, num_columns, out, out_stride, ahead);
}
#endif
