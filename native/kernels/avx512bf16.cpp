// Products of BF16 by AVX-512 BF16 (Cooper Lake 2020, Zen 4 2022), behind f32_matmul.inl.h's
// bf16_matmul: vdpbf16ps adds the upper product of a pair, then the lower one, each by fma. With the
// columns of a pair exchanged that is the order of the template, and the bits are the same.
#include "kernels/kernels.h"

#include <immintrin.h>
#define INLINE inline __attribute__((always_inline))

namespace ingle::avx512bf16 {
namespace {

constexpr int kPairsOfBlock = kBlock / 2;
constexpr int kBlocks = 8;                        // of a run of columns that is decoded at once
constexpr int kPairs = kBlocks * kPairsOfBlock;
constexpr int kMaxColumns = 6;

// Magnitudes below 2^-kExponent become zero.
template <int kExponent>
INLINE __m512i large(__m512i bf16) {
    const __m512i magnitude = _mm512_and_si512(bf16, _mm512_set1_epi16(0x7FFF));
    const __mmask32 kept = _mm512_cmpge_epu16_mask(magnitude, _mm512_set1_epi16((127 - kExponent) << 7));
    return _mm512_maskz_mov_epi16(kept, bf16);
}

// Two columns of a tile, 16 values each, as 16 pairs: the first column in the upper halves.
// `one`: the second column does not exist.
INLINE __m512i weight_pairs(const uint8_t* p, bool one) {
    alignas(64) static constexpr uint16_t order[32] = {
        16, 0, 17, 1, 18, 2, 19, 3, 20, 4, 21, 5, 22, 6, 23, 7,
        24, 8, 25, 9, 26, 10, 27, 11, 28, 12, 29, 13, 30, 14, 31, 15};
    const __m512i w = one ? _mm512_zextsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))
                          : _mm512_loadu_si512(p);
    return _mm512_permutexvar_epi16(_mm512_load_si512(order), large<60>(w));
}

INLINE __m512 load_some(const float* x, int64_t count) {
    return count >= 16 ? _mm512_loadu_ps(x)
                       : _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << (count > 0 ? count : 0)) - 1), x);
}

// 32 activations as 16 pairs, the first of each in the upper half; those past `count` are zero.
INLINE __m512i activation_pairs(const float* x, int64_t count) {
    const __m512 low = load_some(x, count), high = load_some(x + 16, count - 16);
    const __m512i rounded = (__m512i)_mm512_cvtne2ps_pbh(high, low);
    return _mm512_rol_epi32(large<40>(rounded), 16);
}

// R decoded tiles (R, pairs, 16) times N columns of pairs, folded block by block into out.
template <int R, int N>
INLINE void columns(const __m512i* w, int64_t pairs, const uint32_t* x, float* out, int64_t out_stride,
                    bool first) {
    __m512 total[N][R];
#pragma GCC unroll 8
    for (int c = 0; c < N; ++c)
#pragma GCC unroll 2
        for (int r = 0; r < R; ++r)
            total[c][r] = first ? _mm512_setzero_ps() : _mm512_loadu_ps(out + c * out_stride + r * kTileRows);
    for (int64_t b = 0; b < pairs; b += kPairsOfBlock) {
        __m512 part[N][R];
#pragma GCC unroll 8
        for (int c = 0; c < N; ++c)
#pragma GCC unroll 2
            for (int r = 0; r < R; ++r) part[c][r] = _mm512_setzero_ps();
#pragma GCC unroll 2
        for (int64_t k = b; k < b + kPairsOfBlock; ++k)
#pragma GCC unroll 8
            for (int c = 0; c < N; ++c) {
                const __m512bh value = (__m512bh)_mm512_set1_epi32(static_cast<int>(x[c * kPairs + k]));
#pragma GCC unroll 2
                for (int r = 0; r < R; ++r)
                    part[c][r] = _mm512_dpbf16_ps(part[c][r], (__m512bh)w[r * kPairs + k], value);
            }
        const bool starts = first && b == 0;
#pragma GCC unroll 8
        for (int c = 0; c < N; ++c)
#pragma GCC unroll 2
            for (int r = 0; r < R; ++r)
                total[c][r] = starts ? part[c][r] : _mm512_add_ps(total[c][r], part[c][r]);
    }
#pragma GCC unroll 8
    for (int c = 0; c < N; ++c)
#pragma GCC unroll 2
        for (int r = 0; r < R; ++r) _mm512_storeu_ps(out + c * out_stride + r * kTileRows, total[c][r]);
}

template <int R, int N>
INLINE void pass(int64_t n, const __m512i* w, int64_t pairs, const uint32_t* x, float* out,
                 int64_t out_stride, bool first) {
    if (n == N) columns<R, N>(w, pairs, x, out, out_stride, first);
    else if constexpr (N > 1) pass<R, N - 1>(n, w, pairs, x, out, out_stride, first);
}

// `pairs` pairs of activations from x on, `count` of them there, as `columns` takes them.
INLINE void load_pairs(const float* x, int64_t pairs, int64_t count, uint32_t* to) {
    for (int64_t i = 0; i < 2 * pairs; i += 32)
        _mm512_store_si512(to + i / 2, activation_pairs(x + i, count - i));
}

// R tiles times one column: weights are used as they are loaded.
template <int R>
void one_column(const uint8_t* tile, int64_t tile_stride, int64_t width, const float* x, float* out,
                const uint8_t* ahead) {
    alignas(64) uint32_t pairs_of[kPairs];
    __m512 total[R];
    for (int64_t start = 0; start < width; start += 2 * kPairs) {
        const int64_t count = start + 2 * kPairs < width ? 2 * kPairs : width - start;
        const int64_t pairs = (count + kBlock - 1) / kBlock * kPairsOfBlock;
        load_pairs(x + start, pairs, count, pairs_of);
        for (int64_t b = 0; b < pairs; b += kPairsOfBlock) {
            __m512 part[R];
            for (int r = 0; r < R; ++r) part[r] = _mm512_setzero_ps();
#pragma GCC unroll 4
            for (int64_t k = b; k < b + kPairsOfBlock; ++k) {
                const __m512bh value = (__m512bh)_mm512_set1_epi32(static_cast<int>(pairs_of[k]));
                if (R == 2 || k % 2 == 0) {  // CPUs fetch lines in pairs
                    _mm_prefetch(reinterpret_cast<const char*>(ahead), _MM_HINT_T1);
                    ahead += 128;
                }
#pragma GCC unroll 2
                for (int r = 0; r < R; ++r) {
                    const uint8_t* from = tile + r * tile_stride + (start + 2 * k) * kTileRows * 2;
                    const __m512i w =
                        2 * k < count ? weight_pairs(from, 2 * k + 1 == count) : _mm512_setzero_si512();
                    part[r] = _mm512_dpbf16_ps(part[r], (__m512bh)w, value);
                }
            }
            for (int r = 0; r < R; ++r)
                total[r] = start == 0 && b == 0 ? part[r] : _mm512_add_ps(total[r], part[r]);
        }
    }
    for (int r = 0; r < R; ++r) _mm512_storeu_ps(out + r * kTileRows, total[r]);
}

// ahead: asked for line by line, as many as these tiles have.
template <int R>
void tiles(const uint8_t* tile, int64_t tile_stride, int64_t width, const float* x, int64_t x_stride,
           int64_t num_columns, float* out, int64_t out_stride, const uint8_t* ahead) {
    if (num_columns == 1) return one_column<R>(tile, tile_stride, width, x, out, ahead);
    alignas(64) __m512i w[R * kPairs];
    alignas(64) uint32_t pairs_of[kMaxColumns * kPairs];
    const int64_t passes = (num_columns + kMaxColumns - 1) / kMaxColumns;
    for (int64_t start = 0; start < width; start += 2 * kPairs) {
        const int64_t count = start + 2 * kPairs < width ? 2 * kPairs : width - start;
        const int64_t pairs = (count + kBlock - 1) / kBlock * kPairsOfBlock;
        for (int r = 0; r < R; ++r) {
            const uint8_t* from = tile + r * tile_stride + start * kTileRows * 2;
            for (int64_t k = 0; k < pairs; ++k, ahead += 64) {
                _mm_prefetch(reinterpret_cast<const char*>(ahead), _MM_HINT_T1);
                w[r * kPairs + k] = 2 * k < count ? weight_pairs(from + 64 * k, 2 * k + 1 == count)
                                                  : _mm512_setzero_si512();
            }
        }
        int64_t done = 0;
        for (int64_t p = 0; p < passes; ++p) {
            const int64_t end = num_columns * (p + 1) / passes;
            for (int64_t c = done; c < end; ++c)
                load_pairs(x + c * x_stride + start, pairs, count, pairs_of + (c - done) * kPairs);
            pass<R, kMaxColumns>(end - done, w, pairs, pairs_of, out + done * out_stride, out_stride,
                                 start == 0);
            done = end;
        }
    }
}

// Whether vdpbf16ps rounds after each of its two products, upper first, for a few thousand numbers.
bool sums_as_documented() {
    uint32_t state = 1;
    const auto random = [&] {  // about 1, all bits of a BF16's significand in use
        state = state * 1664525u + 1013904223u;
        return (state >> 8 & 0x80FFu) | (124u + (state >> 24) % 6u) << 7;
    };
    const auto value = [](uint32_t bits) {
        float x;
        __builtin_memcpy(&x, &bits, 4);
        return x;
    };
    for (int i = 0; i < 4096; ++i) {
        const uint32_t w0 = random(), w1 = random(), x0 = random(), x1 = random();
        const float start = value(random() << 16 | (random() & 0xFFFFu));
        const float wanted = __builtin_fmaf(value(w0 << 16), value(x0 << 16),
                                            __builtin_fmaf(value(w1 << 16), value(x1 << 16), start));
        const __m512 found = _mm512_dpbf16_ps(_mm512_set1_ps(start),
                                              (__m512bh)_mm512_set1_epi32(static_cast<int>(w1 << 16 | w0)),
                                              (__m512bh)_mm512_set1_epi32(static_cast<int>(x1 << 16 | x0)));
        if (_mm512_cvtss_f32(found) != wanted) return false;
    }
    return true;
}

}  // namespace

bool works() {
    static const bool yes = __builtin_cpu_supports("avx512bf16") && sums_as_documented();
    return yes;
}

void matmul(const uint8_t* tile, int64_t tile_stride, int num_tiles, int64_t width, const float* x,
            int64_t x_stride, int64_t num_columns, float* out, int64_t out_stride, Ahead ahead) {
    // nobody said what comes after them: the memory that lies there
    const auto after = [&](int t) { return t < num_tiles || !ahead.at ? tile + t * tile_stride : ahead.at; };
    int t = 0;
    for (; t + 2 <= num_tiles; t += 2)
        tiles<2>(tile + t * tile_stride, tile_stride, width, x, x_stride, num_columns,
                 out + t * kTileRows, out_stride, after(t + 2));
    if (t < num_tiles)
        tiles<1>(tile + t * tile_stride, tile_stride, width, x, x_stride, num_columns,
                 out + t * kTileRows, out_stride, after(t + 1));
}

}  // namespace ingle::avx512bf16
