// Matrix times float activations. Included inside a kernel namespace, after q8_matmul.inl.h.
//
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
